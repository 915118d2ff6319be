//! A model's inputs: free dimensions bound, and the order of dimensions in which the graph holds them. An input that only
//! meets a convolution through a transposition is held as that convolution wants it, so that the transposition is nothing but
//! the order of the caller's buffer.

use std::collections::{BTreeMap, HashMap, VecDeque};

use super::attrs::axis;
use super::host::Host;
use super::importer::Importer;
use super::tensor::{Dtype, Raw, extents};
use super::value::{Val, Value, activation, general};
use super::{ImportOptions, OnnxError, cut, proto};

/// What is known of the file while inputs are made.
pub(super) struct File<'a> {
    pub(super) graph: &'a proto::Graph,
    pub(super) given: &'a HashMap<String, Host>,
    pub(super) users: HashMap<&'a str, Vec<&'a proto::Node>>,
}

/// Extents that options and inputs give.
pub(super) struct Bindings {
    /// By input.
    shapes: BTreeMap<String, Vec<usize>>,
    /// By the name of a dimension.
    params: BTreeMap<String, usize>,
    batch: Option<usize>,
    /// Inputs that are bound twice over by names that do not agree.
    clash: Option<String>,
}

impl Bindings {
    /// Checks the options against the inputs.
    pub(super) fn new(
        graph: &proto::Graph,
        given: &HashMap<String, Host>,
        options: &ImportOptions,
    ) -> Result<Self, OnnxError> {
        let ports: Vec<&proto::ValueInfo> =
            graph.input.iter().filter(|p| !given.contains_key(&p.name)).collect();
        let mut out =
            Self { shapes: BTreeMap::new(), params: BTreeMap::new(), batch: options.batch, clash: None };
        for (name, dims) in &options.shapes {
            let Some(port) = ports.iter().find(|p| p.name == *name) else {
                let known: Vec<String> =
                    ports.iter().map(|p| format!("`{}` {}", cut(&p.name), declared(p))).collect();
                let message = format!("the model has no input `{}`; it has {}", cut(name), known.join(", "));
                return Err(OnnxError::shape(message));
            };
            let shape = shape(port);
            if shape.as_ref().is_some_and(|s| s.len() != dims.len()) {
                let message =
                    format!("the input `{}` is {}, {dims:?} has another rank", cut(name), declared(port));
                return Err(OnnxError::shape(message));
            }
            for (dim, extent) in shape.unwrap_or_default().iter().zip(dims) {
                if let Some(proto::Extent::Param(param)) = &dim.value {
                    let before = out.params.insert(param.clone(), *extent);
                    if before.is_some_and(|b| b != *extent) {
                        out.clash = Some(format!(
                            "the dimension `{}` would be {extent} and another extent",
                            cut(param)
                        ));
                    }
                }
            }
            out.shapes.insert(name.clone(), dims.clone());
        }
        Ok(out)
    }

    /// The first extent that inputs are declared with and the one that they are given, where these differ and are the same for
    /// all of them.
    pub(super) fn changed_batch(&self, graph: &proto::Graph) -> Option<(usize, usize)> {
        let mut found = None;
        for port in graph.input.iter().filter(|p| self.shapes.contains_key(&p.name)) {
            let declared = match shape(port)?.first()?.value {
                Some(proto::Extent::Value(d)) => usize::try_from(d).ok()?,
                Some(proto::Extent::Param(_)) | None => return None,
            };
            let pair = (declared, *self.shapes.get(&port.name)?.first()?);
            if *found.get_or_insert(pair) != pair {
                return None;
            }
        }
        found.filter(|(old, new)| old != new)
    }

    /// # Errors
    /// A dimension bound to two extents.
    pub(super) fn finish(self) -> Result<(), OnnxError> {
        self.clash.map_or(Ok(()), |message| Err(OnnxError::shape(message)))
    }

    fn dims(&self, port: &proto::ValueInfo) -> Result<Vec<usize>, OnnxError> {
        if let Some(dims) = self.shapes.get(&port.name) {
            return positive(port, dims.clone());
        }
        let Some(shape) = shape(port) else {
            let message = format!(
                "the input `{}` has no shape; give it: --shape '{}=1x3x224x224'",
                cut(&port.name),
                cut(&port.name)
            );
            return Err(OnnxError::shape(message));
        };
        let mut dims = Vec::new();
        for (axis, dim) in shape.iter().enumerate() {
            let known = match &dim.value {
                // What is not positive was written by exporters for "unknown".
                Some(proto::Extent::Value(d)) if *d > 0 => Some(*d as usize),
                Some(proto::Extent::Param(name)) => self.params.get(name).copied(),
                Some(proto::Extent::Value(_)) | None => None,
            };
            let free = || {
                let wish: Vec<String> = shape.iter().map(show_dim).collect();
                let message = format!(
                    "axis {axis} of the input `{}` {} is free; give its extents: --shape '{}={}'",
                    cut(&port.name),
                    declared(port),
                    cut(&port.name),
                    wish.join("x"),
                );
                OnnxError::shape(message)
            };
            dims.push(known.or(self.batch.filter(|_| axis == 0)).ok_or_else(free)?);
        }
        positive(port, dims)
    }
}

fn positive(port: &proto::ValueInfo, dims: Vec<usize>) -> Result<Vec<usize>, OnnxError> {
    let wrong = |what: String| OnnxError::shape(format!("the input `{}` has {what}", cut(&port.name)));
    if dims.contains(&0) {
        return Err(wrong(format!("no elements: {dims:?}")));
    }
    let signed: Vec<i64> = dims.iter().map(|d| *d as i64).collect();
    extents(&signed).map_err(wrong)
}

fn shape(port: &proto::ValueInfo) -> Option<Vec<proto::Dim>> {
    port.r#type.as_ref()?.tensor_type.as_ref()?.shape.as_ref().map(|s| s.dim.clone())
}

fn show_dim(dim: &proto::Dim) -> String {
    match &dim.value {
        Some(proto::Extent::Value(d)) if *d > 0 => d.to_string(),
        Some(proto::Extent::Param(name)) if !name.is_empty() => cut(name),
        Some(proto::Extent::Value(_) | proto::Extent::Param(_)) | None => "?".to_owned(),
    }
}

/// `[N, 3, 224, 224]`
fn declared(port: &proto::ValueInfo) -> String {
    match shape(port) {
        None => "of unknown rank".to_owned(),
        Some(dims) => format!("[{}]", dims.iter().map(show_dim).collect::<Vec<_>>().join(", ")),
    }
}

/// The inputs' names and declared extents, free ones as `None`: what a caller needs to bind them by the files given.
pub fn declared_inputs(source: &super::Source) -> Vec<(String, Option<Vec<Option<usize>>>)> {
    let extent = |dim: &proto::Dim| match &dim.value {
        Some(proto::Extent::Value(d)) if *d > 0 => Some(*d as usize),
        Some(proto::Extent::Value(_) | proto::Extent::Param(_)) | None => None,
    };
    let ports = source.graph.input.iter().filter(|p| !source.given.contains_key(&p.name));
    ports.map(|p| (p.name.clone(), shape(p).map(|dims| dims.iter().map(extent).collect()))).collect()
}

/// What to say of an output that is declared with other extents than the nodes give it; names of dimensions are left aside.
pub(super) fn otherwise(port: &proto::ValueInfo, dims: &[usize]) -> Option<String> {
    let said = shape(port)?;
    let same = |(dim, extent): (&proto::Dim, &usize)| match dim.value {
        Some(proto::Extent::Value(d)) if d > 0 => d as u64 == *extent as u64,
        Some(proto::Extent::Value(_) | proto::Extent::Param(_)) | None => true,
    };
    // Converters leave scalars and vectors of one element out of account.
    let whole = said.len() == dims.len() && said.iter().zip(dims).all(same);
    let lone = dims.iter().product::<usize>() == 1 && said.len() != dims.len();
    (!whole && !lone && !said.is_empty()).then(|| {
        let found: Vec<String> = dims.iter().map(usize::to_string).collect();
        format!(
            "the model declares its output `{}` as {}, its nodes give {}; what the nodes give is right",
            cut(&port.name),
            declared(port),
            found.join("x")
        )
    })
}

/// Makes the graph's input for one of the model's.
pub(super) fn input(
    cx: &mut Importer,
    file: &File<'_>,
    port: &proto::ValueInfo,
    bindings: &Bindings,
) -> Result<Value, OnnxError> {
    let wrong = |what: String| OnnxError::shape(format!("the input `{}` has {what}", cut(&port.name)));
    let ty = port.r#type.as_ref().and_then(|t| t.tensor_type.as_ref());
    let Some(ty) = ty else {
        return Err(wrong("a type that is no tensor (a sequence, a map or an optional)".into()));
    };
    let dtype = Dtype::of(ty.elem_type).map_err(wrong)?;
    if dtype.is_narrow() {
        return Err(wrong(format!(
            "elements of type {dtype:?}, in which numbers are stored but not computed with"
        )));
    }
    let elem = dtype.elem();
    let dims = bindings.dims(port)?;
    let order = channels_first(file, &port.name, dims.len());
    let order = order.or_else(|| matches!(dims.len(), 2 | 4 | 5).then(|| (0..dims.len()).collect()));
    let Some(order) = order else {
        let id = cx.graph.input(&port.name, general(&dims).map_err(wrong)?, (0..dims.len()).collect());
        return Ok(Value::Graph(cx.plain(id, elem)));
    };
    // Dimension k of the graph is axis order[k] of the model.
    let inner: Vec<usize> = order.iter().map(|axis| dims[*axis]).collect();
    let mut axes = vec![0; dims.len()];
    order.iter().enumerate().for_each(|(d, axis)| axes[*axis] = d);
    let id = cx.graph.input(&port.name, activation(&inner).map_err(wrong)?, axes.clone());
    Ok(Value::Graph(Val { id, dims, axes: axes.into_iter().map(Some).collect(), elem }))
}

/// Operations that take channels first.
const SPATIAL: &[&str] = &[
    "Conv",
    "ConvTranspose",
    "MaxPool",
    "AveragePool",
    "GlobalAveragePool",
    "GlobalMaxPool",
    "LpPool",
    "BatchNormalization",
    "InstanceNormalization",
    "LRN",
    "DepthToSpace",
    "SpaceToDepth",
    "GroupNormalization",
];
/// Operations that keep the order of dimensions of their first operand.
const KEEPING: &[&str] = &[
    "Add", "Sub", "Mul", "Div", "Cast", "Identity", "Relu", "Clip", "Pad", "Sigmoid", "Tanh", "Dropout",
    "Neg", "Resize",
];

/// So many operations between an input and the first that cares are looked at.
const STEPS_MAX: usize = 64;
/// More axes than this are none of a grid's.
const GRID_MAX: usize = 8;

/// The axes that an `Unsqueeze` puts in, where the file says them.
fn known_axes(file: &File<'_>, node: &proto::Node) -> Option<Vec<i64>> {
    let listed = |node: &proto::Node, name: &str| node.attribute.iter().find(|a| a.name == name).cloned();
    if let Some(attribute) = listed(node, "axes") {
        return Some(attribute.ints);
    }
    let name = node.input.get(1)?;
    if let Some(host) = file.given.get(name) {
        return (host.len() <= GRID_MAX).then(|| host.integers());
    }
    let constant = |n: &&proto::Node| n.op_type == "Constant" && n.output.first() == Some(name);
    let mut tensor = listed(file.graph.node.iter().find(constant)?, "value")?.t?;
    let raw = Raw::of(&mut tensor, None).ok().filter(|raw| raw.len() <= GRID_MAX)?;
    Some(raw.f64s().iter().map(|x| *x as i64).collect())
}

/// Which nodes take a value, by its name.
pub(super) fn users(graph: &proto::Graph) -> HashMap<&str, Vec<&proto::Node>> {
    let mut out: HashMap<&str, Vec<&proto::Node>> = HashMap::new();
    for node in &graph.node {
        node.input.iter().for_each(|input| out.entry(input.as_str()).or_default().push(node));
    }
    out
}

/// For each dimension `n, c, grid…` the axis of the input that the first operation which cares takes for it.
fn channels_first(file: &File<'_>, name: &str, rank: usize) -> Option<Vec<usize>> {
    // Axes that a converter put in for a while (a signal as an image of one row) are none of the input's.
    let own = |order: &[Option<usize>]| -> Option<Vec<usize>> {
        let led = order.len() > 1 && order[..2].iter().all(Option::is_some);
        (led && (3..=5).contains(&rank)).then(|| order.iter().copied().flatten().collect())
    };
    let mut next: VecDeque<(&str, Vec<Option<usize>>)> = [(name, (0..rank).map(Some).collect())].into();
    let mut steps = 0;
    while let Some((name, order)) = next.pop_front() {
        for node in file.users.get(name).into_iter().flatten() {
            steps += 1;
            if steps > STEPS_MAX {
                return None;
            }
            let op = node.op_type.as_str();
            // Flattened in this order: what stands in it is channels and their grid.
            let turned = !order.iter().copied().flatten().eq(0..rank);
            let cares = SPATIAL.contains(&op) && node.input.first().is_some_and(|i| i == name);
            if (cares || turned && matches!(op, "Reshape" | "Flatten"))
                && let Some(found) = own(&order)
            {
                return Some(found);
            }
            if let (Some(order), Some(output)) = (moved(file, node, &order), node.output.first()) {
                next.push_back((output, order));
            }
        }
    }
    None
}

/// The order of an operand's axes behind a node; `None` behind one that does not keep them.
fn moved(file: &File<'_>, node: &proto::Node, order: &[Option<usize>]) -> Option<Vec<Option<usize>>> {
    let mut order = order.to_vec();
    match node.op_type.as_str() {
        "Unsqueeze" => {
            let new = known_axes(file, node)?;
            let whole = order.len() + new.len();
            let mut new: Vec<usize> = new.iter().map(|a| axis(*a, whole).ok()).collect::<Option<_>>()?;
            new.sort_unstable();
            for a in new {
                (a <= order.len()).then(|| order.insert(a, None))?;
            }
        }
        "Transpose" => {
            let perm = node.attribute.iter().find(|a| a.name == "perm").map(|a| a.ints.as_slice());
            let perm: Option<Vec<usize>> = match perm {
                Some(perm) => perm.iter().map(|p| usize::try_from(*p).ok()).collect(),
                None => Some((0..order.len()).rev().collect()),
            };
            let perm = perm.filter(|p| {
                let mut sorted = p.clone();
                sorted.sort_unstable();
                sorted.into_iter().eq(0..order.len())
            })?;
            order = perm.iter().map(|p| order[*p]).collect();
        }
        op if KEEPING.contains(&op) => {}
        _ => return None,
    }
    Some(order)
}
