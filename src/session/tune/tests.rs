//! Winners are found by a clock that the tests hold, kept, found again, and never trusted.

use std::path::PathBuf;

use super::{Meter, Tune, Tuned, recipe_by};
use crate::loops::Nest;
use crate::session::assemble::{Recipe, hash};
use crate::session::{Compiler, Model, Options};
use crate::support::random::Random;

const NET: &str = "net Two(x: [c: 32, h: 16, w: 16]) -> [c: 8] {
    x |> conv(32, 3x3, pad: same) |> relu |> conv(48, 3x3, stride: 2, pad: same) |> relu |> dense(8)
}";

fn folder(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("cnnc_tune_{name}_{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&folder);
    folder
}

fn options() -> Options {
    Options::default().threads(1)
}

fn recipe(tune: &Tune, meter: &mut Meter<'_>) -> (Recipe, Tuned) {
    let model = Compiler::new(options()).compile_text(NET).expect("compiles");
    recipe_by(model.source_graph(), &options(), tune, meter).expect("a recipe")
}

fn model(tune: Option<&Tune>) -> Model {
    let options = Options { tune: tune.cloned(), ..options() };
    Compiler::new(options).compile_text(NET).expect("compiles")
}

fn run(model: &Model) -> Vec<f32> {
    let random = Random::new(3, "x");
    let x: Vec<f32> = (0..32 * 16 * 16).map(|i| random.normal(i) as f32).collect();
    model.run(&[("x", x.as_slice().into())]).expect("runs")["out"].data().to_vec()
}

/// The later a candidate is listed, the faster it seems; what `slow` picks takes long.
fn clock(slow: fn(&Nest) -> bool) -> impl FnMut(&[Nest]) -> Result<Vec<f64>, crate::session::CompileError> {
    move |nests| {
        let seconds = |(i, n): (usize, &Nest)| if slow(n) { 1.0 } else { 1e-3 } / (i + 1) as f64;
        Ok(nests.iter().enumerate().map(seconds).collect())
    }
}

/// Nests of minimal filtering have buffers of their own.
fn minimal(nest: &Nest) -> bool {
    nest.bufs.iter().filter(|b| b.writable).count() > 1
}

#[test]
fn winners_are_kept_and_found_and_change_no_bits() {
    let tune = Tune { folder: folder("kept"), measure: true };
    let (first, tuned) = recipe(&tune, &mut clock(|n| !minimal(n)));
    assert!(tuned.measured >= 3 && tuned.found == 0 && tuned.warnings.is_empty(), "{tuned:?}");
    assert!(first.plans.len() >= 2, "{first:?}");
    assert!(first.passes.winograd.values().all(Option::is_some), "{first:?}");
    // Nobody looks at a clock the second time, nor where only what is kept counts.
    for measure in [true, false] {
        let tune = Tune { measure, ..tune.clone() };
        let (second, tuned) = recipe(&tune, &mut |_| panic!("measured again"));
        assert_eq!((&second.plans, &second.passes.winograd), (&first.plans, &first.passes.winograd));
        assert!(tuned.measured == 0 && tuned.found > 0 && tuned.warnings.is_empty(), "{tuned:?}");
    }
    let (plain, tuned) = (model(None), model(Some(&Tune { measure: false, ..tune.clone() })));
    assert!(!tuned.tuned().changes.is_empty());
    assert_eq!(run(&plain), run(&tuned), "other tiles, the same bits");
    let loops = |m: &Model| m.dump(crate::session::Emit::Loops);
    assert_ne!(loops(&plain), loops(&tuned), "other tiles");
    let _ = std::fs::remove_dir_all(tune.folder);
}

#[test]
fn another_algorithm_is_part_of_what_decides_over_bits() {
    let tune = Tune { folder: folder("algorithm"), measure: true };
    let (found, tuned) = recipe(&tune, &mut clock(minimal));
    assert!(found.passes.winograd.values().any(Option::is_none), "{found:?}");
    assert!(tuned.changes.iter().any(|c| c.to == super::said(None)), "{tuned:?}");
    let (plain, tuned) = (model(None), model(Some(&Tune { measure: false, ..tune.clone() })));
    assert_eq!(plain.choices(), "");
    assert!(tuned.choices().contains("by definition"), "{}", tuned.choices());
    let exact = Compiler::new(options().exact(true)).compile_text(NET).expect("compiles");
    assert_eq!(exact.choices(), "exact\n");
    assert_eq!(run(&exact), run(&tuned), "by definition either way");
    for (a, b) in run(&plain).iter().zip(&run(&tuned)) {
        assert!((a - b).abs() <= 1e-4 * (1.0 + a.abs()), "{a} and {b}");
    }
    let _ = std::fs::remove_dir_all(tune.folder);
}

#[test]
fn a_winner_that_is_no_way_is_said_and_measured_again() {
    let tune = Tune { folder: folder("way"), measure: true };
    let (first, _) = recipe(&tune, &mut clock(minimal));
    let all: Vec<PathBuf> =
        std::fs::read_dir(&tune.folder).expect("a folder").map(|e| e.expect("an entry").path()).collect();
    let of_ways: Vec<&PathBuf> = all
        .iter()
        .filter(|f| std::fs::read_to_string(f).is_ok_and(|text| text.contains(&super::said(None))))
        .collect();
    assert!(!of_ways.is_empty());
    for file in &of_ways {
        let text = std::fs::read_to_string(file).expect("text");
        let other = text.replace(&super::said(None), "minimal filtering F(6x6, 3x3)");
        std::fs::write(file, other).expect("written");
    }
    let kept = Tune { measure: false, ..tune.clone() };
    let (none, tuned) = recipe(&kept, &mut |_| panic!("nothing is measured"));
    assert!(none.passes.winograd.values().all(Option::is_some), "{none:?}");
    assert!(tuned.warnings.len() == of_ways.len(), "{tuned:?}");
    assert!(tuned.warnings.iter().all(|w| w.contains("F(6x6, 3x3)")), "{tuned:?}");
    let (again, tuned) = recipe(&tune, &mut clock(minimal));
    assert!(tuned.measured >= of_ways.len(), "{tuned:?}");
    assert_eq!(again.passes.winograd, first.passes.winograd);
    let (_, tuned) = recipe(&tune, &mut |_| panic!("measured again"));
    assert!(tuned.warnings.is_empty(), "mended: {tuned:?}");
    let _ = std::fs::remove_dir_all(tune.folder);
}

#[test]
fn what_is_damaged_is_said_and_measured_again() {
    let tune = Tune { folder: folder("damaged"), measure: true };
    let (first, _) = recipe(&tune, &mut clock(minimal));
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(&tune.folder).expect("a folder").map(|e| e.expect("an entry").path()).collect();
    files.sort();
    for (i, file) in files.iter().enumerate() {
        let text = std::fs::read_to_string(file).expect("text");
        assert!(text.starts_with("cnnc winner 1\ncompiler "), "{text}");
        let other = match i % 5 {
            0 => String::new(),
            1 => text[..text.len() / 2].to_owned(),
            2 => text.replace("compiler 0", "compiler 9"),
            3 => text.replace("seconds ", "seconds -"),
            _ => text.replace("winner 1\n", "winner 2\n"),
        };
        assert_ne!(text, other);
        std::fs::write(file, other).expect("written");
    }
    let kept = Tune { measure: false, ..tune.clone() };
    let (none, tuned) = recipe(&kept, &mut |_| panic!("nothing is measured"));
    assert!(none.plans.is_empty() && none.passes.winograd.is_empty(), "{none:?}");
    assert!(!tuned.warnings.is_empty() && tuned.warnings.iter().all(|w| w.contains(".winner")), "{tuned:?}");
    assert_eq!(run(&model(None)), run(&model(Some(&kept))));
    let (again, tuned) = recipe(&tune, &mut clock(minimal));
    assert!(again.plans == first.plans && tuned.measured > 0, "{tuned:?}");
    // A plan that the scheduler does not list is no plan.
    for file in &files {
        let text = std::fs::read_to_string(file).expect("text");
        std::fs::write(file, text.replace("winner 0 ", "winner 0 l9x999 ")).expect("written");
    }
    assert_eq!(run(&model(Some(&tune))).len(), 8);
    let _ = std::fs::remove_dir_all(tune.folder);
}

#[test]
fn a_folder_that_cannot_be_is_a_warning() {
    let file = folder("file");
    std::fs::write(&file, "no folder").expect("written");
    let tune = Tune { folder: file.join("winners"), measure: true };
    let (recipe, tuned) = recipe(&tune, &mut clock(|_| false));
    assert!(!recipe.plans.is_empty() && tuned.warnings.len() == 1, "{tuned:?}");
    let _ = std::fs::remove_file(file);
}

#[test]
fn a_real_clock_finds_winners_too() {
    let tune = Tune { folder: folder("real"), measure: true };
    let tuned = model(Some(&tune));
    assert!(tuned.tuned().measured > 0 && tuned.tuned().warnings.is_empty(), "{:?}", tuned.tuned());
    for (a, b) in run(&model(None)).iter().zip(&run(&tuned)) {
        assert!((a - b).abs() <= 1e-4 * (1.0 + a.abs()), "{a} and {b}");
    }
    let _ = std::fs::remove_dir_all(tune.folder);
}

#[test]
fn the_hash_is_the_published_one() {
    // FNV-1a, 128 bits, of no bytes and of "a" (Fowler, Noll, Vo).
    assert_eq!(hash(""), 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d);
    assert_eq!(hash("a"), 0xd228_cb69_6f1a_8caf_7891_2b70_4e4a_8964);
}
