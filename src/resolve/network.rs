//! What resolving a net gives: its graph, and beside each value where it comes from: the call, the reasons of its shape, the
//! blocks and turns around it. Built through the `add_*` functions only, which keep graph and trace in step.

use std::collections::BTreeMap;
use std::rc::Rc;

use crate::graph::{Def, Graph, ValueId};
use crate::ops::args::{ArgValue, Layer};
use crate::ops::init::Init;
use crate::ops::{Inferred, Op, OpError, OpInfo, WeightSpec, Why};
use crate::support::Name;
use crate::support::span::Span;
use crate::tensor::ty::TensorTy;

/// A net, resolved. Its graph may be compiled only if the program has no error.
#[derive(Clone, Debug)]
pub struct Network {
    /// Its name.
    pub name: Name,
    /// Where its name stands.
    pub span: Span,
    /// Its values.
    pub graph: Graph,
    /// Where each value of the graph comes from, by [`ValueId`].
    pub trace: Vec<Trace>,
    /// Blocks and turns; the net itself is the first.
    pub places: Vec<Place>,
    /// Something in it is wrong: values and names may be missing.
    pub broken: bool,
    /// No source describes it: an importer made it.
    pub imported: bool,
    /// Values by the path that the source gives them with `as`, blocks and turns included: `stage[2].a`.
    pub named: BTreeMap<String, ValueId>,
}

/// Where a value comes from.
#[derive(Clone, Debug)]
pub struct Trace {
    /// What made it, as the source calls it: `conv`, `+`; for inputs and weights, `input` and `weight`.
    pub what: Name,
    /// The name that `as`, `let` or a parameter list gave it, if any.
    pub label: Option<Name>,
    /// The call.
    pub span: Span,
    /// For each dimension, why it has its extent.
    pub why: Vec<Why>,
    /// For each dimension, whether its extent only stands in for one that an error left unknown.
    pub doubtful: Vec<bool>,
    /// The block or turn it was made in: a position in [`Network::places`].
    pub place: usize,
    /// The arguments of the call and where they stand.
    pub site: Option<Rc<Site>>,
}

/// A block called, or a turn of a `repeat`.
#[derive(Clone, Debug)]
pub struct Place {
    /// The one around it.
    pub parent: Option<usize>,
    /// As messages show it: `residual(k: 128, s: 2)`, `stage[1]`.
    pub text: String,
    /// The name alone: `residual`, `stage[1]`.
    pub name: String,
    /// The call, or the `repeat`.
    pub span: Span,
    /// Its tensor parameters; `it` for a turn.
    pub params: Vec<(Name, ValueId)>,
}

/// The text of a call: what an edit needs to know.
#[derive(Clone, Debug)]
pub struct Site {
    /// The operation.
    pub info: &'static OpInfo,
    /// The name that is called.
    pub callee: Span,
    /// The static arguments that are written: parameter, value, whole argument (key included), evaluated value.
    pub args: Vec<SiteArg>,
    /// Where a further argument may be inserted, and what must stand before and after it.
    pub insert: Option<(Span, &'static str, &'static str)>,
}

/// A written static argument.
#[derive(Clone, Debug)]
pub struct SiteArg {
    /// The parameter's name.
    pub name: &'static str,
    /// The value's place.
    pub value: Span,
    /// The place of the argument with its key.
    pub whole: Span,
    /// What it evaluated to.
    pub arg: ArgValue,
    /// Whether it is written as a number or word rather than computed.
    pub literal: bool,
}

impl Site {
    /// The written argument `name`.
    pub fn arg(&self, name: &str) -> Option<&SiteArg> {
        self.args.iter().find(|a| a.name == name)
    }
}

impl Network {
    /// An empty network.
    pub(super) fn new(name: &Name, span: Span) -> Self {
        Self {
            name: name.clone(),
            span,
            graph: Graph::new(name),
            trace: Vec::new(),
            places: vec![Place {
                parent: None,
                text: name.to_string(),
                name: name.to_string(),
                span,
                params: Vec::new(),
            }],
            broken: false,
            imported: false,
            named: BTreeMap::new(),
        }
    }

    /// A network that no source describes: what an importer made. `span` stands for the file.
    pub fn of_graph(graph: Graph, span: Span) -> Self {
        let name = Name::from(graph.name.as_str());
        let mut net = Self::new(&name, span);
        net.imported = true;
        let whats: Vec<String> = graph
            .ids()
            .map(|id| match &graph.value(id).def {
                Def::Input(_) => "input".to_owned(),
                Def::Param { .. } => "weight".to_owned(),
                Def::Const(_) => "constant".to_owned(),
                Def::Op { op, .. } => called(op),
            })
            .collect();
        net.graph = Graph { values: Vec::new(), ..graph.clone() };
        for (value, what) in graph.values.into_iter().zip(whats) {
            let id = ValueId(net.trace.len() as u32);
            let why = value.ty.dims().iter().map(|_| Why::given("imported")).collect();
            net.graph.values.push(value);
            net.note(id, &what, None, span, why, 0, None);
        }
        net
    }

    /// Lets `train` items speak of an imported network's values: by the file's name with `_` for what is no letter or digit, and
    /// of the only output also as `out`. A name that two values would have is none.
    pub fn name_values(&mut self) {
        // By word: the file's name, and the value if no other name is the same word.
        let mut found: BTreeMap<String, (String, Option<ValueId>)> = BTreeMap::new();
        for id in self.graph.ids().filter(|id| matches!(self.graph.value(*id).def, Def::Op { .. })) {
            let name = &self.graph.value(id).name;
            let entry = found.entry(Self::word(name)).or_insert_with(|| (name.clone(), Some(id)));
            // Of the values that one node became the last is the node's result.
            entry.1 = entry.1.filter(|_| entry.0 == *name).map(|_| id);
        }
        self.named.extend(found.into_iter().filter_map(|(word, (_, id))| Some((word, id?))));
        if let [only] = self.graph.outputs.as_slice() {
            self.named.insert("out".to_owned(), only.value);
        }
        let ports = self.graph.outputs.iter().chain(&self.graph.inputs);
        self.named.extend(ports.map(|p| (Self::word(&p.name), p.value)));
    }

    /// A name with `_` for everything that no name of the language holds.
    pub fn word(name: &str) -> String {
        let word: String = name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
        let word = word.trim_matches('_');
        if word.starts_with(|c: char| c.is_ascii_digit()) { format!("v{word}") } else { word.to_owned() }
    }

    /// The first elements of a weight by its name: those of the file for a network that was imported.
    pub fn initial(&self, name: &str, seed: u64) -> Option<Vec<f32>> {
        let id = self.graph.params().find(|id| self.graph.value(*id).name == name)?;
        let value = self.graph.value(id);
        match &value.def {
            Def::Param { init, .. } => Some(crate::ops::init::values(init, &value.ty, name, seed)),
            Def::Input(_) | Def::Const(_) | Def::Op { .. } => None,
        }
    }

    /// The type of a value.
    pub fn ty(&self, id: ValueId) -> &TensorTy {
        &self.graph.value(id).ty
    }

    /// Where a value comes from.
    pub fn trace(&self, id: ValueId) -> &Trace {
        &self.trace[id.index()]
    }

    /// The value that the source calls `path`: a name given by `as`, an output, or an input.
    pub fn find(&self, path: &str) -> Option<ValueId> {
        let port = |ports: &[crate::graph::Port]| ports.iter().find(|p| *p.name == *path).map(|p| p.value);
        self.named
            .get(path)
            .copied()
            .or_else(|| port(&self.graph.outputs))
            .or_else(|| port(&self.graph.inputs))
    }

    /// The operation that made `id` as an argument `of: layer`; `None` where no operation made it.
    pub fn layer(&self, id: ValueId, name: &Name) -> Option<Layer> {
        let Def::Op { op, inputs } = &self.graph.value(id).def else { return None };
        let input = self.ty(*inputs.first()?).clone();
        Some(Layer { name: name.clone(), op: op.clone(), input, output: self.ty(id).clone() })
    }

    /// Adds an input of the net.
    pub(super) fn add_input(&mut self, name: &Name, ty: TensorTy, order: Vec<usize>, span: Span) -> ValueId {
        let why = ty.dims().iter().map(|_| Why::given("declared")).collect();
        let id = self.graph.input(name, ty, order);
        self.note(id, "input", Some(name.clone()), span, why, 0, None);
        id
    }

    /// Adds a weight.
    pub(super) fn add_weight(&mut self, path: &str, spec: &WeightSpec, span: Span, place: usize) -> ValueId {
        let id = self.graph.param(path, spec.ty.clone(), spec.init.clone(), spec.trainable);
        self.note(id, "weight", None, span, Vec::new(), place, None);
        id
    }

    /// Adds an operation.
    ///
    /// # Errors
    /// What the shape rule says.
    pub(super) fn add_op(
        &mut self,
        name: &str,
        op: Op,
        inputs: &[ValueId],
        made: (&Name, Option<Name>, Span, usize, Option<Rc<Site>>),
    ) -> Result<ValueId, OpError> {
        let (id, Inferred { why, .. }) = self.graph.op(name, op, inputs)?;
        let (what, label, span, place, site) = made;
        let doubtful = why.iter().map(|w| self.is_doubtful(w, inputs)).collect();
        self.note(id, what, label, span, why, place, site);
        if let Some(trace) = self.trace.last_mut() {
            trace.doubtful = doubtful;
        }
        Ok(id)
    }

    /// Adds a stand-in of type `ty` for a value that an error left without a maker; `doubtful` says which extents are
    /// guesses.
    pub(super) fn add_hole(
        &mut self,
        name: &str,
        ty: TensorTy,
        doubtful: Vec<bool>,
        made: (&Name, Option<Name>, Span, usize),
    ) -> ValueId {
        let why = ty.dims().iter().map(|_| Why::given("assumed after an error")).collect();
        let id = self.graph.param(name, ty, Init::Constant(0.0), false);
        let (what, label, span, place) = made;
        self.note(id, what, label, span, why, place, None);
        if let Some(trace) = self.trace.last_mut() {
            trace.doubtful = doubtful;
        }
        id
    }

    fn is_doubtful(&self, why: &Why, inputs: &[ValueId]) -> bool {
        let Some((input, dim)) = why.from else { return false };
        let Some(id) = inputs.get(input) else { return false };
        self.trace(*id).doubtful.get(dim).copied().unwrap_or(false)
    }

    #[allow(
        clippy::too_many_arguments,
        reason = "the fields of one record, called from the five functions above"
    )]
    fn note(
        &mut self,
        id: ValueId,
        what: &str,
        label: Option<Name>,
        span: Span,
        why: Vec<Why>,
        place: usize,
        site: Option<Rc<Site>>,
    ) {
        debug_assert_eq!(id.index(), self.trace.len());
        self.graph.set_span(id, span);
        let doubtful = vec![false; self.ty(id).dims().len()];
        self.trace.push(Trace { what: what.into(), label, span, why, doubtful, place, site });
    }
}

/// What reports call an operation: the function where one operation has several, else its kind.
fn called(op: &Op) -> String {
    let kind = op.rules().kind();
    let attrs = op.rules().attrs();
    match (attrs.word("f"), attrs.word("kind")) {
        (Ok(function), _) => function.to_owned(),
        (_, Ok(which)) => format!("{which}{kind}"),
        _ => kind.to_owned(),
    }
}
