//! Receptive fields and sums of small graphs, by hand.

use super::*;
use crate::ops::upsample::Upsample;

#[test]
fn upsampling_halves_the_jump() {
    let mut g = Graph::new("g");
    let ty = TensorTy::grid(1, 2, &[("t", 6)]).expect("small");
    let x = g.input("x", ty, vec![0, 1, 2]);
    let (y, _) = g.op("up", Upsample { factor: vec![2] }, &[x]).expect("checks");
    let found = facts(&g);
    assert_eq!(found.rows.len(), 1);
    assert_eq!(found.rows[0].value, y);
    let field = &found.rows[0].field[0];
    assert_eq!((field.reach, field.jump, field.first_centre, field.touched), (1, (1, 2), 0.0, 0.0));
    assert_eq!(found.total.bytes, 4 * (12 + 24));
}

#[test]
fn paths_lie_under_their_parents() {
    assert!(lies_under("stage[0].a", "stage"));
    assert!(lies_under("stage[0].a", "stage[0]"));
    assert!(lies_under("c1", "c1"));
    assert!(!lies_under("c10", "c1"));
}
