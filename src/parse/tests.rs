//! Tests of the whole road from text to tree.

use super::*;
use crate::ast::{BinaryOp, Body, ExprKind, Item, TableBody, UnaryOp};

fn read(text: &str) -> (Sources, File, Vec<Diagnostic>) {
    let mut sources = Sources::default();
    let id = sources.add("t.cnn", text);
    let (file, diags) = parse(&sources, id);
    (sources, file, diags)
}

/// The tree of a text that has no errors.
fn good(text: &str) -> File {
    let (sources, file, diags) = read(text);
    assert!(diags.is_empty(), "{}", shown(&sources, &diags));
    file
}

/// `code line:column message | fix title`, a line each.
fn shown(sources: &Sources, diags: &[Diagnostic]) -> String {
    let mut out = String::new();
    for d in diags {
        let span = d.primary.span;
        let (line, column) = sources.line_col(span.file, span.start);
        out.push_str(&format!("{} {line}:{column} `{}` {}", d.code, sources.text(span), d.message));
        for fix in &d.fixes {
            out.push_str(&format!(" | {}", fix.title));
        }
        out.push('\n');
    }
    out
}

/// The messages of a text with errors.
fn bad(text: &str) -> String {
    let (sources, _, diags) = read(text);
    assert!(!diags.is_empty(), "no message for: {text}");
    shown(&sources, &diags)
}

/// The expression in prefix form, to see how operators bind.
fn tree(text: &str) -> String {
    let mut sources = Sources::default();
    let id = sources.add("e", text);
    match parse_expr(&sources, id) {
        Ok(e) => prefix(&e),
        Err(diags) => shown(&sources, &diags),
    }
}

fn body(b: &Body) -> String {
    let lets: String = b.lets.iter().map(|l| format!("{}={} ", l.name.name, prefix(&l.value))).collect();
    format!("{{{lets}{}}}", prefix(&b.value))
}

fn prefix(e: &Expr) -> String {
    let list = |items: &[Expr]| items.iter().map(prefix).collect::<Vec<_>>().join(" ");
    let call = |c: &crate::ast::Call| {
        let args: Vec<String> = c
            .args
            .iter()
            .map(|a| a.key.as_ref().map_or(String::new(), |k| format!("{}:", k.name)) + &prefix(&a.value))
            .collect();
        format!("{}({})", prefix(&c.callee), args.join(", "))
    };
    match &e.kind {
        ExprKind::Int(i) => i.to_string(),
        ExprKind::Float(x) => format!("{x:?}"),
        ExprKind::Bool(b) => b.to_string(),
        ExprKind::Str(s) => format!("{s:?}"),
        ExprKind::Extent(x) => x.iter().map(i64::to_string).collect::<Vec<_>>().join("x"),
        ExprKind::List(items) => format!("[{}]", list(items)),
        ExprKind::Shape(s) => {
            s.axes.iter().map(|(n, e)| format!("<{} {}>", n.name, prefix(e))).collect::<String>()
        }
        ExprKind::Tuple(items) => format!("tuple({})", list(items)),
        ExprKind::Name(n) => n.to_string(),
        ExprKind::Field(b, f) => format!("{}.{}", prefix(b), f.name),
        ExprKind::Index(b, i) => format!("{}[{}]", prefix(b), prefix(i)),
        ExprKind::Call(c) => call(c),
        ExprKind::New(c) => format!("new {}", call(c)),
        ExprKind::Pipe(a, b) => format!("({} |> {})", prefix(a), prefix(b)),
        ExprKind::As(a, n) => format!("{}@{}", prefix(a), n.name),
        ExprKind::Is(_) => "is".into(),
        ExprKind::Repeat(r) => {
            let var = r.var.as_ref().map_or("_", |v| &*v.name);
            format!("repeat {} {var} {}", prefix(&r.count), body(&r.body))
        }
        ExprKind::Block(b) => body(b),
        ExprKind::If(c, a, b) => format!("if {} {} {}", prefix(c), body(a), body(b)),
        ExprKind::Unary(UnaryOp::Neg, a) => format!("(neg {})", prefix(a)),
        ExprKind::Unary(UnaryOp::Not, a) => format!("(not {})", prefix(a)),
        ExprKind::Binary(op, a, b) => format!("({} {} {})", op.sign(), prefix(a), prefix(b)),
    }
}

#[test]
fn operators_bind_as_the_manual_says() {
    for (text, want) in [
        ("1 + 2 * 3 - 4", "(- (+ 1 (* 2 3)) 4)"),
        ("2 ^ 3 ^ 2", "(^ 2 (^ 3 2))"),
        ("-2 ^ 2", "(neg (^ 2 2))"),
        ("2 ^ -1 * 3", "(* (^ 2 (neg 1)) 3)"),
        ("- - x", "(neg (neg x))"),
        ("a // b % c / d", "(/ (% (// a b) c) d)"),
        ("not a == b and c or d", "(or (and (not (== a b)) c) d)"),
        ("a == not b or c", "(or (== a (not b)) c)"),
        ("a < b and b <= c", "(and (< a b) (<= b c))"),
        ("(a + b) * c", "(* (+ a b) c)"),
        ("a-b", "(- a b)"),
        ("a + b |> f |> g(1) as n |> h", "((((+ a b) |> f) |> g(1)@n) |> h)"),
        ("x as n |> f", "(x@n |> f)"),
        ("(x |> f) + y", "(+ (x |> f) y)"),
        ("f(a |> g, k: b)", "f((a |> g), k:b)"),
        ("std.f(x).c[0](y)", "std.f(x).c[0](y)"),
        ("if a { 1 } else if b { 2 } else { 3 }", "if a {1} {if b {2} {3}}"),
        ("x |> repeat 2 * n as i { it |> f(i) } as s", "(x |> repeat (* 2 n) i {(it |> f(i))}@s)"),
        ("x |> { let y = it y + 1 }", "(x |> {y=it (+ y 1)})"),
        ("[1, [2, 3],]", "[1 [2 3]]"),
        ("[c: 3, h: S // 2]", "<c 3><h (// S 2)>"),
        ("(x, y,)", "tuple(x y)"),
        ("new conv(3, 5x5)", "new conv(3, 5x5)"),
        ("new batchnorm", "new batchnorm()"),
        ("conv(train: false, net: 62k, if: 3x3x3)", "conv(train:false, net:62000, if:3x3x3)"),
        ("y[0]", "y[0]"),
        ("notice + android", "(+ notice android)"),
    ] {
        assert_eq!(tree(text), want, "{text}");
    }
}

#[test]
fn white_space_separates_and_never_glues() {
    let file = good("block f(x) { let a = x\n (a, x) }");
    let Some(Item::Block(f)) = file.items.first() else { panic!("a block") };
    assert_eq!(body(&f.body), "{a=x tuple(a x)}");
    let file = good("const A = b # [0]\nconst B = [1]\n");
    assert_eq!(file.items.len(), 2);
}

#[test]
fn every_item_is_read() {
    let file = good(
        r#"
        use "blocks.cnn" as b
        use std
        const K = 10 # a comment
        table A: 6 -> 2 * K { 0: 0 1 2   1: *  2: 3 }
        table B: 6 -> 16 { i, o if (i + o) % 2 == 0 }
        block f(x, y; k: int, s: int = 1,) { x + y }
        block g(x) { x }
        block h(; k: int) { k }
        net N(a: [c: 1, h: K], b: [t: 4, c: 2]) -> (p: [c: 1], q: [c: K]) { (a, b) }
        net M(a: [c: 1]) { a }
        train N { data mnist("x")  loss cross_entropy(p, label) epochs 12 rate -1 repeat 3 }
        test "it holds" { assert params(N.c3) == 1516 gradcheck N }
        budget N { params <= 62k   macs <= 500k }
        "#,
    );
    assert_eq!(file.items.len(), 13);
    let Some(Item::Table(a)) = file.items.get(3) else { panic!("a table") };
    let TableBody::Rows(rows) = &a.body else { panic!("rows") };
    let inputs: Vec<_> = rows.iter().map(|r| r.inputs.as_ref().map(Vec::len)).collect();
    assert_eq!(inputs, [Some(3), None, Some(1)]);
    let Some(Item::Train(t)) = file.items.get(10) else { panic!("train") };
    assert_eq!(t.entries.len(), 5);
    let Some(Item::Budget(b)) = file.items.get(12) else { panic!("budget") };
    assert!(b.limits.iter().all(|l| matches!(l.kind, ExprKind::Binary(BinaryOp::Le, ..))));
}

#[test]
fn spans_mark_what_they_should() {
    let text = "net N(x: [c: 1])  -> [c: 1]  { x |> conv( 1 )  |> relu  }  # end\n";
    let (sources, file, _) = read(text);
    let Some(Item::Net(net)) = file.items.first() else { panic!("a net") };
    assert_eq!(sources.text(net.span), text.split("  #").next().unwrap_or(""));
    assert_eq!(sources.text(net.body.span), "{ x |> conv( 1 )  |> relu  }");
    assert_eq!(sources.text(net.body.value.span), "x |> conv( 1 )  |> relu");
    let ExprKind::Pipe(left, _) = &net.body.value.kind else { panic!("a pipe") };
    let ExprKind::Pipe(_, call) = &left.kind else { panic!("a pipe") };
    assert_eq!(sources.text(call.span), "conv( 1 )");
}

#[test]
fn slips_are_recognised() {
    let all: String = include_str!("slips.txt")
        .split("\n---\n")
        .map(|text| format!("{text}\n=> {}", bad(text).replace('\n', "\n   ").trim_end()))
        .collect::<Vec<_>>()
        .join("\n---\n");
    insta::assert_snapshot!(all);
}

/// Runs on a stack of 2 MiB, the least that threads get.
fn small_stack(f: impl FnOnce() + Send + 'static) {
    let thread = std::thread::Builder::new().stack_size(2 << 20).spawn(f).expect("a thread");
    thread.join().expect("no overflow, no panic");
}

fn codes_of(text: &str) -> Vec<&'static str> {
    let (_, _, diags) = read(text);
    diags.iter().map(|d| d.code.0).collect()
}

#[test]
fn the_deepest_trees_fit_a_small_stack() {
    small_stack(|| {
        let d = DEPTH_MAX;
        let parens = format!("const A = {}1{}", "(".repeat(d), ")".repeat(d));
        good(&parens);
        let calls = format!("const A = {}1{}", "f(a: -1 + new g(".repeat(d / 2), "))".repeat(d / 2));
        good(&calls);
        let bodies = d - 1;
        let ifs = format!(
            "block f(x) {{ {} x {} }}",
            "x |> repeat 2 as i { if 1 == 2 { x } else { let y = x ".repeat(bodies / 2),
            "} }".repeat(bodies / 2)
        );
        good(&ifs);
        good(&format!("const A = {}1", "-".repeat(TREE_MAX - 1)));
        good(&format!("const A = 1{}", "^2".repeat(TREE_MAX - 1)));
        good(&format!("const A = 1{}", " + 2".repeat(TREE_MAX - 1)));
        good(&format!("block f(x) {{ x {} }}", "|> relu".repeat(TREE_MAX - 1)));
        good(&format!("const A = {} 1 {{ 2 }} else {{ 3 }}", "if 1 { 2 } else ".repeat(TREE_MAX / 2) + "if"));
    });
}

#[test]
fn deeper_trees_are_refused() {
    small_stack(|| {
        for n in [DEPTH_MAX + 1, 50_000] {
            for (open, close) in
                [("(", ")"), ("[", "]"), ("f(", ")"), ("x |> {", "}"), ("if a { b } else {", "}")]
            {
                let text = format!("const A = {}1{}", open.repeat(n), close.repeat(n));
                assert_eq!(codes_of(&text), ["E0003"], "{n} {open}");
                assert_eq!(codes_of(&format!("const A = {}", open.repeat(n))), ["E0003"], "{n} {open}");
            }
        }
        for n in [TREE_MAX + 1, 50_000] {
            for (head, part, tail) in [
                ("", "-", "1"),
                ("1", "^2", ""),
                ("1", "+ 2", ""),
                ("x", "|> f", ""),
                ("x", ".c", ""),
                ("x", "[0]", ""),
            ] {
                let text = format!("const A = {head}{}{tail}", part.repeat(n));
                assert_eq!(codes_of(&text), ["E0003"], "{n} {part}");
            }
            let text = format!("const A = {} {{ 3 }}", "if 1 { 2 } else ".repeat(n));
            assert_eq!(codes_of(&text), ["E0003"], "{n} else if");
        }
    });
}

#[test]
fn garbage_is_refused_in_bounded_time() {
    let start = std::time::Instant::now();
    assert_eq!(codes_of(&"\u{1}\u{2}§".repeat(30_000_000)), ["E0004"]);
    assert_eq!(codes_of(&"a ".repeat(TOKENS_MAX + 1)), ["E0004"]);
    assert_eq!(codes_of(&"§".repeat(1_000_000)), ["E0001"]);
    for junk in [
        "§ ",
        "\"\n",
        "}",
        "net ",
        "net N(",
        "const A = 5x\n",
        "|> ",
        "1 x 1 ",
        "a (",
        "= ",
        "block f(x) { y = x }\n",
        "`",
    ] {
        let codes = codes_of(&junk.repeat(20_000));
        assert!(!codes.is_empty() && codes.len() <= ERRORS_MAX, "{junk}: {} errors", codes.len());
    }
    assert!(start.elapsed().as_secs() < 60, "took {:?}", start.elapsed());
}

/// Every prefix of a program, and every program with one character changed, is read without panic.
#[test]
fn damaged_programs_never_panic() {
    let text = "use \"a\"\nconst K = 62k\ntable T: 2 -> 2 { 0: 0 1: * }\nblock f(x; k: int = 1) { let y = x |> conv(k, 3x3) as a if k == 1 { y } else { -y } }\nnet N(a: [c: 1]) -> [c: 1] { a |> repeat 2 as i { it |> f(k: i) } }\n";
    for i in 0..=text.len() {
        read(&text[..i]);
        read(&text[i..]);
        for c in ["(", ")", "{", "}", "\"", "=", "x", "é", "\0", ",", "|>", "#", "9", " "] {
            read(&format!("{}{c}{}", &text[..i], &text[i..]));
            read(&format!("{}{c}{}", &text[..i], text.get(i + 1..).unwrap_or("")));
        }
    }
}

#[test]
fn an_error_hides_nothing_in_other_items() {
    let (sources, file, diags) = read(
        "const A = (\nnet N(x: [c: 1]) { x |> conv(3, 5 x 5) |> f(k = 2) }\nconst B = = 3\nconst C = 4\nblock g(x) { x |> }\nconst D = 5",
    );
    let lines: Vec<_> = diags.iter().map(|d| sources.line(d.primary.span)).collect();
    assert_eq!(lines, [1, 1, 2, 2, 3, 5]);
    let names: Vec<_> = file
        .items
        .iter()
        .filter_map(|i| match i {
            Item::Const(c) => Some(&*c.name.name),
            Item::Net(n) => Some(&*n.name.name),
            _ => None,
        })
        .collect();
    assert_eq!(names, ["N", "C", "D"], "an item with known corrections is read as corrected");
    let broken: Vec<_> = file.broken.iter().map(|n| &**n).collect();
    assert_eq!(broken, ["A", "B", "g"]);
}
