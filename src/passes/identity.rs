//! Removes operations that hand on their input unchanged outside training. Runs before layouts are chosen: later, a copy
//! between two layouts is an identity too, and wanted.

use crate::graph::Def;
use crate::graph::patch::{Rewrite, Work};
use crate::ops::role::Role;

pub(super) fn run(work: Work) -> Work {
    let mut rewrite = Rewrite::new(&work);
    for id in work.graph.ids() {
        match &work.graph.value(id).def {
            Def::Op { op, inputs } if matches!(op.rules().role(), Role::Identity | Role::Layout) => {
                let input = rewrite.of(inputs[0]);
                rewrite.replace(id, input);
            }
            Def::Op { .. } | Def::Input(_) | Def::Param { .. } | Def::Const(_) => {
                rewrite.keep(id);
            }
        }
    }
    rewrite.finish()
}
