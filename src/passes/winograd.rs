//! Convolutions of 3x3 with steps of 1 by minimal filtering, see [`crate::ops::winograd`]: forward, by their inputs, and by their
//! weights ([`crate::ops::winograd_grad`]). The weight's transform is an operation of its own, which runs when weights are loaded,
//! or once a step where training changes them.
//! Stands behind what changes weights and biases, and before equal values are shared, so that a weight that several layers
//! use is transformed once.

use super::Settings;
use crate::graph::patch::{Rewrite, Work};
use crate::graph::{Def, Graph, ValueId};
use crate::ops::minimal::Tile;
use crate::ops::{OpError, winograd, winograd_grad};

/// What stands for a value.
enum Said {
    Conv(winograd::Said),
    Grad(winograd_grad::Said),
}

pub(super) fn run(work: Work, settings: &Settings) -> Work {
    let at_load = work.graph.at_load();
    Rewrite::each(&work, |rewrite, id| {
        said(&work.graph, id, settings, &at_load).map(|said| anew(rewrite, id, said))
    })
}

fn said(graph: &Graph, id: ValueId, settings: &Settings, at_load: &[bool]) -> Option<Said> {
    let value = graph.value(id);
    let Def::Op { op, inputs } = &value.def else { return None };
    let ty = |i: usize| inputs.get(i).map(|id| &graph.value(*id).ty);
    let x = ty(0)?;
    if let Some(dy) = ty(1).filter(|dy| winograd_grad::of(op, x, dy, Tile::Two).is_ok()) {
        let tile = settings.minimal.unwrap_or_else(|| winograd_grad::pays(op, x, dy).ok())?;
        let tiles = Tile::ALL.into_iter().rev().filter(|t| *t <= tile);
        return tiles.map(|tile| winograd_grad::of(op, x, dy, tile)).find_map(Result::ok).map(Said::Grad);
    }
    winograd::of(op, x, &value.ty, Tile::Two).ok()?;
    let measured = || settings.winograd.get(&key(graph, id, at_load)?).copied();
    let told = settings.minimal.or_else(|| if settings.winograd.is_empty() { None } else { measured() });
    let loaded = inputs.get(1).is_some_and(|w| at_load[w.index()]);
    let tile = told.unwrap_or_else(|| winograd::pays(op, x, &value.ty, loaded).ok())?;
    let tiles = Tile::ALL.into_iter().rev().filter(|t| *t <= tile);
    tiles.map(|tile| winograd::of(op, x, &value.ty, tile)).find_map(Result::ok).map(Said::Conv)
}

/// What decides whether minimal filtering pays. `None` where it cannot be done.
pub(super) fn key(graph: &Graph, id: ValueId, at_load: &[bool]) -> Option<String> {
    let value = graph.value(id);
    let Def::Op { op, inputs } = &value.def else { return None };
    let x = &graph.value(*inputs.first()?).ty;
    let winograd::Said { weight, conv } = winograd::of(op, x, &value.ty, Tile::Two).ok()?;
    let when = if at_load[inputs.get(1)?.index()] { "loaded" } else { "made" };
    // Not the bias: it changes nothing, and normalisations bring one.
    let swap = if weight.swap { ", maps swapped" } else { "" };
    let flip = if weight.flip { ", flipped" } else { "" };
    Some(format!(
        "3x3 at {:?}, dilation {:?}, of {x} to {}{swap}{flip}, weight {when}",
        conv.lo, conv.dilation, value.ty
    ))
}

fn anew(rewrite: &mut Rewrite<'_>, id: ValueId, said: Said) -> Result<ValueId, OpError> {
    let mut inputs = rewrite.inputs(id);
    let name = rewrite.old.graph.value(id).name.clone();
    let origin = rewrite.old.origin[id.index()];
    match said {
        Said::Conv(said) => {
            inputs[1] = rewrite.op(&format!("{name}.spread"), said.weight, &[inputs[1]], None)?;
            rewrite.op(&name, said.conv, &inputs, origin)
        }
        Said::Grad(said) => {
            let Some(fold) = said.fold else { return rewrite.op(&name, said.sums, &inputs, origin) };
            let sums = rewrite.op(&format!("{name}.sums"), said.sums, &inputs, None)?;
            rewrite.op(&name, fold, &[sums], origin)
        }
    }
}
