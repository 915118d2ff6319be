//! Samples in memory: a [`Set`] is some number of samples, each with the same named fields.
//!
//! A field's elements lie sample after sample, row-major within one. Pictures of 8 bits stay bytes with one factor.

use std::sync::Arc;

use super::DataError;
use crate::support::Name;

/// More bytes than a set may take.
pub(super) const BYTES_MAX: usize = 4 << 30;

/// Samples with named fields.
#[derive(Clone, Debug)]
pub struct Set {
    /// Number of samples.
    pub len: usize,
    /// What each sample has.
    pub fields: Vec<Field>,
    /// The names of classes, where labels have names; a label is a position in it.
    pub classes: Vec<String>,
}

/// One thing that every sample of a set has.
#[derive(Clone, Debug)]
pub struct Field {
    /// Its name: `image`, `label`, `target`, `mask`, or that of an array.
    pub name: Name,
    /// How it varies with augmentation.
    pub kind: Kind,
    /// Names of the axes, where they have names.
    pub names: Option<Vec<Name>>,
    /// Extents of one sample, outermost first.
    pub dims: Vec<usize>,
    pub(super) store: Arc<Store>,
}

/// How a field follows when a sample is varied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// What the network sees: everything is applied.
    Image,
    /// Numbers on the image's grid: moved with it, between pixels by interpolation.
    Target,
    /// The image as it was before noise and cutouts.
    Clean,
    /// Class numbers on the image's grid: moved with it, the nearest pixel's.
    Mask,
    /// Left as it is.
    Label,
}

/// Elements of all samples.
#[derive(Clone, Debug)]
pub(super) enum Store {
    /// Bytes, each times the factor.
    Bytes(Vec<u8>, f32),
    /// Numbers.
    Floats(Vec<f32>),
}

impl Store {
    /// Number of elements.
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Bytes(b, _) => b.len(),
            Self::Floats(f) => f.len(),
        }
    }

    /// Copies elements from `at` on.
    pub(super) fn copy(&self, at: usize, out: &mut [f32]) {
        match self {
            Self::Bytes(bytes, scale) => {
                let bytes = &bytes[at..at + out.len()];
                for (x, b) in out.iter_mut().zip(bytes) {
                    *x = f32::from(*b) * scale;
                }
            }
            Self::Floats(floats) => out.copy_from_slice(&floats[at..at + out.len()]),
        }
    }

    /// Values of 0 to 1 as bytes where every one is a multiple of 1/255, else as they are.
    pub(super) fn unit(floats: Vec<f32>) -> Self {
        let exact = |x: f32| (x * 255.0).round() * (1.0 / 255.0) == x && (0.0..=1.0).contains(&x);
        if floats.iter().all(|x| exact(*x)) {
            Self::Bytes(floats.iter().map(|x| (x * 255.0).round() as u8).collect(), 1.0 / 255.0)
        } else {
            Self::Floats(floats)
        }
    }
}

impl Field {
    /// A field; the number of samples is the store's length by the extents' product.
    pub(super) fn new(name: &str, kind: Kind, names: &[&str], dims: Vec<usize>, store: Store) -> Self {
        let names: Vec<Name> = names.iter().map(|n| Name::from(*n)).collect();
        let names = (names.len() == dims.len()).then_some(names);
        Self { name: name.into(), kind, names, dims, store: Arc::new(store) }
    }

    /// Class numbers, one a sample: `[c: 1]`.
    pub(super) fn labels(labels: Vec<f32>) -> Self {
        Self::new("label", Kind::Label, &["c"], vec![1], Store::Floats(labels))
    }

    /// The same elements under another name.
    pub(super) fn called(&self, name: &str, kind: Kind) -> Self {
        Self { name: name.into(), kind, ..self.clone() }
    }

    /// Elements of one sample.
    pub fn len(&self) -> usize {
        self.dims.iter().product()
    }

    /// Whether a sample has no element.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Copies the elements of sample `i`, row-major.
    pub fn copy(&self, i: usize, out: &mut [f32]) {
        self.store.copy(i * self.len(), out);
    }

    /// `[c: 1, h: 8, w: 8]`; extents alone where axes have no names.
    pub fn show(&self) -> String {
        match &self.names {
            Some(names) => {
                let axes: Vec<String> =
                    names.iter().zip(&self.dims).map(|(n, d)| format!("{n}: {d}")).collect();
                format!("[{}]", axes.join(", "))
            }
            None => format!("{:?}", self.dims),
        }
    }
}

impl Set {
    /// The field `name`, or what stands for it: `mask` for `label`, the image for `target`.
    pub fn field(&self, name: &str) -> Option<Field> {
        let own = |name: &str| self.fields.iter().find(|f| *f.name == *name);
        match (own(name), name) {
            (Some(field), _) => Some(field.clone()),
            (None, "label") => own("mask").map(|f| f.called("label", f.kind)),
            (None, "mask") => own("label").filter(|f| f.kind == Kind::Mask).map(|f| f.called("mask", f.kind)),
            (None, "target") => own("image").map(|f| f.called("target", Kind::Clean)),
            (None, _) => None,
        }
    }

    /// The number of classes of `label` or `mask`: that of their names, or the greatest number and one; 0 without such a field.
    /// Those of `ignored` do not count.
    pub fn class_count(&self, name: &str, ignored: Option<i64>) -> usize {
        let Some(field) = self.field(name) else { return 0 };
        if field.kind == Kind::Label && !self.classes.is_empty() {
            return self.classes.len();
        }
        let greatest = match &*field.store {
            Store::Bytes(bytes, scale) => {
                let values = bytes.iter().map(|b| (f32::from(*b) * scale) as i64);
                values.filter(|v| Some(*v) != ignored).max()
            }
            Store::Floats(floats) => floats.iter().map(|x| *x as i64).filter(|v| Some(*v) != ignored).max(),
        };
        greatest.map_or(0, |g| usize::try_from(g.saturating_add(1)).unwrap_or(0))
    }

    /// `image [c: 1, h: 8, w: 8], label [c: 1]`
    pub fn show(&self) -> String {
        let fields: Vec<String> = self.fields.iter().map(|f| format!("{} {}", f.name, f.show())).collect();
        fields.join(", ")
    }

    /// Checks what readers promise: as many elements as samples.
    pub(super) fn checked(self) -> Result<Self, DataError> {
        if self.len == 0 {
            return Err(DataError::Setting("the data hold no sample".into()));
        }
        for field in &self.fields {
            debug_assert_eq!(field.store.len(), field.len() * self.len, "{}", field.name);
            if field.is_empty() {
                return Err(DataError::Setting(format!("`{}` of a sample has no element", field.name)));
            }
        }
        Ok(self)
    }
}

/// `len` zeros, if memory has room.
pub(super) fn room<T: Clone + Default>(len: usize, what: &str) -> Result<Vec<T>, DataError> {
    let mut out = with_room(len, what)?;
    out.resize(len, T::default());
    Ok(out)
}

/// An empty vector with room for `len` elements.
pub(super) fn with_room<T>(len: usize, what: &str) -> Result<Vec<T>, DataError> {
    let full = || DataError::Memory { what: format!("{what} ({len} elements)") };
    let mut out = Vec::new();
    if len.checked_mul(size_of::<T>()).is_none_or(|bytes| bytes > BYTES_MAX) {
        return Err(full());
    }
    out.try_reserve_exact(len).map_err(|_| full())?;
    Ok(out)
}
