//! What `docs/results.md` says of the examples that need no fetched data, held at a size that takes seconds: codes beat principal
//! components, labels beat what a pixel's surroundings say, first kernels become oriented.

use std::path::Path;

use cnnc::formats::safetensors::Weights;

use crate::support::{cnnc, root, scratch};

/// Trains an example; the figures of the test part.
fn train(example: &str, more: &[&str], folder: &Path) -> String {
    let file = format!("examples/{example}.cnn");
    let out = folder.display().to_string();
    let mut args = vec!["train", &file, "--threads", "2", "-o", &out];
    args.extend(more);
    let ran = cnnc(root(), &args);
    assert_eq!(ran.code, 0, "{args:?}: {}", ran.err);
    ran.out
}

fn figure(text: &str, name: &str) -> f64 {
    let rest = text.split(&format!(", {name} ")).nth(1).unwrap_or_else(|| panic!("no {name} in {text}"));
    let number = rest.split([' ', ',', '\n']).next().and_then(|x| x.parse().ok());
    number.unwrap_or_else(|| panic!("no number in {text}"))
}

#[test]
fn a_code_of_eight_numbers_rebuilds_digits_better_than_eight_principal_components() {
    let settings = ["--set", "S=8", "--set", "CODE=8", "--with", "data=digits", "--epochs", "80"];
    let text = train("autoencoder", &settings, &scratch("autoencoder"));
    // tests/peers/pca.py: 0.02433 for 8 components, 0.07341 for the mean picture.
    let mse = figure(&text, "mse");
    assert!(mse < 0.019, "{text}");
}

#[test]
fn the_recurrent_labeller_and_the_u_net_find_nuclei_that_their_surroundings_do_not_show() {
    let folder = scratch("nuclei");
    let miou = |net: &str, epochs: &str| {
        figure(&train("nuclei", &["--net", net, "--epochs", epochs], &folder.join(net)), "miou")
    };
    let (linear, label, unet) = (miou("Linear", "20"), miou("Label", "8"), miou("UNet", "8"));
    // Of two classes; to take everything for background gives 41 %.
    assert!(linear > 60.0 && label > linear && unet > linear, "{linear} {label} {unet}");
}

/// How much one direction prevails in the spectrum of a kernel of `n` x `n`: `|Σ E exp(2iφ)| / Σ E`, 0 for a blob or noise, near 1
/// for a grating.
fn selectivity(kernel: &[f32], n: usize) -> f64 {
    const WAVES: i32 = 16;
    let mean = kernel.iter().map(|x| f64::from(*x)).sum::<f64>() / kernel.len() as f64;
    let (mut along, mut across, mut all) = (0.0, 0.0, 0.0);
    for ky in -WAVES..WAVES {
        for kx in -WAVES..WAVES {
            let turn = std::f64::consts::PI / f64::from(WAVES);
            let (mut re, mut im) = (0.0, 0.0);
            for (i, x) in kernel.iter().enumerate() {
                let (y, column) = ((i / n) as f64, (i % n) as f64);
                let phase = turn * (f64::from(ky) * y + f64::from(kx) * column);
                re += (f64::from(*x) - mean) * libm::cos(phase);
                im += (f64::from(*x) - mean) * libm::sin(phase);
            }
            let energy = re * re + im * im;
            let angle = 2.0 * libm::atan2(f64::from(ky), f64::from(kx));
            along += energy * libm::cos(angle);
            across += energy * libm::sin(angle);
            all += energy;
        }
    }
    libm::hypot(along, across) / all
}

#[test]
fn the_first_layer_of_photographs_becomes_oriented() {
    let folder = scratch("patches");
    let median = |epochs: &str| {
        let out = folder.join(epochs);
        let fewer = "data=patches(files: \"data/gravel.png\", count: 10k, size: 12)";
        train("patches", &["--set", "K=32", "--epochs", epochs, "--with", fewer], &out);
        let mut weights = Weights::open(&out.join("weights.safetensors")).expect("weights");
        let first = weights.read("first.weight").expect("a sound file").expect("the first layer");
        assert_eq!(first.dims, [32, 1, 12, 12]);
        let mut all: Vec<f64> = first.data.chunks_exact(144).map(|k| selectivity(k, 12)).collect();
        all.sort_by(f64::total_cmp);
        all[16]
    };
    let (before, after) = (median("0"), median("120"));
    assert!(before < 0.2 && after > 0.6, "{before} {after}");
}
