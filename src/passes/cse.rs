//! Merges values that are the same operation on the same inputs, and equal small constants. Weights are never merged: each
//! has its own name and may be set.

use std::collections::BTreeMap;

use crate::graph::patch::{Rewrite, Work};
use crate::graph::print::attrs;
use crate::graph::{Def, ValueId};

/// Larger constants are not compared.
const CONST_ELEMENTS: usize = 1024;

/// What two values must share to be one.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Op(&'static str, String, Vec<ValueId>),
    Const(String, Vec<u32>),
}

pub(super) fn run(work: Work) -> Work {
    let mut rewrite = Rewrite::new(&work);
    let mut seen: BTreeMap<Key, ValueId> = BTreeMap::new();
    for id in work.graph.ids() {
        let value = work.graph.value(id);
        let key = match &value.def {
            Def::Op { op, .. } => {
                Some(Key::Op(op.rules().kind(), attrs(&op.rules().attrs()), rewrite.inputs(id)))
            }
            Def::Const(data) if data.len() <= CONST_ELEMENTS => {
                Some(Key::Const(value.ty.to_string(), data.iter().map(|x| x.to_bits()).collect()))
            }
            Def::Const(_) | Def::Input(_) | Def::Param { .. } => None,
        };
        match key.as_ref().and_then(|k| seen.get(k)) {
            Some(first) => rewrite.replace(id, *first),
            None => {
                let new = rewrite.keep(id);
                seen.extend(key.map(|k| (k, new)));
            }
        }
    }
    rewrite.finish()
}
