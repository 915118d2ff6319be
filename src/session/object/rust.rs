//! The Rust side of an object: a struct named as the net, whose methods have the shapes in their types. For build scripts
//! ([`crate::build`]); the text stands alone and needs nothing but the object.

use std::fmt::Write as _;

use super::interface::{Interface, Tensor, identifier};

/// The text; `library` is the name of the archive to link.
pub fn source(of: &Interface, library: &str) -> String {
    let name = identifier(&of.net, std::iter::empty());
    let inputs: Vec<&Tensor> = of.tensors.iter().filter(|t| !t.written).collect();
    let outputs: Vec<&Tensor> = of.tensors.iter().filter(|t| t.written).collect();
    let bytes = |region: &str| of.regions.iter().find(|r| r.name == region).map_or(0, |r| r.bytes);
    let (arena, scratch) = (bytes("arena"), bytes("selftest"));
    let mut out = format!(
        "// {} of {}, compiled by cnnc {}. Made by a tool: changes will be lost.\n\n",
        one_line(&of.net),
        one_line(&of.source),
        env!("CARGO_PKG_VERSION")
    );
    let fields: String = outputs.iter().map(|t| format!("    {}: Vec<f32>,\n", t.ident)).collect();
    let _ = write!(
        out,
        "/// The net `{net}`, compiled ahead of time with its weights inside; this holds the memory of its runs.\n\
         #[allow(non_camel_case_types, dead_code)]\n#[derive(Clone, Debug)]\n\
         pub struct {name} {{\n    arena: Vec<{name}Line>,\n{fields}}}\n\n\
         /// Memory at a multiple of its size.\n#[derive(Clone, Copy, Debug)]\n#[repr(C, align(64))]\nstruct {name}Line([u8; 64]);\n\n",
        net = one_line(&of.net)
    );
    error(&mut out, of, &name);
    raw(&mut out, of, library, &name);
    if outputs.len() != 1 {
        let fields: String = outputs
            .iter()
            .map(|t| format!("    /// `{}`\n    pub {}: &'a {},\n", one_line(&t.port.show()), t.ident, ty(t)))
            .collect();
        let _ = write!(
            out,
            "/// What a run of [`{name}`] gives.\n#[allow(non_camel_case_types)]\n#[derive(Clone, Copy, Debug)]\n\
             pub struct {name}Outputs<'a> {{\n{fields}}}\n\n"
        );
    }
    let zeros: String =
        outputs.iter().map(|t| format!(", {}: vec![0.0; {}]", t.ident, t.port.len())).collect();
    let _ = write!(
        out,
        "#[allow(dead_code)]\nimpl {name} {{\n    /// Memory for runs.\n    #[allow(clippy::new_without_default)]\n\
         \x20   pub fn new() -> Self {{\n        Self {{ arena: vec![{name}Line([0; 64]); {}]{zeros} }}\n    }}\n\n",
        arena / 64
    );
    run(&mut out, &inputs, &outputs, &name);
    let _ = write!(
        out,
        "    /// Runs the net on known inputs and compares with what the compiler computed.\n    ///\n    /// # Errors\n\
         \x20   /// The net computes something else here, or the processor cannot run it.\n\
         \x20   pub fn selftest(&self) -> Result<(), {name}Error> {{\n\
         \x20       let mut scratch = vec![{name}Line([0; 64]); {}];\n\
         \x20       // SAFETY: the memory is of the size and alignment that the object asks for.\n\
         \x20       {name}Error::of(unsafe {{ {name}_raw::selftest(scratch.as_mut_ptr().cast()) }})\n    }}\n}}\n",
        scratch / 64
    );
    out
}

fn one_line(text: &str) -> String {
    text.replace(['\n', '\r', '`'], " ")
}

/// The error type, which says what the statuses are.
fn error(out: &mut String, of: &Interface, name: &str) {
    use crate::codegen::object::status;
    let _ = write!(
        out,
        "/// Why [`{name}`] did not run.\n#[allow(non_camel_case_types)]\n#[derive(Clone, Copy, Debug, PartialEq, Eq)]\n\
         pub struct {name}Error(pub i32);\n\n\
         impl {name}Error {{\n    fn of(status: i32) -> Result<(), Self> {{\n        if status == 0 {{ Ok(()) }} else {{ Err(Self(status)) }}\n    }}\n}}\n\n\
         impl std::fmt::Display for {name}Error {{\n    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {{\n\
         \x20       f.write_str(match self.0 {{\n\
         \x20           {} => \"the processor offers none of the instruction sets of the net: {}\",\n\
         \x20           {} => \"the weights are not those of the compilation\",\n\
         \x20           {} => \"the results are not those of the compilation\",\n\
         \x20           _ => \"the net did not run\",\n        }})\n    }}\n}}\n\nimpl std::error::Error for {name}Error {{}}\n\n",
        status::UNSUPPORTED,
        of.targets.join(", "),
        status::WEIGHTS,
        status::RESULT
    );
}

/// The functions of the object.
fn raw(out: &mut String, of: &Interface, library: &str, name: &str) {
    let args: String = of
        .tensors
        .iter()
        .map(|t| format!("{}: *{} f32, ", t.ident, if t.written { "mut" } else { "const" }))
        .collect();
    let p = &of.prefix;
    let _ = write!(
        out,
        "#[allow(non_snake_case)]\nmod {name}_raw {{\n    #[link(name = \"{library}\", kind = \"static\")]\n    unsafe extern \"C\" {{\n\
         \x20       #[link_name = \"{p}_forward\"]\n        pub fn forward({args}arena: *mut u8) -> i32;\n\
         \x20       #[link_name = \"{p}_selftest\"]\n        pub fn selftest(scratch: *mut u8) -> i32;\n    }}\n}}\n\n"
    );
}

/// The method that runs the net.
fn run(out: &mut String, inputs: &[&Tensor], outputs: &[&Tensor], name: &str) {
    let args: String = inputs.iter().map(|t| format!(", {}: &{}", t.ident, ty(t))).collect();
    let shapes: String = inputs
        .iter()
        .map(|t| format!("    /// `{}` is `{}`.\n", one_line(&t.port.name), one_line(&t.port.show())))
        .collect();
    let result = match outputs {
        [one] => format!("&{}", ty(one)),
        [..] => format!("{name}Outputs<'_>"),
    };
    let pass: String = inputs
        .iter()
        .map(|t| format!("std::ptr::from_ref({}).cast(), ", t.ident))
        .chain(outputs.iter().map(|t| format!("self.{}.as_mut_ptr(), ", t.ident)))
        .collect();
    let view = |t: &Tensor| format!("&*self.{}.as_ptr().cast::<{}>()", t.ident, ty(t));
    let give = match outputs {
        [one] => view(one),
        [..] => {
            let fields: Vec<String> = outputs.iter().map(|t| format!("{}: {}", t.ident, view(t))).collect();
            format!("{name}Outputs {{ {} }}", fields.join(", "))
        }
    };
    let _ = write!(
        out,
        "    /// Runs the net once.\n    ///\n{shapes}    ///\n    /// # Errors\n    /// The processor offers none of the instruction sets of the net.\n\
         \x20   pub fn run(&mut self{args}) -> Result<{result}, {name}Error> {{\n\
         \x20       // SAFETY: arrays of these types hold as many elements as the object reads and writes, the arena is of its size\n\
         \x20       // and alignment, and exclusive borrows overlap nothing.\n\
         \x20       {name}Error::of(unsafe {{ {name}_raw::forward({pass}self.arena.as_mut_ptr().cast()) }})?;\n\
         \x20       // SAFETY: each list holds as many elements as its array type, for as long as this is borrowed.\n\
         \x20       Ok(unsafe {{ {give} }})\n    }}\n\n"
    );
}

/// The type of a tensor: arrays of arrays; `n` is left out where it is 1.
fn ty(tensor: &Tensor) -> String {
    let axes = tensor.port.axes.iter().filter(|(axis, extent)| &**axis != "n" || *extent != 1);
    let extents: Vec<usize> = axes.map(|a| a.1).collect();
    let extents = if extents.is_empty() { vec![1] } else { extents };
    extents.iter().rev().fold("f32".to_owned(), |inner, extent| format!("[{inner}; {extent}]"))
}
