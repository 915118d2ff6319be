//! What a `train` item may hold, as one table: every key, what it takes, and the arguments of each choice with their kinds and
//! ranges. [`super::training`] checks programs against it; what reads the settings later (data, trainer) may rely on it.

/// What a key takes.
#[derive(Clone, Copy, Debug)]
pub enum Takes {
    /// A static value.
    Value(Is),
    /// One of these.
    Choice(&'static [Choice]),
    /// As [`Takes::Choice`], or a list of several.
    Choices(&'static [Choice]),
    /// A call of a loss over layers and data, or a sum of several.
    Loss,
    /// A built-in set or a reader, or the path of a file.
    Data(&'static [Choice]),
}

/// A name that may stand for a setting, with arguments.
#[derive(Clone, Copy, Debug)]
pub struct Choice {
    /// The name.
    pub name: &'static str,
    /// Its arguments, in the order in which they may be given without a name.
    pub args: &'static [Arg],
}

/// An argument of a [`Choice`].
#[derive(Clone, Copy, Debug)]
pub struct Arg {
    /// Its name.
    pub name: &'static str,
    /// What it takes.
    pub is: Is,
    /// Whether it must be given.
    pub needed: bool,
}

/// What an argument or a lone value takes. Ranges include both ends.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Is {
    /// An integer.
    Int(i64, i64),
    /// A number.
    Number(f64, f64),
    /// A number, or a list with one for each channel.
    Numbers(f64, f64),
    /// `true` or `false`.
    Bool,
    /// One of these words.
    Word(&'static [&'static str]),
    /// The name of a grid axis.
    Axis,
    /// A text: the path of a file or folder.
    Text,
    /// A text, or a list of texts.
    Texts,
    /// A text, or a number.
    TextOr(f64, f64),
    /// An integer for all grid axes, or an extent or a list with one for each.
    PerAxis(i64, i64),
    /// A shape `[c: 1, h: 8, w: 8]`.
    Shape,
    /// A value of the net, or what the data gives: `label`.
    Operand,
}

const fn choice(name: &'static str, args: &'static [Arg]) -> Choice {
    Choice { name, args }
}

const fn arg(name: &'static str, is: Is) -> Arg {
    Arg { name, is, needed: false }
}

const fn needed(name: &'static str, is: Is) -> Arg {
    Arg { name, is, needed: true }
}

/// A number that is not negative.
const POSITIVE: Is = Is::Number(0.0, f64::MAX);
/// With 0 nothing would ever change.
const ABOVE_ZERO: Is = Is::Number(f64::MIN_POSITIVE, f64::MAX);
/// A share.
const SHARE: Is = Is::Number(0.0, 1.0);
/// The greatest `f32` below 1.
const BELOW_ONE: f64 = 1.0 - f32::EPSILON as f64 / 2.0;
/// A decay: with 1 nothing new would ever count.
const PART: Is = Is::Number(0.0, BELOW_ONE);
/// A number of steps, samples or turns.
const COUNT: Is = Is::Int(1, 1 << 40);
/// A number of samples that are made.
const SAMPLES: Is = Is::Int(1, 1 << 24);
/// The largest picture.
const SIZE: Is = Is::PerAxis(1, 1 << 14);
/// How far pictures are padded.
const PAD: Is = Is::PerAxis(0, 1 << 12);
/// The label of positions that do not count.
const LABEL: Is = Is::Int(-(1 << 24), 1 << 24);
const SEED: Is = Is::Int(0, i64::MAX);
const CHANNELS: Is = Is::Int(1, 3);

/// The part that is held out for the test: a share, chosen by a fixed draw.
const TEST: Arg = arg("test", SHARE);
/// A file or folder with the test part, or the share that is held out.
const TEST_FILE: Arg = arg("test", Is::TextOr(0.0, 1.0));

const DATA: &[Choice] = &[
    choice("digits", &[TEST, arg("pad", PAD), arg("size", SIZE)]),
    choice("mnist", &[arg("folder", Is::Text), arg("pad", PAD), arg("size", SIZE)]),
    choice("fashion_mnist", &[arg("folder", Is::Text), arg("pad", PAD), arg("size", SIZE)]),
    choice("nuclei", &[arg("tile", SIZE), arg("stride", SIZE), arg("border", Is::Bool)]),
    choice(
        "idx",
        &[
            needed("images", Is::Text),
            arg("labels", Is::Text),
            arg("test_images", Is::Text),
            arg("test_labels", Is::Text),
            TEST,
            arg("pad", PAD),
            arg("size", SIZE),
        ],
    ),
    choice(
        "csv",
        &[
            needed("file", Is::Text),
            arg("label", Is::Word(&["last", "first", "none"])),
            arg("header", Is::Bool),
            arg("scale", Is::Number(f64::MIN, f64::MAX)),
            arg("shape", Is::Shape),
            TEST_FILE,
            arg("pad", PAD),
            arg("size", SIZE),
        ],
    ),
    choice(
        "npy",
        &[
            needed("image", Is::Text),
            arg("label", Is::Text),
            arg("target", Is::Text),
            arg("mask", Is::Text),
            arg("scale", Is::Number(f64::MIN, f64::MAX)),
            TEST,
        ],
    ),
    choice("npz", &[needed("file", Is::Text), arg("scale", Is::Number(f64::MIN, f64::MAX)), TEST_FILE]),
    choice(
        "images",
        &[
            needed("folder", Is::Text),
            TEST_FILE,
            arg("channels", CHANNELS),
            arg("size", SIZE),
            arg("pad", PAD),
        ],
    ),
    choice(
        "masks",
        &[
            needed("images", Is::Text),
            needed("masks", Is::Text),
            arg("test_images", Is::Text),
            arg("test_masks", Is::Text),
            TEST,
            arg("channels", CHANNELS),
            arg("tile", SIZE),
            arg("stride", SIZE),
        ],
    ),
    choice("shapes", SYNTHETIC),
    choice("edges", SYNTHETIC),
    choice("bars", SYNTHETIC),
    choice(
        "patches",
        &[
            needed("files", Is::Texts),
            arg("count", SAMPLES),
            arg("size", SIZE),
            arg("whiten", Is::Word(&["none", "contrast", "zca"])),
            arg("seed", SEED),
            TEST,
        ],
    ),
];

const SYNTHETIC: &[Arg] = &[
    arg("count", SAMPLES),
    arg("size", SIZE),
    arg("channels", CHANNELS),
    arg("noise", SHARE),
    arg("seed", SEED),
    TEST,
];

/// Where what lies outside of a picture comes from.
const BORDER: Arg = arg("border", Is::Word(&["zero", "edge", "mirror"]));

const AUGMENT: &[Choice] = &[
    choice("shift", &[needed("by", Is::PerAxis(0, 1 << 12)), BORDER]),
    choice("flip", &[arg("axis", Is::Axis), arg("p", SHARE)]),
    choice("crop", &[needed("size", SIZE), arg("pad", PAD), BORDER]),
    choice("rotate", &[needed("by", Is::Number(0.0, 180.0)), arg("zoom", Is::Number(0.0, 0.9)), BORDER]),
    choice("noise", &[needed("std", POSITIVE)]),
    choice("cutout", &[needed("size", SIZE), arg("count", Is::Int(1, 64)), arg("p", SHARE)]),
    choice(
        "normalise",
        &[arg("mean", Is::Numbers(f64::MIN, f64::MAX)), arg("std", Is::Numbers(f64::MIN_POSITIVE, f64::MAX))],
    ),
];

const OUTPUT: Arg = needed("output", Is::Operand);
const TRUTH: Arg = needed("truth", Is::Operand);
const IGNORE: Arg = arg("ignore", LABEL);
const THRESHOLD: Arg = arg("threshold", Is::Number(f64::MIN, f64::MAX));

const METRIC: &[Choice] = &[
    choice("accuracy", &[OUTPUT, TRUTH, IGNORE, THRESHOLD]),
    choice("top_k", &[OUTPUT, TRUTH, arg("k", Is::Int(1, 1 << 20)), IGNORE]),
    choice("miou", &[OUTPUT, TRUTH, IGNORE, THRESHOLD]),
    choice("mse", &[OUTPUT, TRUTH]),
    choice("mae", &[OUTPUT, TRUTH]),
    choice("confusion", &[OUTPUT, TRUTH, IGNORE, THRESHOLD]),
];

const RATE: Arg = arg("rate", POSITIVE);
const DECAY: Arg = arg("decay", POSITIVE);
const EPS: Arg = arg("eps", POSITIVE);
const MOMENTUM: Arg = arg("momentum", SHARE);
const ADAM: &[Arg] = &[RATE, arg("beta1", PART), arg("beta2", PART), EPS, DECAY];

const OPTIMIZER: &[Choice] = &[
    choice("sgd", &[RATE, MOMENTUM, arg("nesterov", Is::Bool), DECAY]),
    choice("adam", ADAM),
    choice("adamw", ADAM),
    choice("rmsprop", &[RATE, arg("rho", SHARE), EPS, MOMENTUM, DECAY]),
    choice("adagrad", &[RATE, EPS, DECAY]),
];

const WARMUP: Arg = arg("warmup", Is::Int(0, 1 << 40));
const LEAST: Arg = arg("least", POSITIVE);

const SCHEDULE: &[Choice] = &[
    choice("constant", &[WARMUP]),
    choice("step", &[arg("every", COUNT), arg("factor", POSITIVE), WARMUP]),
    choice("cosine", &[WARMUP, LEAST]),
    choice("linear", &[WARMUP, LEAST]),
    choice("polynomial", &[arg("power", POSITIVE), WARMUP, LEAST]),
    choice("one_cycle", &[arg("peak", POSITIVE), LEAST, WARMUP]),
];

/// Every key of a `train` item.
pub const KEYS: &[(&str, Takes)] = &[
    ("data", Takes::Data(DATA)),
    ("loss", Takes::Loss),
    ("optimizer", Takes::Choice(OPTIMIZER)),
    ("schedule", Takes::Choice(SCHEDULE)),
    ("batch", Takes::Value(Is::Int(1, 1 << 20))),
    ("epochs", Takes::Value(Is::Int(0, 1 << 40))),
    ("seed", Takes::Value(SEED)),
    ("metric", Takes::Choices(METRIC)),
    ("augment", Takes::Choices(AUGMENT)),
    (
        "clip",
        Takes::Choice(&[
            choice("value", &[needed("limit", ABOVE_ZERO)]),
            choice("norm", &[needed("limit", ABOVE_ZERO)]),
        ]),
    ),
    ("accumulate", Takes::Value(Is::Int(1, 1 << 20))),
    ("average", Takes::Value(PART)),
    ("validate", Takes::Value(Is::Number(0.0, 0.9))),
    ("patience", Takes::Value(COUNT)),
    ("keep", Takes::Value(COUNT)),
];

/// What data gives beside the inputs of a net.
pub const DATA_FIELDS: &[&str] = &["label", "target", "mask"];

impl Is {
    /// What a message says is expected.
    pub fn describe(self) -> String {
        match self {
            Self::Int(..) => "an integer".into(),
            Self::Number(..) => "a number".into(),
            Self::Numbers(..) => "a number, or a list of numbers".into(),
            Self::Bool => "`true` or `false`".into(),
            Self::Word(words) => crate::ops::args::one_of(words),
            Self::Axis => "the name of an axis".into(),
            Self::Text => "a text in quotes".into(),
            Self::Texts => "a text in quotes, or a list of texts".into(),
            Self::TextOr(..) => "a number, or a text in quotes".into(),
            Self::PerAxis(..) => "an integer, an extent such as `3x3`, or a list such as `[3, k]`".into(),
            Self::Shape => "a shape such as `[c: 1, h: 8, w: 8]`".into(),
            Self::Operand => "a value of the net, or what the data gives".into(),
        }
    }

    /// The range as text; empty where there is none to speak of.
    pub fn range(self) -> String {
        let number = |x: f64| if x.abs() >= 1e15 { String::new() } else { format!("{x}") };
        let (lo, hi) = match self {
            Self::Int(lo, hi) | Self::PerAxis(lo, hi) => (lo.to_string(), hi.to_string()),
            Self::Number(lo, hi) | Self::Numbers(lo, hi) | Self::TextOr(lo, hi)
                if lo == f64::MIN_POSITIVE =>
            {
                return if hi < 1e15 {
                    format!("more than 0 and at most {hi}")
                } else {
                    "more than 0".into()
                };
            }
            Self::Number(lo, BELOW_ONE) => return format!("at least {lo} and less than 1"),
            Self::Number(lo, hi) | Self::Numbers(lo, hi) | Self::TextOr(lo, hi) => (number(lo), number(hi)),
            Self::Bool
            | Self::Word(_)
            | Self::Axis
            | Self::Text
            | Self::Texts
            | Self::Shape
            | Self::Operand => {
                return String::new();
            }
        };
        match (lo.as_str(), hi.as_str()) {
            (_, "") => format!("at least {lo}"),
            ("", _) => format!("at most {hi}"),
            _ => format!("{lo} to {hi}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_told_apart_and_needed_arguments_stand_first() {
        for (key, takes) in KEYS {
            let choices = match takes {
                Takes::Choice(c) | Takes::Choices(c) | Takes::Data(c) => *c,
                Takes::Value(_) | Takes::Loss => &[],
            };
            for (i, choice) in choices.iter().enumerate() {
                assert!(!choices[..i].iter().any(|c| c.name == choice.name), "{key} {}", choice.name);
                for (j, arg) in choice.args.iter().enumerate() {
                    let before = &choice.args[..j];
                    assert!(!before.iter().any(|a| a.name == arg.name), "{} {}", choice.name, arg.name);
                    assert!(!arg.needed || before.iter().all(|a| a.needed), "{} {}", choice.name, arg.name);
                }
            }
        }
    }

    #[test]
    fn ranges_speak() {
        assert_eq!(Is::Int(1, 3).range(), "1 to 3");
        assert_eq!(POSITIVE.range(), "at least 0");
        assert_eq!(Is::Numbers(f64::MIN_POSITIVE, f64::MAX).range(), "more than 0");
        assert_eq!(SHARE.range(), "0 to 1");
        assert_eq!(PART.range(), "at least 0 and less than 1");
        assert!((BELOW_ONE as f32) < 1.0);
    }
}
