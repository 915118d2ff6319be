//! Charts of ordinary, empty and strange histories, as text and as pixels.

use super::*;

fn line(name: &str, values: &[f64]) -> Line {
    let points = values.iter().enumerate().map(|(i, v)| (i as f64 + 1.0, *v)).collect();
    Line { name: name.into(), points }
}

fn chart(lines: Vec<Line>) -> Chart {
    let panel = Panel { name: "loss".into(), lines, log: true };
    Chart { title: "a <net> & more".into(), axis: "epoch".into(), panels: vec![panel] }
}

/// The lines of data in an SVG: their points.
fn data(svg: &str) -> Vec<Vec<(f64, f64)>> {
    let lines = svg.lines().filter(|l| l.contains("stroke-width=\"2\""));
    let pair = |p: &str| {
        let (x, y) = p.split_once(',').expect("a pair");
        (x.parse().expect("a number"), y.parse().expect("a number"))
    };
    lines.map(|l| l.split('"').nth(1).expect("points").split(' ').map(pair).collect()).collect()
}

/// Pixels of a colour in a chart.
fn painted(chart: &Chart, colour: super::super::Colour) -> usize {
    let picture = chart.picture().expect("a size");
    let area = picture.height * picture.width;
    let same = |i: usize, c: usize| (picture.data[c * area + i] - f32::from(colour[c]) / 255.0).abs() < 0.02;
    (0..area).filter(|i| (0..3).all(|c| same(*i, c))).count()
}

#[test]
fn lines_ticks_and_legend_are_there() {
    let chart = chart(vec![line("train", &[2.0, 1.0, 0.5, 0.25]), line("validate", &[1.5, 1.0, 0.9, 1.0])]);
    let svg = chart.svg();
    for word in [
        ">train<",
        ">validate<",
        ">loss<",
        ">epoch<",
        ">1<",
        ">4<",
        ">0.0<",
        ">2.0<",
        "a &lt;net&gt; &amp; more",
    ] {
        assert!(svg.contains(word), "{word} is missing in\n{svg}");
    }
    let lines = data(&svg);
    assert_eq!((lines.len(), lines[0].len()), (2, 4));
    assert!(lines[0].windows(2).all(|p| p[0].0 < p[1].0 && p[0].1 < p[1].1), "falls: {lines:?}");
    assert_eq!(lines[0][1].1, lines[1][1].1, "equal values at equal heights");
    assert!(
        painted(&chart, super::super::CLASSES[0]) > 300 && painted(&chart, super::super::CLASSES[1]) > 300
    );
    assert_eq!(painted(&chart, super::super::CLASSES[2]), 0);
}

#[test]
fn what_is_not_finite_is_a_gap() {
    let values = [1.0, 2.0, f64::NAN, 3.0, f64::INFINITY, 2.0, 1.0, 1e200];
    let svg = chart(vec![line("train", &values)]).svg();
    let lines = data(&svg);
    assert_eq!(lines.iter().map(Vec::len).collect::<Vec<_>>(), [2, 2]);
    // Each of the five values has a dot, the lone one too.
    assert_eq!(svg.matches("<circle").count(), 5);
    assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
}

#[test]
fn empty_histories_and_lone_values_have_a_chart() {
    let empty = [
        Chart::default(),
        chart(Vec::new()),
        chart(vec![line("train", &[])]),
        chart(vec![line("train", &[f64::NAN])]),
    ];
    for chart in &empty {
        assert!(chart.svg().ends_with("</svg>\n"));
        assert!(chart.picture().is_some());
    }
    assert!(empty[3].svg().contains("no finite value"));
    let lone = chart(vec![line("train", &[0.5])]);
    assert!(lone.svg().contains("<circle") && painted(&lone, super::super::CLASSES[0]) > 10);
}

#[test]
fn long_histories_keep_their_peaks() {
    let mut values: Vec<f64> = (0..100_000).map(|i| (i % 7) as f64).collect();
    values[54_321] = 50.0;
    let svg = chart(vec![line("train", &values)]).svg();
    let points = &data(&svg)[0];
    assert!(points.len() <= 2000, "{}", points.len());
    let top = points.iter().map(|p| p.1).fold(f64::INFINITY, f64::min);
    assert_eq!(points.iter().filter(|p| p.1 == top).count(), 1, "the peak is there once");
    assert!(points.windows(2).all(|p| p[0].0 <= p[1].0));
}
