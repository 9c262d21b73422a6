//! Runs a plan on the CPU: kernel after kernel, each cut into tasks by its shape alone.

use super::block::Address;
use super::jit;
use super::loops::{run_loop, run_part, scratch_bytes};
use super::lower::{Lowered, lower};
use super::memory::lay_out;
use super::product::{self, run_matmul};
use super::repeat;
use super::rows::Rows;
use super::workspace;
use crate::backend::Executable;
use crate::buffer::faults;
use crate::cache::bytes_of;
use crate::debug::profile::span;
use crate::dtype::{DType, Number};
use crate::error::{Error, Result};
use crate::ops::{Operand, OperandMut, Poll};
use crate::plan::{Bindings, Body, Call, Kernel, Loop, Plan, Source, Storage};
use crate::pool;
use crate::stop::{NEVER, go_on, stopped};
use smallvec::SmallVec;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Kernels cheaper than this (in nanoseconds of one core) are not worth waking other threads for.
const PARALLEL: usize = pool::grain(30_000);

pub struct CpuPlan {
    pub(super) plan: Arc<Plan>,
    steps: Vec<LoweredKernel>,
    /// Where each temporary lies in the workspace, and the size of that.
    pub(super) offsets: Vec<usize>,
    pub(super) workspace: usize,
    /// Bytes behind the workspace for partial results, of whichever kernel needs most.
    pub(super) scratch: usize,
    /// Bytes of machine code.
    code: usize,
    /// True if any kernel is worth more threads than the caller's.
    parallel: bool,
    /// True if it has run before.
    ran: AtomicBool,
}

enum LoweredKernel {
    Loop(Lowered),
    Matmul(Option<Lowered>),
    Structured,
    Repeat(Arc<CpuPlan>, Option<Rows>),
}

impl LoweredKernel {
    fn as_loop(&mut self) -> Option<&mut Lowered> {
        match self {
            LoweredKernel::Loop(l) | LoweredKernel::Matmul(Some(l)) => Some(l),
            _ => None,
        }
    }
}

/// The parts of a run that every task of a kernel needs.
#[derive(Clone, Copy)]
pub(super) struct Context<'a> {
    pub buffers: &'a [Address],
    pub numbers: &'a [Number],
    pub stop: &'a AtomicBool,
    /// Room for the partial results of a reduction, or a product's packed operands; see `scratch_bytes`.
    pub scratch: Address,
    pub parallel: bool,
}

impl Context<'_> {
    /// An error once the run is to end: what a kernel leaves then is not finished.
    pub fn go_on(&self) -> Result<()> {
        if stopped(self.stop) { Err(Error::Interrupted) } else { Ok(()) }
    }

    /// Runs tasks 0..n, each once, on any thread; they must not write what another touches. Stops early when asked to.
    pub fn each(&self, n: usize, task: impl Fn(usize) -> Result<()> + Sync) -> Result<()> {
        let run = |i: usize| {
            self.go_on()?;
            task(i)
        };
        if self.parallel { pool::each(n, run) } else { (0..n).try_for_each(run) }
    }
}

impl CpuPlan {
    pub fn new(plan: &Arc<Plan>) -> Result<CpuPlan> {
        let mut code = jit::Builder::new();
        let mut steps = Self::lowered(plan, &mut code)?;
        let mut bytes = 0;
        if let Some(code) = code.filter(|code| !code.code().is_empty()) {
            match jit::Machine::new(code.code()) {
                Some(machine) => {
                    bytes = machine.bytes();
                    let machine = Arc::new(machine);
                    steps.iter_mut().filter_map(LoweredKernel::as_loop).for_each(|l| l.machine = Some(machine.clone()));
                }
                None => steps = Self::lowered(plan, &mut None)?,
            }
        }
        Self::of(plan, steps, bytes)
    }

    /// The lowered kernels, with runs of machine code if there is a builder.
    fn lowered(plan: &Arc<Plan>, code: &mut Option<jit::Builder>) -> Result<Vec<LoweredKernel>> {
        let mut of_loop = |l: &Loop| code.as_mut().and_then(|code| jit::lower(l, plan, code)).unwrap_or_else(|| lower(l, plan));
        let lowered = |(i, k): (usize, &Kernel)| {
            go_on(i)?;
            Ok(match &k.body {
                Body::Loop(l) => LoweredKernel::Loop(of_loop(l)),
                Body::Matmul(m) => LoweredKernel::Matmul(m.epilogue.as_ref().map(&mut of_loop)),
                Body::Structured(_) => LoweredKernel::Structured,
                Body::Repeat(r) => {
                    let rows = if k.cost > PARALLEL { Rows::of(r) } else { None };
                    LoweredKernel::Repeat(CpuPlan::of_step(&r.plan)?, rows)
                }
            })
        };
        plan.kernels.iter().enumerate().map(lowered).collect()
    }

    fn of(plan: &Arc<Plan>, steps: Vec<LoweredKernel>, code: usize) -> Result<CpuPlan> {
        let scratch = |(step, kernel): (&LoweredKernel, &Kernel)| match (step, &kernel.body) {
            (LoweredKernel::Loop(l), _) => scratch_bytes(l),
            (_, Body::Matmul(m)) => product::scratch_bytes(m),
            (LoweredKernel::Repeat(inner, rows), Body::Repeat(r)) => repeat::scratch_bytes(r, inner, *rows),
            _ => 0,
        };
        let scratch = steps.iter().zip(&plan.kernels).map(scratch).max().unwrap_or(0);
        let within =
            |step: &LoweredKernel| matches!(step, LoweredKernel::Repeat(inner, rows) if inner.parallel || rows.is_some());
        let parallel =
            plan.kernels.iter().any(|k| !matches!(k.body, Body::Repeat(_)) && k.cost > PARALLEL) || steps.iter().any(within);
        let (offsets, workspace) = lay_out(plan)?;
        Ok(CpuPlan { plan: plan.clone(), steps, offsets, workspace, scratch, code, parallel, ran: AtomicBool::new(false) })
    }

    /// The lowered plan of a scan's step, which other plans may have, too.
    fn of_step(plan: &Arc<Plan>) -> Result<Arc<CpuPlan>> {
        if let Some(known) = plan.lowered.get() {
            return Ok(known.clone().downcast().expect("a plan is of one device"));
        }
        let made = Arc::new(CpuPlan::new(plan)?);
        let _ = plan.lowered.set(made.clone());
        Ok(made)
    }

    /// Runs all kernels over some rows of a batch, on this thread.
    pub(super) fn part(&self, rows: &Range<usize>, count: usize, context: &Context<'_>) -> Result<()> {
        for (kernel, step) in self.plan.kernels.iter().zip(&self.steps) {
            let _span = span("kernel", || kernel.label.clone().into());
            match (step, &kernel.body) {
                (LoweredKernel::Loop(l), _) => run_part(l, rows, count, context)?,
                (LoweredKernel::Matmul(epilogue), Body::Matmul(m)) => {
                    product::run_part(m, epilogue.as_ref(), rows, count, context);
                }
                _ => unreachable!("not computed by rows"),
            }
        }
        Ok(())
    }

    /// Runs some kernels; `failed` becomes the call that fails, if one does.
    pub(super) fn kernels(&self, range: Range<usize>, context: &Context<'_>, failed: &mut Option<u32>) -> Result<()> {
        for k in range {
            let kernel = &self.plan.kernels[k];
            if stopped(context.stop) || faults::should_stop() && k < self.plan.commit {
                return Err(Error::Interrupted);
            }
            let _span = span("kernel", || kernel.label.clone().into());
            let context = Context { parallel: kernel.cost > PARALLEL, ..*context };
            match (&self.steps[k], &kernel.body) {
                (LoweredKernel::Loop(l), _) => run_loop(l, &context)?,
                (LoweredKernel::Matmul(epilogue), Body::Matmul(m)) => run_matmul(m, epilogue.as_ref(), &context)?,
                (_, Body::Structured(call)) => run_call(call, &context).inspect_err(|_| *failed = Some(call.local))?,
                (LoweredKernel::Repeat(inner, rows), Body::Repeat(r)) => {
                    repeat::run(r, inner, *rows, &context).inspect_err(|_| *failed = Some(r.local))?
                }
                _ => unreachable!("steps are made from the kernels"),
            }
        }
        Ok(())
    }
}

impl Executable for CpuPlan {
    fn run(&self, bindings: &mut Bindings<'_>) -> Result<()> {
        let plan = &*self.plan;
        let bytes = self.workspace.saturating_add(self.scratch);
        let workspace = workspace::lease(bytes)?;
        let buffers: SmallVec<[Address; 32]> = plan
            .buffers
            .iter()
            .zip(&self.offsets)
            .map(|(b, &offset)| match b.storage {
                Storage::Slot(i) => Address(bindings.slots[i as usize].host_ptr()),
                Storage::Output(i) => Address(bindings.outputs[i as usize].host_ptr()),
                Storage::Temporary => Address(workspace.as_ptr().wrapping_add(offset)),
            })
            .collect();
        let scratch = Address(workspace.as_ptr().wrapping_add(self.workspace));
        let context = Context { buffers: &buffers, numbers: bindings.numbers, stop: bindings.stop, scratch, parallel: false };
        let _stay = self.parallel.then(pool::enter);
        let mut result = self.kernels(0..plan.commit, &context, &mut bindings.failed);
        // The last look: from here on the run counts as done.
        result = result.and_then(|()| context.go_on());
        if result.is_ok() {
            bindings.bad_losses = (0..plan.guards.len()).filter(|&i| !is_finite(plan, &buffers, plan.guards[i])).collect();
            if bindings.bad_losses.is_empty() && plan.commit < plan.kernels.len() {
                // The last segment writes parameters: once begun, it is not interrupted.
                result =
                    self.kernels(plan.commit..plan.kernels.len(), &Context { stop: &NEVER, ..context }, &mut bindings.failed);
            }
        }
        workspace::give_back(workspace, bytes, self.ran.swap(true, Ordering::Relaxed));
        result
    }

    fn bytes(&self) -> usize {
        let lists = |step: &LoweredKernel| match step {
            LoweredKernel::Loop(l) | LoweredKernel::Matmul(Some(l)) => l.bytes(),
            LoweredKernel::Repeat(inner, _) => inner.bytes(),
            _ => 0,
        };
        size_of::<CpuPlan>()
            + self.code
            + bytes_of(&self.steps)
            + bytes_of(&self.offsets)
            + self.steps.iter().map(lists).sum::<usize>()
    }
}

fn is_finite(plan: &Plan, buffers: &[Address], b: u32) -> bool {
    let info = &plan.buffers[b as usize];
    let ptr = buffers[b as usize].0;
    // SAFETY: a loss is an output, computed by now.
    unsafe {
        match info.dtype {
            DType::F32 => std::slice::from_raw_parts(ptr.cast::<f32>(), info.len).iter().all(|x| x.is_finite()),
            DType::F64 => std::slice::from_raw_parts(ptr.cast::<f64>(), info.len).iter().all(|x| x.is_finite()),
            _ => true,
        }
    }
}

fn run_call(call: &Call, context: &Context<'_>) -> Result<()> {
    let numbers: SmallVec<[[u8; 8]; 4]> = call
        .srcs
        .iter()
        .map(|s| match s.source {
            Source::Number(i) => context.numbers[i as usize].to_bytes(s.dtype),
            Source::Constant(c) => c.to_bytes(s.dtype),
            Source::Buffer(_) => [0; 8],
        })
        .collect();
    let srcs: SmallVec<[Operand<'_>; 4]> = call
        .srcs
        .iter()
        .zip(&numbers)
        .map(|(s, n)| Operand {
            ptr: match s.source {
                Source::Buffer(b) => context.buffers[b as usize].at(s.map.offset as usize * s.dtype.bytes()).cast_const(),
                _ => n.as_ptr(),
            },
            shape: &s.shape,
            strides: &s.map.strides,
            dtype: s.dtype,
        })
        .collect();
    let stopped = |_: usize| stopped(context.stop);
    let result = |buffer: u32, dtype: DType| OperandMut {
        ptr: context.buffers[buffer as usize].0,
        shape: &call.shape,
        dtype,
        poll: Poll(&stopped),
    };
    let out = call.out.map(|buffer| result(buffer, call.dtype));
    if let (Some(keys), Some(rows)) = (call.keys, call.out) {
        let keys = OperandMut { shape: &call.shape[..1], ..result(keys, DType::I64) };
        return call.op.cpu_rows(&srcs, keys, result(rows, call.dtype));
    }
    match (out, call.elements) {
        (out, Some(elements)) => call.op.cpu_elements(&srcs, out, result(elements, call.srcs[0].dtype)),
        (Some(out), None) => call.op.cpu(&srcs, out),
        (None, None) => Ok(()),
    }
}
