//! What stands somewhere, and what could stand there, in words: no rule of the grammar is named to a user.

use super::lexical::short;
use super::scan::{Kind, Token};
use super::split::{ITEMS, RESERVED};
use super::syntax::Rule;

/// A token in words: ``the number `5` ``.
pub(super) fn found(token: Option<&Token>, text: &str) -> String {
    let Some(token) = token else { return "the end of the item".into() };
    let word = token.text(text);
    match token.kind {
        Kind::Word if ITEMS.contains(&word) || RESERVED.contains(&word) => format!("the keyword `{word}`"),
        Kind::Word => format!("the name `{}`", short(word)),
        Kind::Number => format!("the number `{}`", short(word)),
        Kind::Extent => format!("the extent `{}`", short(word)),
        Kind::Str => format!("the string {}", short(word)),
        Kind::Open | Kind::Close | Kind::Sign | Kind::Junk(_) => format!("`{}`", short(word)),
    }
}

/// What a rule stands for.
fn phrase(rule: Rule) -> Option<&'static str> {
    Some(match rule {
        Rule::EOI => "the end of the item",
        Rule::expr | Rule::arith | Rule::operand | Rule::postfix | Rule::atom | Rule::arg => "a value",
        Rule::number | Rule::string | Rule::boolean | Rule::paren | Rule::if_expr | Rule::new_expr => {
            "a value"
        }
        Rule::prefix | Rule::extent | Rule::bracket | Rule::kw_new | Rule::lbracket => "a value",
        Rule::ident => "a name",
        Rule::word => "a word",
        Rule::int | Rule::entry => "an integer",
        Rule::row => "a row such as `0: 1 2 3`",
        Rule::condition => "a condition such as `i, o if i == o`",
        Rule::star => "`*`",
        Rule::shape => "a shape such as `[c: 3, h: 32, w: 32]`",
        Rule::axis => "an axis such as `c: 3`",
        Rule::port => "an input such as `image: [c: 3, h: 32, w: 32]`",
        Rule::outputs | Rule::arrow => "`->`",
        Rule::static_param => "a parameter such as `k: int`",
        Rule::stage | Rule::repeat | Rule::is_shape | Rule::kw_repeat | Rule::kw_is => {
            "a stage such as `relu`"
        }
        Rule::body | Rule::lbrace => "`{`",
        Rule::let_stmt | Rule::kw_let => "`let`",
        Rule::setting => "a setting such as `epochs 12`",
        Rule::assert | Rule::kw_assert => "`assert`",
        Rule::gradcheck | Rule::kw_gradcheck => "`gradcheck`",
        Rule::as_name | Rule::kw_as => "`as`",
        Rule::infix => "an operator",
        Rule::pipe => "`|>`",
        Rule::call | Rule::lparen => "`(`",
        Rule::rparen => "`)`",
        Rule::rbracket => "`]`",
        Rule::rbrace => "`}`",
        Rule::comma => "`,`",
        Rule::colon => "`:`",
        Rule::semicolon => "`;`",
        Rule::assign => "`=`",
        Rule::kw_if => "`if`",
        Rule::kw_else => "`else`",
        Rule::item | Rule::one_item => "an item",
        Rule::index | Rule::field | Rule::dot => return None,
        _ => return None,
    })
}

/// What was tried, in words: `` `,` or `)` ``. What may go on after any value is named only when nothing else is.
pub(super) fn expected(rules: &[Rule]) -> String {
    let value = |r: &Rule| phrase(*r) == Some("a value");
    let values = rules.iter().filter(|r| value(r)).count();
    let goes_on = |r: &Rule| {
        matches!(
            r,
            Rule::infix
                | Rule::pipe
                | Rule::as_name
                | Rule::kw_as
                | Rule::call
                | Rule::index
                | Rule::field
                | Rule::dot
        )
    };
    let stage = rules.iter().any(|r| phrase(*r).is_some_and(|p| p.starts_with("a stage")));
    let mut words: Vec<&str> = Vec::new();
    let firm = rules.iter().any(|r| !goes_on(r) && phrase(*r).is_some());
    for rule in rules {
        // A parenthesis, a name or an `if` is part of "a value" wherever one is asked for.
        let part = matches!(rule, Rule::lparen | Rule::ident | Rule::kw_if) && values > 0;
        if part
            || (firm && goes_on(rule))
            || (stage
                && (value(rule) || matches!(rule, Rule::lbrace | Rule::body | Rule::kw_if | Rule::ident)))
        {
            continue;
        }
        match phrase(*rule) {
            Some(p) if !words.contains(&p) => words.push(p),
            Some(_) | None => {}
        }
    }
    if words.is_empty() && values > 0 {
        words.push("a value");
    }
    words.sort_by_key(|w| (w.len() > 6, *w));
    match words.split_last() {
        None => "something else".into(),
        Some((last, [])) => (*last).into(),
        Some((last, rest)) => format!("{} or {last}", rest.join(", ")),
    }
}
