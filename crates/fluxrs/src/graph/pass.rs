//! Long passes over a graph: now and then they let the lock go, for signals and for other threads.

use super::{Graph, Tensor, lock};
use crate::error::Result;
use crate::stop::{self, HEARD_WITHIN, NODES};
use std::sync::MutexGuard;
use std::time::{Duration, Instant};

/// The time for which a pass has the lock at most; in tests it pauses wherever it may.
const LONG: Duration = if cfg!(test) { Duration::ZERO } else { HEARD_WITHIN };

/// The pass of this epoch has seen a node, as its i-th.
#[inline]
pub(crate) fn mark(g: &mut Graph, epoch: u32, node: &Tensor, i: u32) {
    node.0.mark.set(g, (epoch, i));
}

/// One pass, which marks the nodes that it has seen with its epoch.
pub(crate) struct Pass {
    pub epoch: u32,
    /// When it was last found that it is long, or got the lock back.
    since: Option<Instant>,
}

impl Pass {
    pub fn begin(g: &mut Graph) -> Pass {
        g.epoch += 1;
        Pass { epoch: g.epoch, since: None }
    }

    /// Of nodes that the latest pass has marked.
    pub fn of_marked(g: &Graph) -> Pass {
        Pass { epoch: g.epoch, since: None }
    }

    /// True if the lock should go at the pass's i-th look at a node.
    #[inline]
    pub fn is_due(&mut self, i: usize) -> bool {
        i.is_multiple_of(NODES) && i > 0 && self.since.get_or_insert_with(Instant::now).elapsed() >= LONG
    }

    /// Lets the lock go, looks for signals, and takes it back. If another pass has marked nodes in the time, this one goes on under a
    /// new epoch, and `mark` marks all that it has seen so far anew.
    pub fn pause(
        &mut self,
        g: MutexGuard<'static, Graph>,
        mark: impl FnOnce(&mut Graph, u32),
    ) -> Result<MutexGuard<'static, Graph>> {
        drop(g);
        stop::hear()?;
        let mut g = lock();
        if g.epoch != self.epoch {
            g.epoch += 1;
            self.epoch = g.epoch;
            mark(&mut g, self.epoch);
        }
        self.since = Some(Instant::now());
        Ok(g)
    }
}
