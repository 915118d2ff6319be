//! Convolutions of 3x3 with steps of 1 by minimal filtering, see [`crate::ops::winograd`]: forward, and by their inputs. The weight's
//! transform is an operation of its own, which runs when weights are loaded, or once a step where training changes them.
//! Stands behind what changes weights and biases, and before equal values are shared, so that a weight that several layers
//! use is transformed once.

use crate::graph::patch::{Rewrite, Work};
use crate::graph::{Def, ValueId};
use crate::ops::OpError;
use crate::ops::winograd::{Said, of};

pub(super) fn run(work: Work) -> Work {
    let mut rewrite = Rewrite::new(&work);
    for id in work.graph.ids() {
        let said = said(&work, id).map(|said| anew(&mut rewrite, id, said));
        match said {
            Some(Ok(new)) => rewrite.replace(id, new),
            Some(Err(_)) | None => {
                rewrite.keep(id);
            }
        }
    }
    rewrite.finish()
}

fn said(work: &Work, id: ValueId) -> Option<Said> {
    let value = work.graph.value(id);
    let Def::Op { op, inputs } = &value.def else { return None };
    of(op, &work.graph.value(*inputs.first()?).ty, &value.ty)
}

fn anew(rewrite: &mut Rewrite<'_>, id: ValueId, said: Said) -> Result<ValueId, OpError> {
    let mut inputs = rewrite.inputs(id);
    let name = rewrite.old.graph.value(id).name.clone();
    let origin = rewrite.old.origin[id.index()];
    inputs[1] = rewrite.op(&format!("{name}.spread"), said.weight, &[inputs[1]], None)?;
    rewrite.op(&name, said.conv, &inputs, origin)
}
