//! Between the caller's tensors and the buffers that machine code reads and writes: which tensor is which input, whether its
//! axes fit, and a copy only where they are listed in another order.

use std::borrow::Cow;

use super::error::RunError;
use crate::graph::{Graph, Port as GraphPort};
use crate::support::Name;
use crate::tensor::array::for_each_index;
use crate::tensor::owned::{Tensor, TensorView, show};

/// An input or output of a compiled network.
#[derive(Clone, Debug, PartialEq)]
pub struct Port {
    /// Its name; a lone unnamed output is called `out`.
    pub name: Name,
    /// Its axes in the order of the buffer, outermost first: `n`, then as the program writes them.
    pub axes: Vec<(Name, usize)>,
}

impl Port {
    pub(super) fn of(graph: &Graph, port: &GraphPort) -> Self {
        let ty = &graph.value(port.value).ty;
        let axes = port.order.iter().map(|d| (ty.names()[*d].clone(), ty.dims()[*d])).collect();
        Self { name: port.name.clone(), axes }
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.axes.iter().map(|a| a.1).product()
    }

    /// Whether some extent is 0.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// `[n: 1, c: 3, h: 8, w: 8]`
    pub fn show(&self) -> String {
        show(&self.axes)
    }

    /// The elements of `view` in the order of this port; borrowed where they lie so already. Axes are matched by name; the
    /// batch may be left out where it is 1.
    ///
    /// # Errors
    /// [`RunError::Shape`] when names or extents differ.
    pub fn arrange<'v>(&self, view: &TensorView<'v>) -> Result<Cow<'v, [f32]>, RunError> {
        let wrong =
            |found: String| RunError::Shape { name: self.name.to_string(), expected: self.show(), found };
        let Some(axes) = view.axes() else {
            let len = view.data().len();
            return if len == self.len() {
                Ok(Cow::Borrowed(view.data()))
            } else {
                Err(wrong(format!("{len} elements")))
            };
        };
        let mut given = axes.to_vec();
        let batch = self.axes.iter().find(|a| &*a.0 == "n");
        if let (Some((n, 1)), false) = (batch, given.iter().any(|a| &*a.0 == "n")) {
            given.insert(0, (n.clone(), 1));
        }
        if given == self.axes {
            return Ok(Cow::Borrowed(view.data()));
        }
        let source: Option<Vec<usize>> =
            self.axes.iter().map(|axis| given.iter().position(|g| g == axis)).collect();
        match source {
            Some(source) if given.len() == self.axes.len() => {
                Ok(Cow::Owned(permuted(&given, &source, view.data())))
            }
            Some(_) | None => Err(wrong(show(axes))),
        }
    }
}

/// `data`, whose axes are `given`, in an order in which axis `i` is the given axis `source[i]`.
fn permuted(given: &[(Name, usize)], source: &[usize], data: &[f32]) -> Vec<f32> {
    let mut strides = vec![1; given.len()];
    for i in (1..given.len()).rev() {
        strides[i - 1] = strides[i] * given[i].1;
    }
    let dims: Vec<usize> = source.iter().map(|s| given[*s].1).collect();
    let mut out = Vec::with_capacity(data.len());
    for_each_index(&dims, |index| {
        let at: usize = index.iter().zip(source).map(|(i, s)| i * strides[*s]).sum();
        out.push(data[at]);
    });
    out
}

/// The inputs in the order of `ports`, each in the order of its port.
///
/// # Errors
/// [`RunError`] when one is missing, unknown, given twice, or of another shape.
pub(super) fn arrange_all<'v>(
    ports: &[Port],
    given: &[(&str, TensorView<'v>)],
) -> Result<Vec<Cow<'v, [f32]>>, RunError> {
    for (i, (name, _)) in given.iter().enumerate() {
        if !ports.iter().any(|p| *p.name == **name) {
            let known = ports.iter().map(|p| p.name.to_string()).collect();
            return Err(RunError::Unknown { side: "input", name: (*name).to_owned(), known });
        }
        if given[..i].iter().any(|(other, _)| other == name) {
            return Err(RunError::Twice { name: (*name).to_owned() });
        }
    }
    ports
        .iter()
        .map(|port| {
            let found = given.iter().find(|(name, _)| **name == *port.name);
            let (_, view) = found.ok_or_else(|| RunError::Missing { name: port.name.to_string() })?;
            port.arrange(view)
        })
        .collect()
}

/// The results of a run: tensors by name, in the order of the program.
#[derive(Clone, Debug, PartialEq)]
pub struct Outputs {
    tensors: Vec<(Name, Tensor)>,
}

impl Outputs {
    pub(super) fn of(ports: &[Port], data: Vec<Vec<f32>>) -> Self {
        let tensors = ports.iter().zip(data).map(|(p, d)| (p.name.clone(), Tensor::of(p.axes.clone(), d)));
        Self { tensors: tensors.collect() }
    }

    /// Named tensors.
    pub(super) fn from_vec(tensors: Vec<(Name, Tensor)>) -> Self {
        Self { tensors }
    }

    /// The output `name`.
    pub fn get(&self, name: &str) -> Option<&Tensor> {
        self.tensors.iter().find(|(n, _)| **n == *name).map(|(_, t)| t)
    }

    /// The first output, for networks with one.
    pub fn first(&self) -> Option<&Tensor> {
        self.tensors.first().map(|(_, t)| t)
    }

    /// Names and tensors in the order of the program.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Tensor)> {
        self.tensors.iter().map(|(n, t)| (&**n, t))
    }

    /// Names and tensors, to keep.
    pub fn into_vec(self) -> Vec<(Name, Tensor)> {
        self.tensors
    }
}

/// The output `name`; panics when there is none, as indexing does.
impl std::ops::Index<&str> for Outputs {
    type Output = Tensor;

    fn index(&self, name: &str) -> &Tensor {
        self.get(name).unwrap_or_else(|| panic!("no output is called `{name}`"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(axes: &[(&str, usize)]) -> Port {
        Port { name: "x".into(), axes: axes.iter().map(|(n, d)| ((*n).into(), *d)).collect() }
    }

    #[test]
    fn what_lies_as_declared_is_borrowed() {
        let data: Vec<f32> = (0..6).map(|i| i as f32).collect();
        let port = port(&[("n", 1), ("c", 2), ("h", 3)]);
        for view in [
            TensorView::from(&data),
            TensorView::new(&[("n", 1), ("c", 2), ("h", 3)], &data).expect("fits"),
            TensorView::new(&[("c", 2), ("h", 3)], &data).expect("fits"),
        ] {
            let arranged = port.arrange(&view).expect("fits");
            assert!(matches!(arranged, Cow::Borrowed(d) if std::ptr::eq(d, data.as_slice())));
        }
    }

    #[test]
    fn other_orders_are_copied_by_name() {
        let data: Vec<f32> = (0..6).map(|i| i as f32).collect();
        let view = TensorView::new(&[("h", 3), ("c", 2)], &data).expect("fits");
        let arranged = port(&[("n", 1), ("c", 2), ("h", 3)]).arrange(&view).expect("fits");
        assert_eq!(*arranged, [0.0, 2.0, 4.0, 1.0, 3.0, 5.0]);
    }

    #[test]
    fn other_shapes_are_refused() {
        let data = vec![0.0; 6];
        let port = port(&[("n", 2), ("c", 1), ("h", 3)]);
        for axes in [vec![("c", 2), ("h", 3)], vec![("n", 2), ("c", 1), ("w", 3)], vec![("n", 2), ("h", 3)]] {
            let view = TensorView::new(&axes, &data).expect("fits");
            assert!(matches!(port.arrange(&view), Err(RunError::Shape { .. })), "{axes:?}");
        }
        assert!(matches!(port.arrange(&TensorView::from(&data[..5])), Err(RunError::Shape { .. })));
        let given = [("x", TensorView::from(&data)), ("y", TensorView::from(&data))];
        assert!(matches!(arrange_all(std::slice::from_ref(&port), &given), Err(RunError::Unknown { .. })));
        assert!(matches!(arrange_all(&[port], &[]), Err(RunError::Missing { .. })));
    }
}
