//! Which instruction set of an object runs: asked of the processor at the first call, then remembered in four bytes of the
//! object's data. Several threads may ask at once; all find the same. `PREFIX_target()` tells, `PREFIX_use(n)` pins one.

use cranelift_codegen::ir::{InstBuilder, MemFlagsData, Value, condcodes::IntCC, types};
use cranelift_module::{DataDescription, DataId, FuncId, Module};

use super::CodegenError;
use super::object::{public, refused, signature, status, wrong};
use super::routine::{Body, Fun};
use crate::kernels::isa::Arch;

/// How functions find out.
pub(super) struct Choice {
    /// `fn() -> i32`: the number of the variant, from 1; -1 when none runs.
    resolve: FuncId,
}

impl Choice {
    /// The number of the variant to run, from 1; below where none runs here.
    pub(super) fn number(&self, f: &mut Fun<'_>) -> Result<Value, CodegenError> {
        f.call(self.resolve, &[]).ok_or_else(|| wrong("no result".into()))
    }
}

/// Defines what chooses between variants that need these features, narrowest first.
pub(super) fn define(
    body: &mut Body<'_>,
    prefix: &str,
    arch: Arch,
    needs: &[u32],
) -> Result<Choice, CodegenError> {
    let nothing = signature(&[]);
    let slot = body.module.declare_anonymous_data(true, false).map_err(|e| refused(&e))?;
    let mut data = DataDescription::new();
    data.define_zeroinit(4);
    data.set_align(4);
    body.module.define_data(slot, &data).map_err(|e| refused(&e))?;
    let detect = match arch {
        Arch::X86_64 => {
            let code = crate::kernels::x86::detect::code().map_err(|e| wrong(e.to_string()))?;
            let id = body.private(&nothing)?;
            body.module.define_function_bytes(id, 16, &code, &[]).map_err(|e| refused(&e))?;
            Some(id)
        }
        Arch::Aarch64 => None,
    };
    let resolve = body.private(&nothing)?;
    body.define(resolve, nothing.clone(), |f| {
        let address = f.address(slot);
        let known = f.b.ins().load(types::I32, flags(), address, 0);
        let (ask, leave) = (f.b.create_block(), f.b.create_block());
        f.b.ins().brif(known, leave, &[], ask, &[]);
        f.b.switch_to_block(leave);
        f.b.ins().return_(&[known]);
        f.b.switch_to_block(ask);
        let bits = bits(f, detect)?;
        let mut best = f.number(types::I32, -1);
        for (i, need) in needs.iter().enumerate() {
            let fits = fits(f, bits, *need);
            let this = f.number(types::I32, i as i64 + 1);
            best = f.b.ins().select(fits, this, best);
        }
        f.b.ins().store(flags(), best, address, 0);
        f.b.ins().return_(&[best]);
        Ok(())
    })?;
    let choice = Choice { resolve };
    let target = public(body, prefix, "target", &[])?;
    body.define(target, nothing, |f| {
        let number = choice.number(f)?;
        let zero = f.number(types::I32, 0);
        let none = f.b.ins().icmp(IntCC::SignedLessThan, number, zero);
        let number = f.b.ins().select(none, zero, number);
        f.b.ins().return_(&[number]);
        Ok(())
    })?;
    let pin = public(body, prefix, "use", &[types::I32])?;
    body.define(pin, signature(&[types::I32]), |f| pinned(f, slot, detect, needs))?;
    Ok(choice)
}

/// `PREFIX_use(n)`: 0 forgets the choice, so that the best is chosen again.
fn pinned(f: &mut Fun<'_>, slot: DataId, detect: Option<FuncId>, needs: &[u32]) -> Result<(), CodegenError> {
    let wanted = f.params[0];
    let last = f.number(types::I32, needs.len() as i64);
    let unknown = f.b.ins().icmp(IntCC::UnsignedGreaterThan, wanted, last);
    f.give_if(unknown, status::ARGUMENT);
    let bits = bits(f, detect)?;
    for (i, need) in needs.iter().enumerate() {
        let this = f.number(types::I32, i as i64 + 1);
        let asked = f.b.ins().icmp(IntCC::Equal, wanted, this);
        let fits = fits(f, bits, *need);
        let no = f.b.ins().bxor_imm_s(fits, 1);
        let lacks = f.b.ins().band(asked, no);
        f.give_if(lacks, status::UNSUPPORTED);
    }
    let address = f.address(slot);
    f.b.ins().store(flags(), wanted, address, 0);
    f.give(status::OK);
    Ok(())
}

/// The features of the processor; none where there is nothing to ask.
fn bits(f: &mut Fun<'_>, detect: Option<FuncId>) -> Result<Value, CodegenError> {
    match detect {
        Some(id) => f.call(id, &[]).ok_or_else(|| wrong("no result".into())),
        None => Ok(f.number(types::I32, 0)),
    }
}

fn fits(f: &mut Fun<'_>, bits: Value, need: u32) -> Value {
    let need = f.number(types::I32, i64::from(need));
    let has = f.b.ins().band(bits, need);
    f.b.ins().icmp(IntCC::Equal, has, need)
}

fn flags() -> MemFlagsData {
    MemFlagsData::trusted()
}
