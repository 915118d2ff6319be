//! The values of number words: `62k`, `1.5M`, `64KiB`, `5e-4`, `3x3`. Exact: nothing is rounded silently.

use crate::ast::ExprKind;
use crate::support::codes;
use crate::support::diag::Diagnostic;
use crate::support::span::Span;

/// What a suffix multiplies by.
const SUFFIXES: [(&str, i64); 6] = [
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("k", 1_000),
    ("M", 1_000_000),
    ("G", 1_000_000_000),
];

/// A number: an integer unless it has a point or an exponent; with a suffix always an integer.
pub(super) fn number(word: &str, span: Span) -> Result<ExprKind, Diagnostic> {
    if let Some((stem, suffix, factor)) =
        SUFFIXES.iter().find_map(|(s, f)| word.strip_suffix(s).map(|stem| (stem, *s, *f)))
    {
        return scaled(stem, factor).map(ExprKind::Int).ok_or_else(|| {
            let message = format!("`{word}` is no integer that 64 bits hold");
            Diagnostic::new(codes::E0002, span, message)
                .help(format!("`{suffix}` multiplies by {factor}, and the result must be a whole number"))
        });
    }
    if !word.contains(['.', 'e', 'E']) {
        return int(word, span).map(ExprKind::Int);
    }
    match word.parse::<f64>() {
        Ok(x) if x.is_finite() => Ok(ExprKind::Float(x)),
        Ok(_) | Err(_) => {
            Err(Diagnostic::new(codes::E0002, span, format!("`{word}` is too large for a number"))
                .help("the largest number is about 1.8e308"))
        }
    }
}

/// An integer without suffix.
pub(super) fn int(word: &str, span: Span) -> Result<i64, Diagnostic> {
    word.parse().map_err(|_| too_large(word, span))
}

/// `3x3` as its parts.
pub(super) fn extent(word: &str, span: Span) -> Result<Vec<i64>, Diagnostic> {
    word.split('x').map(|part| part.parse().map_err(|_| too_large(part, span))).collect()
}

fn too_large(word: &str, span: Span) -> Diagnostic {
    let shown: String = word.chars().take(24).collect();
    let dots = if shown.len() < word.len() { "…" } else { "" };
    let message = format!("`{shown}{dots}` is larger than {}, the largest integer", i64::MAX);
    Diagnostic::new(codes::E0002, span, message)
}

/// `stem * factor` when that is a whole number of 64 bits; `stem` may have a decimal point.
fn scaled(stem: &str, factor: i64) -> Option<i64> {
    let (whole, fraction) = stem.split_once('.').unwrap_or((stem, ""));
    let whole: i64 = whole.parse().ok()?;
    let mut value = i128::from(whole).checked_mul(i128::from(factor))?;
    if !fraction.is_empty() {
        let digits: i64 = fraction.parse().ok()?;
        let below = 10i128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
        let part = i128::from(digits).checked_mul(i128::from(factor))?;
        if part % below != 0 {
            return None;
        }
        value = value.checked_add(part / below)?;
    }
    i64::try_from(value).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::support::span::FileId;

    fn read(word: &str) -> Option<ExprKind> {
        number(word, Span::new(FileId(0), 0, word.len())).ok()
    }

    #[test]
    fn suffixes_multiply_exactly() {
        assert_eq!(read("62k"), Some(ExprKind::Int(62_000)));
        assert_eq!(read("3M"), Some(ExprKind::Int(3_000_000)));
        assert_eq!(read("64KiB"), Some(ExprKind::Int(65_536)));
        assert_eq!(read("1.5M"), Some(ExprKind::Int(1_500_000)));
        assert_eq!(read("0.5KiB"), Some(ExprKind::Int(512)));
        assert_eq!(read("1.0001k"), None);
        assert_eq!(read("9223372036854775807"), Some(ExprKind::Int(i64::MAX)));
        assert_eq!(read("9223372036854775808"), None);
        assert_eq!(read("9223372036854775807k"), None);
        assert_eq!(read("5e-4"), Some(ExprKind::Float(5e-4)));
        assert_eq!(read("1e400"), None);
    }
}
