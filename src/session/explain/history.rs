//! What passes did to a layer, read from the graph before and after them.

use super::Source;
use crate::graph::{Def, ValueId};
use crate::ops::Op;
use crate::ops::equation::word;
use crate::ops::geometry::{Geometry, Linking};
use crate::ops::minimal::Tile;
use crate::passes::APART;
use crate::session::model::Compiled;

impl Compiled {
    /// A sentence for each thing that was done; none where the layer is computed as it stands.
    pub(super) fn history(&self, layer: &Source, steps: &[usize]) -> Vec<String> {
        let (before, after) = (self.planned(), &self.program.work.graph);
        let origin = |id: ValueId| self.program.work.origin[id.index()];
        let name_before = |id: ValueId| {
            let value = before.value(id);
            match &value.def {
                Def::Op { op, .. } => format!("{} `{}`", word(op), value.name),
                Def::Input(_) | Def::Param { .. } | Def::Const(_) => format!("`{}`", value.name),
            }
        };
        let groups = after.groups();
        let mut said = Vec::new();
        let mut found = false;
        for i in steps {
            let step = &self.program.steps[*i];
            let root = after.value(step.root);
            let members = &groups[step.root.index()];
            let own = root.name == layer.row.name && !root.name.ends_with(".back");
            let inside = members[1..].iter().any(|m| origin(*m) == Some(layer.value));
            if inside {
                found = true;
                said.push(format!("applied where `{}` stores: it is no step of its own", root.name));
                continue;
            }
            if !own || found {
                continue;
            }
            found = true;
            if let Some(other) = origin(step.root).filter(|o| *o != layer.value) {
                said.push(format!(
                    "{} is folded in: its scale is in the weight, its shift in the bias, both computed when weights are loaded",
                    name_before(other)
                ));
            }
            let products = |tile: Tile, of: &str| {
                let m = tile.outputs();
                format!("{} instead of {} products for {m}x{m} {of}", tile.numbers(), tile.products())
            };
            if let Def::Op { op: Op::Winograd(w), .. } = &root.def {
                said.push(format!(
                    "said by minimal filtering {}: {}",
                    w.tile.filter(),
                    products(w.tile, "outputs")
                ));
            }
            if let Def::Op { op: Op::WinogradGrad(w), .. } = &root.def {
                said.push(format!(
                    "said by minimal filtering {}: {}",
                    w.tile.gradient(),
                    products(w.tile, "gradients")
                ));
            }
            if let Def::Op { op: Op::ConvGradSums(sums), .. } = &root.def {
                said.push(format!(
                    "in {} partial sums over shares of the samples, which are added afterwards: each fetches only its own operands",
                    sums.shares
                ));
            }
            let ordered = |id: &ValueId| {
                let value = after.value(*id);
                value.name.ends_with(APART) && matches!(value.def, Def::Op { op: Op::Arrange(_), .. })
            };
            let weights = after.uses(step.root).iter().skip(1);
            if weights.flat_map(|w| after.uses(*w).iter().chain([w])).any(ordered) {
                said.push(
                    "its channels are in another order, that of the weight as it is loaded: those of a window of the pool \
                     behind it lie in different vectors"
                        .to_owned(),
                );
            }
            if let (Some(links), Some(Linking::Dense)) =
                (self.links(layer.value), root_geometry(&root.def).map(|g| &g.links))
            {
                said.push(format!(
                    "the table of {links} links became a dense layer with zeros in the weight for what is not linked"
                ));
            }
            for m in &members[1..] {
                let what = origin(*m).map_or_else(|| format!("`{}`", after.value(*m).name), name_before);
                said.push(format!("{what} is applied where it stores"));
            }
            if step.at_load {
                said.push("depends on weights alone: computed once, when they are loaded".to_owned());
            }
        }
        if !found {
            said.push(
                "nothing is left of it: it changes no number, or its result is another layer's".to_owned(),
            );
        }
        said
    }

    /// Links of the table of a layer, if it has one.
    fn links(&self, id: ValueId) -> Option<usize> {
        match &root_geometry(&self.planned().value(id).def)?.links {
            Linking::Table(t) => Some(t.rows.iter().map(Vec::len).sum()),
            Linking::Dense | Linking::Groups(_) => None,
        }
    }
}

fn root_geometry(def: &Def) -> Option<&Geometry> {
    let Def::Op { op, .. } = def else { return None };
    if let Op::Conv(c) = op {
        Some(&c.geometry)
    } else if let Op::Unconv(c) = op {
        Some(&c.geometry)
    } else if let Op::ConvGrad(c) = op {
        Some(&c.geometry)
    } else {
        None
    }
}
