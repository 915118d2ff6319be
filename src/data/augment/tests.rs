//! Each way of varying by hand, and that fields of a sample move alike.

use super::*;

fn planes(grid: &[usize], data: &[f32]) -> Planes {
    Planes { grid: grid.to_vec(), data: data.to_vec() }
}

fn grid(dims: &[usize]) -> Vec<(Name, usize)> {
    let names = ["d", "h", "w"];
    dims.iter().zip(&names[3 - dims.len()..]).map(|(d, n)| (Name::from(*n), *d)).collect()
}

fn applied(augment: &[Augment], kind: Kind, start: &Planes, channels: usize, seed: Option<u64>) -> Planes {
    let chain = Chain::new(augment, kind, channels, &grid(&start.grid), None).expect("fits");
    let (mut planes, mut spare) = (start.clone(), Planes::default());
    let random = seed.map(|s| Random::new(s, "augment").stream(0).stream(1));
    chain.apply(&mut planes, &mut spare, random.as_ref());
    let expected = Chain::output(augment, kind, &start.grid);
    assert_eq!(planes.grid, expected);
    assert_eq!(planes.data.len(), channels * expected.iter().product::<usize>());
    planes
}

#[test]
fn a_shift_moves_by_every_distance_equally_often() {
    let start = planes(&[1, 5], &[0.0, 0.0, 1.0, 0.0, 0.0]);
    let shift = [Augment::Shift { by: vec![0, 2], border: Border::Zero }];
    let mut counts = [0; 5];
    for seed in 0..5000 {
        let moved = applied(&shift, Kind::Image, &start, 1, Some(seed));
        counts[moved.data.iter().position(|x| *x == 1.0).expect("within")] += 1;
        assert_eq!(moved.data.iter().sum::<f32>(), 1.0);
    }
    assert!(counts.iter().all(|c| (850..1150).contains(c)), "{counts:?}");
    assert_eq!(applied(&shift, Kind::Image, &start, 1, None).data, start.data, "evaluation");
}

#[test]
fn borders_are_zero_the_edge_or_a_mirror() {
    let at = |border: Border| (-3..7).map(|i| border.at(i, 4)).collect::<Vec<_>>();
    let some = |all: [usize; 10]| all.map(Some).to_vec();
    assert_eq!(at(Border::Edge), some([0, 0, 0, 0, 1, 2, 3, 3, 3, 3]));
    assert_eq!(at(Border::Mirror), some([3, 2, 1, 0, 1, 2, 3, 2, 1, 0]));
    let zero = at(Border::Zero);
    assert_eq!(zero[..4], [None, None, None, Some(0)]);
    assert_eq!(Border::Mirror.at(100, 1), Some(0));
}

#[test]
fn a_flip_mirrors_its_axis_in_all_channels() {
    let data: Vec<f32> = (0..12).map(|i| i as f32).collect();
    let start = planes(&[2, 3], &data);
    let flip = |axis: &str| [Augment::Flip { axis: Some(axis.into()), p: 1.0 }];
    let wide = applied(&flip("w"), Kind::Image, &start, 2, Some(0));
    assert_eq!(wide.data, [2.0, 1.0, 0.0, 5.0, 4.0, 3.0, 8.0, 7.0, 6.0, 11.0, 10.0, 9.0]);
    let high = applied(&flip("h"), Kind::Mask, &start, 2, Some(0));
    assert_eq!(high.data, [3.0, 4.0, 5.0, 0.0, 1.0, 2.0, 9.0, 10.0, 11.0, 6.0, 7.0, 8.0]);
    let error = Chain::new(&flip("t"), Kind::Image, 2, &grid(&[2, 3]), None).expect_err("no such axis");
    assert!(error.to_string().contains("the axes are h, w"), "{error}");
}

#[test]
fn a_crop_takes_the_middle_in_evaluation_and_any_window_in_training() {
    let data: Vec<f32> = (0..16).map(|i| i as f32).collect();
    let start = planes(&[4, 4], &data);
    let crop = [Augment::Crop { size: vec![2], pad: vec![0], border: Border::Zero }];
    assert_eq!(applied(&crop, Kind::Image, &start, 1, None).data, [5.0, 6.0, 9.0, 10.0]);
    let mut seen = std::collections::BTreeSet::new();
    for seed in 0..300 {
        let window = applied(&crop, Kind::Image, &start, 1, Some(seed)).data;
        assert_eq!((window[1] - window[0], window[2] - window[0]), (1.0, 4.0));
        seen.insert(window[0] as i32);
    }
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), [0, 1, 2, 4, 5, 6, 8, 9, 10]);
    let padded = [Augment::Crop { size: vec![4], pad: vec![1], border: Border::Edge }];
    assert_eq!(
        applied(&padded, Kind::Image, &start, 1, None).data,
        data,
        "the middle of the padded is itself"
    );
    let large = [Augment::Crop { size: vec![5], pad: vec![0], border: Border::Zero }];
    let error = Chain::new(&large, Kind::Image, 1, &grid(&[4, 4]), None).expect_err("too large");
    assert!(error.to_string().contains("5 of axis h, which has 4"), "{error}");
}

#[test]
fn a_turn_by_a_right_angle_is_exact_and_masks_stay_classes() {
    let start = planes(&[3, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0]);
    for (angle, expected) in [
        (std::f64::consts::FRAC_PI_2, [7.0, 4.0, 1.0, 8.0, 5.0, 2.0, 9.0, 6.0, 3.0]),
        (std::f64::consts::PI, [9.0, 8.0, 7.0, 6.0, 5.0, 4.0, 3.0, 2.0, 1.0]),
    ] {
        for nearest in [false, true] {
            let (mut turned, mut spare) = (start.clone(), Planes::default());
            rotate(&mut turned, &mut spare, (angle, 1.0), Border::Edge, nearest);
            for (x, e) in turned.data.iter().zip(expected) {
                assert!((x - e).abs() < 1e-5, "{angle}: {:?}", turned.data);
            }
        }
    }
    let rotate = [Augment::Rotate { by: 40.0, zoom: 0.2, border: Border::Mirror }];
    for seed in 0..50 {
        let mask = applied(&rotate, Kind::Mask, &start, 1, Some(seed)).data;
        assert!(mask.iter().all(|x| start.data.contains(x)), "{mask:?}");
    }
    assert!(Chain::new(&rotate, Kind::Image, 1, &grid(&[2, 3, 3]), None).is_err());
}

#[test]
fn bilinear_weights_are_those_of_a_half_pixel() {
    // Scaled to twice the size: positions in between are halves.
    let (mut turned, mut spare) = (planes(&[1, 5], &[0.0, 0.0, 4.0, 8.0, 0.0]), Planes::default());
    rotate(&mut turned, &mut spare, (0.0, 2.0), Border::Zero, false);
    assert_eq!(turned.data, [0.0, 2.0, 4.0, 6.0, 8.0]);
}

#[test]
fn noise_and_cutout_are_for_images_alone() {
    let start = planes(&[6, 6], &[1.0; 72]);
    let noise = [Augment::Noise { std: 0.5 }];
    assert_eq!(applied(&noise, Kind::Mask, &start, 2, Some(1)).data, start.data);
    assert_eq!(applied(&noise, Kind::Clean, &start, 2, Some(1)).data, start.data);
    assert_ne!(applied(&noise, Kind::Image, &start, 2, Some(1)).data, start.data);
    let cutout = [Augment::Cutout { size: vec![3], count: 1, p: 1.0 }];
    for seed in 0..50 {
        let cut = applied(&cutout, Kind::Image, &start, 2, Some(seed)).data;
        let zeros = cut.iter().filter(|x| **x == 0.0).count();
        assert!([8, 12, 18].contains(&zeros), "{zeros} are cut out of two channels");
        assert_eq!(cut[..36], cut[36..], "the same in each channel");
    }
    assert_eq!(applied(&cutout, Kind::Target, &start, 2, Some(1)).data, start.data);
}

#[test]
fn all_fields_of_a_sample_move_alike() {
    let data: Vec<f32> = (0..64).map(|i| (i % 5) as f32).collect();
    let start = planes(&[8, 8], &data);
    let all = [
        Augment::Noise { std: 0.0 },
        Augment::Shift { by: vec![3], border: Border::Edge },
        Augment::Flip { axis: None, p: 0.5 },
        Augment::Crop { size: vec![6], pad: vec![1], border: Border::Zero },
    ];
    for seed in 0..20 {
        let image = applied(&all, Kind::Image, &start, 1, Some(seed));
        for kind in [Kind::Mask, Kind::Target, Kind::Clean] {
            assert_eq!(applied(&all, kind, &start, 1, Some(seed)).data, image.data);
        }
    }
    let label = planes(&[], &[3.0]);
    assert_eq!(applied(&all, Kind::Label, &label, 1, Some(1)).data, [3.0]);
}

#[test]
fn signals_and_volumes_vary_too() {
    let signal = planes(&[6], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    let shift = [Augment::Shift { by: vec![2], border: Border::Edge }];
    let moved = applied(&shift, Kind::Image, &signal, 1, Some(3)).data;
    assert!(moved.windows(2).all(|w| w[0] <= w[1]));
    let volume = planes(&[2, 2, 2], &[0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]);
    let flip = [Augment::Flip { axis: Some("d".into()), p: 1.0 }];
    let mirrored = applied(&flip, Kind::Image, &volume, 1, Some(0)).data;
    assert_eq!(mirrored, [4.0, 5.0, 6.0, 7.0, 0.0, 1.0, 2.0, 3.0]);
    let lists = [Augment::Shift { by: vec![1, 1], border: Border::Zero }];
    assert!(Chain::new(&lists, Kind::Image, 1, &grid(&[2, 2, 2]), None).is_err());
}
