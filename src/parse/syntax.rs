//! The grammar at work: pest is run on one piece of text and says what it is made of, or where it stopped and what it would
//! have taken there. `Pairs` never leave `src/parse`.

use pest::Parser;
use pest::error::{ErrorVariant, InputLocation};
use pest::iterators::Pairs;

/// The parser that pest makes of `grammar/cnn.pest`.
#[derive(pest_derive::Parser)]
#[grammar = "../grammar/cnn.pest"]
struct Grammar;

/// Where and why the text is not of the language.
#[derive(Debug)]
pub(super) struct Failure {
    /// The byte at which no rule goes on.
    pub at: usize,
    /// The rules that were tried there.
    pub expected: Vec<Rule>,
    /// The text nests deeper than the stack allows.
    pub too_deep: bool,
}

/// Runs `rule` on the whole of `text`.
pub(super) fn run(rule: Rule, text: &str) -> Result<Pairs<'_, Rule>, Failure> {
    Grammar::parse(rule, text).map_err(|error| {
        let at = match error.location {
            InputLocation::Pos(at) | InputLocation::Span((at, _)) => at,
        };
        match error.variant {
            ErrorVariant::ParsingError { positives, .. } => {
                Failure { at, expected: positives, too_deep: false }
            }
            ErrorVariant::CustomError { .. } => Failure { at, expected: Vec::new(), too_deep: true },
        }
    })
}
