//! Items that are values: constants (with `--set`) and tables of links.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::cx::{Cx, Frame, Local};
use super::fixes::Candidate;
use super::modules::ModuleId;
use super::statics;
use super::value::Val;
use crate::ast::{Const, Expr, Ident, Table, TableBody, TableRow};
use crate::ops::args::{ArgValue, Links};
use crate::support::codes;
use crate::support::diag::{Diagnostic, Edit};

/// Most pairs of channels in one table.
const LINKS_MAX: i64 = 1 << 20;

impl<'a> Cx<'a> {
    /// Evaluates with the items of `module` in sight and nothing else.
    pub(super) fn in_module<T>(&mut self, module: ModuleId, inner: impl FnOnce(&mut Self) -> T) -> T {
        self.frames.push(Frame { module, locals: Vec::new(), owner: None });
        let result = inner(self);
        self.frames.pop();
        result
    }

    /// The value of a constant; `--set` replaces those of the root file.
    pub(super) fn constant(&mut self, module: ModuleId, item: &'a Const) -> Val<'a> {
        let set = self.set.get(&item.name.name).filter(|_| module == 0);
        let value = self.in_module(module, |cx| cx.expr(set.unwrap_or(&item.value)).last());
        match value {
            Val::Tensor(_) | Val::Tuple(_) | Val::Turns(_) => {
                let what = self.describe(&value);
                let message = format!("`{}` is a constant and cannot be {what}", item.name.name);
                self.fail(Diagnostic::new(codes::E0111, item.value.span, message))
            }
            value => value,
        }
    }

    /// A table of links, as a static value.
    pub(super) fn table(&mut self, module: ModuleId, table: &'a Table) -> Val<'a> {
        let size = |cx: &mut Self, e: &'a Expr| {
            let n = cx.int(e, "the number of maps")?;
            if n < 1 {
                cx.fail(Diagnostic::new(
                    codes::E0301,
                    e.span,
                    format!("a table needs at least 1 map, not {n}"),
                ));
                return None;
            }
            Some(n)
        };
        let sizes = self.in_module(module, |cx| (size(cx, &table.inputs), size(cx, &table.outputs)));
        let (Some(inputs), Some(outputs)) = sizes else { return Val::Poison };
        if inputs.checked_mul(outputs).is_none_or(|n| n > LINKS_MAX) {
            let message =
                format!("a table of {inputs} x {outputs} maps; at most {LINKS_MAX} pairs are allowed");
            return self.fail(Diagnostic::new(codes::E0115, table.outputs.span, message));
        }
        let rows = match &table.body {
            TableBody::Rows(rows) => self.table_rows(table, rows, inputs, outputs),
            TableBody::Condition { input, output, condition } => {
                self.in_module(module, |cx| cx.table_condition((input, output), condition, inputs, outputs))
            }
        };
        let Some(rows) = rows else { return Val::Poison };
        Val::Static(ArgValue::Table(Arc::new(Links { inputs: inputs as usize, rows })))
    }

    fn table_rows(
        &mut self,
        table: &Table,
        rows: &[TableRow],
        inputs: i64,
        outputs: i64,
    ) -> Option<Vec<Vec<u32>>> {
        let mut filled: Vec<Option<(Vec<u32>, crate::support::span::Span)>> = vec![None; outputs as usize];
        let sound = std::cell::Cell::new(true);
        let wrong = |cx: &mut Self, diag: Diagnostic| {
            cx.fail(diag);
            sound.set(false);
        };
        for row in rows {
            let (output, at) = row.output;
            let Some(slot) = usize::try_from(output).ok().and_then(|o| filled.get_mut(o)) else {
                let message =
                    format!("row {output} does not exist: the table has output maps 0 to {}", outputs - 1);
                wrong(self, Diagnostic::new(codes::E0301, at, message));
                continue;
            };
            if let Some((_, first)) = slot {
                let diag = Diagnostic::new(codes::E0301, at, format!("row {output} stands twice"));
                wrong(self, diag.also(*first, "first here"));
                continue;
            }
            let mut maps: BTreeSet<u32> = BTreeSet::new();
            match &row.inputs {
                None => maps.extend(0..inputs as u32),
                Some(list) => {
                    for (map, at) in list {
                        if *map < 0 || *map >= inputs {
                            let message = format!(
                                "row {output} links input map {map}: the table has input maps 0 to {}",
                                inputs - 1
                            );
                            wrong(self, Diagnostic::new(codes::E0301, *at, message));
                        } else if !maps.insert(*map as u32) {
                            let message = format!("row {output} links input map {map} twice");
                            wrong(self, Diagnostic::new(codes::E0301, *at, message));
                        }
                    }
                }
            }
            *slot = Some((maps.into_iter().collect(), at));
        }
        let missing: Vec<String> =
            filled.iter().enumerate().filter(|(_, r)| r.is_none()).map(|(o, _)| o.to_string()).collect();
        if !missing.is_empty() && sound.get() {
            let (word, verb) = if missing.len() == 1 { ("row", "is") } else { ("rows", "are") };
            let shown = if missing.len() > 8 {
                format!("{}, …", missing[..7].join(", "))
            } else {
                missing.join(", ")
            };
            let message = format!("{word} {shown} of table `{}` {verb} missing", table.name.name);
            let diag = Diagnostic::new(codes::E0301, table.name.span, message)
                .label(format!("{outputs} output maps"));
            wrong(self, diag.help("`3: *` links every input map, `3:` none"));
        }
        sound.get().then(|| filled.into_iter().map(|r| r.map_or_else(Vec::new, |(maps, _)| maps)).collect())
    }

    fn table_condition(
        &mut self,
        (input, output): (&'a Ident, &'a Ident),
        condition: &'a Expr,
        inputs: i64,
        outputs: i64,
    ) -> Option<Vec<Vec<u32>>> {
        let mut rows = Vec::new();
        for o in 0..outputs {
            let mut row = Vec::new();
            for i in 0..inputs {
                let local = |ident: &Ident, v: i64| Local {
                    name: ident.name.clone(),
                    value: Val::Static(ArgValue::Int(v)),
                    span: ident.span,
                };
                self.frame().locals = vec![local(input, i), local(output, o)];
                if self.condition(condition)? {
                    row.push(i as u32);
                }
            }
            rows.push(row);
        }
        Some(rows)
    }

    /// Every `--set` must name a constant of the root file and keep its kind.
    pub(super) fn check_settings(&mut self) {
        let root = &self.modules.all[0];
        let consts: Vec<&Const> = root
            .ast
            .items
            .iter()
            .filter_map(|item| match item {
                crate::ast::Item::Const(c) => Some(c),
                crate::ast::Item::Use(_)
                | crate::ast::Item::Table(_)
                | crate::ast::Item::Block(_)
                | crate::ast::Item::Net(_)
                | crate::ast::Item::Train(_)
                | crate::ast::Item::Test(_)
                | crate::ast::Item::Budget(_) => None,
            })
            .collect();
        for (name, value) in self.set {
            let Some(item) = consts.iter().find(|c| c.name.name == *name) else {
                let diag =
                    Diagnostic::new(codes::E0116, value.span, format!("no constant is called `{name}`"));
                let diag = if consts.is_empty() {
                    diag.help("the program has no `const`")
                } else {
                    let names: Vec<&str> = consts.iter().map(|c| &*c.name.name).collect();
                    diag.help(format!("its constants are {}", names.join(", ")))
                };
                self.fail(diag);
                continue;
            };
            let old = self.in_module(0, |cx| cx.expr(&item.value).last());
            let new = self.in_module(0, |cx| cx.expr(value).last());
            if let (Val::Static(old), Val::Static(new)) = (&old, &new) {
                let number = |v: &ArgValue| matches!(v, ArgValue::Int(_) | ArgValue::Float(_));
                let kinds = (statics::kind(old), statics::kind(new));
                let widened = matches!(old, ArgValue::Float(_)) && number(new);
                if kinds.0 != kinds.1 && !widened {
                    let message = format!("`{name}` is {}, and is set to {}", kinds.0, kinds.1);
                    let diag = Diagnostic::new(codes::E0116, value.span, message);
                    self.fail(diag.also(item.name.span, format!("`{name} = {}` here", statics::show(old))));
                }
            }
        }
    }

    /// An edit that replaces a written extent.
    pub(super) fn replace(&self, e: &Expr, text: String) -> Option<Candidate> {
        let old = self.sources.text(e.span);
        (old.len() <= 24 && !self.shipped(e.span))
            .then(|| Candidate::new(format!("{old} -> {text}"), vec![Edit { span: e.span, text }]))
    }
}
