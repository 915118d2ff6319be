//! The C header of an object: C11, and C++ from 2011 on. All sizes are constants, and assertions hold them against each other when the
//! header is compiled.

use std::fmt::Write as _;

use super::interface::{ALIGN, Arg, Function, Interface, Tensor};
use crate::codegen::object::{THREADS_MAX, status};
use crate::kernels::isa::Arch;

/// The text of the header.
pub fn header(of: &Interface) -> String {
    let mut out = String::new();
    let big = of.prefix.to_ascii_uppercase();
    top(&mut out, of, &big);
    for tensor in &of.tensors {
        constants(&mut out, of, &big, tensor);
    }
    regions(&mut out, of, &big);
    assertions(&mut out, of, &big);
    functions(&mut out, of, &big);
    let _ = write!(out, "\n#ifdef __cplusplus\n}}\n#endif\n\n#endif /* {big}_H */\n");
    out
}

/// A text that cannot end a comment.
fn quiet(text: &str) -> String {
    text.replace("*/", "* /").replace(['\n', '\r'], " ")
}

fn top(out: &mut String, of: &Interface, big: &str) {
    let (p, net, source) = (&of.prefix, quiet(&of.net), quiet(&of.source));
    let _ = write!(
        out,
        "/* {net} of {source}, compiled by cnnc {}. Made by a tool: changes will be lost.\n *\n\
         \x20* Tensors are rows of float, the last axis fastest. Regions of memory (arena, weights, …) begin at a multiple of\n\
         \x20* {big}_ALIGN bytes; tensors need the alignment of float. Nothing is allocated, locked or called, and no\n\
         \x20* argument may be null. Tensors and regions that a call writes overlap nothing else. Calls may run at the same time\n\
         \x20* on different arenas. */\n\
         #ifndef {big}_H\n#define {big}_H\n\n#include <stddef.h>\n\n",
        env!("CARGO_PKG_VERSION")
    );
    let machine = match of.arch {
        Arch::X86_64 => "defined(__x86_64__)",
        Arch::Aarch64 => "defined(__aarch64__)",
    };
    let _ = write!(
        out,
        "#if !{machine}\n#error \"the object of {p} is for another architecture\"\n#endif\n\n\
         #ifdef __cplusplus\nextern \"C\" {{\n#define {big}_ASSERT(claim, text) static_assert(claim, text)\n#else\n\
         #define {big}_ASSERT(claim, text) _Static_assert(claim, text)\n#endif\n\n"
    );
    let _ = writeln!(out, "/* What functions return. */");
    for (name, value, doc) in [
        ("OK", status::OK, "done"),
        ("UNSUPPORTED", status::UNSUPPORTED, "the processor has none of the instruction sets below"),
        ("ARGUMENT", status::ARGUMENT, "thread >= threads, too many threads, or no such target"),
        ("WRONG_WEIGHTS", status::WEIGHTS, "selftest: the weights are not those of the compilation"),
        ("WRONG_RESULT", status::RESULT, "selftest: the results are not those of the compilation"),
    ] {
        let _ = writeln!(out, "#define {big}_{name} {value} /* {doc} */");
    }
    let _ = writeln!(out, "\n/* Instruction sets in this object, for {p}_target() and {p}_use(). */");
    for (i, name) in of.targets.iter().enumerate() {
        let _ = writeln!(out, "#define {big}_TARGET_{} {}", macro_word(name), i + 1);
    }
    let _ = writeln!(out, "#define {big}_TARGETS {}", of.targets.len());
    let _ = writeln!(out, "\n#define {big}_ALIGN {ALIGN}\n#define {big}_THREADS_MAX {THREADS_MAX}");
}

/// `x86-64-v3` as `X86_64_V3`.
fn macro_word(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' }).collect()
}

/// A tensor's constants and its type as an array.
fn constants(out: &mut String, of: &Interface, big: &str, tensor: &Tensor) {
    let name = macro_word(&tensor.ident);
    let side = if tensor.written { "output" } else { "input" };
    let _ = writeln!(out, "\n/* {side} `{}`: {} */", quiet(&tensor.port.name), quiet(&tensor.port.show()));
    let mut words: Vec<String> = Vec::new();
    for ((axis, extent), stride) in tensor.port.axes.iter().zip(tensor.strides()) {
        let mut word = macro_word(axis);
        while words.contains(&word) {
            word.push('_');
        }
        let _ = writeln!(out, "#define {big}_{name}_{word} {extent}");
        let _ = writeln!(out, "#define {big}_{name}_STRIDE_{word} {stride}");
        words.push(word);
    }
    let _ = writeln!(out, "#define {big}_{name}_RANK {}", words.len());
    let _ = writeln!(out, "#define {big}_{name}_LEN {} /* elements */", tensor.port.len());
    let dims: String = words.iter().map(|w| format!("[{big}_{name}_{w}]")).collect();
    let dims = if dims.is_empty() { "[1]".to_owned() } else { dims };
    let _ = writeln!(out, "typedef float {}_{}{dims};", of.prefix, tensor.ident);
}

fn regions(out: &mut String, of: &Interface, big: &str) {
    for region in &of.regions {
        let name = macro_word(&region.name);
        let _ = writeln!(out, "\n/* {} */", quiet(&region.doc));
        let _ = writeln!(out, "#define {big}_{name}_BYTES {}", region.bytes);
        for part in &region.parts {
            let word = macro_word(&part.ident);
            let _ = writeln!(
                out,
                "#define {big}_{name}_{word}_OFFSET {} /* bytes: {} {} */",
                part.at,
                quiet(&part.name),
                quiet(&part.axes)
            );
            let _ = writeln!(out, "#define {big}_{name}_{word}_LEN {}", part.len);
        }
    }
}

fn assertions(out: &mut String, of: &Interface, big: &str) {
    let p = &of.prefix;
    let _ = writeln!(out);
    let _ =
        writeln!(out, "{big}_ASSERT(sizeof(float) == 4 && sizeof(void *) == 8, \"another ABI than {p}'s\");");
    for tensor in &of.tensors {
        let (ident, name) = (&tensor.ident, macro_word(&tensor.ident));
        let _ = writeln!(
            out,
            "{big}_ASSERT(sizeof({p}_{ident}) == {big}_{name}_LEN * sizeof(float), \"{ident}: axes and length differ\");"
        );
    }
    for region in &of.regions {
        let name = macro_word(&region.name);
        let _ = writeln!(
            out,
            "{big}_ASSERT({big}_{name}_BYTES % {big}_ALIGN == 0, \"{}: no whole number of lines\");",
            region.name
        );
    }
}

fn functions(out: &mut String, of: &Interface, big: &str) {
    let p = &of.prefix;
    for function in &of.functions {
        let args = arguments(of, function).join(", ");
        let _ = write!(
            out,
            "\n/* {}{} */\nint {p}_{}({args});\n",
            quiet(&function.doc),
            notes(function),
            function.name
        );
        let _ = write!(
            out,
            "\n/* The same on several threads that the caller brings: each of `threads` calls it with its own `thread`, counted\n\
             \x20* from 0, and the same other arguments. barrier(context) returns when all of them have called it; it may be null\n\
             \x20* for one thread. The results are the same bits for any number of threads. */\n\
             int {p}_{}_part({args}, size_t thread, size_t threads, void (*barrier)(void *context), void *context);\n",
            function.name
        );
    }
    let _ = write!(
        out,
        "\n/* The instruction set that runs: the widest that processor and system offer, unless {p}_use pins one; 0 when there is none. */\n\
         int {p}_target(void);\n\
         \n/* Pins an instruction set; 0 chooses the widest again. For measurements, and for the same bits on different machines. */\n\
         int {p}_use(int target);\n"
    );
    let mut args: Vec<String> = of.selftest.iter().map(|r| format!("const void *{r}")).collect();
    args.push("void *scratch".to_owned());
    let _ = write!(
        out,
        "\n/* Runs the net on known inputs and compares with what the compiler computed; also checks the weights. `scratch` is a\n\
         \x20* region of {big}_SELFTEST_BYTES. */\nint {p}_selftest({});\n",
        args.join(", ")
    );
}

/// What the numbers among the arguments are.
fn notes(function: &Function) -> String {
    let note = |arg: &Arg| match arg {
        Arg::Float { ident, doc } => Some(format!("\n * {ident}: {}", quiet(doc))),
        Arg::Tensor(_) | Arg::Region(..) => None,
    };
    function.args.iter().filter_map(note).collect()
}

/// Declarations of the arguments.
fn arguments(of: &Interface, function: &Function) -> Vec<String> {
    let one = |arg: &Arg| match arg {
        Arg::Tensor(i) => {
            let tensor = &of.tensors[*i];
            // Not as an array: whoever passes the first element of several axes would be warned that a row is shorter.
            format!("{}float *{}", if tensor.written { "" } else { "const " }, tensor.ident)
        }
        Arg::Region(i, written) => {
            format!("{}void *{}", if *written { "" } else { "const " }, of.regions[*i].name)
        }
        Arg::Float { ident, doc: _ } => format!("float {ident}"),
    };
    function.args.iter().map(one).collect()
}
