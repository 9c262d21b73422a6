//! From a plan's kernels to WGSL: text that depends on wiring alone, and arguments that hold the sizes.

pub(crate) mod args;
pub(crate) mod builder;
mod index;
mod map;
mod matmul;
mod ops;
mod program;
mod reduce;
mod repeat;
mod spill;
mod structured;

pub(crate) use builder::{Launch, Target};

use crate::fault::Result;
use crate::limits::Limits;
use fluxrs::plan::{Body, Kernel, Mode};
use spill::Targets;

pub(crate) use structured::guard;

/// True if a kernel may raise a flag: for an index out of range, a singular matrix, an int64 that does not fit.
pub(crate) fn raises(kernel: &Kernel) -> bool {
    match &kernel.body {
        Body::Loop(body) => ops::any_overflows(body),
        Body::Matmul(m) => m.epilogue.as_ref().is_some_and(ops::any_overflows),
        Body::Structured(call) => structured::raises(call),
        Body::Repeat(r) => r.plan.kernels.iter().any(raises),
    }
}

/// The dispatches of one kernel, whose flag is raised with `number`. `temporary` makes a temporary of that many words.
pub(crate) fn launches(
    kernel: &Kernel,
    targets: &[Target],
    number: u32,
    guarded: bool,
    limits: &Limits,
    temporary: &mut dyn FnMut(usize) -> u32,
) -> Result<Vec<Launch>> {
    let cost = kernel.cost;
    let targets = &mut Targets { all: targets.to_vec(), temporary };
    match &kernel.body {
        Body::Loop(body) if body.mode == Mode::Map => map::launches(body, targets, guarded, cost, limits),
        Body::Loop(body) => reduce::launches(body, targets, guarded, cost, limits),
        Body::Matmul(m) => matmul::launches(m, targets, guarded, cost, limits),
        Body::Structured(call) => structured::launches(call, number, targets, cost, limits),
        Body::Repeat(r) => repeat::launches(r, targets, &|_| 0, number, limits),
    }
}
