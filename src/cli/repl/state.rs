//! What a session of the REPL has defined, and what each further input means to it. Text in, replies out; no terminal here.
//!
//! All that was defined is kept as text and stands, before each input, in one program: items, then a net whose inputs are the
//! session's and whose body is its `let`s with the expression as the value. So the REPL has no rules of its own: what it
//! accepts and says is what the compiler accepts and says. A definition that does not check is not kept.

use super::facts;
use crate::cli::check;
use crate::cli::source;
use crate::cli::tokens::{Kind, tokens};
use crate::session::{Checked, Compiler, Files, Options};
use crate::support::codes;
use crate::support::diag::Diagnostic;

/// The net that holds the session's expression.
const NET: &str = "repl";
/// The input it has while the session has none.
const NO_INPUT: &str = "no_input";

const HELP: &str = "\
image: [c: 3, h: 32, w: 32]     makes an input
image |> conv(16, 3x3)          an expression shows shape, parameters, multiply-adds and receptive field
|> relu                         goes on from the expression before
let y = image |> conv(16, 3x3)  names a value; `const`, `table`, `block`, `net` and `use` define as in a file
Name                            a net's name alone shows its layers
:why y.h                        how an extent came about
:load FILE                      takes the definitions of a program
:list                           the session as a program; its lines are those that messages name
:clear                          forgets everything
:help  :quit
An input goes on over several lines until its brackets close; an empty line ends it.
";

/// The answer to one input.
#[derive(Debug)]
pub(in crate::cli) enum Reply {
    /// Nothing to say.
    Nothing,
    /// A result.
    Text(String),
    /// The program is wrong; the diagnostics with their sources.
    Wrong(Box<Checked>),
    /// A command that cannot be done.
    Failed(String),
    /// The end.
    Quit,
}

/// A definition.
#[derive(Clone, Debug, PartialEq)]
struct Entry {
    name: String,
    text: String,
}

/// The session.
#[derive(Clone, Debug, Default)]
pub(in crate::cli) struct State {
    batch: usize,
    items: Vec<Entry>,
    inputs: Vec<Entry>,
    lets: Vec<Entry>,
    /// The expression before.
    last: Option<String>,
}

impl State {
    /// An empty session with this batch.
    pub(super) fn new(batch: usize) -> Self {
        Self { batch, ..Self::default() }
    }

    /// The names that are defined.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.items.iter().chain(&self.inputs).chain(&self.lets).map(|e| e.name.as_str())
    }

    /// Takes one whole input.
    pub(super) fn take(&mut self, text: &str) -> Reply {
        let text = text.trim();
        if let Some(command) = text.strip_prefix(':') {
            return self.command(command);
        }
        let all: Vec<_> = tokens(text).into_iter().filter(|t| t.kind != Kind::Comment).collect();
        let word = |i: usize| all.get(i).map_or("", |t| t.text);
        match word(0) {
            "" => Reply::Nothing,
            "const" | "table" | "block" | "net" | "use" | "train" | "test" | "budget" => {
                let name = match word(0) {
                    "use" if all.len() > 2 => word(all.len() - 1),
                    _ => word(1),
                };
                self.define(Part::Item, name, text)
            }
            "let" => self.define(Part::Let, word(1), text),
            "|>" => match self.last.clone() {
                Some(last) => self.expression(&format!("{last}\n    {text}")),
                None => Reply::Failed("there is no expression yet that this could go on from".into()),
            },
            _ if word(1) == ":" && all[0].kind == Kind::Word => self.define(Part::Input, word(0), text),
            _ => self.expression(text),
        }
    }

    fn command(&mut self, command: &str) -> Reply {
        let (word, rest) = command.split_once(char::is_whitespace).unwrap_or((command, ""));
        let rest = rest.trim();
        match word {
            "help" | "h" | "?" => Reply::Text(HELP.into()),
            "quit" | "q" | "exit" => Reply::Quit,
            "list" | "l" => Reply::Text(self.list()),
            "clear" => {
                *self = Self::new(self.batch);
                Reply::Nothing
            }
            "load" => self.load(rest),
            "why" => self.why(rest),
            _ => Reply::Failed(format!("no command is called `:{word}`; `:help` lists them")),
        }
    }

    /// Keeps a definition if the session still checks with it.
    fn define(&mut self, part: Part, name: &str, text: &str) -> Reply {
        let mut next = self.clone();
        let entry = Entry { name: name.to_owned(), text: text.to_owned() };
        let entries = match part {
            Part::Item => &mut next.items,
            Part::Input => &mut next.inputs,
            Part::Let => &mut next.lets,
        };
        match entries.iter_mut().find(|e| e.name == entry.name) {
            Some(old) => *old = entry,
            None => entries.push(entry),
        }
        let value = match part {
            Part::Input | Part::Let => name.to_owned(),
            Part::Item => next.any_value(),
        };
        let (mut checked, at) = next.check(&value);
        let mut shows_value = part != Part::Item;
        if shows_value && only_about(&checked, at) {
            // The name is that of an instance or a static value, which no net can give out.
            checked = next.check(&next.any_value()).0;
            shows_value = false;
        }
        if checked.program.has_errors() {
            return Reply::Wrong(Box::new(checked));
        }
        *self = next;
        let text = if shows_value {
            format!("{name}  {}", facts::outputs(&checked, NET))
        } else {
            match checked.program.nets.iter().find(|n| *n.name == *name) {
                Some(net) => format!("{}\n", check::signature(net)),
                None => String::new(),
            }
        };
        if text.is_empty() { Reply::Nothing } else { Reply::Text(text) }
    }

    /// Shows a value; keeps nothing but the text, for a line that goes on from it.
    fn expression(&mut self, text: &str) -> Reply {
        if let Some(reply) = self.net_table(text) {
            return reply;
        }
        let (checked, at) = self.check(text);
        if !checked.program.has_errors() {
            self.last = Some(text.to_owned());
            return Reply::Text(facts::outputs(&checked, NET));
        }
        if only_about(&checked, at)
            && let Some(number) = self.integer(text)
        {
            return Reply::Text(format!("{number}\n"));
        }
        Reply::Wrong(Box::new(checked))
    }

    /// The layers of the net that is called `text`.
    fn net_table(&self, text: &str) -> Option<Reply> {
        (!self.items.is_empty()).then_some(())?;
        let (checked, _) = self.check(&self.any_value());
        let net = checked.program.nets.iter().find(|n| *n.name == *text && text != NET)?;
        Some(Reply::Text(crate::cli::layers::checked(net).render()))
    }

    /// The value of a static integer of at least 1: an extent can be asked for it.
    fn integer(&self, text: &str) -> Option<usize> {
        let items: Vec<&str> = self.items.iter().map(|e| e.text.as_str()).collect();
        let program = format!("{}\nnet {NET}(x: [c: {text}]) {{ x }}\n", items.join("\n"));
        let checked = self.compiler().check(NET, &program, &Files);
        if checked.program.has_errors() {
            return None;
        }
        let net = checked.program.net(Some(NET))?;
        net.graph.inputs.first().map(|port| net.ty(port.value).c())
    }

    fn load(&mut self, path: &str) -> Reply {
        let path = std::path::Path::new(path.trim_matches('"'));
        let text = match source::text(path) {
            Ok(text) => text,
            Err(failure) => return Reply::Failed(failure.text()),
        };
        let before = self.items.len();
        match self.define(Part::Item, &path.display().to_string(), &text) {
            Reply::Wrong(checked) => Reply::Wrong(checked),
            Reply::Nothing | Reply::Text(_) | Reply::Failed(_) | Reply::Quit => {
                let (checked, _) = self.check(&self.any_value());
                let nets: Vec<String> = checked
                    .program
                    .nets
                    .iter()
                    .filter(|n| *n.name != *NET && text.contains(&*n.name))
                    .map(check::signature)
                    .collect();
                debug_assert!(self.items.len() >= before);
                Reply::Text(if nets.is_empty() {
                    "no net in it\n".into()
                } else {
                    format!("{}\n", nets.join("\n"))
                })
            }
        }
    }

    /// `:why NAME.h`: how an extent came about.
    fn why(&self, what: &str) -> Reply {
        let Some((path, axis)) = what.rsplit_once('.') else {
            return Reply::Failed("write it as `:why NAME.AXIS`, for example `:why y.h`".into());
        };
        let as_value = self.lets.iter().chain(&self.inputs).any(|e| e.name == path);
        let value =
            if as_value { path.to_owned() } else { self.last.clone().unwrap_or_else(|| self.any_value()) };
        let (checked, _) = self.check(&value);
        if checked.program.has_errors() {
            return Reply::Wrong(Box::new(checked));
        }
        let repl = checked.program.net(Some(NET));
        let found = if as_value {
            repl.and_then(|net| Some((net, net.graph.outputs.first()?.value)))
        } else {
            let inside = |net: &str| path.strip_prefix(net).and_then(|p| p.strip_prefix('.'));
            let named = checked.program.nets.iter().find_map(|n| Some((n, n.find(inside(&n.name)?)?)));
            named.or_else(|| repl.and_then(|n| Some((n, n.find(path)?))))
        };
        let Some((net, value)) = found else {
            let names = self.names().collect::<Vec<_>>();
            return Reply::Failed(match crate::support::diag::nearest(path, names.iter().copied()) {
                Some(near) => format!("nothing is called `{path}`; did you mean `{near}`?"),
                None => format!("nothing is called `{path}`"),
            });
        };
        match crate::session::why(&checked.sources, net, value, axis) {
            Some(text) => Reply::Text(format!("{}\n", text.trim_end())),
            None => Reply::Failed(format!("`{path}` is {}, it has no axis `{axis}`", net.ty(value).show())),
        }
    }

    fn list(&self) -> String {
        let (text, _) = self.program(&self.last.clone().unwrap_or_else(|| self.any_value()));
        text.lines().enumerate().map(|(i, line)| format!("{:>3}  {line}\n", i + 1)).collect()
    }

    /// A value that is certainly there.
    fn any_value(&self) -> String {
        self.inputs.first().map_or(NO_INPUT, |e| &e.name).to_owned()
    }

    /// The session as a program with this value, and where the value begins.
    fn program(&self, value: &str) -> (String, usize) {
        let mut text = String::new();
        for item in &self.items {
            text.push_str(&item.text);
            text.push('\n');
        }
        let inputs: Vec<&str> = self.inputs.iter().map(|e| e.text.as_str()).collect();
        let none = format!("{NO_INPUT}: [c: 1]");
        let inputs = if inputs.is_empty() { none } else { inputs.join(", ") };
        text.push_str(&format!("net {NET}({inputs}) {{\n"));
        for entry in &self.lets {
            text.push_str(&format!("    {}\n", entry.text));
        }
        text.push_str("    ");
        let at = text.len();
        text.push_str(&format!("{value}\n}}\n"));
        (text, at)
    }

    fn check(&self, value: &str) -> (Checked, usize) {
        let (text, at) = self.program(value);
        let mut checked = self.compiler().check(NET, &text, &Files);
        // What is defined and not used yet is the normal state of a session.
        checked.program.diagnostics.retain(|d| d.code != codes::W1009);
        (checked, at)
    }

    fn compiler(&self) -> Compiler {
        Compiler::new(Options::default().batch(self.batch.max(1)))
    }
}

/// What a definition becomes a part of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Item,
    Input,
    Let,
}

/// Whether there are errors, and all are about what begins at byte `at` of the session.
fn only_about(checked: &Checked, at: usize) -> bool {
    let mut errors = checked.program.diagnostics.iter().filter(|d| Diagnostic::is_error(d)).peekable();
    errors.peek().is_some()
        && errors.all(|d| d.primary.span.file.0 == 0 && d.primary.span.start as usize >= at)
}
