//! Commits that a device still has under way when their evaluation returns. It tells later how they ended.

use crate::call_site::CallSite;
use crate::error::Error;
use crate::graph::{self, Graph, Guarded, Tensor};
use crate::leaf::{Bad, Update};
use crate::plan::Rollback;
use std::cell::RefCell;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

/// A commit that may come to nothing.
#[derive(Default)]
pub struct Commit {
    made: Guarded<Made>,
    undone: Arc<AtomicBool>,
    /// Where the calls were made that may still fail.
    call_sites: OnceLock<Vec<(u32, CallSite)>>,
}

#[derive(Default)]
struct Made {
    /// Each update, with the leaf's value before and after it.
    updates: Vec<(Update, Option<(Tensor, Tensor)>)>,
    losses: Vec<Tensor>,
}

thread_local! {
    static LAST: RefCell<Option<Arc<AtomicBool>>> = const { RefCell::new(None) };
}

/// The mark of this thread's last commit, if it was under way when it returned: raised if it comes to nothing, and without
/// another reference once it has happened.
pub fn take_last() -> Option<Arc<AtomicBool>> {
    LAST.take()
}

impl Rollback for Commit {
    fn roll_back(&self, bad: &dyn Fn(usize) -> bool) {
        let mut g = graph::lock();
        self.undone.store(true, Ordering::Release);
        let made = self.made.set(&mut g, Made::default());
        let mut gone = Vec::new();
        for (update, values) in made.updates.iter().rev() {
            let leaf = &update.leaf;
            // The memory is as it was, so that both values are.
            if let Some((old, new)) = values.as_ref().filter(|(_, new)| leaf.current(&g).ptr_eq(new)) {
                let value = new.0.value.get(&g).clone();
                old.0.value.set(&mut g, value);
                leaf.set_back(&mut g, old.clone());
            }
            if update.spends() {
                gone.push(leaf.take_grad(&mut g));
                gone.extend(update.restore_grad(&mut g));
            }
        }
        let bad: Bad = made.losses.iter().enumerate().filter(|&(i, _)| bad(i)).map(|(_, loss)| loss.id()).collect();
        made.updates.iter().for_each(|(update, _)| gone.extend(update.leaf.undo_grad(&mut g, &bad)));
        // Nodes go after the graph lock: dropping a large graph takes time.
        drop(g);
        drop(gone);
    }

    fn named(&self, local: u32, error: Error) -> Error {
        let known = self.call_sites.get().and_then(|all| all.iter().find(|(of, _)| *of == local));
        known.map_or_else(|| error.clone(), |(_, call_site)| call_site.named(error.clone()))
    }
}

impl Commit {
    /// True if the device said so before the results were handed out.
    pub(super) fn is_undone(&self) -> bool {
        self.undone.load(Ordering::Acquire)
    }

    pub(super) fn remember(&self, call_sites: Vec<(u32, CallSite)>) {
        let _ = self.call_sites.set(call_sites);
    }

    pub(super) fn record(&self, g: &mut Graph, made: Vec<(Update, Option<(Tensor, Tensor)>)>, losses: Vec<Tensor>) {
        self.made.set(g, Made { updates: made, losses });
        LAST.set(Some(self.undone.clone()));
    }
}
