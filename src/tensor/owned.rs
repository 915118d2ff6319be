//! Tensors as a user handles them: named axes, `f32` elements, row-major in the order in which the axes are listed.
//!
//! [`Tensor`] owns its elements, [`TensorView`] borrows them. Axes are named as in the language, the batch is called `n`.

use super::ty::ELEMENTS_MAX;
use crate::support::Name;

/// A tensor that owns its elements.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    axes: Vec<(Name, usize)>,
    data: Vec<f32>,
}

/// A borrowed tensor; cheap to copy around.
#[derive(Clone, Debug, PartialEq)]
pub struct TensorView<'a> {
    /// `None`: the axes are those that the receiver declares, in its order.
    axes: Option<Vec<(Name, usize)>>,
    data: &'a [f32],
}

/// Axes and elements that do not make a tensor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TensorError {
    /// As many elements as the axes say were not given.
    Length {
        /// What the axes say.
        expected: usize,
        /// What was given.
        found: usize,
    },
    /// Two axes of one name.
    Twice {
        /// The name.
        axis: String,
    },
    /// More elements than [`ELEMENTS_MAX`].
    TooLarge,
}

impl std::fmt::Display for TensorError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Length { expected, found } => {
                write!(f, "{found} elements were given for axes that hold {expected}")
            }
            Self::Twice { axis } => write!(f, "two axes are called `{axis}`"),
            Self::TooLarge => write!(f, "more than {ELEMENTS_MAX} elements"),
        }
    }
}

impl std::error::Error for TensorError {}

/// Named axes, checked: different names, and a product that fits.
fn checked<N: AsRef<str>>(axes: &[(N, usize)], found: usize) -> Result<Vec<(Name, usize)>, TensorError> {
    let axes: Vec<(Name, usize)> = axes.iter().map(|(n, d)| (Name::from(n.as_ref()), *d)).collect();
    let mut names: Vec<&str> = axes.iter().map(|(n, _)| &**n).collect();
    names.sort_unstable();
    if let Some(twice) = names.windows(2).find(|w| w[0] == w[1]) {
        return Err(TensorError::Twice { axis: twice[0].to_owned() });
    }
    let dims: Vec<usize> = axes.iter().map(|(_, d)| *d).collect();
    let expected = super::ty::checked_len(&dims).ok_or(TensorError::TooLarge)? as usize;
    if expected == found { Ok(axes) } else { Err(TensorError::Length { expected, found }) }
}

/// `[n: 1, c: 3, h: 8]`
pub(crate) fn show<N: AsRef<str>>(axes: &[(N, usize)]) -> String {
    let axes: Vec<String> = axes.iter().map(|(n, d)| format!("{}: {d}", n.as_ref())).collect();
    format!("[{}]", axes.join(", "))
}

impl Tensor {
    /// A tensor with these axes, the last one fastest.
    ///
    /// # Errors
    /// [`TensorError`] when axes repeat or hold another number of elements.
    pub fn new<N: AsRef<str>>(axes: &[(N, usize)], data: Vec<f32>) -> Result<Self, TensorError> {
        Ok(Self { axes: checked(axes, data.len())?, data })
    }

    /// All elements 0.
    ///
    /// # Errors
    /// [`TensorError`] when axes repeat or hold too many elements.
    pub fn zeros<N: AsRef<str>>(axes: &[(N, usize)]) -> Result<Self, TensorError> {
        let dims: Vec<usize> = axes.iter().map(|(_, d)| *d).collect();
        let len = super::ty::checked_len(&dims).ok_or(TensorError::TooLarge)? as usize;
        Self::new(axes, vec![0.0; len])
    }

    /// Axes known to fit.
    pub(crate) fn of(axes: Vec<(Name, usize)>, data: Vec<f32>) -> Self {
        debug_assert_eq!(axes.iter().map(|a| a.1).product::<usize>(), data.len());
        Self { axes, data }
    }

    /// Axes, outermost first.
    pub fn axes(&self) -> &[(Name, usize)] {
        &self.axes
    }

    /// Extents, outermost first.
    pub fn dims(&self) -> Vec<usize> {
        self.axes.iter().map(|(_, d)| *d).collect()
    }

    /// Elements, the last axis fastest.
    pub fn data(&self) -> &[f32] {
        &self.data
    }

    /// Elements, to change.
    pub fn data_mut(&mut self) -> &mut [f32] {
        &mut self.data
    }

    /// The elements alone.
    pub fn into_data(self) -> Vec<f32> {
        self.data
    }

    /// The element at an index, one number per axis; `None` outside.
    pub fn get(&self, index: &[usize]) -> Option<f32> {
        if index.len() != self.axes.len() {
            return None;
        }
        let mut at = 0;
        for (i, (_, d)) in index.iter().zip(&self.axes) {
            if i >= d {
                return None;
            }
            at = at * d + i;
        }
        self.data.get(at).copied()
    }

    /// A view of the whole.
    pub fn view(&self) -> TensorView<'_> {
        TensorView { axes: Some(self.axes.clone()), data: &self.data }
    }

    /// The axes as the language writes them.
    pub fn show_axes(&self) -> String {
        show(&self.axes)
    }
}

impl<'a> TensorView<'a> {
    /// A view with these axes, the last one fastest. A receiver that declares them in another order copies.
    ///
    /// # Errors
    /// [`TensorError`] when axes repeat or hold another number of elements.
    pub fn new<N: AsRef<str>>(axes: &[(N, usize)], data: &'a [f32]) -> Result<Self, TensorError> {
        Ok(Self { axes: Some(checked(axes, data.len())?), data })
    }

    /// Axes, outermost first; `None` when they are left to the receiver.
    pub fn axes(&self) -> Option<&[(Name, usize)]> {
        self.axes.as_deref()
    }

    /// Elements, the last axis fastest.
    pub fn data(&self) -> &'a [f32] {
        self.data
    }
}

/// Elements in the order that the receiver declares: `n`, then the axes as written.
impl<'a> From<&'a [f32]> for TensorView<'a> {
    fn from(data: &'a [f32]) -> Self {
        Self { axes: None, data }
    }
}

impl<'a> From<&'a Vec<f32>> for TensorView<'a> {
    fn from(data: &'a Vec<f32>) -> Self {
        Self { axes: None, data }
    }
}

impl<'a> From<&'a Tensor> for TensorView<'a> {
    fn from(tensor: &'a Tensor) -> Self {
        tensor.view()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_and_elements_must_agree() {
        let short = Tensor::new(&[("c", 2), ("h", 3)], vec![0.0; 5]);
        assert_eq!(short, Err(TensorError::Length { expected: 6, found: 5 }));
        let twice = TensorView::new(&[("h", 2), ("h", 1)], &[0.0; 2]);
        assert_eq!(twice, Err(TensorError::Twice { axis: "h".into() }));
        let huge = Tensor::zeros(&[("a", usize::MAX), ("b", usize::MAX)]);
        assert_eq!(huge, Err(TensorError::TooLarge));
    }

    #[test]
    fn the_last_axis_runs_fastest() {
        let t = Tensor::new(&[("c", 2), ("h", 3)], (0..6).map(|i| i as f32).collect()).expect("fits");
        assert_eq!(t.get(&[1, 0]), Some(3.0));
        assert_eq!(t.get(&[2, 0]), None);
        assert_eq!(t.get(&[1]), None);
        assert_eq!(t.show_axes(), "[c: 2, h: 3]");
    }
}
