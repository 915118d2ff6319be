//! Settings of a `train` item changed from outside (`--epochs 3`): in the text, before it is checked, so that a new value is
//! checked as a written one is, and errors show it in its place.

use crate::ast::Item;
use crate::support::span::Sources;

/// The text of a program whose `train` item of `net` (without a name: the last one) has these settings, added or in place of
/// those that stand there. Without such an item the text stays as it is: whoever asks for it says so.
pub fn retune(name: &str, text: &str, net: Option<&str>, settings: &[(String, String)]) -> String {
    let mut text = text.to_owned();
    for (key, value) in settings {
        let mut sources = Sources::default();
        let root = sources.add(name, &text);
        let (file, _) = crate::parse::parse(&sources, root);
        let mut items = file.items.iter().filter_map(|item| match item {
            Item::Train(settings) => Some(settings),
            Item::Use(_) | Item::Const(_) | Item::Table(_) | Item::Block(_) => None,
            Item::Net(_) | Item::Test(_) | Item::Budget(_) => None,
        });
        let Some(item) = items.rfind(|i| net.is_none_or(|n| *i.net.name == *n)) else {
            return text;
        };
        match item.entries.iter().find(|(k, _)| *k.name == **key) {
            Some((_, old)) => text.replace_range(old.span.start as usize..old.span.end as usize, value),
            None => {
                // Before the brace that ends the item.
                let end = (item.span.end as usize).saturating_sub(1);
                text.insert_str(end, &format!("    {key} {value}\n"));
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_replaced_or_added() {
        let text = "net A(x: [c: 1]) -> [c: 1] { x }\ntrain A {\n    batch 3 # small\n    seed 1\n}\n";
        let set = |k: &str, v: &str| (k.to_owned(), v.to_owned());
        let got = retune(
            "a.cnn",
            text,
            None,
            &[set("batch", "64"), set("epochs", "2"), set("optimizer", "adam(rate: 0.1)")],
        );
        assert_eq!(
            got,
            "net A(x: [c: 1]) -> [c: 1] { x }\ntrain A {\n    batch 64 # small\n    seed 1\n    epochs 2\n    \
             optimizer adam(rate: 0.1)\n}\n"
        );
        assert_eq!(retune("a.cnn", text, Some("B"), &[set("batch", "64")]), text);
    }
}
