//! The type of a value: named dimensions with fixed extents, elements `f32`.
//!
//! An **activation** has dimensions `n, c, grid…` in this order, whatever order the user wrote: the written order is the
//! layout of the user's buffer (see [`super::layout`]). A **weight** has no `n`; its dimensions carry the names that its
//! operation gives them (`o, i, kh, kw`).

use crate::support::Name;

/// More elements than this in one tensor is refused: products stay far from wrapping, and no machine holds it.
pub const ELEMENTS_MAX: u64 = 1 << 40;

/// Named dimensions with fixed extents; the product is at most [`ELEMENTS_MAX`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TensorTy {
    names: Vec<Name>,
    dims: Vec<usize>,
}

/// A product of extents that exceeds [`ELEMENTS_MAX`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TooLarge;

impl TensorTy {
    /// A tensor with these dimensions in this order.
    ///
    /// # Errors
    /// [`TooLarge`] when the product of extents exceeds [`ELEMENTS_MAX`].
    pub fn new<N: AsRef<str>>(dims: impl IntoIterator<Item = (N, usize)>) -> Result<Self, TooLarge> {
        let (names, dims): (Vec<Name>, Vec<usize>) =
            dims.into_iter().map(|(n, d)| (Name::from(n.as_ref()), d)).unzip();
        checked_len(&dims).ok_or(TooLarge)?;
        Ok(Self { names, dims })
    }

    /// An activation: batch `n`, `c` channels, and a grid.
    ///
    /// # Errors
    /// [`TooLarge`], as [`Self::new`].
    pub fn grid<N: AsRef<str>>(n: usize, c: usize, grid: &[(N, usize)]) -> Result<Self, TooLarge> {
        let head = [("n", n), ("c", c)].into_iter();
        Self::new(head.chain(grid.iter().map(|(name, d)| (name.as_ref(), *d))))
    }

    /// The same names with other extents.
    ///
    /// # Errors
    /// [`TooLarge`], as [`Self::new`].
    pub fn with_dims(&self, dims: &[usize]) -> Result<Self, TooLarge> {
        debug_assert_eq!(dims.len(), self.names.len());
        checked_len(dims).ok_or(TooLarge)?;
        Ok(Self { names: self.names.clone(), dims: dims.to_vec() })
    }

    /// Extents, outermost first.
    pub fn dims(&self) -> &[usize] {
        &self.dims
    }

    /// Names, in the order of [`Self::dims`].
    pub fn names(&self) -> &[Name] {
        &self.names
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.dims.iter().product()
    }

    /// Whether some extent is 0.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether this is an activation (its first dimension is the batch `n`).
    pub fn is_activation(&self) -> bool {
        self.names.first().is_some_and(|n| &**n == "n")
    }

    /// Batch extent of an activation; 1 for a weight.
    pub fn n(&self) -> usize {
        if self.is_activation() { self.dims[0] } else { 1 }
    }

    /// Channel extent of an activation.
    pub fn c(&self) -> usize {
        self.dims[1]
    }

    /// Grid extents of an activation.
    pub fn grid_dims(&self) -> &[usize] {
        self.dims.get(2..).unwrap_or_default()
    }

    /// Grid axis names of an activation.
    pub fn grid_names(&self) -> &[Name] {
        self.names.get(2..).unwrap_or_default()
    }

    /// Number of grid axes of an activation.
    pub fn rank(&self) -> usize {
        self.dims.len().saturating_sub(2)
    }

    /// The position of the dimension called `name`.
    pub fn position(&self, name: &str) -> Option<usize> {
        self.names.iter().position(|n| &**n == name)
    }

    /// Shape as the language writes it, without the batch: `[c: 3, h: 8, w: 8]`; a weight prints all dimensions.
    pub fn show(&self) -> String {
        let skip = usize::from(self.is_activation());
        let axes: Vec<String> =
            self.names.iter().zip(&self.dims).skip(skip).map(|(n, d)| format!("{n}: {d}")).collect();
        format!("[{}]", axes.join(", "))
    }
}

impl std::fmt::Display for TensorTy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let axes: Vec<String> = self.names.iter().zip(&self.dims).map(|(n, d)| format!("{n}: {d}")).collect();
        write!(f, "[{}]", axes.join(", "))
    }
}

/// The product of extents, if at most [`ELEMENTS_MAX`].
pub fn checked_len(dims: &[usize]) -> Option<u64> {
    let mut len = 1u64;
    for d in dims {
        // An extent of 0 must not hide an absurd one beside it.
        len = len.checked_mul((*d as u64).max(1)).filter(|l| *l <= ELEMENTS_MAX)?;
    }
    Some(if dims.contains(&0) { 0 } else { len })
}
