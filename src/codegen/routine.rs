//! Routines of an object: functions that call nests one after another, with the table of buffers on their stack.
//!
//! For each variant there is one function `fn(args…, thread, threads, barrier, context)`: thread `thread` of `threads` does its
//! share of every step, cut as [`crate::runtime`] cuts it, and calls `barrier(context)` between steps unless it is null. In
//! front of them stand the two public functions, which choose the variant.

use cranelift_codegen::Context;
use cranelift_codegen::ir::{
    AbiParam, Function, InstBuilder, MemFlagsData, Signature, StackSlotData, StackSlotKind, Type,
    UserFuncName, Value, condcodes::IntCC, types,
};
use cranelift_codegen::isa::CallConv;
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext};
use cranelift_module::{DataId, FuncId, Module};
use cranelift_object::ObjectModule;

use super::CodegenError;
use super::choose::Choice;
use super::object::{Base, Call, Pass, Routine, THREADS_MAX, public, refused, signature, status, wrong};

/// What functions are written into.
pub(super) struct Body<'m> {
    pub(super) module: &'m mut ObjectModule,
    pub(super) data: Vec<DataId>,
    frontend: FunctionBuilderContext,
    context: Context,
}

/// A function being written.
pub(super) struct Fun<'a> {
    pub(super) b: FunctionBuilder<'a>,
    pub(super) module: &'a mut ObjectModule,
    pub(super) data: &'a [DataId],
    /// Its parameters.
    pub(super) params: Vec<Value>,
}

impl<'m> Body<'m> {
    pub(super) fn new(module: &'m mut ObjectModule, data: Vec<DataId>) -> Self {
        Self { module, data, frontend: FunctionBuilderContext::new(), context: Context::new() }
    }

    /// Defines a declared function: `write` gets it with its first block open and ends every block that it opens.
    pub(super) fn define(
        &mut self,
        id: FuncId,
        signature: Signature,
        write: impl FnOnce(&mut Fun<'_>) -> Result<(), CodegenError>,
    ) -> Result<(), CodegenError> {
        self.context.clear();
        self.context.func = Function::with_name_signature(UserFuncName::default(), signature);
        let mut b = FunctionBuilder::new(&mut self.context.func, &mut self.frontend);
        let entry = b.create_block();
        b.append_block_params_for_function_params(entry);
        b.switch_to_block(entry);
        let params = b.block_params(entry).to_vec();
        let mut fun = Fun { b, module: &mut *self.module, data: &self.data, params };
        write(&mut fun)?;
        fun.b.seal_all_blocks();
        let config = fun.module.isa().frontend_config();
        fun.b.finalize(config);
        self.module.define_function(id, &mut self.context).map_err(|e| refused(&e))
    }

    /// A function that only this object sees.
    pub(super) fn private(&mut self, signature: &Signature) -> Result<FuncId, CodegenError> {
        self.module.declare_anonymous_function(signature).map_err(|e| refused(&e))
    }
}

impl Fun<'_> {
    /// Calls a function of the object; its result, if it has one.
    pub(super) fn call(&mut self, id: FuncId, args: &[Value]) -> Option<Value> {
        let f = self.module.declare_func_in_func(id, self.b.func);
        let call = self.b.ins().call(f, args);
        self.b.inst_results(call).first().copied()
    }

    /// The address of data.
    pub(super) fn address(&mut self, id: DataId) -> Value {
        let global = self.module.declare_data_in_func(id, self.b.func);
        self.b.ins().symbol_value(types::I64, global)
    }

    /// The address of data of the image.
    pub(super) fn image_data(&mut self, number: usize) -> Result<Value, CodegenError> {
        let id = *self.data.get(number).ok_or_else(|| wrong("data that is not there".into()))?;
        Ok(self.address(id))
    }

    pub(super) fn number(&mut self, ty: Type, value: i64) -> Value {
        self.b.ins().iconst(ty, value)
    }

    /// `address + bytes`
    pub(super) fn plus(&mut self, address: Value, bytes: usize) -> Value {
        if bytes == 0 {
            return address;
        }
        let offset = self.number(types::I64, bytes as i64);
        self.b.ins().iadd(address, offset)
    }

    /// Ends the function.
    pub(super) fn give(&mut self, status: i64) {
        let value = self.number(types::I32, status);
        self.b.ins().return_(&[value]);
    }

    /// Ends the function with `status` where `wrong` holds, and goes on elsewhere.
    pub(super) fn give_if(&mut self, wrong: Value, status: i64) {
        let (leave, on) = (self.b.create_block(), self.b.create_block());
        self.b.ins().brif(wrong, leave, &[], on, &[]);
        self.b.switch_to_block(leave);
        self.give(status);
        self.b.switch_to_block(on);
    }
}

/// The public functions of a routine.
pub(super) struct Public {
    /// The one for a single thread.
    pub(super) whole: FuncId,
}

/// What comes after the arguments of a variant's function: thread, threads, barrier, context.
const PART: [Type; 4] = [types::I64; 4];

/// Defines a routine; `steps` are the functions of each variant's nests with their chunks.
pub(super) fn define(
    body: &mut Body<'_>,
    prefix: &str,
    routine: &Routine,
    steps: &[Vec<(FuncId, usize)>],
    choice: &Choice,
) -> Result<Public, CodegenError> {
    let of = |pass: &Pass| match pass {
        Pass::Pointer => types::I64,
        Pass::Float => types::F32,
    };
    let whole: Vec<Type> = routine.args.iter().map(of).collect();
    let part: Vec<Type> = whole.iter().copied().chain(PART).collect();
    let mut variants = Vec::new();
    for (calls, steps) in routine.calls.iter().zip(steps) {
        let id = body.private(&signature(&part))?;
        body.define(id, signature(&part), |f| variant(f, routine, calls, steps))?;
        variants.push(id);
    }
    let id = public(body, prefix, &routine.name, &whole)?;
    body.define(id, signature(&whole), |f| {
        let zero = f.number(types::I64, 0);
        let one = f.number(types::I64, 1);
        let args: Vec<Value> = f.params.iter().copied().chain([zero, one, zero, zero]).collect();
        dispatch(f, &variants, &args, choice)
    })?;
    let parts = public(body, prefix, &format!("{}_part", routine.name), &part)?;
    body.define(parts, signature(&part), |f| {
        let (thread, threads) = (f.params[whole.len()], f.params[whole.len() + 1]);
        let far = f.b.ins().icmp(IntCC::UnsignedGreaterThanOrEqual, thread, threads);
        let most = f.number(types::I64, i64::from(THREADS_MAX));
        let many = f.b.ins().icmp(IntCC::UnsignedGreaterThan, threads, most);
        let bad = f.b.ins().bor(far, many);
        f.give_if(bad, status::ARGUMENT);
        let args = f.params.clone();
        dispatch(f, &variants, &args, choice)
    })?;
    Ok(Public { whole: id })
}

/// Calls the chosen variant.
fn dispatch(
    f: &mut Fun<'_>,
    variants: &[FuncId],
    args: &[Value],
    choice: &Choice,
) -> Result<(), CodegenError> {
    let chosen = choice.number(f)?;
    for (i, id) in variants.iter().enumerate() {
        let (here, next) = (f.b.create_block(), f.b.create_block());
        let this = f.number(types::I32, i as i64 + 1);
        let is = f.b.ins().icmp(IntCC::Equal, chosen, this);
        f.b.ins().brif(is, here, &[], next, &[]);
        f.b.switch_to_block(here);
        f.call(*id, args);
        f.give(status::OK);
        f.b.switch_to_block(next);
    }
    f.give(status::UNSUPPORTED);
    Ok(())
}

/// All steps of one variant.
fn variant(
    f: &mut Fun<'_>,
    routine: &Routine,
    calls: &[Call],
    steps: &[(FuncId, usize)],
) -> Result<(), CodegenError> {
    let args = routine.args.len();
    let (thread, threads, barrier, context) =
        (f.params[args], f.params[args + 1], f.params[args + 2], f.params[args + 3]);
    let flags = MemFlagsData::trusted();
    let mut bases = Vec::new();
    for (i, pass) in routine.args.iter().enumerate() {
        bases.push(match pass {
            Pass::Pointer => f.params[i],
            Pass::Float => {
                let slot = f.b.create_sized_stack_slot(StackSlotData::new(StackSlotKind::ExplicitSlot, 4, 2));
                let address = f.b.ins().stack_addr(types::I64, slot, 0);
                f.b.ins().store(flags, f.params[i], address, 0);
                address
            }
        });
    }
    let most = calls.iter().map(|c| c.bufs.len()).max().unwrap_or(0).max(1);
    let size = u32::try_from(most * 8).map_err(|e| wrong(e.to_string()))?;
    let table = f.b.create_sized_stack_slot(StackSlotData::new(StackSlotKind::ExplicitSlot, size, 3));
    let next = f.b.ins().iadd_imm_s(thread, 1);
    let waits = f.b.ins().icmp_imm_s(IntCC::NotEqual, barrier, 0);
    let mut wait = Signature::new(CallConv::SystemV);
    wait.params.push(AbiParam::new(types::I64));
    let wait = f.b.import_signature(wait);
    for (i, call) in calls.iter().enumerate() {
        let (id, chunks) = *steps.get(call.nest).ok_or_else(|| wrong("a nest that is not there".into()))?;
        let count = f.number(types::I64, chunks as i64);
        let begin = f.b.ins().imul(count, thread);
        let begin = f.b.ins().udiv(begin, threads);
        let end = f.b.ins().imul(count, next);
        let end = f.b.ins().udiv(end, threads);
        let (work, on) = (f.b.create_block(), f.b.create_block());
        let some = f.b.ins().icmp(IntCC::UnsignedLessThan, begin, end);
        f.b.ins().brif(some, work, &[], on, &[]);
        f.b.switch_to_block(work);
        let table = f.b.ins().stack_addr(types::I64, table, 0);
        for (at, (base, bytes)) in call.bufs.iter().enumerate() {
            let base = match base {
                Base::Arg(i) => {
                    *bases.get(*i).ok_or_else(|| wrong("an argument that is not there".into()))?
                }
                Base::Data(number) => f.image_data(*number)?,
            };
            let pointer = f.plus(base, *bytes);
            f.b.ins().store(flags, pointer, table, at as i32 * 8);
        }
        f.call(id, &[table, begin, end]);
        f.b.ins().jump(on, &[]);
        f.b.switch_to_block(on);
        if i + 1 < calls.len() {
            let (stop, on) = (f.b.create_block(), f.b.create_block());
            f.b.ins().brif(waits, stop, &[], on, &[]);
            f.b.switch_to_block(stop);
            f.b.ins().call_indirect(wait, barrier, &[context]);
            f.b.ins().jump(on, &[]);
            f.b.switch_to_block(on);
        }
    }
    f.give(status::OK);
    Ok(())
}
