//! The REPL from a pipe: what it shows, what it keeps, what it says of errors.

use crate::support::{Ran, cnnc_with, root, scratch};

fn repl(lines: &str) -> Ran {
    cnnc_with(root(), &["repl"], lines.as_bytes())
}

#[test]
fn an_expression_shows_its_facts() {
    let ran = repl("image: [c: 3, h: 32, w: 32]\nimage |> conv(16, 3x3)\n|> conv(8, 3x3)\n");
    assert_eq!(ran.code, 0, "{ran:?}");
    let expected = "\
image  [c: 3, h: 32, w: 32]
[c: 16, h: 30, w: 30]   448 parameters   388,800 multiply-adds   sees 3x3
[c: 8, h: 28, w: 28]   1,608 parameters   1,291,968 multiply-adds   sees 5x5
";
    assert_eq!(ran.out, expected);
    assert!(ran.err.is_empty(), "{}", ran.err);
}

#[test]
fn definitions_persist_and_may_be_replaced() {
    let ran = repl(
        "const K = 4
x: [c: 1, h: 8, w: 8]
block twice(x; k: int) {
    x |> conv(k, 3x3)
      |> conv(k, 3x3)
}
let y = x |> twice(k: K)
y |> relu
const K = 5
y |> relu
K * 3
",
    );
    assert_eq!(ran.code, 0, "{ran:?}");
    let shapes: Vec<&str> = ran.out.lines().map(|l| l.split("   ").next().unwrap_or("")).collect();
    let expected =
        ["x  [c: 1, h: 8, w: 8]", "y  [c: 4, h: 4, w: 4]", "[c: 4, h: 4, w: 4]", "[c: 5, h: 4, w: 4]", "15"];
    assert_eq!(shapes, expected);
}

#[test]
fn instances_share_their_weights() {
    let ran = repl("x: [c: 4, h: 8, w: 8]\nlet u = new conv(4, 3x3, pad: same)\nx |> u |> u\n");
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.out.contains("[c: 4, h: 8, w: 8]   148 parameters"), "{}", ran.out);
}

#[test]
fn errors_are_those_of_the_compiler_and_change_nothing() {
    let ran = repl("x: [c: 1, h: 8, w: 8]\nlet y = x |> conv(4, 9x9)\ny\nx |> cnov(4, 3x3)\nx |> relu\n");
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.err.contains("error[E0202]") && ran.err.contains("┌─ repl:"), "{}", ran.err);
    assert!(ran.err.matches("error[E0101]").count() == 2, "{}", ran.err);
    assert!(ran.err.contains("conv"), "the nearest name is missing:\n{}", ran.err);
    assert!(ran.out.contains("[c: 1, h: 8, w: 8]   0 parameters"), "{}", ran.out);
}

#[test]
fn why_shows_the_chain_of_an_extent() {
    let ran = repl(
        "x: [c: 1, h: 32, w: 32]\nlet y = x |> conv(4, 5x5, stride: 2) |> maxpool(2x2)\n:why y.h\n:why y.q\n:why z.h\n",
    );
    assert!(ran.out.contains("32") && ran.out.contains("floor((32 - 5) / 2) + 1"), "{}", ran.out);
    assert!(ran.err.contains("no axis `q`") && ran.err.contains("nothing is called `z`"), "{}", ran.err);
}

#[test]
fn programs_are_loaded_and_listed() {
    let dir = scratch("repl_load");
    let net = "net Small(image: [c: 1, h: 8, w: 8]) -> [c: 2] { image |> conv(3, 3x3) as a |> dense(2) }\n";
    std::fs::write(dir.join("small.cnn"), net).expect("a scratch folder");
    let ran =
        cnnc_with(&dir, &["repl"], b":load small.cnn\nSmall\n:why Small.a.h\n:list\n:nonsense\n:quit\nx\n");
    assert!(ran.out.contains("Small(image: [c: 1, h: 8, w: 8]) -> [c: 2]"), "{}", ran.out);
    assert!(ran.out.contains("total") && ran.out.contains("248"), "{}", ran.out);
    assert!(ran.out.contains("floor((8 - 3) / 1) + 1"), "{}", ran.out);
    assert!(ran.out.contains("  1  net Small("), "{}", ran.out);
    assert!(ran.err.contains("`:nonsense`"), "{}", ran.err);
    assert!(!ran.err.contains("E0101"), "what follows :quit is not read:\n{}", ran.err);
}

#[test]
fn odd_inputs_end_it_in_no_way() {
    let ran = repl("\n\n)\n:\n:why\n:load\n|>\nx\nlet\nx:\n\"\u{1b}\n1/0\n:help\nf(\n\nnet");
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.out.contains(":why y.h"), "the help is missing:\n{}\n{}", ran.out, ran.err);
    assert!(
        ran.err.trim_end().ends_with("says more"),
        "the unfinished input at the end is missing:\n{}",
        ran.err
    );
    assert!(!ran.err.contains('\u{1b}'), "{:?}", ran.err);
}

/// On a terminal: completion, editing over several lines, the history file. util-linux's `script` makes the terminal.
#[test]
fn a_terminal_completes_and_remembers() {
    use std::io::{Read, Write};
    use std::sync::{Arc, Mutex};
    let dir = scratch("repl_terminal");
    let history = dir.join("history");
    let binary = env!("CARGO_BIN_EXE_cnnc");
    let Ok(mut child) = std::process::Command::new("script")
        .args(["-qec", &format!("'{binary}' repl --history '{}'", history.display()), "/dev/null"])
        .env("TERM", "xterm")
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
    else {
        eprintln!("skipped: there is no `script` here to make a terminal with");
        return;
    };
    let mut keys = child.stdin.take().expect("piped");
    let mut screen = child.stdout.take().expect("piped");
    let shown = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&shown);
    let reader = std::thread::spawn(move || {
        let mut block = [0; 4096];
        while let Ok(n @ 1..) = screen.read(&mut block) {
            sink.lock().expect("no panic holds it").extend_from_slice(&block[..n]);
        }
    });
    let text = || String::from_utf8_lossy(&shown.lock().expect("no panic holds it")).into_owned();
    let wait = |part: &str, times: usize| {
        for _ in 0..400 {
            if text().matches(part).count() >= times {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        panic!("`{part}` does not come {times} times: {}", text());
    };
    // What the editor writes when it begins to listen: keys pressed earlier are lost.
    const LISTENS: &str = "[?2004h";
    let mut press = |text: &str| {
        keys.write_all(text.as_bytes()).and_then(|()| keys.flush()).expect("it listens");
    };
    wait(LISTENS, 1);
    press("image: [c: 3, h: 32, w: 32]\r");
    wait(LISTENS, 2);
    press("block twice(x) {\rx |> relu\r}\r");
    wait(LISTENS, 3);
    press("image |> avgp\t(2x2) |> twi\t\r");
    wait(LISTENS, 4);
    wait("[c: 3, h: 16, w: 16]   0 parameters", 1);
    press(":quit\r");
    assert!(child.wait().expect("a child of ours").success());
    drop(keys);
    reader.join().expect("the reader does not panic");
    let kept = std::fs::read_to_string(&history).expect("a history was saved");
    assert!(kept.contains("image |> avgpool(2x2) |> twice") && kept.contains("block twice(x) {"), "{kept}");
}
