//! Bind groups, kept by the plan that uses them. A group keeps its buffers alive, so those of buffers that the pool has given
//! back go too, and all groups together have no more bindings than a descriptor heap has room for.

use crate::device::{Gpu, lock};
use crate::limits::BINDINGS;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Weak};

/// Bind groups kept for each dispatch: buffers of a training loop alternate between few sets.
const EACH: usize = 4;
/// Bindings of all groups at most; the rest of the heap is for those that are still in use when they are let go.
const MOST: usize = BINDINGS as usize / 2;

/// The groups of one dispatch by the buffers in them.
type Known = Vec<(Vec<u64>, wgpu::BindGroup)>;

/// The groups of one plan.
pub(crate) struct Set {
    known: Mutex<Vec<Known>>,
    bindings: Arc<AtomicUsize>,
}

/// The sets of all plans, and how many bindings they have.
#[derive(Default)]
pub(crate) struct Groups {
    sets: Mutex<Vec<Weak<Set>>>,
    bindings: Arc<AtomicUsize>,
}

impl Groups {
    /// Bindings of the groups that are kept.
    pub fn bindings(&self) -> usize {
        self.bindings.load(Ordering::Relaxed)
    }

    pub fn set(&self, dispatches: usize) -> Arc<Set> {
        let known = Mutex::new((0..dispatches).map(|_| Known::new()).collect());
        let set = Arc::new(Set { known, bindings: self.bindings.clone() });
        let mut sets = lock(&self.sets);
        sets.retain(|set| set.strong_count() > 0);
        sets.push(Arc::downgrade(&set));
        set
    }

    /// Lets go of the groups of these buffers; of all, if there are too many.
    fn purge(&self, gone: &[u64]) {
        let all = self.bindings() > MOST;
        for set in lock(&self.sets).iter().filter_map(Weak::upgrade) {
            set.retain(|ids| !all && !ids.iter().any(|id| gone.contains(id)));
        }
    }
}

impl Gpu {
    /// Lets go of groups whose buffers the pool has given back.
    pub(crate) fn purge(&self) {
        let gone = self.pool.take_gone();
        if !gone.is_empty() || self.groups.bindings() > MOST {
            self.groups.purge(&gone);
        }
    }
}

impl Set {
    /// The group of a dispatch for buffers with these numbers, made if it is not known.
    pub fn get<E>(
        &self,
        dispatch: usize,
        ids: Vec<u64>,
        make: impl FnOnce() -> Result<wgpu::BindGroup, E>,
    ) -> Result<wgpu::BindGroup, E> {
        let groups = &mut lock(&self.known)[dispatch];
        if let Some((_, group)) = groups.iter().find(|(known, _)| *known == ids) {
            return Ok(group.clone());
        }
        let group = make()?;
        if groups.len() == EACH {
            self.count(-(groups.remove(0).0.len() as isize));
        }
        self.count(ids.len() as isize);
        groups.push((ids, group.clone()));
        Ok(group)
    }

    fn count(&self, change: isize) {
        self.bindings.fetch_add(change as usize, Ordering::Relaxed);
    }

    fn retain(&self, keep: impl Fn(&[u64]) -> bool) {
        for groups in lock(&self.known).iter_mut() {
            groups.retain(|(ids, _)| {
                let kept = keep(ids);
                self.count(if kept { 0 } else { -(ids.len() as isize) });
                kept
            });
        }
    }

    /// An estimate of a driver's memory for the groups of so many dispatches.
    pub fn bytes(dispatches: usize) -> usize {
        dispatches * EACH * 512
    }
}

impl Drop for Set {
    fn drop(&mut self) {
        self.retain(|_| false);
    }
}
