//! Made pictures: each a function of its number, with labels and masks that are true.

use super::*;

fn made(kind: Made) -> Synthetic {
    Synthetic { count: 60, size: (24, 28), ..Synthetic::new(kind) }
}

#[test]
fn a_picture_is_a_function_of_seed_options_and_number() {
    for kind in Made::ALL {
        let few = made(kind);
        let many = Synthetic { count: 1000, ..few.clone() };
        assert_eq!(few.picture(7), many.picture(7), "{kind:?}");
        assert_ne!(few.picture(7), few.picture(8), "{kind:?}");
        assert_ne!(few.picture(7), Synthetic { seed: 1, ..few.clone() }.picture(7), "{kind:?}");
        let set = few.set().expect("small");
        let mut pixels = vec![0.0; 24 * 28];
        set.fields[0].copy(7, &mut pixels);
        let bytes: Vec<u8> = pixels.iter().map(|x| (x * 255.0).round() as u8).collect();
        assert_eq!(bytes, few.picture(7).pixels, "{kind:?}");
    }
}

#[test]
fn shapes_are_labelled_by_what_most_pixels_show() {
    let shapes = made(Made::Shapes);
    let mut seen = [0; 3];
    for i in 0..60 {
        let picture = shapes.picture(i);
        let count = |class: u8| picture.mask.iter().filter(|m| **m == class).count();
        assert!(picture.mask.iter().all(|m| *m <= 3));
        let own = count(picture.label + 1);
        assert!(own > 0 && (1..=3).all(|c| count(c) <= own), "picture {i}");
        seen[usize::from(picture.label)] += 1;
    }
    assert!(seen.iter().all(|n| *n > 5), "{seen:?}");
}

#[test]
fn edges_lie_where_areas_meet() {
    let edges = Synthetic { noise: 0.0, ..made(Made::Edges) };
    let (h, w) = edges.size;
    let (mut steps, mut flat) = ((0.0, 0.0), (0.0, 0.0));
    for i in 0..60 {
        let picture = edges.picture(i);
        for y in 0..h - 1 {
            for x in 0..w - 1 {
                let p = |y: usize, x: usize| f64::from(picture.pixels[y * w + x]);
                let step = (p(y, x) - p(y, x + 1)).abs().max((p(y, x) - p(y + 1, x)).abs());
                let sum = if picture.mask[y * w + x] == 1 { &mut steps } else { &mut flat };
                *sum = (sum.0 + step, sum.1 + 1.0);
            }
        }
    }
    assert!(steps.1 > 500.0 && flat.1 > 5000.0);
    assert!(steps.0 / steps.1 > 20.0 * flat.0 / flat.1, "{steps:?} {flat:?}");
}

#[test]
fn bars_run_in_the_direction_of_their_label() {
    let bars = made(Made::Bars);
    let (h, w) = bars.size;
    let mut seen = [0; DIRECTIONS];
    for i in 0..60 {
        let picture = bars.picture(i);
        let turn = std::f64::consts::PI * f64::from(picture.label) / DIRECTIONS as f64;
        // Of pairs of pixels 8 apart the share with the same mask.
        let same = |dy: f64, dx: f64| {
            let (mut same, mut all) = (0.0, 0.0);
            for y in 0..h {
                for x in 0..w {
                    let (v, u) = (y as f64 + (8.0 * dy).round(), x as f64 + (8.0 * dx).round());
                    if v >= 0.0 && u >= 0.0 && v < h as f64 && u < w as f64 {
                        let other = picture.mask[v as usize * w + u as usize];
                        same += f64::from(u8::from(other == picture.mask[y * w + x]));
                        all += 1.0;
                    }
                }
            }
            same / all
        };
        let along = same(libm::sin(turn), libm::cos(turn));
        assert!(along > 0.75, "picture {i} of direction {}: {along}", picture.label);
        seen[usize::from(picture.label)] += 1;
    }
    assert!(seen.iter().all(|n| *n > 0), "{seen:?}");
}

#[test]
fn noise_is_as_strong_as_it_says_and_colours_differ() {
    let (quiet, loud) =
        (Synthetic { noise: 0.0, ..made(Made::Edges) }, Synthetic { noise: 0.05, ..made(Made::Edges) });
    let (mut sum, mut n) = (0.0, 0.0);
    for i in 0..60 {
        for (a, b) in quiet.picture(i).pixels.iter().zip(loud.picture(i).pixels) {
            // Where nothing is cut off.
            if (60..196).contains(a) {
                sum += (f64::from(*a) - f64::from(b)).powi(2);
                n += 1.0;
            }
        }
    }
    let deviation = (sum / n).sqrt() / 255.0;
    assert!((deviation - 0.05).abs() < 0.003, "{deviation}");
    let colour = Synthetic { channels: 3, ..quiet }.picture(0).pixels;
    assert_eq!(colour.len(), 3 * 24 * 28);
    assert_ne!(colour[..24 * 28], colour[24 * 28..2 * 24 * 28]);
}

#[test]
fn sizes_that_are_none_or_too_large_are_refused() {
    let wrong = |change: fn(&mut Synthetic)| {
        let mut made = made(Made::Shapes);
        change(&mut made);
        made.set().expect_err("no set")
    };
    assert!(matches!(wrong(|m| m.size = (0, 4)), DataError::Setting(_)));
    assert!(matches!(wrong(|m| m.channels = 2), DataError::Setting(_)));
    assert!(matches!(wrong(|m| m.size = (1 << 14, 1 << 14)), DataError::Memory { .. }));
    assert!(matches!(wrong(|m| (m.size, m.count) = ((usize::MAX, 2), usize::MAX)), DataError::Memory { .. }));
    let one = Synthetic { size: (1, 1), count: 2, ..made(Made::Bars) };
    assert_eq!(one.set().map(|s| s.len).expect("small"), 2);
}
