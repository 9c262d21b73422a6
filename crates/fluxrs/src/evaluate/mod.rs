//! Evaluation: gathers what is pending, finds or makes its plan, binds memory, runs, and publishes the results.

mod audit;
mod closed;
mod collect;
mod deferred;
mod dependents;
mod engine;
#[cfg(unix)]
mod fork;
mod gather;
mod publish;
pub mod rollback;
mod run;
mod seen;
mod turn;

use crate::buffer::Buffer;
use crate::error::Result;
use crate::graph::{self, Tensor, Value, base_node, held_and_pending, overwritten};
use crate::shape::Map;
use std::sync::atomic::AtomicU64;

pub use crate::graph::Handle;
pub use audit::{audit_keys, shared_key};
pub(crate) use engine::Evaluator;
#[cfg(unix)]
pub use fork::{after_fork, before_fork};
use run::run;
pub use run::{cached_bytes, explain, explain_last};
pub use turn::{Bystander, prepare, set_bystander};

/// Bytes of the plans kept for graphs that come again.
const MAX_PLANNED_BYTES: usize = 256 << 20;

/// Counts of evaluation since the process began: independent of the machine, so tests assert them.
#[derive(Default)]
pub struct Counters {
    pub runs: AtomicU64,
    pub plans_made: AtomicU64,
    pub kernels: AtomicU64,
}

pub static COUNTERS: Counters = Counters { runs: AtomicU64::new(0), plans_made: AtomicU64::new(0), kernels: AtomicU64::new(0) };

/// Evaluates every pending node of this thread that has a handle.
pub fn evaluate_pending() -> Result<()> {
    let held = held_and_pending(&mut graph::lock(), false);
    evaluate(&held)
}

/// Computes these tensors, and whatever else is held and depends on what that computes.
pub fn evaluate(roots: &[Tensor]) -> Result<()> {
    run(roots, None)
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

/// True if a node's value is in memory.
pub fn is_ready(t: &Tensor) -> bool {
    graph::has_value(&graph::lock(), t)
}
