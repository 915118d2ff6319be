//! Text to a nest: the inverse of [`super::print`]. In: text; out: a nest, or the line and what was expected there. The
//! result is well formed as data only; [`super::verify()`] says whether it is legal. Meant for tests and tools.

use std::collections::BTreeMap;

use super::print::{BIN_OPS, CMPS, UN_OPS, kind_name};
use super::{Affine, Block, Buf, BufDecl, DimDecl, Expr, IdxExpr, LoopKind, Nest, Reg, Stmt, TableId, Var};

/// Expressions and blocks nest at most this deep.
const DEPTH_MAX: usize = 200;

/// Reads one nest.
///
/// # Errors
/// `line N: what was expected`.
pub fn parse(text: &str) -> Result<Nest, String> {
    let tokens = lex(text)?;
    let mut p = Parser { tokens, at: 0, nest: Nest::default(), vars: BTreeMap::new(), bufs: BTreeMap::new() };
    p.nest().map_err(|what| {
        let line = p.tokens.get(p.at).or(p.tokens.last()).map_or(1, |t| t.line);
        format!("line {line}: {what}")
    })?;
    Ok(p.nest)
}

#[derive(Clone, Debug, PartialEq)]
enum Kind {
    /// Identifiers (with `.number` behind), numbers.
    Word,
    /// A quoted name, unquoted.
    Text,
    /// Punctuation.
    Mark,
}

#[derive(Clone, Debug)]
struct Token {
    kind: Kind,
    text: String,
    line: usize,
}

fn lex(text: &str) -> Result<Vec<Token>, String> {
    let mut out = Vec::new();
    for (i, line) in text.lines().enumerate() {
        let mut rest = line.trim_start();
        while let Some(c) = rest.chars().next() {
            let (kind, len) = if c == '"' {
                (Kind::Text, string_len(rest).ok_or_else(|| format!("line {}: a name without end", i + 1))?)
            } else if c.is_ascii_alphanumeric() || c == '_' {
                (Kind::Word, word_len(rest))
            } else {
                let two = ["..", ">=", "<=", "==", "!="].iter().any(|m| rest.starts_with(m));
                (Kind::Mark, if two { 2 } else { c.len_utf8() })
            };
            let (token, after) = rest.split_at(len);
            let text = if kind == Kind::Text { unquote(token) } else { token.to_owned() };
            out.push(Token { kind, text, line: i + 1 });
            rest = after.trim_start();
        }
    }
    Ok(out)
}

/// An identifier with its number, or a number with fraction and exponent; `0..8` ends before the dots.
fn word_len(s: &str) -> usize {
    let b = s.as_bytes();
    let number = b[0].is_ascii_digit();
    let mut n = 1;
    while n < b.len() {
        let dot = b[n] == b'.' && b.get(n + 1).is_some_and(u8::is_ascii_digit);
        let sign = number && matches!(b[n], b'-' | b'+') && b[n - 1] == b'e';
        if !(b[n].is_ascii_alphanumeric() || b[n] == b'_' || dot || sign) {
            break;
        }
        n += 1;
    }
    n
}

fn string_len(s: &str) -> Option<usize> {
    let mut escaped = false;
    for (i, c) in s.char_indices().skip(1) {
        match c {
            '"' if !escaped => return Some(i + 1),
            '\\' => escaped = !escaped,
            _ => escaped = false,
        }
    }
    None
}

/// Undoes what `{:?}` does to a string.
fn unquote(s: &str) -> String {
    let mut out = String::new();
    let mut chars = s[1..s.len() - 1].chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        match chars.next() {
            Some('n') => out.push('\n'),
            Some('t') => out.push('\t'),
            Some('r') => out.push('\r'),
            Some('0') => out.push('\0'),
            Some('u') => {
                let hex: String = chars.by_ref().take_while(|c| *c != '}').filter(|c| *c != '{').collect();
                out.extend(u32::from_str_radix(&hex, 16).ok().and_then(char::from_u32));
            }
            Some(c) => out.push(c),
            None => {}
        }
    }
    out
}

struct Parser {
    tokens: Vec<Token>,
    at: usize,
    nest: Nest,
    vars: BTreeMap<String, Var>,
    bufs: BTreeMap<String, Buf>,
}

type Parse<T> = Result<T, String>;

impl Parser {
    fn peek(&self) -> &str {
        self.tokens.get(self.at).map_or("", |t| if t.kind == Kind::Text { "" } else { &t.text })
    }

    fn eat(&mut self, text: &str) -> bool {
        let yes = self.peek() == text && !text.is_empty();
        self.at += usize::from(yes);
        yes
    }

    fn want(&mut self, text: &str) -> Parse<()> {
        if self.eat(text) { Ok(()) } else { Err(format!("expected `{text}`, not `{}`", self.peek())) }
    }

    fn word(&mut self, what: &str) -> Parse<String> {
        match self.tokens.get(self.at) {
            Some(Token { kind: Kind::Word, text, line: _ }) => {
                self.at += 1;
                Ok(text.clone())
            }
            _ => Err(format!("expected {what}")),
        }
    }

    fn text(&mut self) -> Option<String> {
        let found = self.tokens.get(self.at).filter(|t| t.kind == Kind::Text).map(|t| t.text.clone());
        self.at += usize::from(found.is_some());
        found
    }

    fn int(&mut self) -> Parse<i64> {
        let minus = self.eat("-");
        let digits = self.word("an integer")?;
        let signed = if minus { format!("-{digits}") } else { digits };
        signed.parse().map_err(|_| format!("expected an integer, not `{signed}`"))
    }

    fn size(&mut self) -> Parse<usize> {
        usize::try_from(self.int()?).map_err(|_| "expected a size".to_owned())
    }

    /// A label and, where it is not its own name, the name.
    fn declared(&mut self) -> Parse<(String, String)> {
        let label = self.word("a name")?;
        let name = self.text().unwrap_or_else(|| label.split('.').next().unwrap_or_default().to_owned());
        Ok((label, name))
    }

    fn nest(&mut self) -> Parse<()> {
        self.want("nest")?;
        self.nest.name = self.text().ok_or("expected the nest's name")?;
        self.want("{")?;
        self.want("regs")?;
        self.nest.regs = u32::try_from(self.int()?).map_err(|_| "expected a number of registers")?;
        if self.eat("vars") {
            loop {
                let (label, name) = self.declared()?;
                let var = self.nest.fresh_var(&name);
                self.vars.insert(label, var);
                if !self.eat(",") {
                    break;
                }
            }
        }
        while self.eat("buf") {
            self.buf()?;
        }
        while self.eat("table") {
            self.word("a table's name")?;
            self.want("=")?;
            let values = self.listed("[", "]", Self::int)?;
            self.nest.tables.push(values);
        }
        self.nest.body = self.block(0)?;
        if self.at < self.tokens.len() { Err("expected the end".to_owned()) } else { Ok(()) }
    }

    fn buf(&mut self) -> Parse<()> {
        let (label, name) = self.declared()?;
        let writable = self.eat("out");
        if !writable {
            self.want("in")?;
        }
        let uncached = writable && self.eat("uncached");
        let (mut block, mut dim) = (None, 0);
        let dims = self.listed("[", "]", |p| {
            let extent = p.size()?;
            let mut halo = (0, 0);
            if p.eat("(") {
                halo.0 = p.size()?;
                p.want(",")?;
                halo.1 = p.size()?;
                p.want(")")?;
            }
            p.want("*")?;
            let stride = p.int()?;
            if p.eat("by") {
                let size = p.size()?;
                p.want("*")?;
                block = Some(Block { dim, size, stride: p.int()? });
            }
            dim += 1;
            Ok(DimDecl { extent, stride, halo })
        })?;
        self.want("base")?;
        let base = self.int()?;
        self.want("len")?;
        let len = self.size()?;
        self.bufs.insert(label, Buf(self.nest.bufs.len() as u32));
        self.nest.bufs.push(BufDecl { name, dims, base, len, writable, uncached, block });
        Ok(())
    }

    fn listed<T>(
        &mut self,
        open: &str,
        close: &str,
        mut item: impl FnMut(&mut Self) -> Parse<T>,
    ) -> Parse<Vec<T>> {
        self.want(open)?;
        let mut out = Vec::new();
        while !self.eat(close) {
            if !out.is_empty() {
                self.want(",")?;
            }
            out.push(item(self)?);
        }
        Ok(out)
    }

    /// Statements up to `}`.
    fn block(&mut self, depth: usize) -> Parse<Vec<Stmt>> {
        if depth > DEPTH_MAX {
            return Err("too deep".to_owned());
        }
        let mut out = Vec::new();
        while !self.eat("}") {
            out.push(self.stmt(depth)?);
        }
        Ok(out)
    }

    fn stmt(&mut self, depth: usize) -> Parse<Stmt> {
        let word = self.word("a statement")?;
        match &*word {
            "if" => {
                let mut conds = Vec::new();
                loop {
                    conds.push(self.affine()?);
                    self.want(">=")?;
                    self.want("0")?;
                    if !self.eat(",") {
                        break;
                    }
                }
                self.want("{")?;
                Ok(Stmt::If { conds, then: self.block(depth + 1)? })
            }
            "idx" => self.idx(),
            "let" | "set" => {
                let reg = self.word("a register")?;
                let reg = register(&reg).ok_or("expected a register")?;
                self.want("=")?;
                let value = self.expr(0)?;
                Ok(if word == "let" { Stmt::Let { reg, value } } else { Stmt::Set { reg, value } })
            }
            "store" => {
                let buf = self.word("a buffer")?;
                let buf = *self.bufs.get(&buf).ok_or_else(|| format!("no buffer `{buf}`"))?;
                let at = self.listed("[", "]", Self::affine)?;
                self.want("=")?;
                Ok(Stmt::Store { buf, at, value: self.expr(0)? })
            }
            _ => {
                let kinds = [LoopKind::Serial, LoopKind::Free, LoopKind::Par, LoopKind::Jam, LoopKind::Vec];
                let kind = kinds.into_iter().find(|k| kind_name(*k) == word);
                let kind = kind.ok_or_else(|| format!("expected a statement, not `{word}`"))?;
                let var = self.var()?;
                self.want("in")?;
                self.want("0")?;
                self.want("..")?;
                let extent = self.size()?;
                self.want("{")?;
                Ok(Stmt::For { var, extent, kind, body: self.block(depth + 1)? })
            }
        }
    }

    fn idx(&mut self) -> Parse<Stmt> {
        let var = self.var()?;
        self.want("=")?;
        if self.eat("(") {
            let a = self.affine()?;
            self.want(")")?;
            let div = self.eat("div");
            if !div {
                self.want("mod")?;
            }
            let by = self.int()?;
            return Ok(Stmt::Idx { var, value: if div { IdxExpr::Div(a, by) } else { IdxExpr::Mod(a, by) } });
        }
        let table = self.word("a table")?;
        let id = table.strip_prefix('t').and_then(|n| n.parse().ok()).ok_or("expected a table")?;
        self.want("[")?;
        let a = self.affine()?;
        self.want("]")?;
        Ok(Stmt::Idx { var, value: IdxExpr::Table(TableId(id), a) })
    }

    fn var(&mut self) -> Parse<Var> {
        let label = self.word("a variable")?;
        self.vars.get(&label).copied().ok_or_else(|| format!("no variable `{label}`"))
    }

    /// `-2*oh + kh - 1`
    fn affine(&mut self) -> Parse<Affine> {
        let mut out = Affine::default();
        let mut sign = if self.eat("-") { "-" } else { "" };
        loop {
            if self.peek().starts_with(|c: char| c.is_ascii_digit()) {
                let digits = self.word("a number")?;
                let c: i64 = format!("{sign}{digits}").parse().map_err(|_| "expected an integer")?;
                if self.eat("*") {
                    out = out.plus(self.var()?, c);
                } else {
                    out.k = out.k.checked_add(c).ok_or("too large")?;
                }
            } else {
                out = out.plus(self.var()?, if sign == "-" { -1 } else { 1 });
            }
            sign = match self.peek() {
                "+" => "",
                "-" => "-",
                _ => return Ok(out),
            };
            self.at += 1;
        }
    }

    fn expr(&mut self, depth: usize) -> Parse<Expr> {
        if depth > DEPTH_MAX {
            return Err("too deep".to_owned());
        }
        if self.eat("(") {
            let a = self.expr(depth + 1)?;
            let op = BIN_OPS.iter().find(|(word, _)| self.peek() == *word).ok_or("expected an operator")?;
            self.at += 1;
            let b = self.expr(depth + 1)?;
            self.want(")")?;
            return Ok(Expr::bin(op.1, a, b));
        }
        if self.eat("-") {
            let word = self.word("a number")?;
            return number(&format!("-{word}")).ok_or_else(|| format!("expected a number, not `-{word}`"));
        }
        let word = self.word("an expression")?;
        if let Some(reg) = register(&word) {
            return Ok(Expr::Reg(reg));
        }
        if let Some(buf) = self.bufs.get(&word).copied().filter(|_| self.peek() == "[") {
            return Ok(Expr::Load { buf, at: self.listed("[", "]", Self::affine)? });
        }
        if self.eat("(") {
            let e = self.call(&word, depth + 1)?;
            self.want(")")?;
            return Ok(e);
        }
        number(&word).ok_or_else(|| format!("expected an expression, not `{word}`"))
    }

    fn call(&mut self, name: &str, depth: usize) -> Parse<Expr> {
        if name == "index" {
            return Ok(Expr::Index(self.affine()?));
        }
        if name == "nan" {
            let word = self.word("bits")?;
            let bits = word.strip_prefix("0x").and_then(|h| u32::from_str_radix(h, 16).ok());
            return Ok(Expr::Const(f32::from_bits(bits.ok_or("expected bits")?)));
        }
        let a = self.expr(depth)?;
        if let Some((_, op)) = UN_OPS.iter().find(|(word, _)| *word == name) {
            return Ok(Expr::un(*op, a));
        }
        if name == "select" {
            let cmp = CMPS.iter().find(|(word, _)| self.peek() == *word).ok_or("expected a comparison")?.1;
            self.at += 1;
            let b = self.expr(depth)?;
            self.want(",")?;
            let then = self.expr(depth)?;
            self.want(",")?;
            return Ok(Expr::select(cmp, a, b, then, self.expr(depth)?));
        }
        self.want(",")?;
        let b = self.expr(depth)?;
        if let Some((_, op)) = BIN_OPS.iter().find(|(word, _)| *word == name) {
            return Ok(Expr::bin(*op, a, b));
        }
        if name != "fma" {
            return Err(format!("no function `{name}`"));
        }
        self.want(",")?;
        Ok(Expr::fma(a, b, self.expr(depth)?))
    }
}

fn register(word: &str) -> Option<Reg> {
    let digits = word.strip_prefix('r').filter(|d| d.bytes().all(|b| b.is_ascii_digit()))?;
    digits.parse().ok().map(Reg)
}

fn number(word: &str) -> Option<Expr> {
    word.parse().ok().filter(|x: &f32| !x.is_nan()).map(Expr::Const)
}
