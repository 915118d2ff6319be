//! Blocks: runs of calls that occur several times and differ in numbers alone, and squeeze-excite wherever it occurs.
//!
//! A run can be a block if it takes one value and hands out its last one alone. Of all runs the one that stands for most calls
//! becomes a block first; what was found is a call then, and may be a part of the next. Numbers that differ between instances are
//! parameters, as few as can be: what is another parameter, a multiple of one, or the input's channels is said so.

use std::collections::{BTreeMap, HashMap};

use super::node::{Fixed, Form, Node, Nodes, Ref, Tok, Weight};
use super::text::{self, Names, word};
use super::{Refused, tuple};

/// Longer runs are no blocks that a reader keeps in mind.
const CALLS_MAX: usize = 40;
/// Nor are blocks with more parameters.
const PARAMS_MAX: usize = 8;
/// Shorter runs are clearer written out.
const CALLS_MIN: usize = 3;
/// Nor is less than this many calls left out worth a block.
const SAVED_MIN: usize = 3;
/// Rounds; each makes one block.
const ROUNDS: usize = 24;

/// Replaces what repeats by calls; the blocks' texts, each after those it uses.
///
/// # Errors
/// As [`text::body`].
pub(super) fn find(nodes: &mut Nodes, names: &mut Names) -> Result<Vec<String>, Refused> {
    let mut out = Vec::new();
    let mut refused: Vec<Vec<u32>> = Vec::new();
    for _ in 0..ROUNDS {
        let Some(run) = squeeze(nodes).or_else(|| best(nodes, &refused)) else { break };
        match block(nodes, &run, names)? {
            Some(text) => out.push(text),
            None => refused.push(run.key),
        }
    }
    Ok(out)
}

/// Where a run begins, and how many calls it has.
struct Run {
    starts: Vec<usize>,
    len: usize,
    /// What identifies it.
    key: Vec<u32>,
}

/// The last call that uses each value; results are used at the end.
fn last_uses(nodes: &Nodes) -> Vec<usize> {
    let mut last: Vec<usize> = (0..nodes.list.len()).collect();
    for (i, node) in nodes.list.iter().enumerate() {
        for operand in &node.operands {
            if let Ref::Node(j) = operand {
                last[*j] = i;
            }
        }
    }
    for output in &nodes.outputs {
        if let Ref::Node(j) = output {
            last[*j] = usize::MAX;
        }
    }
    last
}

/// The value that the run takes, if it takes one and hands out its last alone.
fn entry(nodes: &Nodes, last: &[usize], start: usize, len: usize) -> Option<Ref> {
    let mut taken = None;
    for node in &nodes.list[start..start + len] {
        for operand in &node.operands {
            let inside = matches!(operand, Ref::Node(j) if *j >= start);
            if !inside && *taken.get_or_insert(*operand) != *operand {
                return None;
            }
        }
    }
    let closed = last[start..start + len - 1].iter().all(|l| *l < start + len);
    taken.filter(|_| closed)
}

/// The run that stands for most calls.
fn best(nodes: &Nodes, refused: &[Vec<u32>]) -> Option<Run> {
    let n = nodes.list.len();
    let mut ids: HashMap<String, u32> = HashMap::new();
    let base: Vec<u32> = nodes
        .list
        .iter()
        .map(|node| {
            let next = ids.len() as u32;
            *ids.entry(node.signature()).or_insert(next)
        })
        .collect();
    let last = last_uses(nodes);
    let mut found: BTreeMap<Vec<u32>, Vec<usize>> = BTreeMap::new();
    for start in 0..n {
        let mut key: Vec<u32> = Vec::new();
        let mut open = 0;
        for end in start..n.min(start + CALLS_MAX) {
            let node = &nodes.list[end];
            key.push(base[end]);
            for operand in &node.operands {
                key.push(match operand {
                    Ref::Node(j) if *j >= start => (end - j) as u32,
                    Ref::Node(_) | Ref::Input(_) => u32::MAX,
                });
            }
            if last[end] == usize::MAX {
                open = usize::MAX;
            } else {
                open = open.max(last[end]);
            }
            let len = end + 1 - start;
            // Everything before the last call is used up within.
            let closed = last[start..end].iter().all(|l| *l <= end);
            if len >= CALLS_MIN && closed && entry(nodes, &last, start, len).is_some() {
                found.entry(key.clone()).or_default().push(start);
            }
            let foreign = node.operands.iter().any(|o| {
                nodes.list[start].operands.first() != Some(o) && !matches!(o, Ref::Node(j) if *j >= start)
            });
            if foreign || open == usize::MAX {
                break;
            }
        }
    }
    let mut best: Option<((usize, std::cmp::Reverse<usize>), Run)> = None;
    for (key, starts) in found {
        let calls = key_len(nodes, &key, &starts);
        let mut apart: Vec<usize> = Vec::new();
        for start in starts {
            if apart.last().is_none_or(|l| l + calls <= start) {
                apart.push(start);
            }
        }
        if apart.len() < 2 || refused.contains(&key) {
            continue;
        }
        let run = &nodes.list[apart[0]..apart[0] + calls];
        // Calls that need not be written, less the calls of the block. A run of blocks alone is clearer written out.
        let blocks = run.iter().filter(|n| n.kind == "call").count();
        let parts = run.len() - blocks;
        let saved = ((apart.len() - 1) * parts).saturating_sub(apart.len() + 4 * blocks);
        if saved < SAVED_MIN || !run.iter().any(|n| n.layer.is_some() && n.kind != "call") {
            continue;
        }
        // What comes together again is more of a whole.
        let joins = run.iter().any(|n| n.form == Form::Expr && n.operands.len() > 1);
        // A block begins with a layer and ends in what follows one, where there is a choice.
        let begins = run.first().is_some_and(|n| n.layer.is_some() && n.kind != "batchnorm");
        let ends = run.last().is_some_and(|n| n.layer.is_none() || n.kind == "batchnorm" || n.kind == "call");
        let whole = 10 + 3 * usize::from(joins) + 2 * usize::from(begins) + usize::from(ends);
        let rank = (saved * whole, std::cmp::Reverse(calls * (n + 1) + apart[0]));
        if best.as_ref().is_none_or(|(b, _)| rank > *b) {
            best = Some((rank, Run { starts: apart, len: calls, key }));
        }
    }
    best.map(|(_, run)| run)
}

/// How many calls a run's key is about.
fn key_len(nodes: &Nodes, key: &[u32], starts: &[usize]) -> usize {
    let mut left = key.len();
    let mut len = 0;
    for node in nodes.list.iter().skip(starts.first().copied().unwrap_or(0)) {
        if left == 0 {
            break;
        }
        left = left.saturating_sub(1 + node.operands.len());
        len += 1;
    }
    len
}

/// The next squeeze-excite: a global mean, two layers with a function behind each, and the product with what was averaged.
fn squeeze(nodes: &Nodes) -> Option<Run> {
    let last = last_uses(nodes);
    let is =
        |i: usize, what: &str| nodes.list.get(i).is_some_and(|n| n.toks.first() == Some(&Tok::text(what)));
    let matches = |start: usize| -> Option<usize> {
        if !is(start, "avgpool(global)") {
            return None;
        }
        let layer = |i: usize| nodes.list.get(i).is_some_and(|n| n.kind == "dense" || n.kind == "conv");
        // A sigmoid of other slopes than the language's is a product, a sum and a clip.
        let function = |n: &Node| {
            let number = n.form == Form::Expr && n.operands.len() == 1 && n.weights.is_empty();
            n.kind == "unary" || n.kind == "batchnorm" || number
        };
        let mut at = start + 1;
        for _ in 0..2 {
            if !layer(at) {
                return None;
            }
            at += 1;
            let mut functions = 0;
            while nodes.list.get(at).is_some_and(function) && functions < 4 {
                at += 1;
                functions += 1;
            }
        }
        let product = nodes.list.get(at)?;
        let times = product.form == Form::Expr && product.toks.contains(&Tok::text(" * "));
        (times && entry(nodes, &last, start, at + 1 - start).is_some()).then_some(at + 1 - start)
    };
    let all: Vec<(usize, usize)> = (0..nodes.list.len()).filter_map(|s| Some((s, matches(s)?))).collect();
    let (first, len) = *all.first()?;
    let same = |s: usize| {
        (0..len).all(|k| nodes.list[first + k].like(&nodes.list[s + k]) && wired(nodes, first, s, k))
    };
    let starts = all.iter().filter(|(s, l)| *l == len && same(*s)).map(|(s, _)| *s).collect();
    Some(Run { starts, len, key: Vec::new() })
}

/// Whether call `k` of two runs takes the same of its run.
fn wired(nodes: &Nodes, a: usize, b: usize, k: usize) -> bool {
    let inner = |start: usize| -> Vec<Option<usize>> {
        let operands = nodes.list[start + k].operands.iter();
        operands
            .map(|o| match o {
                Ref::Node(j) if *j >= start => Some(j - start),
                _ => None,
            })
            .collect()
    };
    inner(a) == inner(b)
}

/// A parameter under construction.
struct Param {
    name: String,
    kind: &'static str,
    /// Per instance.
    values: Vec<Fixed>,
}

/// Makes a block of a run and calls in its place; `None` where it has too many parameters.
fn block(nodes: &mut Nodes, run: &Run, names: &mut Names) -> Result<Option<String>, Refused> {
    let last = last_uses(nodes);
    let entries: Option<Vec<Ref>> = run.starts.iter().map(|s| entry(nodes, &last, *s, run.len)).collect();
    let Some(entries) = entries else { return Ok(None) };
    let first = run.starts[0];
    let mut template: Vec<Node> = nodes.list[first..first + run.len].to_vec();
    let mut own = Names::new();
    let input = own.name("x");
    let mut params: Vec<Param> = Vec::new();
    for k in 0..run.len {
        let count = template[k].args().count();
        for a in 0..count {
            let column: Vec<Fixed> = run
                .starts
                .iter()
                .filter_map(|s| nodes.list[s + k].args().nth(a).map(|(_, v)| v.clone()))
                .collect();
            if column.len() != run.starts.len() {
                return Ok(None);
            }
            let channels: Vec<i64> = entries.iter().map(|e| nodes.channels(*e) as i64).collect();
            let key = template[k].args().nth(a).map(|(key, _)| key.to_owned()).unwrap_or_default();
            let value = fixed(&column, &channels, &key, &template[k].kind, &mut params, &mut own);
            set_arg(&mut template[k], a, value);
        }
    }
    if params.len() > PARAMS_MAX {
        return Ok(None);
    }
    // Names of layers: what an instance's have in common is the instance's own.
    let mut instances: Vec<String> = Vec::new();
    let mut locals: Vec<Vec<String>> = Vec::new();
    for start in &run.starts {
        let wanted: Vec<String> =
            nodes.list[*start..start + run.len].iter().filter_map(|n| n.layer.clone()).collect();
        let common = common(&wanted);
        locals.push(wanted.iter().map(|w| w[common.len()..].to_owned()).collect());
        instances.push(common.trim_end_matches(['.', '/', '_', ':']).to_owned());
    }
    let agree = locals.iter().all(|l| *l == locals[0])
        && locals[0].iter().all(|l| !l.trim_matches(['.', '/', '_', ':']).is_empty());
    let mut place = 0;
    for node in &mut template {
        if node.layer.is_some() {
            let local = &locals[0][place];
            // A sequence's numbers say less than what stands there.
            let numbered = local.chars().all(|c| c.is_ascii_digit() || "./_:".contains(c));
            node.layer = Some(if agree && !numbered { word(local) } else { short(&node.kind) });
            place += 1;
        }
        for operand in &mut node.operands {
            *operand = match *operand {
                Ref::Node(j) if j >= first => Ref::Node(j - first),
                Ref::Node(_) | Ref::Input(_) => Ref::Input(0),
            };
        }
    }
    let result = [Ref::Node(run.len - 1)];
    let title = names.name(&title(&template, &instances));
    let declared: Vec<String> = params.iter().map(|p| format!("{}: {}", p.name, kind(p))).collect();
    let head = if declared.is_empty() { input.clone() } else { format!("{input}; {}", declared.join(", ")) };
    let mut inner: Vec<Node> = template.clone();
    for (i, node) in inner.iter_mut().enumerate() {
        node.name = value_name(&template, i);
    }
    let body = text::body(&inner, &[input], &result, &mut own)?;
    let lines = body.lines.join("\n");
    let text = format!("block {title}({head}) {{\n{lines}\n{}\n}}\n", tuple(&body.results));
    for (i, start) in run.starts.iter().enumerate().rev() {
        let instance = match instances[i].as_str() {
            "" if title.starts_with("squeeze_excite") => "se".to_owned(),
            "" => format!("{title}_{}", i + 1),
            own => own.to_owned(),
        };
        let parts: Vec<Node> = nodes.list[*start..start + run.len].to_vec();
        let mut toks = vec![Tok::text(title.clone())];
        for (j, p) in params.iter().enumerate() {
            let key = format!("{}{}: ", if j == 0 { "(" } else { ", " }, p.name);
            toks.push(Tok::arg(&key, plain(p, i)));
        }
        if !params.is_empty() {
            toks.push(Tok::text(")"));
        }
        let mut weights: Vec<Weight> = Vec::new();
        for (node, layer) in parts.iter().zip(&body.layers) {
            let Some(layer) = layer else { continue };
            weights
                .extend(node.weights.iter().map(|(p, d, v)| (format!("{layer}.{p}"), d.clone(), v.clone())));
        }
        let made = Node {
            name: parts.last().map(|n| n.name.clone()).unwrap_or_default(),
            form: Form::Stage,
            toks,
            operands: vec![entries[i]],
            layer: Some(instance),
            weights,
            channels: parts.last().map_or(1, |n| n.channels),
            // A squeeze-excite is a layer among others.
            kind: if title.starts_with("squeeze_excite") { "gate" } else { "call" }.to_owned(),
        };
        replace(nodes, *start, run.len, made);
    }
    Ok(Some(text))
}

/// Puts one node in the place of a run.
fn replace(nodes: &mut Nodes, start: usize, len: usize, made: Node) {
    nodes.list.splice(start..start + len, [made]);
    let moved = |r: &mut Ref| {
        if let Ref::Node(j) = r
            && *j >= start + len - 1
        {
            *j -= len - 1;
        }
    };
    nodes.list.iter_mut().skip(start + 1).flat_map(|n| &mut n.operands).for_each(moved);
    nodes.outputs.iter_mut().for_each(moved);
}

/// What stands for a column of an argument's values in the block: the value, something of the parameters, or a new one.
fn fixed(
    column: &[Fixed],
    channels: &[i64],
    key: &str,
    of: &str,
    params: &mut Vec<Param>,
    names: &mut Names,
) -> Fixed {
    if column.iter().all(|v| *v == column[0]) {
        return column[0].clone();
    }
    let ints: Option<Vec<i64>> = column.iter().map(Fixed::int).collect();
    let kind = column[0].kind();
    let param_ints = |p: &Param| -> Option<Vec<i64>> { p.values.iter().map(Fixed::int).collect() };
    if let Some(p) = params.iter().find(|p| p.values == column || (ints.is_some() && param_ints(p) == ints)) {
        return Fixed::Of(p.name.clone());
    }
    if let Some(ints) = &ints {
        if ints == channels {
            return Fixed::Of("x.c".to_owned());
        }
        let halves = |p: &Param| param_ints(p).is_some_and(|k| k.iter().zip(ints).all(|(k, i)| k / 2 == *i));
        if kind == "pad"
            && let Some(p) = params.iter().find(|p| halves(p))
        {
            return Fixed::Of(format!("{} // 2", p.name));
        }
        let times = |of: &[i64]| (2..=8).find(|r| of.iter().zip(ints).all(|(k, i)| k * r == *i));
        if kind == "int" {
            for p in params.iter() {
                if let Some(r) = param_ints(p).and_then(|k| times(&k)) {
                    return Fixed::Of(format!("{r} * {}", p.name));
                }
            }
            if let Some(r) = times(channels) {
                return Fixed::Of(format!("{r} * x.c"));
            }
            if let Some(r) = (2..=16).find(|r| channels.iter().zip(ints).all(|(c, i)| i * r == *c)) {
                return Fixed::Of(format!("x.c // {r}"));
            }
        }
    }
    let wanted = match key {
        "" if kind == "int" => "k",
        ", " if of != "split" => "kernel",
        ", stride: " => "s",
        ", pad: " => "pad",
        ", groups: " => "groups",
        ", dilate: " => "d",
        _ if of == "call" => key.trim_start_matches(['(', ',', ' ']).trim_end_matches([':', ' ']),
        _ => "n",
    };
    let name = names.name(wanted);
    params.push(Param { name: name.clone(), kind, values: column.to_vec() });
    Fixed::Of(name)
}

/// A parameter's type.
fn kind(p: &Param) -> &'static str {
    if p.values.iter().all(|v| v.int().is_some()) { "int" } else { p.kind }
}

/// A parameter's value in a call.
fn plain(p: &Param, instance: usize) -> Fixed {
    let value = &p.values[instance];
    match value.int() {
        Some(i) if kind(p) == "int" => Fixed::Int(i),
        _ => value.clone(),
    }
}

fn set_arg(node: &mut Node, a: usize, new: Fixed) {
    let args = node.toks.iter_mut().filter_map(|t| match t {
        Tok::Arg { value, .. } => Some(value),
        Tok::Text(_) | Tok::Operand(_) => None,
    });
    if let Some(value) = args.into_iter().nth(a) {
        *value = new;
    }
}

/// What all names begin with, up to a sign that parts names.
fn common(names: &[String]) -> &str {
    let Some(first) = names.first() else { return "" };
    let mut len = first.len();
    for name in names {
        len = len.min(first.bytes().zip(name.bytes()).take_while(|(a, b)| a == b).count());
    }
    let parts = |b: u8| matches!(b, b'.' | b'/' | b'_' | b':');
    // A whole name may be what the others begin with.
    while len > 0 && !first.as_bytes().get(len - 1).is_some_and(|b| parts(*b)) {
        len -= 1;
    }
    &first[..len]
}

/// A layer's name in a block whose layers have no names in common.
fn short(kind: &str) -> String {
    match kind {
        "batchnorm" => "norm".to_owned(),
        "call" => "part".to_owned(),
        "gate" => "se".to_owned(),
        other => other.to_owned(),
    }
}

/// What the value of call `i` of a block is called, if it needs a name.
fn value_name(template: &[Node], i: usize) -> String {
    let before = template[..=i].iter().rev().find_map(|n| n.layer.clone());
    before.unwrap_or_else(|| template[i].kind.clone())
}

/// A name for a block by what it does, else by its instances' names.
fn title(template: &[Node], instances: &[String]) -> String {
    let text = |n: &Node| {
        n.toks.iter().fold(String::new(), |mut all, t| {
            match t {
                Tok::Text(t) => all.push_str(t),
                Tok::Arg { key, value, .. } => {
                    all.push_str(key);
                    all.push_str(&value.text());
                }
                Tok::Operand(_) => all.push('.'),
            }
            all
        })
    };
    let texts: Vec<String> = template.iter().map(text).collect();
    let convs: Vec<&Node> = template.iter().filter(|n| n.kind == "conv").collect();
    let groups = |n: &Node| n.args().any(|(k, v)| k == ", groups: " && *v != Fixed::Int(1));
    let narrow = |n: &Node| n.args().any(|(_, v)| matches!(v, Fixed::Kernel(_)) && v.int() == Some(1));
    let last = texts.iter().rposition(|t| t.contains(". + .") || t.starts_with("concat("));
    let pooled = texts.first().is_some_and(|t| t == "avgpool(global)");
    let dense = template.iter().filter(|n| n.kind == "dense" || n.kind == "conv").count();
    if pooled && dense == 2 && texts.last().is_some_and(|t| t.contains(". * .")) {
        return "squeeze_excite".to_owned();
    }
    let stem = || {
        let stems: Vec<String> = instances
            .iter()
            .map(|i| word(i).trim_end_matches(|c: char| c.is_ascii_digit() || c == '_').to_owned())
            .collect();
        stems.first().filter(|s| s.len() > 2 && *s != "v" && stems.iter().all(|t| t == *s)).cloned()
    };
    match (convs.len(), last) {
        (3, None) if groups(convs[1]) && !groups(convs[0]) => "inverted".to_owned(),
        (2, None) if groups(convs[0]) && !groups(convs[1]) => "separable".to_owned(),
        (2, Some(l)) if texts[l].contains(". + .") && !convs.iter().any(|c| groups(c)) => "basic".to_owned(),
        (3, Some(l)) if texts[l].contains(". + .") && groups(convs[1]) => "inverted".to_owned(),
        (3, Some(l)) if texts[l].contains(". + .") && narrow(convs[0]) => "bottleneck".to_owned(),
        (4, Some(l)) if texts[l].contains(". + .") && narrow(convs[0]) => "bottleneck_down".to_owned(),
        (3, Some(l)) if texts[l].contains(". + .") => "basic_down".to_owned(),
        (3, Some(l)) if texts[l].starts_with("concat(") => "fire".to_owned(),
        (n, Some(l)) if n > 4 && texts[l].starts_with("concat(") => "inception".to_owned(),
        (1, None) if template.iter().any(|n| n.kind == "batchnorm") => "conv_norm".to_owned(),
        (2, None) if convs.len() == template.iter().filter(|n| n.layer.is_some()).count() => {
            "double_conv".to_owned()
        }
        _ => stem().unwrap_or_else(|| "part".to_owned()),
    }
}
