//! Places for registers. In: a list of instructions; out: for every virtual register a physical one or a slot of the frame.
//!
//! A register is held from its first occurrence to its last, and to the end of every loop that uses it but does not begin
//! before it. Those used most in the deepest loops, for how long they are held, choose first and take the lowest number that
//! is free all that time; who finds none lies in the frame.

use super::inst::{Code, Inst, Reg};

/// Where a register lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Loc {
    /// A physical register, by its number in instructions.
    Reg(u8),
    /// A slot of the frame, by number.
    Slot(u32),
}

/// The places of all registers.
#[derive(Clone, Debug)]
pub(super) struct Places {
    pub(super) integers: Vec<Loc>,
    pub(super) vectors: Vec<Loc>,
    pub(super) integer_slots: u32,
    pub(super) vector_slots: u32,
}

/// When a register is held, and how much it is used.
#[derive(Clone, Copy, Debug)]
struct Life {
    first: u32,
    last: u32,
    weight: f32,
}

const UNUSED: Life = Life { first: u32::MAX, last: 0, weight: 0.0 };

/// How much more a turn of a loop counts than what stands around it.
const DEEPER: f32 = 8.0;

/// Physical integer registers to hand out: all but the stack, the frame, and three for the encoder.
pub(super) const INTEGERS: [u8; 11] = [6, 7, 8, 9, 10, 11, 3, 12, 13, 14, 15];

/// Finds places, with `vectors` vector registers to hand out.
pub(super) fn places(code: &Code, vectors: u8) -> Places {
    let (g, v) = lives(code);
    let all: Vec<u8> = (0..vectors).collect();
    let (integers, integer_slots) = colour(&g, &INTEGERS);
    let (vectors, vector_slots) = colour(&v, &all);
    Places { integers, vectors, integer_slots, vector_slots }
}

fn lives(code: &Code) -> (Vec<Life>, Vec<Life>) {
    let mut g = vec![UNUSED; code.integers as usize];
    let mut v = vec![UNUSED; code.vectors as usize];
    let (mut weight, mut depth) = (1.0f32, 0);
    let mut open = Vec::new();
    let mut loops = Vec::new();
    for (at, inst) in code.list.iter().enumerate() {
        match inst {
            Inst::Open => {
                open.push(at as u32);
                depth += 1;
                weight = DEEPER.powi(depth.min(8));
            }
            Inst::Close => {
                loops.extend(open.pop().map(|from| (from, at as u32)));
                depth -= 1;
                weight = DEEPER.powi(depth.min(8));
            }
            _ => inst.registers(&mut |r| {
                let life = match r {
                    Reg::G(r) => &mut g[r.0 as usize],
                    Reg::V(r) => &mut v[r.0 as usize],
                };
                life.first = life.first.min(at as u32);
                life.last = life.last.max(at as u32);
                life.weight += weight;
            }),
        }
    }
    // Inner loops close first, so one pass carries a use outwards as far as need be.
    for lives in [&mut g, &mut v] {
        let mut by_last: Vec<usize> = (0..lives.len()).filter(|i| lives[*i].weight > 0.0).collect();
        by_last.sort_unstable_by_key(|i| lives[*i].last);
        for i in by_last {
            let life = &mut lives[i];
            // Only loops that close behind its last occurrence can hold it.
            let from = loops.partition_point(|l| l.1 < life.last);
            for (start, end) in &loops[from..] {
                if life.first < *start && *start <= life.last && life.last <= *end {
                    life.last = *end;
                }
            }
        }
    }
    (g, v)
}

/// Gives each life one of `registers`, or a slot.
fn colour(lives: &[Life], registers: &[u8]) -> (Vec<Loc>, u32) {
    let mut order: Vec<usize> = (0..lives.len()).filter(|i| lives[*i].weight > 0.0).collect();
    let density = |l: &Life| l.weight / (l.last - l.first + 1) as f32;
    order.sort_by(|a, b| density(&lives[*b]).total_cmp(&density(&lives[*a])).then(a.cmp(b)));
    let mut taken: Vec<std::collections::BTreeMap<u32, u32>> = vec![Default::default(); registers.len()];
    let mut slots: Vec<std::collections::BTreeMap<u32, u32>> = Vec::new();
    let mut out = vec![Loc::Slot(0); lives.len()];
    for i in order {
        let life = &lives[i];
        let free = |held: &std::collections::BTreeMap<u32, u32>| {
            held.range(..=life.last).next_back().is_none_or(|(_, end)| *end < life.first)
        };
        if let Some(r) = taken.iter().position(free) {
            taken[r].insert(life.first, life.last);
            out[i] = Loc::Reg(registers[r]);
            continue;
        }
        let s = slots.iter().position(free).unwrap_or_else(|| {
            slots.push(Default::default());
            slots.len() - 1
        });
        slots[s].insert(life.first, life.last);
        out[i] = Loc::Slot(s as u32);
    }
    (out, slots.len() as u32)
}
