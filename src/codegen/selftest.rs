//! The test that an object carries of itself: the numbers its inputs are filled with, the checksum of its weights, and the
//! function that runs it on the caller's memory.

use cranelift_codegen::ir::{
    BlockArg, InstBuilder, MemFlagsData, Value, condcodes::FloatCC, condcodes::IntCC, types,
};

use super::CodegenError;
use super::choose::Choice;
use super::object::{Check, Fill, Image, Source, public, read_only, refused, signature, status, wrong};
use super::routine::{Body, Fun, Public};

/// Element `i` of the numbers `seed`: uniform in 0..1, exact in 24 bits.
pub fn element(seed: u64, i: u64) -> f32 {
    let mut z = i.wrapping_add(seed).wrapping_mul(STEP);
    z ^= z >> 32;
    z = z.wrapping_mul(MIX);
    z ^= z >> 32;
    (z >> 40) as f32 * UNIT
}

/// The golden ratio in 64 bits, so that neighbours lie far apart.
const STEP: u64 = 0x9E37_79B9_7F4A_7C15;
/// An odd number with a good spread of bits.
const MIX: u64 = 0xD6E8_FEB8_6659_FD93;
/// 2^-24.
const UNIT: f32 = 1.0 / 16_777_216.0;

/// The checksum of memory, eight bytes at a time, little-endian; what is left at the end does not count. Every step is a
/// bijection, so that a change within eight bytes always shows.
pub fn checksum(bytes: &[u8]) -> u64 {
    bytes
        .as_chunks::<8>()
        .0
        .iter()
        .fold(BASIS, |sum, word| (sum ^ u64::from_le_bytes(*word)).rotate_left(ROTATE).wrapping_mul(PRIME))
}

const BASIS: u64 = 0xCBF2_9CE4_8422_2325;
const ROTATE: u32 = 29;
const PRIME: u64 = 0x100_0000_01B3;

/// Defines `PREFIX_selftest(given…, scratch)`.
pub(super) fn define(
    body: &mut Body<'_>,
    image: &Image<'_>,
    routines: &[Public],
    choice: &Choice,
) -> Result<(), CodegenError> {
    let test = &image.selftest;
    let bytes: Vec<u8> = test.golden.iter().flat_map(|x| x.to_le_bytes()).collect();
    let row = bytes.len() / image.variants.len().max(1);
    let golden = read_only(body.module, bytes).map_err(|e| refused(&e))?;
    let params = vec![types::I64; test.given + 1];
    let id = public(body, image.prefix, "selftest", &params)?;
    body.define(id, signature(&params), |f| {
        let scratch = f.params[test.given];
        if let Some((source, len, wanted)) = test.checksum {
            let at = argument(f, source, scratch)?;
            let sum = sum(f, at, len / 8);
            let wanted = f.number(types::I64, wanted as i64);
            let differs = f.b.ins().icmp(IntCC::NotEqual, sum, wanted);
            f.give_if(differs, status::WEIGHTS);
        }
        for fill in &test.fills {
            filled(f, fill, scratch);
        }
        for (routine, args) in &test.runs {
            let public = routines.get(*routine).ok_or_else(|| wrong("no such routine".into()))?;
            let args: Vec<Value> = args.iter().map(|a| argument(f, *a, scratch)).collect::<Result<_, _>>()?;
            let done = f.call(public.whole, &args).ok_or_else(|| wrong("no result".into()))?;
            let (leave, on) = (f.b.create_block(), f.b.create_block());
            f.b.ins().brif(done, leave, &[], on, &[]);
            f.b.switch_to_block(leave);
            f.b.ins().return_(&[done]);
            f.b.switch_to_block(on);
        }
        // The runs have shown that some variant is chosen.
        let number = choice.number(f)?;
        let number = f.b.ins().uextend(types::I64, number);
        let before = f.b.ins().iadd_imm_s(number, -1);
        let offset = f.b.ins().imul_imm_s(before, row as i64);
        let golden = f.address(golden);
        let golden = f.b.ins().iadd(golden, offset);
        let mut at = test.checks.len() * 4;
        for (i, check) in test.checks.iter().enumerate() {
            let bound = f.b.ins().load(types::F32, flags(), golden, i as i32 * 4);
            let wanted = f.plus(golden, at);
            compared(f, check, scratch, bound, wanted);
            at += check.count * 4;
        }
        f.give(status::OK);
        Ok(())
    })
}

fn argument(f: &mut Fun<'_>, source: Source, scratch: Value) -> Result<Value, CodegenError> {
    Ok(match source {
        Source::Given(i) => *f.params.get(i).ok_or_else(|| wrong("a pointer that is not there".into()))?,
        Source::Scratch(bytes) => f.plus(scratch, bytes),
        Source::Data(number, bytes) => {
            let base = f.image_data(number)?;
            f.plus(base, bytes)
        }
        Source::Float(x) => f.b.ins().f32const(x),
    })
}

/// A loop over `0..turns` with one value carried along; that value at the end.
fn counted(
    f: &mut Fun<'_>,
    turns: usize,
    start: Option<Value>,
    body: impl FnOnce(&mut Fun<'_>, Value, Option<Value>) -> Option<Value>,
) -> Option<Value> {
    let (head, turn, end) = (f.b.create_block(), f.b.create_block(), f.b.create_block());
    let i = f.b.append_block_param(head, types::I64);
    let carried = start.map(|s| {
        let ty = f.b.func.dfg.value_type(s);
        f.b.append_block_param(head, ty)
    });
    let zero = f.number(types::I64, 0);
    let args = |i: Value, c: Option<Value>| -> Vec<BlockArg> {
        std::iter::once(i).chain(c).map(BlockArg::Value).collect()
    };
    f.b.ins().jump(head, &args(zero, start));
    f.b.switch_to_block(head);
    let last = f.number(types::I64, turns as i64);
    let more = f.b.ins().icmp(IntCC::UnsignedLessThan, i, last);
    f.b.ins().brif(more, turn, &[], end, &[]);
    f.b.switch_to_block(turn);
    let next = body(f, i, carried);
    let i = f.b.ins().iadd_imm_s(i, 1);
    f.b.ins().jump(head, &args(i, next));
    f.b.switch_to_block(end);
    carried
}

/// [`checksum`], as code.
fn sum(f: &mut Fun<'_>, at: Value, words: usize) -> Value {
    let start = f.number(types::I64, BASIS as i64);
    let sum = counted(f, words, Some(start), |f, i, sum| {
        let offset = f.b.ins().ishl_imm_u(i, 3);
        let address = f.b.ins().iadd(at, offset);
        let word = f.b.ins().load(types::I64, flags(), address, 0);
        let sum = f.b.ins().bxor(sum?, word);
        let sum = f.b.ins().rotl_imm_u(sum, i64::from(ROTATE));
        let prime = f.number(types::I64, PRIME as i64);
        Some(f.b.ins().imul(sum, prime))
    });
    sum.unwrap_or(start)
}

/// [`element`], as code, over memory.
fn filled(f: &mut Fun<'_>, fill: &Fill, scratch: Value) {
    let at = f.plus(scratch, fill.at);
    counted(f, fill.len, None, |f, i, _| {
        let seed = f.number(types::I64, fill.seed as i64);
        let step = f.number(types::I64, STEP as i64);
        let mix = f.number(types::I64, MIX as i64);
        let z = f.b.ins().iadd(i, seed);
        let z = f.b.ins().imul(z, step);
        let high = f.b.ins().ushr_imm_u(z, 32);
        let z = f.b.ins().bxor(z, high);
        let z = f.b.ins().imul(z, mix);
        let high = f.b.ins().ushr_imm_u(z, 32);
        let z = f.b.ins().bxor(z, high);
        let z = f.b.ins().ushr_imm_u(z, 40);
        let z = f.b.ins().ireduce(types::I32, z);
        let x = f.b.ins().fcvt_from_sint(types::F32, z);
        let unit = f.b.ins().f32const(UNIT);
        let x = f.b.ins().fmul(x, unit);
        let offset = f.b.ins().ishl_imm_u(i, 2);
        let address = f.b.ins().iadd(at, offset);
        f.b.ins().store(flags(), x, address, 0);
        None
    });
}

/// Ends the test where an element differs by more than `bound`, or is no number where one is wanted.
fn compared(f: &mut Fun<'_>, check: &Check, scratch: Value, bound: Value, wanted: Value) {
    let at = f.plus(scratch, check.at);
    counted(f, check.count, None, |f, i, _| {
        let offset = f.b.ins().imul_imm_s(i, check.stride as i64 * 4);
        let address = f.b.ins().iadd(at, offset);
        let got = f.b.ins().load(types::F32, flags(), address, 0);
        let got_bits = f.b.ins().load(types::I32, flags(), address, 0);
        let offset = f.b.ins().ishl_imm_u(i, 2);
        let address = f.b.ins().iadd(wanted, offset);
        let want = f.b.ins().load(types::F32, flags(), address, 0);
        let want_bits = f.b.ins().load(types::I32, flags(), address, 0);
        let difference = f.b.ins().fsub(got, want);
        let difference = f.b.ins().fabs(difference);
        let near = f.b.ins().fcmp(FloatCC::LessThanOrEqual, difference, bound);
        // Infinities and what is no number have no difference.
        let same = f.b.ins().icmp(IntCC::Equal, got_bits, want_bits);
        let fine = f.b.ins().bor(near, same);
        let wrong = f.b.ins().bxor_imm_s(fine, 1);
        f.give_if(wrong, status::RESULT);
        None
    });
}

fn flags() -> MemFlagsData {
    MemFlagsData::trusted()
}
