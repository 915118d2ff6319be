//! Which field of the data goes into which buffer of a network, and in which order its elements lie there.
//!
//! Axes meet by name where both sides have names, else in the order written. Extents must agree: nothing is resized, cut or
//! spread silently; an error says what to write for it.

use super::DataError;
use super::augment::{Augment, Chain};
use super::normalise::Normalise;
use super::open::{Part, Parts};
use super::set::{Field, Kind};
use crate::support::Name;
use crate::tensor::owned::show;

/// A buffer to be filled: an input of a network, or what a loss or a metric takes from the data.
#[derive(Clone, Debug, PartialEq)]
pub struct Want {
    /// Its name: that of the input, or `label`, `target`, `mask`.
    pub name: Name,
    /// The axes of one sample in the order of the buffer, outermost first, without the batch `n`.
    pub axes: Vec<(Name, usize)>,
    /// Whether it is an input of the network. If there is only one, it takes `image` whatever it is called.
    pub input: bool,
}

impl Want {
    /// A buffer; an axis `n` among `axes` is left out.
    pub fn new<N: AsRef<str>>(name: &str, axes: &[(N, usize)], input: bool) -> Self {
        let axes = axes.iter().map(|(n, d)| (Name::from(n.as_ref()), *d)).filter(|a| &*a.0 != "n").collect();
        Self { name: name.into(), axes, input }
    }

    /// Elements of one sample.
    pub fn len(&self) -> usize {
        self.axes.iter().map(|a| a.1).product()
    }

    /// Whether a sample has no element.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// How one buffer is filled.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) name: Name,
    pub(super) field: Field,
    pub(super) chain: Chain,
    /// The grid of a stored sample, channels first.
    pub(super) grid: Vec<usize>,
    /// Where each element of the planes lies in the stored sample; `None`: as it is.
    gather: Option<Vec<usize>>,
    /// Where each element of the buffer lies in the planes; `None`: as it is.
    scatter: Option<Vec<usize>>,
    /// Elements of one sample in the buffer.
    pub(super) len: usize,
}

impl Plan {
    /// How `want` is filled from `part`; `lone`: it is the only input of the network that no field has the name of.
    ///
    /// # Errors
    /// [`DataError::Shape`] when there is no such field or it does not fit, [`DataError::Setting`] for an augmentation that the
    /// field's grid does not take.
    pub(super) fn new(parts: &Parts, part: &Part, want: &Want, lone: bool) -> Result<Self, DataError> {
        let set = &part.set;
        let found = set.field(&want.name).or_else(|| set.field("image").filter(|_| want.input && lone));
        let Some(field) = found else {
            let what = if want.input { "the network's input" } else { "the loss or metric takes" };
            let message = format!("{what} `{}`: the data give only {}", want.name, set.show());
            return Err(DataError::Shape(message));
        };
        let (augment, normalise) = (&parts.augment[..], parts.normalise.as_ref());
        Self::fitted(&field, want, augment, normalise)
            .unwrap_or_else(|| Err(DataError::Shape(mismatch(parts, &field, want))))
    }

    /// `None` when the shapes do not fit.
    fn fitted(
        field: &Field,
        want: &Want,
        augment: &[Augment],
        normalise: Option<&Normalise>,
    ) -> Option<Result<Self, DataError>> {
        let sides = Sides::of(field, want)?;
        let grid: Vec<usize> = sides.grid.iter().map(|s| s.map_or(1, |s| field.dims[s])).collect();
        let channels = sides.channel.map_or(1, |s| field.dims[s]);
        let out = Chain::output(augment, field.kind, &grid);
        let names: Vec<&(Name, usize)> = want.axes.iter().filter(|a| &*a.0 != "c").collect();
        let wanted = want.axes.iter().find(|a| &*a.0 == "c").map_or(1, |a| a.1);
        if channels != wanted || names.iter().map(|a| a.1).ne(out.iter().copied()) {
            return None;
        }
        let named: Vec<(Name, usize)> = names.iter().zip(&grid).map(|(a, d)| (a.0.clone(), *d)).collect();
        let chain = match Chain::new(augment, field.kind, channels, &named, normalise) {
            Ok(chain) => chain,
            Err(error) => return Some(Err(error)),
        };
        // Stored elements, in the order of the planes: channels, then the grid as the network writes it.
        let order: Vec<usize> =
            sides.channel.into_iter().chain(sides.grid.iter().copied().flatten()).collect();
        let gather = permutation(&field.dims, &order);
        // Planes, in the order of the buffer.
        let planes: Vec<usize> = std::iter::once(channels).chain(out).collect();
        let mut grid_axis = 1;
        let order: Vec<usize> = want
            .axes
            .iter()
            .map(|a| {
                if &*a.0 == "c" {
                    return 0;
                }
                grid_axis += 1;
                grid_axis - 1
            })
            .collect();
        let scatter = permutation(&planes, &order);
        let len = want.len();
        Some(Ok(Self { name: want.name.clone(), field: field.clone(), chain, grid, gather, scatter, len }))
    }

    /// The stored sample `i` as planes.
    pub(super) fn load(&self, i: usize, planes: &mut super::augment::Planes, spare: &mut Vec<f32>) {
        planes.grid.clone_from(&self.grid);
        planes.data.resize(self.field.len(), 0.0);
        match &self.gather {
            None => self.field.copy(i, &mut planes.data),
            Some(gather) => {
                spare.resize(self.field.len(), 0.0);
                self.field.copy(i, spare);
                for (x, at) in planes.data.iter_mut().zip(gather) {
                    *x = spare[*at];
                }
            }
        }
    }

    /// Planes into their place in the buffer.
    pub(super) fn store(&self, planes: &[f32], out: &mut [f32]) {
        match &self.scatter {
            None => out.copy_from_slice(planes),
            Some(scatter) => {
                for (x, at) in out.iter_mut().zip(scatter) {
                    *x = planes[*at];
                }
            }
        }
    }
}

/// Which axes of a field are the channels and the grid, as the network's grid is ordered.
struct Sides {
    channel: Option<usize>,
    /// For each grid axis of the network; `None`: the field lacks it, its extent is 1.
    grid: Vec<Option<usize>>,
}

impl Sides {
    fn of(field: &Field, want: &Want) -> Option<Self> {
        let names: Vec<&Name> = want.axes.iter().map(|a| &a.0).filter(|n| &***n != "c").collect();
        let c = want.axes.iter().position(|a| &*a.0 == "c");
        let rank = field.dims.len();
        let Some(own) = &field.names else {
            // Without names: the order of the network's buffer; a lone channel may be left out.
            return if rank == want.axes.len() {
                let grid = (0..rank).filter(|i| Some(*i) != c).map(Some).collect();
                Some(Self { channel: c, grid })
            } else if rank == names.len() {
                Some(Self { channel: None, grid: (0..rank).map(Some).collect() })
            } else {
                None
            };
        };
        let channel = own.iter().position(|n| &**n == "c");
        let grid: Vec<usize> = (0..rank).filter(|i| Some(*i) != channel).collect();
        let by_name: Option<Vec<Option<usize>>> =
            names.iter().map(|n| own.iter().position(|o| o == *n).map(Some)).collect();
        let grid = match by_name {
            Some(found) if grid.len() == names.len() => found,
            _ if grid.len() == names.len() => grid.into_iter().map(Some).collect(),
            // A label of a sample for a network that has a grid of single positions.
            _ if grid.is_empty() => vec![None; names.len()],
            Some(_) | None => return None,
        };
        Some(Self { channel, grid })
    }
}

/// For each element of a tensor whose axis `i` is axis `order[i]` of one with extents `dims`, its position there; `None` when it is
/// the same.
fn permutation(dims: &[usize], order: &[usize]) -> Option<Vec<usize>> {
    if order.iter().copied().eq(0..dims.len()) {
        return None;
    }
    let mut strides = vec![1; dims.len()];
    for i in (1..dims.len()).rev() {
        strides[i - 1] = strides[i] * dims[i];
    }
    let outer: Vec<usize> = order.iter().map(|o| dims[*o]).collect();
    let mut positions = Vec::with_capacity(dims.iter().product());
    crate::tensor::array::for_each_index(&outer, |index| {
        positions.push(index.iter().zip(order).map(|(i, o)| i * strides[*o]).sum());
    });
    (!positions.iter().copied().eq(0..positions.len())).then_some(positions)
}

/// What does not fit, with both shapes, and what could be written.
fn mismatch(parts: &Parts, field: &Field, want: &Want) -> String {
    let taker = if want.input { "the network's input" } else { "what is taken as" };
    let wanted = show(&want.axes);
    let mut message = format!(
        "`{}` gives {} {}, {taker} `{}` is {wanted}",
        parts.name,
        field.name,
        field.show(),
        want.name
    );
    let cropped =
        parts.augment.iter().any(|a| matches!(a, Augment::Crop { .. })) && field.kind != Kind::Label;
    if cropped {
        message.push_str(", and `crop` of `augment` changes the grid");
    }
    if let Some(advice) = advice(parts, field, want).filter(|_| !cropped) {
        message.push_str("; ");
        message.push_str(&advice);
    }
    message
}

/// What to write so that a field fits.
fn advice(parts: &Parts, field: &Field, want: &Want) -> Option<String> {
    let name = &parts.name;
    if field.len() == want.len() && &**name == "csv" {
        return Some(format!("write `csv(…, shape: {})`", show(&want.axes)));
    }
    let [c, h, w] = field.dims[..] else { return None };
    field.names.as_ref()?;
    let wanted = |n: usize| want.axes.iter().filter(|a| (&*a.0 == "c") == (n == 0)).nth(n.saturating_sub(1));
    let (wc, wh, ww) = (wanted(0).map_or(1, |a| a.1), wanted(1)?.1, wanted(2)?.1);
    if want.axes.iter().filter(|a| &*a.0 != "c").count() != 2 {
        return None;
    }
    if c != wc {
        let open = matches!(&**name, "images" | "masks" | "shapes" | "edges" | "bars");
        return (open && (wc == 1 || wc == 3)).then(|| format!("write `{name}(…, channels: {wc})`"));
    }
    let made = matches!(&**name, "shapes" | "edges" | "bars" | "patches");
    if made {
        return Some(format!("write `{name}(size: {wh}x{ww})`"));
    }
    if matches!(&**name, "masks" | "nuclei") {
        return Some(format!("write `{name}(…, tile: {wh}x{ww})`"));
    }
    let dots = if matches!(&**name, "digits" | "mnist" | "fashion_mnist") { "" } else { "…, " };
    let (dh, dw) = (wh as i64 - h as i64, ww as i64 - w as i64);
    Some(if dh > 0 && dw > 0 && dh % 2 == 0 && dw % 2 == 0 && dh <= 8 && dw <= 8 {
        let pad = if dh == dw { format!("{}", dh / 2) } else { format!("[{}, {}]", dh / 2, dw / 2) };
        format!("write `{name}({dots}pad: {pad})` for zeros around the picture")
    } else {
        format!("write `{name}({dots}size: {wh}x{ww})` to resample the pictures")
    })
}
