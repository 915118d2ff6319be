//! A node's attributes by name, each of the type that is asked for.

use super::proto::{self, Attribute, kind};

/// A node during its import.
#[derive(Clone, Copy)]
pub(super) struct At<'a> {
    /// The node.
    pub(super) node: &'a proto::Node,
    /// Version of the operator set.
    pub(super) opset: i64,
}

impl<'a> At<'a> {
    /// The attribute `name`, if it is there.
    pub(super) fn get(&self, name: &str) -> Option<&'a Attribute> {
        self.node.attribute.iter().find(|a| a.name == name)
    }

    /// The attribute, checked to be of a type. Very old files leave the type out.
    fn of(&self, name: &str, wanted: i32, what: &str) -> Result<Option<&'a Attribute>, String> {
        match self.get(name) {
            Some(a) if a.r#type == wanted || a.r#type == 0 => Ok(Some(a)),
            Some(_) => Err(format!("attribute `{name}` is not {what}")),
            None => Ok(None),
        }
    }

    /// An integer.
    pub(super) fn int(&self, name: &str, default: i64) -> Result<i64, String> {
        Ok(self.of(name, kind::INT, "an integer")?.map_or(default, |a| a.i))
    }

    /// An integer as a truth value.
    pub(super) fn flag(&self, name: &str, default: bool) -> Result<bool, String> {
        Ok(self.int(name, i64::from(default))? != 0)
    }

    /// A number.
    pub(super) fn float(&self, name: &str, default: f32) -> Result<f32, String> {
        Ok(self.of(name, kind::FLOAT, "a number")?.map_or(default, |a| a.f))
    }

    /// A list of integers.
    pub(super) fn ints(&self, name: &str) -> Result<Option<&'a [i64]>, String> {
        Ok(self.of(name, kind::INTS, "a list of integers")?.map(|a| a.ints.as_slice()))
    }

    /// A list of numbers.
    pub(super) fn floats(&self, name: &str) -> Result<Option<&'a [f32]>, String> {
        Ok(self.of(name, kind::FLOATS, "a list of numbers")?.map(|a| a.floats.as_slice()))
    }

    /// Text.
    pub(super) fn text(&self, name: &str, default: &'static str) -> Result<&'a str, String> {
        match self.of(name, kind::STRING, "text")? {
            None => Ok(default),
            Some(a) => std::str::from_utf8(&a.s).map_err(|_| format!("attribute `{name}` is no text")),
        }
    }

    /// A tensor.
    pub(super) fn tensor(&self, name: &str) -> Result<Option<&'a proto::Tensor>, String> {
        Ok(self.of(name, kind::TENSOR, "a tensor")?.and_then(|a| a.t.as_ref()))
    }

    /// Whether the node wants its result number `i`.
    pub(super) fn wants(&self, i: usize) -> bool {
        self.node.output.get(i).is_some_and(|o| !o.is_empty())
    }
}

/// An axis from `-rank` to `rank - 1` as a position.
pub(super) fn axis(axis: i64, rank: usize) -> Result<usize, String> {
    let at = if axis < 0 { axis.saturating_add(rank as i64) } else { axis };
    match usize::try_from(at) {
        Ok(at) if at < rank => Ok(at),
        _ => Err(format!("axis {axis} of a tensor of {rank} dimensions")),
    }
}

/// Axes as positions, each once, ascending.
pub(super) fn axes(list: &[i64], rank: usize) -> Result<Vec<usize>, String> {
    let mut out = list.iter().map(|a| axis(*a, rank)).collect::<Result<Vec<_>, _>>()?;
    out.sort_unstable();
    match out.windows(2).find(|w| w[0] == w[1]) {
        Some(twice) => Err(format!("axis {} is listed twice", twice[0])),
        None => Ok(out),
    }
}
