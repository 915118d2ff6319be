//! `cnnc train` and `cnnc eval` as processes: the README's promise about the digits, and a training that is killed again and again.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use crate::support::root;

fn cnnc() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cnnc"));
    command.current_dir(root());
    command
}

fn folder(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("cnnc-{name}-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).expect("a folder");
    folder
}

fn done(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn read(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

#[test]
fn digits_are_learnt_and_measured_again_and_run() {
    let out = folder("digits");
    let trained = done(
        &cnnc()
            .args(["train", "examples/digits.cnn", "--threads", "2", "-o"])
            .arg(&out)
            .output()
            .expect("runs"),
    );
    let accuracy = |text: &str| -> f64 {
        let rest = text.split("accuracy ").nth(1).unwrap_or_else(|| panic!("no accuracy in {text}"));
        rest.split(' ').next().and_then(|x| x.parse().ok()).unwrap_or_else(|| panic!("no number in {text}"))
    };
    assert!(accuracy(&trained) >= 98.0, "{trained}");
    let again = done(
        &cnnc()
            .args(["eval", "examples/digits.cnn", "--threads", "1", "-w"])
            .arg(&out)
            .output()
            .expect("runs"),
    );
    assert_eq!(accuracy(&again), accuracy(&trained));
    let image = out.join("zero.npy");
    let mut npy =
        b"\x93NUMPY\x01\x00\x76\x00{'descr': '<f4', 'fortran_order': False, 'shape': (1, 1, 8, 8), }"
            .to_vec();
    npy.resize(127, b' ');
    npy.push(b'\n');
    npy.extend([0u8; 256]);
    std::fs::write(&image, npy).expect("a file");
    let run = cnnc()
        .args(["run", "examples/digits.cnn", "-i"])
        .arg(&image)
        .arg("-w")
        .arg(out.join("weights.safetensors"))
        .output();
    done(&run.expect("runs"));
    std::fs::remove_dir_all(&out).expect("removed");
}

#[test]
fn a_training_that_is_killed_at_any_moment_ends_with_the_same_bits() {
    let folder = folder("kill");
    let program = folder.join("small.cnn");
    let text = "net Small(image: [c: 1, h: 8, w: 8]) -> [c: 10] {
        image |> conv(8, 3x3, pad: same, bias: false) |> batchnorm |> relu |> maxpool(2x2) |> dropout(0.1) |> dense(10) as out
    }
    train Small {
        data digits  augment shift(1)  loss cross_entropy(out, label)  optimizer adam(rate: 0.01)
        schedule cosine(warmup: 10)  validate 0.1  average 0.9  batch 32  epochs 60  seed 2
    }";
    std::fs::write(&program, text).expect("a file");
    let train = |out: &Path, threads: &str| {
        let mut command = cnnc();
        command.arg("train").arg(&program).args(["--threads", threads, "-o"]).arg(out);
        command
    };
    let (whole, broken) = (folder.join("whole"), folder.join("broken"));
    done(&train(&whole, "2").output().expect("runs"));
    let mut kills = 0;
    for round in 0..200u64 {
        // Each time a little later, so that compiling, steps and writing are all hit.
        let mut command = train(&broken, if round % 2 == 0 { "1" } else { "2" });
        let mut child =
            command.arg("--resume").stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("runs");
        let mut left = 40 + 23 * round;
        let ended = loop {
            if let Some(status) = child.try_wait().expect("a child") {
                break Some(status);
            }
            if left == 0 {
                break None;
            }
            std::thread::sleep(Duration::from_millis(1));
            left -= 1;
        };
        match ended {
            Some(status) => {
                assert!(status.success());
                break;
            }
            None => {
                // SIGKILL: nothing of the process runs afterwards.
                child.kill().expect("killed");
                child.wait().expect("ended");
                kills += 1;
            }
        }
    }
    assert!(kills > 0, "it was never killed");
    assert_eq!(read(&broken.join("weights.safetensors")), read(&whole.join("weights.safetensors")));
    assert_eq!(read(&broken.join("history.csv")), read(&whole.join("history.csv")));
    std::fs::remove_dir_all(&folder).expect("removed");
}

#[test]
fn what_a_training_lacks_is_said() {
    let said = |args: &[&str]| {
        let output = cnnc().args(args).output().expect("runs");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (code, text) = said(&["train", "examples/edges.cnn"]);
    assert!(code == Some(1) && text.contains("has no `train "), "{code:?} {text}");
    let (code, text) = said(&["train", "examples/digits.cnn", "--with", "optimizer=adm(rate: 1)"]);
    assert!(code == Some(1) && text.contains("E0603"), "{code:?} {text}");
    assert!(text.contains("the command line's `--with optimizer=adm(rate: 1)`"), "{text}");
    let (code, text) = said(&["eval", "examples/digits.cnn", "-w", "no/such/file"]);
    assert!(code == Some(2) && text.contains("no/such/file"), "{code:?} {text}");
}

#[test]
fn a_training_that_would_be_worth_nothing_does_not_begin() {
    let folder = folder("worthless");
    let program = folder.join("rows.cnn");
    let write = |name: &str, text: &str| std::fs::write(folder.join(name), text).expect("a file");
    write(
        "rows.cnn",
        "net Rows(x: [c: 2]) -> [c: 3] { x |> dense(3) as out }
        train Rows { data csv(\"rows.csv\")  loss cross_entropy(out, label)  batch 2  epochs 1 }",
    );
    let said = |more: &[&str]| {
        let mut command = cnnc();
        command.arg("train").arg(&program).args(more).arg("-o").arg(folder.join("out"));
        let output = command.output().expect("runs");
        assert!(!output.status.success(), "{more:?}");
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    // Labels that are no numbers from 0 are names, counted in their order: the last of four is too many.
    for (wrong, found) in [("7", "sample 2 (counted from 0)"), ("-1", "is 3 (`2`)"), ("1.5", "is 3 (`2`)")] {
        write("rows.csv", &format!("1,2,0\n3,4,1\n5,6,{wrong}\n7,8,2\n"));
        let text = said(&[]);
        assert!(text.contains(found) && text.contains("`out` has 3 channels"), "{wrong}: {text}");
    }
    write("rows.csv", "1,2,0\n3,4,1\n5,6,1\n7,8,2\n");
    for (item, name) in [("flip", "flip"), ("shift(1)", "shift"), ("[noise(0.1), cutout(2)]", "cutout")] {
        let text = said(&["--with", &format!("augment={item}")]);
        assert!(text.contains(&format!("`{name}` of `augment`")) && text.contains("no grid"), "{text}");
    }
    let text = said(&["--with", "average=1"]);
    assert!(text.contains("average") && text.contains("less than 1"), "{text}");
    for clip in ["norm(0)", "value(limit: 0.0)"] {
        let text = said(&["--with", &format!("clip={clip}")]);
        assert!(text.contains("limit") && text.contains("more than 0"), "{text}");
    }
    let plot = folder.join("no/p.png");
    let text = said(&["--plot", &plot.to_string_lossy()]);
    assert!(text.contains("--plot") && text.contains("there is no folder"), "{text}");
    assert!(!folder.join("out/history.csv").exists(), "none of them began");
    std::fs::remove_dir_all(&folder).expect("removed");
}

#[test]
fn results_of_an_older_training_do_not_stay() {
    let folder = folder("stale");
    let stale = ["test.txt", "confusion.csv", "confusion-2.csv", "history.svg", "history.png", "kernels.png"];
    for name in stale {
        std::fs::write(folder.join(name), "old").expect("a file");
    }
    std::fs::write(folder.join("notes.txt"), "mine").expect("a file");
    // No epoch, no chart; no test part, no figures; no convolution, no kernels.
    let program = folder.join("rows.cnn");
    let text = "net Rows(x: [c: 2]) -> [c: 3] { x |> dense(3) as out }
        train Rows { data csv(\"rows.csv\", test: 0)  loss cross_entropy(out, label)  batch 2  epochs 0 }";
    std::fs::write(&program, text).expect("a file");
    std::fs::write(folder.join("rows.csv"), "1,2,0\n3,4,1\n").expect("a file");
    done(&cnnc().arg("train").arg(&program).arg("-o").arg(&folder).output().expect("runs"));
    for name in stale {
        let left = std::fs::read(folder.join(name)).unwrap_or_default();
        assert_ne!(left, b"old", "{name}");
    }
    assert!(folder.join("weights.safetensors").exists());
    assert_eq!(read(&folder.join("notes.txt")), b"mine");
    std::fs::remove_dir_all(&folder).expect("removed");
}

#[test]
fn one_folder_is_for_one_training_at_a_time() {
    let out = folder("locked");
    let train = || {
        let mut command = cnnc();
        command.args(["train", "examples/digits.cnn", "--epochs", "1", "--fresh", "-o"]).arg(&out);
        command.output().expect("runs")
    };
    let lock = std::fs::File::create(out.join(".lock")).expect("a file");
    lock.lock().expect("a lock");
    let second = train();
    let said = String::from_utf8_lossy(&second.stderr).into_owned();
    assert_eq!(second.status.code(), Some(2), "{said}");
    let named = out.display().to_string();
    assert!(said.contains("another training runs in") && said.contains(&named), "{said}");
    assert!(!out.join("history.csv").exists(), "the second training changed the folder of the first");
    drop(lock);
    done(&train());
    let _ = std::fs::remove_dir_all(&out);
}
