//! Settings of a `train` item changed from outside (`--epochs 3`): in the text, before it is checked, so that a new value is
//! checked as a written one is, and errors show it in its place.

use std::ops::Range;

use crate::ast::Item;
use crate::support::span::Sources;

/// A text with its settings changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retuned {
    /// The text. Its lines are those of the text as written, as long as no new value has line breaks.
    pub text: String,
    /// For each setting where its value stands now; `None` where a later one took its place.
    pub places: Vec<Option<Range<usize>>>,
}

/// The text of a program whose `train` item of `net` (without a name: the last one) has these settings, added or in place of
/// those that stand there. Without such an item the text stays as it is: whoever asks for it says so.
pub fn retune(name: &str, text: &str, net: Option<&str>, settings: &[(String, String)]) -> Retuned {
    let mut out = Retuned { text: text.to_owned(), places: Vec::new() };
    for (key, value) in settings {
        let mut sources = Sources::default();
        let root = sources.add(name, &out.text);
        let (file, _) = crate::parse::parse(&sources, root);
        let mut items = file.items.iter().filter_map(|item| match item {
            Item::Train(settings) => Some(settings),
            Item::Use(_) | Item::Const(_) | Item::Table(_) | Item::Block(_) => None,
            Item::Net(_) | Item::Test(_) | Item::Budget(_) => None,
        });
        let Some(item) = items.rfind(|i| net.is_none_or(|n| *i.net.name == *n)) else {
            out.places.push(None);
            continue;
        };
        match item.entries.iter().find(|(k, _)| *k.name == **key) {
            Some((_, old)) => out.put(old.span.start as usize..old.span.end as usize, "", value, ""),
            None => {
                // Before the brace that ends the item, on its line.
                let end = (item.span.end as usize).saturating_sub(1);
                out.put(end..end, &format!("    {key} "), value, " ");
            }
        }
    }
    out
}

impl Retuned {
    /// Puts `value` in the place of `old`, and notes where it stands.
    fn put(&mut self, old: Range<usize>, before: &str, value: &str, after: &str) {
        let new = format!("{before}{value}{after}");
        for place in &mut self.places {
            *place = match place.take() {
                Some(p) if p.start >= old.end => {
                    let moved = |at: usize| at - old.end + old.start + new.len();
                    Some(moved(p.start)..moved(p.end))
                }
                Some(p) if p.end <= old.start => Some(p),
                Some(_) | None => None,
            };
        }
        self.text.replace_range(old.clone(), &new);
        let start = old.start + before.len();
        self.places.push(Some(start..start + value.len()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_replaced_or_added() {
        let text = "net A(x: [c: 1]) -> [c: 1] { x }\ntrain A {\n    batch 3 # small\n    seed 1\n}\n";
        let set = |k: &str, v: &str| (k.to_owned(), v.to_owned());
        let settings =
            [set("batch", "64"), set("epochs", "2"), set("optimizer", "adam(rate: 0.1)"), set("seed", "7")];
        let got = retune("a.cnn", text, None, &settings);
        assert_eq!(
            got.text,
            "net A(x: [c: 1]) -> [c: 1] { x }\ntrain A {\n    batch 64 # small\n    seed 7\n    epochs 2     \
             optimizer adam(rate: 0.1) }\n"
        );
        for ((_, value), place) in settings.iter().zip(&got.places) {
            assert_eq!(place.clone().map(|p| &got.text[p]), Some(value.as_str()));
        }
        let twice = retune("a.cnn", text, None, &[set("batch", "64"), set("batch", "8")]);
        assert_eq!(twice.places[0], None);
        assert_eq!(retune("a.cnn", text, Some("B"), &[set("batch", "64")]).text, text);
    }
}
