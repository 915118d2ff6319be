//! Dense row-major `f64` arrays: what the reference implementations compute on. Slow and obvious on purpose.

/// A row-major array of `f64`.
#[derive(Clone, Debug, PartialEq)]
pub struct Array {
    /// Extents, outermost first.
    pub dims: Vec<usize>,
    /// Elements, the last dimension fastest.
    pub data: Vec<f64>,
}

impl Array {
    /// All elements `value`.
    pub fn filled(dims: &[usize], value: f64) -> Self {
        Self { dims: dims.to_vec(), data: vec![value; dims.iter().product()] }
    }

    /// All elements 0.
    pub fn zeros(dims: &[usize]) -> Self {
        Self::filled(dims, 0.0)
    }

    /// Elements given by their index.
    pub fn from_fn(dims: &[usize], mut f: impl FnMut(&[usize]) -> f64) -> Self {
        let mut out = Self::zeros(dims);
        let mut i = 0;
        for_each_index(dims, |idx| {
            out.data[i] = f(idx);
            i += 1;
        });
        out
    }

    /// Elements widened from `f32`.
    pub fn from_f32(dims: &[usize], data: &[f32]) -> Self {
        assert_eq!(dims.iter().product::<usize>(), data.len(), "as many elements as the extents say");
        Self { dims: dims.to_vec(), data: data.iter().map(|x| f64::from(*x)).collect() }
    }

    /// Position of an index in `data`.
    pub fn offset(&self, idx: &[usize]) -> usize {
        debug_assert_eq!(idx.len(), self.dims.len());
        idx.iter().zip(&self.dims).fold(0, |at, (i, d)| {
            debug_assert!(i < d, "index {idx:?} in {:?}", self.dims);
            at * d + i
        })
    }

    /// The element at an index.
    pub fn at(&self, idx: &[usize]) -> f64 {
        self.data[self.offset(idx)]
    }

    /// The element at a signed index; `None` outside.
    pub fn get(&self, idx: &[i64]) -> Option<f64> {
        let mut at = 0;
        for (i, d) in idx.iter().zip(&self.dims) {
            let i = usize::try_from(*i).ok().filter(|i| i < d)?;
            at = at * d + i;
        }
        Some(self.data[at])
    }

    /// The element at an index, to change.
    pub fn at_mut(&mut self, idx: &[usize]) -> &mut f64 {
        let at = self.offset(idx);
        &mut self.data[at]
    }

    /// The same elements under other extents of the same product.
    #[must_use]
    pub fn reshaped(mut self, dims: &[usize]) -> Self {
        assert_eq!(dims.iter().product::<usize>(), self.data.len());
        self.dims = dims.to_vec();
        self
    }
}

/// Calls `f` for every index of `dims` in row-major order; once with `[]` for rank 0.
pub fn for_each_index(dims: &[usize], mut f: impl FnMut(&[usize])) {
    if dims.contains(&0) {
        return;
    }
    let mut idx = vec![0; dims.len()];
    loop {
        f(&idx);
        let Some(d) = (0..dims.len()).rev().find(|d| idx[*d] + 1 < dims[*d]) else { return };
        idx[d] += 1;
        idx[d + 1..].fill(0);
    }
}
