//! Every kind of instruction, in registers of high and low numbers and at near and far addresses, against an independent decoder.

use iced_x86::{Decoder, DecoderOptions, Formatter, Instruction, NasmFormatter};

use super::inst::{Arg, Code, Compare, Inst, Mem, Op, Shift, Src, Unary, Width};
use super::{Unit, assemble};

/// What stands between the prologue and the epilogue of a function.
fn listing(code: &Code, unit: Unit) -> Vec<String> {
    let made = assemble(code, unit).expect("labels are bound");
    let list: Vec<Instruction> =
        Decoder::with_ip(64, &made.bytes[..made.code], 0, DecoderOptions::NONE).iter().collect();
    assert!(list.iter().all(|i| !i.is_invalid()), "an instruction that is none");
    let mut formatter = NasmFormatter::new();
    let text = |i: &Instruction| {
        let mut text = String::new();
        formatter.format(i, &mut text);
        text
    };
    let lines: Vec<String> = list.iter().map(text).collect();
    assert_eq!(lines.last().map(String::as_str), Some("ret"));
    lines
}

/// As many vectors as it takes for the later ones to have high numbers, all held to the end.
fn vectors(code: &mut Code, unit: Unit, width: Width) -> Vec<super::inst::V> {
    let all: Vec<_> = (0..unit.registers()).map(|_| code.vector()).collect();
    for (i, v) in all.iter().enumerate() {
        code.push(Inst::Unary { op: Unary::Move, dst: *v, src: Src::Const(i as u32), width });
    }
    all
}

#[test]
fn arithmetic_reads_as_it_was_written() {
    for (unit, width, letter) in [
        (Unit::Avx2, Width::Y, 'y'),
        (Unit::Avx2, Width::X, 'x'),
        (Unit::Avx512, Width::Z, 'z'),
        (Unit::Avx512, Width::Y, 'y'),
    ] {
        let mut code = Code::default();
        let v = vectors(&mut code, unit, width);
        let (a, b, c) = (v[1], v[unit.registers() - 2], v[9]);
        let ops = [
            (Op::Add, "vaddps"),
            (Op::Sub, "vsubps"),
            (Op::Mul, "vmulps"),
            (Op::Div, "vdivps"),
            (Op::Min, "vminps"),
            (Op::Max, "vmaxps"),
            (Op::And, "vandps"),
            (Op::AndNot, "vandnps"),
            (Op::Or, "vorps"),
            (Op::Xor, "vxorps"),
            (Op::IntAdd, "vpaddd"),
            (Op::IntSub, "vpsubd"),
            (Op::IntMul, "vpmulld"),
        ];
        for (op, _) in ops {
            code.push(Inst::Op { op, dst: a, a: b, b: Src::V(c), width });
        }
        code.push(Inst::Fma { acc: b, a: c, b: Src::V(a), width });
        for by in [Shift::Left, Shift::Right, Shift::Arithmetic] {
            code.push(Inst::Shift { by, dst: b, src: a, bits: 7, width });
        }
        for op in [Unary::Sqrt, Unary::Floor, Unary::Ceil, Unary::Round, Unary::FromInt] {
            code.push(Inst::Unary { op, dst: a, src: Src::V(b), width });
        }
        for v in &v {
            code.push(Inst::Op { op: Op::Add, dst: *v, a: *v, b: Src::V(*v), width });
        }
        let lines = listing(&code, unit);
        let at = |name: &str| lines.iter().filter(|l| l.starts_with(name)).count();
        let adds = 1 + v.len();
        for (op, name) in ops {
            assert!(at(name) >= if op == Op::Add { adds } else { 1 }, "{name} at {unit:?}");
        }
        for name in ["vfmadd231ps", "vpslld", "vpsrld", "vpsrad", "vsqrtps", "vcvtdq2ps"] {
            assert_eq!(at(name), 1, "{name} at {unit:?}\n{}", lines.join("\n"));
        }
        let rounds = if unit == Unit::Avx512 { "vrndscaleps" } else { "vroundps" };
        assert_eq!(at(rounds), 3);
        // Operands of the first addition are three different registers of the width.
        let add = lines.iter().find(|l| l.starts_with("vaddps")).expect("counted above");
        let names: std::collections::BTreeSet<&str> = add[6..].split(',').map(str::trim).collect();
        assert_eq!(names.len(), 3, "{add}");
        assert!(names.iter().all(|n| n.starts_with(letter)), "{add}");
    }
}

#[test]
fn memory_operands_keep_their_addresses() {
    for unit in [Unit::Avx2, Unit::Avx512] {
        let width = if unit == Unit::Avx512 { Width::Z } else { Width::Y };
        let lanes = width.lanes() as u8;
        let mut code = Code::default();
        let bases: Vec<_> = (0..9).map(|_| code.integer()).collect();
        for (i, base) in bases.iter().enumerate() {
            code.push(Inst::Arg { dst: *base, arg: Arg::Buf(i as u32) });
        }
        let (x, y) = (code.vector(), code.vector());
        let disps = [0, 4, -4, 64, 127, 128, 512, -8192, 8128, 8192, 100_000];
        for base in &bases {
            for disp in disps {
                let mem = Mem { base: *base, disp };
                code.push(Inst::Load { dst: x, mem, width, lanes, mask: None });
                code.push(Inst::Unary { op: Unary::Move, dst: y, src: Src::Spread(mem), width });
                code.push(Inst::Fma { acc: y, a: x, b: Src::Mem(mem), width });
                code.push(Inst::Store { src: y, mem, width, lanes, mask: None, past: false });
            }
        }
        let text = listing(&code, unit).join("\n");
        for disp in disps.iter().filter(|d| **d != 0) {
            let shown = if *disp < 0 { format!("-{:X}h]", -disp) } else { format!("+{disp:X}h]") };
            let short = shown.replace("h]", "]");
            let with_zero = shown.replacen(['+'], "+0", 1).replacen(['-'], "-0", 1);
            let found = [shown, short, with_zero].iter().map(|s| text.matches(s.as_str()).count()).max();
            assert!(found >= Some(4 * bases.len()), "{disp} is shown {found:?} times\n{text}");
        }
    }
}

#[test]
fn masks_comparisons_and_gathers_decode() {
    for unit in [Unit::Avx2, Unit::Avx512] {
        let width = if unit == Unit::Avx512 { Width::Z } else { Width::Y };
        let mut code = Code::default();
        let base = code.integer();
        code.push(Inst::Arg { dst: base, arg: Arg::Buf(0) });
        let [x, y, mask, index] = [(); 4].map(|()| code.vector());
        let ones = code.constant(vec![0xff; 4 * width.lanes()]);
        code.push(Inst::Vector { dst: mask, from: ones, width });
        let mem = Mem { base, disp: 12 };
        // More counts of lanes than there are mask registers.
        for lanes in 1..width.lanes() as u8 {
            code.push(Inst::Load { dst: x, mem, width, lanes, mask: Some(mask) });
            code.push(Inst::Store { src: x, mem, width, lanes, mask: Some(mask), past: false });
        }
        for compare in
            [Compare::Lt, Compare::Le, Compare::Gt, Compare::Ge, Compare::Eq, Compare::Ne, Compare::Unordered]
        {
            code.push(Inst::Select {
                dst: y,
                compare,
                a: x,
                b: Src::Const(5),
                then: x,
                other: y,
                mask,
                width,
            });
        }
        code.push(Inst::Gather { dst: y, mem, offsets: ones, width, lanes: 5, index, mask });
        code.push(Inst::Number { dst: x, src: base, width });
        let text = listing(&code, unit).join("\n");
        assert_eq!(text.matches("vgatherdps").count(), 1, "{text}");
        assert_eq!(text.matches("vcvtsi2ss").count(), 1, "{text}");
        assert_eq!(text.matches("vcmp").count(), 7, "{text}");
        let masked = if unit == Unit::Avx512 { "{k" } else { "vmaskmovps" };
        assert!(text.matches(masked).count() >= 2 * (width.lanes() - 2), "{text}");
    }
}

#[test]
fn what_finds_no_register_lies_in_the_frame() {
    for unit in [Unit::Avx2, Unit::Avx512] {
        let mut code = Code::default();
        let all: Vec<_> = (0..40).map(|_| code.vector()).collect();
        let integers: Vec<_> = (0..20).map(|_| code.integer()).collect();
        for (i, g) in integers.iter().enumerate() {
            code.push(Inst::Arg { dst: *g, arg: Arg::Buf(i as u32) });
        }
        for (i, v) in all.iter().enumerate() {
            code.push(Inst::Unary { op: Unary::Move, dst: *v, src: Src::Const(i as u32), width: Width::Y });
        }
        for (v, g) in all.iter().zip(integers.iter().cycle()) {
            let mem = Mem { base: *g, disp: 0 };
            code.push(Inst::Store { src: *v, mem, width: Width::Y, lanes: 8, mask: None, past: false });
        }
        let text = listing(&code, unit).join("\n");
        assert!(text.contains("[rsp+"), "{text}");
        assert_eq!(
            text.lines().filter(|l| l.starts_with("vmovups [r") && !l.contains("[rsp")).count(),
            40,
            "{text}"
        );
    }
}
