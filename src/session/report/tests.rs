//! What a reader of messages sees.

use super::*;
use crate::support::codes;
use crate::support::diag::Edit;

const SOURCE: &str = "block residual(x; k: int, s: int = 1) {
    let skip = if s == 1 and k == x.c { x }
               else { x |> conv(k, 3x3, stride: s, bias: false) |> batchnorm }
    let y = x |> conv(k, 3x3, stride: s, pad: same, bias: false) as a |> batchnorm |> relu
              |> conv(k, 3x3, pad: same, bias: false) as b |> batchnorm
    relu(y + skip)
}
";

fn sample() -> (Diagnostic, Sources) {
    let mut sources = Sources::default();
    let file = sources.add("resnet.cnn", SOURCE);
    let find = |text: &str| {
        let at = SOURCE.find(text).expect("it stands there");
        Span::new(file, at, at + text.len())
    };
    let fix = |title: &str, effect: &str, span: Span, text: &str| Fix {
        title: title.into(),
        effect: effect.into(),
        edits: vec![Edit { span, text: text.into() }],
        verified: true,
        remaining: 0,
    };
    let message = "`+` needs equal extents on axis h: 28 on the left, 27 on the right";
    let mut diagnostic = Diagnostic::new(codes::E0210, find("y + skip"), message)
        .label("left [c: 128, h: 28, w: 28], right [c: 128, h: 27, w: 27]")
        .note("h = 28, left:   56   x of residual\n                28   conv a   :4   same: ceil(56 / 2)")
        .note("inside ResNet18 > stage[1] > residual(k: 128, s: 2)")
        .help("later lines were checked with h = 28");
    diagnostic.fixes = vec![
        fix("3x3 -> 1x1", "h = floor((56 - 1) / 2) + 1 = 28", find("3x3"), "1x1"),
        fix("pad: same", "h = ceil(56 / 2) = 28", find(", bias: false) |> batchnorm }"), ", pad: same"),
    ];
    (diagnostic, sources)
}

#[test]
fn the_full_form() {
    let (diagnostic, sources) = sample();
    let expected = "\
error[E0210]: `+` needs equal extents on axis h: 28 on the left, 27 on the right
  ┌─ resnet.cnn:6:10
  │
6 │     relu(y + skip)
  │          ^^^^^^^^ left [c: 128, h: 28, w: 28], right [c: 128, h: 27, w: 27]
  │
  = h = 28, left:   56   x of residual
                    28   conv a   :4   same: ceil(56 / 2)
  = inside ResNet18 > stage[1] > residual(k: 128, s: 2)
help: either edit makes the whole network check:
      line 3: 3x3 -> 1x1   (h = floor((56 - 1) / 2) + 1 = 28)
      line 3: pad: same    (h = ceil(56 / 2) = 28)
help: later lines were checked with h = 28
";
    assert_eq!(human(&diagnostic, &sources, false), expected);
}

#[test]
fn colour_changes_nothing_but_colour() {
    let (diagnostic, sources) = sample();
    let colored = human(&diagnostic, &sources, true);
    assert!(colored.contains("\u{1b}["), "{colored}");
    let mut plain = String::new();
    let mut rest = colored.as_str();
    while let Some((before, after)) = rest.split_once("\u{1b}[") {
        plain.push_str(before);
        rest = after.split_once('m').expect("a whole escape sequence").1;
    }
    plain.push_str(rest);
    assert_eq!(plain, human(&diagnostic, &sources, false));
}

#[test]
fn one_line() {
    let (diagnostic, sources) = sample();
    let expected = "resnet.cnn:6:10: error[E0210]: `+` needs equal extents on axis h: 28 on the left, \
                    27 on the right\n";
    assert_eq!(short(&diagnostic, &sources), expected);
}

#[cfg(feature = "cli")]
#[test]
fn a_json_object_holds_every_field() {
    let (diagnostic, sources) = sample();
    let line = json(&diagnostic, &sources);
    assert_eq!(line.matches('\n').count(), 1);
    let value: serde_json::Value = serde_json::from_str(&line).expect("JSON");
    assert_eq!(value["code"], "E0210");
    assert_eq!(value["severity"], "error");
    assert_eq!(value["filename"], "resnet.cnn");
    assert_eq!(value["location"], serde_json::json!({ "row": 6, "column": 10 }));
    assert_eq!(value["end_location"], serde_json::json!({ "row": 6, "column": 18 }));
    assert_eq!(value["fixes"][0]["edits"][0]["content"], "1x1");
    assert_eq!(value["fixes"][0]["edits"][0]["location"]["row"], 3);
    assert_eq!(value["notes"].as_array().map(Vec::len), Some(2));
}

#[test]
fn no_source_breaks_the_output() {
    let mut sources = Sources::default();
    let long = format!("net N {{ {} }}", "é".repeat(100_000));
    let texts = ["", "x", "é\u{1b}[31mé\r\n\u{7}", "\n\n\n", &long];
    for text in texts {
        let file = sources.add("a.cnn", text);
        for (start, end) in [(0, 0), (0, 1), (1, 1), (1, 2), (2, 1), (3, 900), (5_000_000, 6_000_000)] {
            let span = Span { file, start, end };
            let diagnostic =
                Diagnostic::new(codes::E0001, span, "a\u{1b}[2Jb").also(span, "\u{7}").label("here");
            for color in [false, true] {
                let drawn = human(&diagnostic, &sources, color);
                assert!(drawn.len() < 4000, "{} bytes for {start}..{end}", drawn.len());
                assert!(!drawn.contains("\u{1b}[2J") && !drawn.contains('\u{7}'), "{drawn:?}");
                if !color {
                    assert!(!drawn.contains('\u{1b}'), "{drawn:?}");
                }
            }
            assert_eq!(short(&diagnostic, &sources).matches('\n').count(), 1);
        }
    }
}

#[test]
fn a_guess_is_not_sold_as_verified() {
    let (mut diagnostic, sources) = sample();
    diagnostic.fixes.truncate(1);
    diagnostic.fixes[0].verified = false;
    let drawn = human(&diagnostic, &sources, false);
    assert!(drawn.contains("help: perhaps:\n      line 3: 3x3 -> 1x1"), "{drawn}");
    assert!(!drawn.contains("makes the whole network check"), "{drawn}");
}
