//! The catalogue of operations: one file each, one row each in the `ops!` table.
//!
//! A file reads in a fixed order: `//!` semantics as mathematics with its source, the struct of attributes, `INFO` rows (what
//! the language calls it, its arguments, how a call becomes the struct), `infer`, `vjp`, `reference`, `lower`, `cases`.
//! No rule has a default, so that a forgotten one does not compile.
//!
//! An operation sees types and makes loops through [`lower::LowerCx`]; it knows nothing of graphs or
//! files, and only its gradient rule names other operations.

pub mod apart;
pub mod args;
pub mod case;
mod channel_loops;
mod conv_cases;
mod conv_grad_groups;
mod conv_grad_nest;
mod conv_nest;
#[cfg(test)]
mod conv_tests;
pub mod equation;
pub mod gather;
pub mod geometry;
pub mod init;
pub mod lower;
pub mod minimal;
mod pool_args;
mod pool_cases;
mod pool_look;
mod pool_spread;
mod reduce;
pub mod role;
pub mod shape_rules;
mod start;
mod strips;
pub mod tabled;
mod unconv_nest;
pub mod vjp;
pub mod window;
mod winograd_grad_nest;
mod winograd_nest;

use crate::support::diag::Code;
use crate::tensor::array::Array;
use crate::tensor::ty::TensorTy;
use args::{Attrs, CallArgs};

/// Declares `enum Op`, its access to the rules, and the list of modules' `INFO` and `cases`.
macro_rules! ops {
    ($($variant:ident($module:ident::$ty:ident)),* $(,)?) => {
        $(pub mod $module;)*

        /// An operation with its attributes. Closed: a new one is a file and a row.
        #[derive(Clone, Debug, PartialEq)]
        #[allow(missing_docs, reason = "each is documented by its file")]
        pub enum Op {
            $($variant($module::$ty),)*
        }

        impl Op {
            /// The rules of this operation.
            pub fn rules(&self) -> &dyn OpRules {
                match self {
                    $(Self::$variant(op) => op,)*
                }
            }

            /// The operation that prints as `kind` with these attributes.
            ///
            /// # Errors
            /// A sentence that says what is wrong with the kind or the attributes.
            pub fn parse(kind: &str, attrs: &Attrs) -> Result<Self, String> {
                $(if kind == $module::$ty::KIND { return $module::$ty::from_attrs(attrs).map(Self::$variant); })*
                Err(format!("no operation is called `{kind}`"))
            }
        }

        $(impl From<$module::$ty> for Op {
            fn from(op: $module::$ty) -> Self {
                Self::$variant(op)
            }
        })*

        /// Every name the language can call, with its arguments.
        pub fn infos() -> Vec<&'static OpInfo> {
            let mut all = Vec::new();
            $(all.extend($module::$ty::INFO.iter());)*
            all
        }

        /// Every operation's test cases, each with the file that made it.
        pub fn all_cases() -> Vec<(&'static str, Vec<case::Case>)> {
            vec![$((stringify!($module), $module::$ty::cases()),)*]
        }
    };
}

ops! {
    Adjoint(adjoint::Adjoint),
    Aggregate(aggregate::Aggregate),
    ArgAxis(arg_axis::ArgAxis),
    Arrange(arrange::Arrange),
    BandFold(band_fold::BandFold),
    BandSums(bands::BandSums),
    BatchNorm(batchnorm::BatchNorm),
    BatchNormGrad(batchnorm_grad::BatchNormGrad),
    Binary(binary::Binary),
    Blend(blend::Blend),
    Concat(concat::Concat),
    Conv(conv::Conv),
    ConvGrad(conv_grad::ConvGrad),
    ConvGradFold(conv_grad_fold::ConvGradFold),
    ConvGradSums(conv_grad_sums::ConvGradSums),
    Copy(copy::Copy),
    CrossEntropy(cross_entropy::CrossEntropy),
    CrossEntropyGrad(cross_entropy_grad::CrossEntropyGrad),
    Dense(dense::Dense),
    DenseGrad(dense_grad::DenseGrad),
    DepthSpace(depth_space::DepthSpace),
    Embed(embed::Embed),
    Expand(expand::Expand),
    Flip(flip::Flip),
    Fold(fold::Fold),
    Identity(identity::Identity),
    L2Norm(l2norm::L2Norm),
    L2NormGrad(l2norm_grad::L2NormGrad),
    Loss(loss::Loss),
    LossGrad(loss_grad::LossGrad),
    Lrn(lrn::Lrn),
    LrnGrad(lrn_grad::LrnGrad),
    MatMul(matmul::MatMul),
    Moment(moment::Moment),
    Norm(norm::Norm),
    NormGrad(norm_grad::NormGrad),
    Optim(optim::Optim),
    Pad(pad::Pad),
    Permute(permute::Permute),
    Pointwise(pointwise::Pointwise),
    Pool(pool::Pool),
    PoolGrad(pool_grad::PoolGrad),
    PoolIndex(pool_index::PoolIndex),
    Power(power::Power),
    PRelu(prelu::PRelu),
    PReluGrad(prelu_grad::PReluGrad),
    Refold(refold::Refold),
    Reshape(reshape::Reshape),
    Resize(resize::Resize),
    Shuffle(shuffle::Shuffle),
    Slice(slice::Slice),
    Softmax(softmax::Softmax),
    SoftmaxGrad(softmax_grad::SoftmaxGrad),
    Squares(squares::Squares),
    Sum(sum::Sum),
    Unary(unary::Unary),
    UnaryGrad(unary_grad::UnaryGrad),
    Unconv(unconv::Unconv),
    Upsample(upsample::Upsample),
    Winner(winner::Winner),
    Winograd(winograd::Winograd),
    WinogradFold(winograd_fold::WinogradFold),
    WinogradGrad(winograd_grad::WinogradGrad),
    WinogradWeight(winograd_weight::WinogradWeight),
}

/// What every operation must say. Inputs are activations first, then weights in the order that `make` created them.
pub trait OpRules {
    /// What printed graphs call it: a word of `a-z0-9_`, one per struct.
    fn kind(&self) -> &'static str;

    /// Its attributes, enough to make it again with `Op::parse`.
    fn attrs(&self) -> Attrs;

    /// Shape rule: the type of the output, and for each of its dimensions where it comes from.
    ///
    /// # Errors
    /// [`OpError`] when the inputs do not fit; with `recover` where checking can go on.
    fn infer(&self, inputs: &[&TensorTy]) -> Result<Inferred, OpError>;

    /// Gradient rule: what the gradient by the output means for the inputs that are asked for.
    ///
    /// # Errors
    /// [`vjp::NotDifferentiable`] with the reason why there is none.
    fn vjp(&self, e: &mut dyn vjp::Emit, at: &vjp::Applied<'_>) -> vjp::Pulled;

    /// The obvious computation in `f64`, sharing no code with [`Self::lower`].
    /// Inputs and result are row-major in the dimension order of their types.
    fn reference(&self, inputs: &[&Array], out: &TensorTy) -> Array;

    /// Writes the loop nest: stores every element of the output exactly once through [`lower::LowerCx::store`].
    fn lower(&self, cx: &mut lower::LowerCx<'_>);

    /// What each input's layout must offer, and what the output's must.
    fn wants(&self, inputs: &[&TensorTy], out: &TensorTy) -> lower::Wants;

    /// For an elementwise operation (output element = function of the input elements at the same, broadcast, index):
    /// that function, so that it can be applied where another operation stores. `None` for all others.
    fn scalar(&self) -> Option<lower::ScalarFn<'_>>;

    /// What rewriting passes may know of it: an identity, a normalisation by stored statistics, an operation linear in its
    /// weight, or [`role::Role::Plain`].
    fn role(&self) -> role::Role;

    /// Work of one forward pass over the whole batch.
    fn cost(&self, inputs: &[&TensorTy], out: &TensorTy) -> Cost;

    /// How positions of the output look back on positions of the activation input `input`, per grid axis of the output.
    fn field(&self, input: usize, inputs: &[&TensorTy], out: &TensorTy) -> Vec<Field>;
}

/// Work of an operation. A convolution's multiply-adds count each product of a weight with an input once, padding included,
/// as papers do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Multiply-adds.
    pub macs: u64,
    /// Floating-point operations, 2 for a multiply-add.
    pub flops: u64,
}

/// How output positions `o` along one grid axis look back on one input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// Positions `o*stride - before ..= o*stride - before + reach - 1` (a window; pointwise is `1, 0, 1`).
    Window {
        /// Step between neighbours.
        stride: u64,
        /// How far before `o*stride` it starts (the padding at the start).
        before: i64,
        /// How many positions from first to last, `d*(k-1) + 1`.
        reach: u64,
    },
    /// Input `i` reaches outputs `i*stride - before ..= i*stride - before + reach - 1` (a transposed window).
    Spread {
        /// Step between the outputs of neighbouring inputs.
        stride: u64,
        /// How far before `i*stride` it starts.
        before: i64,
        /// How many outputs, from first to last, one input reaches.
        reach: u64,
    },
    /// Every position of the axis, or no such axis.
    All,
}

/// The type that a shape rule found, with its reasons.
#[derive(Clone, Debug, PartialEq)]
pub struct Inferred {
    /// The output's type.
    pub ty: TensorTy,
    /// One reason per dimension of `ty`.
    pub why: Vec<Why>,
}

/// Where an extent comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Why {
    /// The input and the dimension of it that this extent was computed from, if any.
    pub from: Option<(usize, usize)>,
    /// The formula with its numbers, without the result: `same: ceil(56 / 2)`; empty for "the same extent".
    pub formula: String,
}

impl Why {
    /// The extent of dimension `dim` of input `input`, unchanged.
    pub fn same(input: usize, dim: usize) -> Self {
        Self { from: Some((input, dim)), formula: String::new() }
    }

    /// Computed from dimension `dim` of input `input`.
    pub fn from(input: usize, dim: usize, formula: impl Into<String>) -> Self {
        Self { from: Some((input, dim)), formula: formula.into() }
    }

    /// Given by an argument: `channels 64`.
    pub fn given(formula: impl Into<String>) -> Self {
        Self { from: None, formula: formula.into() }
    }
}

/// What is wrong with a call or its inputs.
#[derive(Clone, Debug, PartialEq)]
pub struct OpError {
    /// The code.
    pub code: Code,
    /// One sentence with the values in it, lower case, no full stop.
    pub message: String,
    /// What to mark.
    pub at: At,
    /// Text beside the mark; empty for the usual one (the shapes of all inputs).
    pub label: String,
    /// Input dimensions whose chains should be shown: (input, dimension).
    pub blame: Vec<(usize, usize)>,
    /// Further lines.
    pub notes: Vec<String>,
    /// Argument changes worth trying; each is verified on the whole program before it is shown.
    pub tries: Vec<Try>,
    /// The type with which checking goes on; `None` poisons the value.
    pub recover: Option<TensorTy>,
}

impl OpError {
    /// An error about the whole call, nothing else known.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            at: At::Call,
            label: String::new(),
            blame: Vec::new(),
            notes: Vec::new(),
            tries: Vec::new(),
            recover: None,
        }
    }

    /// Marks an argument instead of the whole call.
    #[must_use]
    pub fn at(mut self, at: At) -> Self {
        self.at = at;
        self
    }

    /// Sets the text beside the mark.
    #[must_use]
    pub fn label(mut self, text: impl Into<String>) -> Self {
        self.label = text.into();
        self
    }

    /// Names an input dimension whose chain explains the error.
    #[must_use]
    pub fn blame(mut self, input: usize, dim: usize) -> Self {
        self.blame.push((input, dim));
        self
    }

    /// Adds a line.
    #[must_use]
    pub fn note(mut self, text: impl Into<String>) -> Self {
        self.notes.push(text.into());
        self
    }

    /// Adds a change of an argument worth trying.
    #[must_use]
    pub fn try_arg(mut self, arg: &'static str, value: impl Into<String>) -> Self {
        self.tries.push(Try { arg, value: value.into() });
        self
    }

    /// Sets the type with which checking goes on.
    #[must_use]
    pub fn recover(mut self, ty: Option<TensorTy>) -> Self {
        self.recover = ty;
        self
    }
}

/// What an [`OpError`] marks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    /// The whole call.
    Call,
    /// The argument of this name, the call if it was not written.
    Arg(&'static str),
    /// The expression of this input.
    Input(usize),
}

/// `arg: value`, set in place of what is written or added to the call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Try {
    /// The argument.
    pub arg: &'static str,
    /// Its new value as source text.
    pub value: String,
}

/// What the language knows of a name that can be called.
#[derive(Clone, Copy, Debug)]
pub struct OpInfo {
    /// The name in the language: `conv`.
    pub name: &'static str,
    /// The family, for listings: `affine`, `pooling`, `detector`, `normalising`, `joining`, `moving`, `other`, `losses`.
    pub family: &'static str,
    /// One sentence: what it computes, shapes included.
    pub doc: &'static str,
    /// Least and greatest number of tensor inputs.
    pub tensors: (usize, usize),
    /// Static arguments.
    pub params: &'static [Param],
    /// A whole program that uses it and checks; the tests compile it, the documentation prints it.
    pub example: &'static str,
    /// Makes the operation from a call.
    pub make: fn(&CallArgs, &[&TensorTy]) -> Result<Made, OpError>,
}

/// A static argument of a call.
#[derive(Debug)]
pub struct Param {
    /// Its name; `key: value` always works.
    pub name: &'static str,
    /// May be given without its name, in the order of the list.
    pub positional: bool,
    /// Must be given.
    pub required: bool,
    /// What may be written, for messages: `an extent such as 3x3`.
    pub ty: args::ArgTy,
    /// The default as written, for documentation; empty when required or absent.
    pub default: &'static str,
    /// One phrase.
    pub doc: &'static str,
}

impl Param {
    /// `name: value`, by name only; may be left out.
    pub const fn option(
        name: &'static str,
        ty: args::ArgTy,
        default: &'static str,
        doc: &'static str,
    ) -> Self {
        Self { name, positional: false, required: false, ty, default, doc }
    }

    /// By place or by name; may be left out.
    pub const fn place(
        name: &'static str,
        ty: args::ArgTy,
        default: &'static str,
        doc: &'static str,
    ) -> Self {
        Self { name, positional: true, required: false, ty, default, doc }
    }

    /// By place or by name; must be given.
    pub const fn required(name: &'static str, ty: args::ArgTy, doc: &'static str) -> Self {
        Self { name, positional: true, required: true, ty, default: "", doc }
    }
}

/// What a call makes.
#[derive(Clone, Debug, PartialEq)]
pub struct Made {
    /// The operations: one, except for `split`, whose value is the list of the results of several.
    pub ops: Vec<Op>,
    /// Weights to be created; each operation of `ops` gets all of them after the tensor inputs.
    pub weights: Vec<WeightSpec>,
}

impl Made {
    /// One operation without weights.
    pub fn op(op: impl Into<Op>) -> Self {
        Self { ops: vec![op.into()], weights: Vec::new() }
    }

    /// Adds a weight.
    #[must_use]
    pub fn weight(mut self, spec: WeightSpec) -> Self {
        self.weights.push(spec);
        self
    }
}

/// A weight to be created.
#[derive(Clone, Debug, PartialEq)]
pub struct WeightSpec {
    /// The last part of its path: `weight`, `bias`, `running_mean`.
    pub name: &'static str,
    /// Its type; dimensions in the order of weight files (PyTorch's).
    pub ty: TensorTy,
    /// Its first values.
    pub init: init::Init,
    /// Whether training changes it through gradients.
    pub trainable: bool,
}
