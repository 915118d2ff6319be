//! `cnnc bench`: what it prints is consistent, and its slips are explained. No speed is tested.

use crate::support::{cnnc, root, scratch};

const CONV: [&str; 5] =
    ["bench", "-e", "conv(8, 3x3, pad: same, bias: false)", "--input", "[c: 4, h: 9, w: 7]"];

#[test]
fn an_operation_is_measured_with_its_steps() {
    let mut args = CONV.to_vec();
    args.extend(["--seconds", "0.01", "--threads", "1", "--batch", "2", "--json", "--profile"]);
    let ran = cnnc(root(), &args);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(ran.out.lines().count(), 1, "one line: {}", ran.out);
    let row: serde_json::Value = serde_json::from_str(&ran.out).expect("JSON");
    let number = |key: &str| row[key].as_f64().unwrap_or_else(|| panic!("no number `{key}` in {row}"));
    // Two floating-point operations a product, one less for each of the sums: 2 * 9 * 7 positions, 8 maps of 36 products.
    assert_eq!(number("flops"), f64::from(2 * 9 * 7 * 8 * (2 * 36 - 1)));
    assert!(0.0 < number("min_ms") && number("min_ms") <= number("median_ms"), "{row}");
    assert!(number("median_ms") <= number("p90_ms") && number("runs") >= 3.0, "{row}");
    let share = number("flops") / (number("min_ms") * 1e6);
    assert!((number("gflops") / share - 1.0).abs() < 1e-6, "{row}");
    let steps = row["steps"].as_array().expect("steps");
    let flops: f64 = steps.iter().filter_map(|s| s["flops"].as_f64()).sum();
    assert_eq!(flops, number("flops"), "{row}");
    assert_eq!((&row["pass"], &row["batch"]), (&"forward".into(), &2.into()));
}

#[test]
fn a_network_is_measured_and_traced() {
    let trace = scratch("bench_trace").join("trace.json");
    let path = trace.to_str().expect("a plain path");
    let args = ["bench", "examples/lenet5.cnn", "--seconds", "0.01", "--trace", path];
    let ran = cnnc(root(), &args);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.out.contains("LeNet5: infer, batch 1"), "{}", ran.out);
    let text = std::fs::read_to_string(&trace).expect("a trace");
    let value: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let events = value["traceEvents"].as_array().expect("events");
    assert!(events.iter().any(|e| e["name"].as_str().is_some_and(|n| n.starts_with("c3"))), "{text}");
    let ends = events.windows(2).all(|e| e[0]["ts"].as_f64() <= e[1]["ts"].as_f64());
    assert!(ends, "{text}");
}

#[test]
fn slips_are_explained() {
    let wrong = cnnc(root(), &["bench", "-e", "conv(8, 3x3, strid: 2)", "--input", "[c: 4, h: 9, w: 7]"]);
    assert!(wrong.code == 1 && wrong.err.contains("stride"), "{wrong:?}");
    for args in [
        &["bench"][..],
        &["bench", "-e", "relu"],
        &["bench", "examples/lenet5.cnn", "-e", "relu", "--input", "[c: 1]"],
        &["bench", "examples/lenet5.cnn", "--seconds", "0"],
        &["bench", "examples/lenet5.cnn", "--seconds", "nan"],
        &["bench", "examples/none.cnn"],
    ] {
        let ran = cnnc(root(), args);
        assert!(ran.code == 2 && !ran.err.is_empty() && ran.out.is_empty(), "{args:?}: {ran:?}");
    }
}

#[test]
fn passes_of_training_are_measured() {
    let row = |args: &[&str]| -> serde_json::Value {
        let ran = cnnc(root(), args);
        assert_eq!(ran.code, 0, "{ran:?}");
        serde_json::from_str(&ran.out).expect("JSON")
    };
    // Each gradient of a convolution is one multiply-add for each of its products, border included or not.
    let products = f64::from(9 * 7 * 8 * 36);
    for pass in ["data-grad", "weight-grad"] {
        let row = row(&[&CONV[..], &["--seconds", "0.01", "--json", "--profile", "--pass", pass]].concat());
        let flops = row["flops"].as_f64().expect("a number");
        assert!(flops > products && flops <= 2.0 * products, "{pass}: {row}");
        assert_eq!(row["pass"], pass);
        assert!(row["min_ms"].as_f64().is_some_and(|x| x > 0.0), "{row}");
    }
    let train = ["bench", "examples/lenet5.cnn", "--batch", "2", "--seconds", "0.01", "--json", "--pass"];
    let step = row(&[&train[..], &["train"]].concat());
    let infer = row(&[&train[..], &["infer"]].concat());
    let flops = |row: &serde_json::Value| row["flops"].as_f64().expect("a number");
    assert!(flops(&step) > 2.0 * flops(&infer), "{step} {infer}");
    let none = cnnc(root(), &["bench", "-e", "relu", "--input", "[c: 4]", "--pass", "weight-grad"]);
    assert!(none.code == 2 && none.err.contains("no weights"), "{none:?}");
}
