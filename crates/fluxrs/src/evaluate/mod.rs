//! Evaluation: gathers what is pending, finds or makes its plan, binds memory, runs, and publishes the results.

#[cfg(unix)]
mod fork;
mod gather;
pub mod late;
mod run;
mod seen;

use crate::buffer::Buffer;
use crate::device::Device;
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::graph::{self, Graph, Tensor, Value, base_node, held_and_pending, overwritten};
use crate::leaf::{self, Queue};
use crate::ops::Op;
use crate::shape::Map;
use std::cell::Cell;
use std::sync::atomic::AtomicU64;

pub use crate::graph::Handle;
#[cfg(unix)]
pub use fork::{after_fork, before_fork};
pub(crate) use run::wait;
pub use run::{Bystander, cached_plans, explain, explain_last, prepare, set_bystander};
use run::{bystander, run};

/// Nodes made on a thread before everything pending there is evaluated.
const MAX_PENDING_NODES: u32 = 1 << 17;
/// Bytes of data brought in on a thread before everything pending there is evaluated.
const MAX_PINNED_BYTES: usize = 1 << 30;
/// Plans kept for graphs that come again.
const MAX_PLANS: usize = 512;
/// Nodes of all plans that are kept: about half a kilobyte each.
const MAX_PLANNED_NODES: usize = 1 << 19;

/// What evaluation has done since the process began: independent of the machine, so tests assert it.
#[derive(Default)]
pub struct Counters {
    pub runs: AtomicU64,
    pub plans_made: AtomicU64,
    pub kernels: AtomicU64,
}

pub static COUNTERS: Counters = Counters { runs: AtomicU64::new(0), plans_made: AtomicU64::new(0), kernels: AtomicU64::new(0) };

thread_local! {
    static MADE: Cell<u32> = const { Cell::new(0) };
    static PINNED: Cell<usize> = const { Cell::new(0) };
    static BOUNDED: Cell<bool> = const { Cell::new(true) };
}

/// Called for every node made: bounds what a loop that reads nothing can pile up.
pub(crate) fn count_node() {
    MADE.set(MADE.get() + 1);
    if MADE.get() >= MAX_PENDING_NODES && BOUNDED.get() {
        evaluate_at_bound();
    }
}

/// Called for every buffer that enters a graph: data that nobody reads stays pinned until what uses it is evaluated.
pub(crate) fn count_bytes(bytes: usize) {
    PINNED.set(PINNED.get().saturating_add(bytes));
    if PINNED.get() >= MAX_PINNED_BYTES && BOUNDED.get() {
        evaluate_at_bound();
    }
}

/// Nodes that an evaluation itself makes start no other.
pub(crate) fn unbounded<R>(f: impl FnOnce() -> R) -> R {
    struct Restart;
    impl Drop for Restart {
        fn drop(&mut self) {
            BOUNDED.set(true);
        }
    }
    BOUNDED.set(false);
    let _restart = Restart;
    f()
}

#[cold]
pub(crate) fn evaluate_at_bound() {
    restart_count();
    // What fails here fails again, with its message, where the value is read; but not what an earlier step came to.
    let mut evaluate = || {
        if let Err(late @ Error::BadLoss(_)) = evaluate_pending() {
            leaf::fail(late);
        }
    };
    match bystander() {
        Some(run) => run(&mut evaluate),
        None => evaluate(),
    }
}

fn restart_count() {
    MADE.set(0);
    PINNED.set(0);
}

/// Evaluates everything on this thread that somebody holds.
pub fn evaluate_pending() -> Result<()> {
    let held = held_and_pending(&mut graph::lock(), false);
    evaluate(&held)
}

/// Computes these tensors, and whatever else is held and depends on what that computes.
pub fn evaluate(roots: &[Tensor]) -> Result<()> {
    run(roots, None)
}

pub(crate) fn commit(queue: &Queue) -> Result<()> {
    run(&[], Some(queue))
}

/// The elements of a tensor: the buffer of its base, and where they lie in it.
pub fn read(t: &Tensor) -> Result<(Buffer, Map)> {
    let base = base_node(t);
    loop {
        match base.value.get(&graph::lock()) {
            Value::Ready(b) | Value::Kept(b) => return Ok((b.clone(), t.map())),
            Value::Overwritten => return Err(overwritten(base)),
            Value::Pending => {}
        }
        evaluate(&[Tensor(base.clone())])?;
    }
}

/// A fresh buffer with the elements of `x` in row-major order.
pub(crate) fn own_copy(x: &Tensor) -> Result<(Buffer, Device)> {
    let copy = graph::no_grad(|| x.copied());
    let (buffer, _) = read(&copy)?;
    Ok((buffer, copy.device()))
}

/// Whether a node's value is in memory.
pub fn is_ready(t: &Tensor) -> bool {
    has_value(&graph::lock(), t)
}

pub(crate) fn has_value(g: &Graph, t: &Tensor) -> bool {
    base_node(t).value.get(g).buffer().is_some()
}

/// Whether the elements of a loss are finite, if they have been computed. Not called under the lock.
pub(crate) fn known_finite(loss: &Tensor) -> Option<bool> {
    match base_node(loss).value.get(&graph::lock()) {
        // A parameter that was its own loss: it was committed as it was.
        Value::Overwritten => return Some(true),
        Value::Pending => return None,
        _ => {}
    }
    let host = crate::transfer::to_host(loss).ok()?;
    Some(match loss.dtype() {
        DType::F32 => host.as_slice::<f32>()[..loss.size()].iter().all(|x| x.is_finite()),
        DType::F64 => host.as_slice::<f64>()[..loss.size()].iter().all(|x| x.is_finite()),
        _ => true,
    })
}

/// A value that has been computed as a constant, which derives from no loss; else itself.
pub(crate) fn without_guards(t: &Tensor) -> Tensor {
    let value = base_node(t).value.get(&graph::lock()).buffer().cloned();
    match value {
        Some(buffer) if !matches!(t.op(), Op::View(_)) => Tensor::from_buffer(buffer, t.shape(), t.dtype(), t.device()),
        _ => t.clone(),
    }
}
