//! Tensors whose elements are known while a model is imported: initializers, constants, and what folds to them.

use std::sync::Arc;

use super::tensor::{Elem, Raw};

/// See the module. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Host {
    /// Extents.
    pub(super) dims: Vec<usize>,
    /// Arithmetic.
    pub(super) elem: Elem,
    /// Elements.
    pub(super) data: Data,
    /// The initializer's or constant's name, if it has one: what a weight made of it is called.
    pub(super) name: Option<Arc<str>>,
}

/// Where elements are.
#[allow(clippy::rc_buffer, reason = "a vector becomes shared without a copy")]
#[derive(Clone, Debug)]
pub(super) enum Data {
    /// Here, row-major.
    Values(Arc<Vec<f64>>),
    /// All the same.
    Fill(f64),
    /// In the file's buffer.
    Raw(Raw),
}

impl Host {
    /// Given elements.
    pub(super) fn new(dims: Vec<usize>, elem: Elem, values: Vec<f64>) -> Self {
        debug_assert_eq!(dims.iter().product::<usize>(), values.len());
        Self { dims, elem, data: Data::Values(Arc::new(values)), name: None }
    }

    /// The same number everywhere.
    pub(super) fn filled(dims: Vec<usize>, elem: Elem, value: f64) -> Self {
        Self { dims, elem, data: Data::Fill(value), name: None }
    }

    /// A list of integers.
    pub(super) fn ints(values: impl IntoIterator<Item = i64>) -> Self {
        let values: Vec<f64> = values.into_iter().map(|i| i as f64).collect();
        Self::new(vec![values.len()], Elem::Int, values)
    }

    /// A tensor of the file.
    pub(super) fn raw(raw: Raw, name: &str) -> Self {
        let name = (!name.is_empty()).then(|| Arc::from(name));
        Self { dims: raw.dims.clone(), elem: raw.dtype.elem(), data: Data::Raw(raw), name }
    }

    /// Number of elements.
    pub(super) fn len(&self) -> usize {
        self.dims.iter().product()
    }

    /// Whether two are one tensor: the same elements in the same place.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        match (&self.data, &other.data) {
            (Data::Values(a), Data::Values(b)) => Arc::ptr_eq(a, b),
            (Data::Fill(a), Data::Fill(b)) => a.to_bits() == b.to_bits() && self.len() == other.len(),
            (Data::Raw(a), Data::Raw(b)) => a.is_same(b),
            (Data::Values(_) | Data::Fill(_) | Data::Raw(_), _) => false,
        }
    }

    /// All elements, row-major.
    #[allow(clippy::rc_buffer, reason = "a vector becomes shared without a copy")]
    pub(super) fn values(&self) -> Arc<Vec<f64>> {
        match &self.data {
            Data::Values(v) => v.clone(),
            Data::Fill(x) => Arc::new(vec![*x; self.len()]),
            Data::Raw(raw) => Arc::new(raw.f64s()),
        }
    }

    /// All elements as `f32`.
    pub(super) fn f32s(&self) -> Vec<f32> {
        match &self.data {
            Data::Values(v) => v.iter().map(|x| *x as f32).collect(),
            Data::Fill(x) => vec![*x as f32; self.len()],
            Data::Raw(raw) => raw.f32s(),
        }
    }

    /// All elements as integers; beyond 64 bits they are cut off there.
    pub(super) fn integers(&self) -> Vec<i64> {
        match &self.data {
            Data::Fill(x) => vec![*x as i64; self.len()],
            Data::Values(_) | Data::Raw(_) => self.values().iter().map(|x| *x as i64).collect(),
        }
    }

    /// The only element.
    pub(super) fn scalar(&self) -> Option<f64> {
        match &self.data {
            _ if self.len() != 1 => None,
            Data::Fill(x) => Some(*x),
            Data::Values(_) | Data::Raw(_) => self.values().first().copied(),
        }
    }
}
