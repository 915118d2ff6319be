//! Bytes to a checked model: messages decoded, functions of the file itself inlined, elements of other files fetched, every
//! name defined once, nodes in an order in which each stands after what it uses.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fs::File;
use std::path::{Component, Path, PathBuf};

use prost::Message;
use prost::bytes::Bytes;

use super::host::{Data, Host};
use super::tensor::{Raw, extents};
use super::{ImportOptions, OnnxError, cut, proto, title};
use crate::formats::map;

/// More nodes than any network has, functions inlined.
const NODES_MAX: usize = 1 << 18;
/// How deep functions may call functions.
const DEPTH_MAX: usize = 32;

/// A model ready to be imported.
#[derive(Clone, Debug)]
pub struct Source {
    pub(super) graph: proto::Graph,
    /// Version of ONNX's own operator set.
    pub(super) opset: i64,
    /// What wrote the file.
    pub(super) producer: String,
    /// Given tensors by name.
    pub(super) given: HashMap<String, Host>,
}

/// Whether bytes may be an ONNX file: they begin with the format's version, or with a field that may come first.
pub fn is_onnx(head: &[u8]) -> bool {
    matches!(head, [0x08, 1..=64, ..])
}

impl Source {
    /// Reads a model; `options` say where external data may lie.
    ///
    /// # Errors
    /// [`OnnxError`] for what is no sound model.
    pub fn read(bytes: Bytes, options: &ImportOptions) -> Result<Self, OnnxError> {
        let model = proto::Model::decode(bytes)
            .map_err(|e| OnnxError::malformed(format!("not a sound ONNX file: {e}")))?;
        let Some(mut graph) = model.graph else {
            return Err(OnnxError::malformed("not a sound ONNX file: it holds no graph"));
        };
        let opset = opset_of(&model.opset_import)?;
        if !model.functions.is_empty() {
            graph.node = inlined(std::mem::take(&mut graph.node), &model.functions)?;
        }
        if graph.node.len() > NODES_MAX {
            let message = format!("{} nodes, more than the {NODES_MAX} that are taken", graph.node.len());
            return Err(OnnxError::malformed(message));
        }
        let given = given(&mut graph, options.folder.as_deref())?;
        sort(&mut graph, &given)?;
        Ok(Self { graph, opset, producer: model.producer_name, given })
    }

    /// What messages call the node that makes a value: `` node `conv1` (Conv) ``.
    pub fn maker(&self, value: &str) -> Option<String> {
        self.graph.node.iter().find(|n| n.output.iter().any(|o| o == value)).map(title)
    }
}

fn opset_of(imports: &[proto::OperatorSet]) -> Result<i64, OnnxError> {
    let own = imports.iter().find(|o| matches!(o.domain.as_str(), "" | "ai.onnx"));
    match own.map(|o| o.version) {
        Some(version) if version >= 1 => Ok(version),
        Some(version) => Err(OnnxError::malformed(format!("operator set {version}, which does not exist"))),
        // A model of other domains' nodes alone; each of them is refused by name.
        None => Ok(1),
    }
}

/// Given tensors by name, taken out of the graph.
fn given(graph: &mut proto::Graph, folder: Option<&Path>) -> Result<HashMap<String, Host>, OnnxError> {
    let mut out = HashMap::new();
    let mut files = Files { folder, open: BTreeMap::new() };
    for mut tensor in std::mem::take(&mut graph.initializer) {
        let name = std::mem::take(&mut tensor.name);
        let wrong = |what: String| OnnxError::malformed(format!("initializer `{}` has {what}", cut(&name)));
        let external = match tensor.data_location {
            1 => Some(files.fetch(&name, &tensor.external_data)?),
            _ => None,
        };
        let raw = Raw::of(&mut tensor, external).map_err(wrong)?;
        if out.insert(name.clone(), Host::raw(raw, &name)).is_some() {
            return Err(OnnxError::malformed(format!("two initializers are called `{}`", cut(&name))));
        }
    }
    for sparse in std::mem::take(&mut graph.sparse_initializer) {
        let name = sparse.values.as_ref().map_or(String::new(), |v| v.name.clone());
        let host = dense(sparse).map_err(|what| {
            OnnxError::malformed(format!("sparse initializer `{}` has {what}", cut(&name)))
        })?;
        out.insert(name.clone(), Host { name: Some(name.as_str().into()), ..host });
    }
    Ok(out)
}

/// Elements of a sparse tensor that are written out at most.
const SPARSE_MAX: usize = 1 << 26;

/// All elements of a sparse tensor.
pub(super) fn dense(sparse: proto::SparseTensor) -> Result<Host, String> {
    let dims = extents(&sparse.dims)?;
    let len: usize = dims.iter().product();
    if len > SPARSE_MAX {
        return Err(format!("extents {dims:?}, more than is written out"));
    }
    let mut values = sparse.values.ok_or("no values")?;
    let values = Raw::of(&mut values, None)?;
    let mut indices = sparse.indices.ok_or("no indices")?;
    let indices = Raw::of(&mut indices, None)?;
    let places = indices.f64s();
    let flat: Vec<f64> = match indices.dims[..] {
        [_] => places,
        [_, rank] if rank == dims.len() && rank > 0 => places
            .chunks_exact(rank)
            .map(|row| row.iter().zip(&dims).fold(0.0, |at, (i, d)| at * *d as f64 + i))
            .collect(),
        _ => return Err(format!("indices of extents {:?}", indices.dims)),
    };
    if flat.len() != values.len() {
        return Err(format!("{} places for {} values", flat.len(), values.len()));
    }
    let mut all = vec![0.0; len];
    for (at, value) in flat.iter().zip(values.f64s()) {
        let slot = (*at >= 0.0).then(|| all.get_mut(*at as usize)).flatten();
        *slot.ok_or_else(|| format!("the place {at} in {len} elements"))? = value;
    }
    Ok(Host { dims, elem: values.dtype.elem(), data: Data::Values(all.into()), name: None })
}

/// External files, each mapped once.
struct Files<'a> {
    folder: Option<&'a Path>,
    open: BTreeMap<PathBuf, Bytes>,
}

impl Files<'_> {
    /// The bytes that `entries` say.
    fn fetch(&mut self, name: &str, entries: &[proto::Entry]) -> Result<Bytes, OnnxError> {
        let get = |key: &str| entries.iter().find(|e| e.key == key).map(|e| e.value.as_str());
        let wrong = |what: String| OnnxError::external(format!("initializer `{}`: {what}", cut(name)));
        let location = get("location").unwrap_or("");
        let inside = !location.is_empty()
            && Path::new(location)
                .components()
                .all(|c| matches!(c, Component::Normal(_) | Component::CurDir));
        if !inside {
            return Err(wrong(format!(
                "its elements would lie at `{}`, outside of the model's folder",
                cut(location)
            )));
        }
        let Some(folder) = self.folder else {
            return Err(wrong(format!("its elements lie in `{}`, and no folder is known", cut(location))));
        };
        let path = folder.join(location);
        let io = |e: std::io::Error| wrong(format!("{}: {e}", path.display()));
        if !self.open.contains_key(&path) {
            let opened = open_inside(folder, &path).map_err(io)?;
            self.open.insert(path.clone(), opened);
        }
        let Some(bytes) = self.open.get(&path) else {
            return Err(wrong("it cannot be opened".into()));
        };
        let len = bytes.len() as u64;
        let number = |key| match get(key) {
            None | Some("") => Ok(None),
            Some(text) => text
                .parse::<u64>()
                .map(Some)
                .map_err(|_| wrong(format!("{key} `{}` is no number", cut(text)))),
        };
        let offset = number("offset")?.unwrap_or(0);
        let length = number("length")?.unwrap_or(len.saturating_sub(offset));
        if offset.checked_add(length).is_none_or(|end| end > len) {
            return Err(wrong(format!(
                "bytes {offset} to {offset} + {length} of {}, which has {len}",
                path.display()
            )));
        }
        Ok(bytes.slice(offset as usize..(offset + length) as usize))
    }
}

/// Opens a file that lies in `folder`, links followed.
fn open_inside(folder: &Path, path: &Path) -> std::io::Result<Bytes> {
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let real = path.canonicalize()?;
    if !real.starts_with(folder.canonicalize()?) {
        return Err(std::io::Error::new(
            std::io::ErrorKind::PermissionDenied,
            "it leads out of the model's folder",
        ));
    }
    let file = File::open(real)?;
    if !file.metadata()?.is_file() {
        return Err(std::io::Error::new(std::io::ErrorKind::InvalidInput, "it is no regular file"));
    }
    map::bytes(&file)
}

/// Puts nodes into an order in which each stands after what it uses; what is in order stays.
fn sort(graph: &mut proto::Graph, given: &HashMap<String, Host>) -> Result<(), OnnxError> {
    let mut maker: HashMap<&str, usize> = HashMap::new();
    for (i, node) in graph.node.iter().enumerate() {
        for output in node.output.iter().filter(|o| !o.is_empty()) {
            if maker.insert(output, i).is_some() || given.contains_key(output) {
                let message = format!("`{}` is made twice, once by {}", cut(output), title(node));
                return Err(OnnxError::malformed(message));
            }
        }
    }
    let used = |i: usize| {
        let mut names: BTreeSet<&str> = BTreeSet::new();
        uses(&graph.node[i], &mut names, 0);
        names
    };
    let mut waits: Vec<usize> = Vec::with_capacity(graph.node.len());
    let mut users: Vec<Vec<usize>> = vec![Vec::new(); graph.node.len()];
    for i in 0..graph.node.len() {
        let makers: BTreeSet<usize> = used(i).iter().filter_map(|n| maker.get(n).copied()).collect();
        makers.iter().for_each(|m| users[*m].push(i));
        waits.push(makers.len());
    }
    let mut ready: BTreeSet<usize> = (0..waits.len()).filter(|i| waits[*i] == 0).collect();
    let mut order = Vec::with_capacity(waits.len());
    while let Some(i) = ready.pop_first() {
        order.push(i);
        for user in &users[i] {
            waits[*user] -= 1;
            if waits[*user] == 0 {
                ready.insert(*user);
            }
        }
    }
    if let Some(stuck) = (0..waits.len()).find(|i| waits[*i] > 0) {
        let message = format!("{} needs its own result: the nodes form a cycle", title(&graph.node[stuck]));
        return Err(OnnxError::malformed(message));
    }
    let mut nodes: Vec<Option<proto::Node>> = std::mem::take(&mut graph.node).into_iter().map(Some).collect();
    graph.node = order.into_iter().filter_map(|i| nodes[i].take()).collect();
    Ok(())
}

/// Every name that a node and the graphs inside of it use.
fn uses<'a>(node: &'a proto::Node, names: &mut BTreeSet<&'a str>, depth: usize) {
    names.extend(node.input.iter().filter(|n| !n.is_empty()).map(String::as_str));
    for graph in node.attribute.iter().filter_map(|a| a.g.as_ref()).filter(|_| depth < DEPTH_MAX) {
        graph.node.iter().for_each(|n| uses(n, names, depth + 1));
        names.extend(graph.output.iter().map(|o| o.name.as_str()));
    }
}

/// Adds every name that a node uses.
pub(super) fn used_names<'a>(node: &'a proto::Node, names: &mut HashSet<&'a str>) {
    let mut own = BTreeSet::new();
    uses(node, &mut own, 0);
    names.extend(own);
}

/// Nodes with those that call the file's functions replaced by what the functions hold.
fn inlined(nodes: Vec<proto::Node>, functions: &[proto::Function]) -> Result<Vec<proto::Node>, OnnxError> {
    let table: HashMap<(&str, &str), &proto::Function> =
        functions.iter().map(|f| ((f.domain.as_str(), f.name.as_str()), f)).collect();
    let mut out = Vec::new();
    let mut calls = 0;
    for node in nodes {
        inline(node, &table, 0, &mut calls, &mut out)?;
    }
    Ok(out)
}

fn inline(
    node: proto::Node,
    table: &HashMap<(&str, &str), &proto::Function>,
    depth: usize,
    calls: &mut usize,
    out: &mut Vec<proto::Node>,
) -> Result<(), OnnxError> {
    let Some(function) = table.get(&(node.domain.as_str(), node.op_type.as_str())) else {
        if out.len() >= NODES_MAX {
            return Err(OnnxError::malformed(format!("more than {NODES_MAX} nodes, functions inlined")));
        }
        out.push(node);
        return Ok(());
    };
    if depth >= DEPTH_MAX {
        return Err(OnnxError::node(&node, format!("functions call functions more than {DEPTH_MAX} deep")));
    }
    *calls += 1;
    if *calls > NODES_MAX {
        return Err(OnnxError::malformed(format!("more than {NODES_MAX} calls of functions")));
    }
    let prefix = format!("{}/{}", if node.name.is_empty() { &node.op_type } else { &node.name }, calls);
    let given = function.input.iter().zip(node.input.iter().map(String::as_str).chain(std::iter::repeat("")));
    let made =
        function.output.iter().zip(node.output.iter().map(String::as_str).chain(std::iter::repeat("")));
    let outer: HashMap<&str, &str> =
        given.chain(made).map(|(inner, outer)| (inner.as_str(), outer)).collect();
    let rename = |name: &String| match outer.get(name.as_str()) {
        Some(outer) if !outer.is_empty() || function.input.contains(name) => (*outer).to_owned(),
        _ if name.is_empty() => String::new(),
        _ => format!("{prefix}/{name}"),
    };
    for inner in &function.node {
        let mut inner = inner.clone();
        inner.input = inner.input.iter().map(rename).collect();
        inner.output = inner.output.iter().map(rename).collect();
        inner.name = format!("{prefix}/{}", inner.name);
        inner.attribute = inner.attribute.iter().filter_map(|a| bound(a, &node, function)).collect();
        inline(inner, table, depth + 1, calls, out)?;
    }
    Ok(())
}

/// An attribute inside a function, with what the call says where it refers to the function's own.
fn bound(
    attribute: &proto::Attribute,
    call: &proto::Node,
    function: &proto::Function,
) -> Option<proto::Attribute> {
    if attribute.ref_attr_name.is_empty() {
        return Some(attribute.clone());
    }
    let mut all = call.attribute.iter().chain(&function.attribute_proto);
    let found = all.find(|a| a.name == attribute.ref_attr_name)?;
    Some(proto::Attribute { name: attribute.name.clone(), ..found.clone() })
}
