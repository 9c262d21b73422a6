//! The gradients that `back` accumulates in leaves, and their return to an earlier state when a loss turns out bad.
//!
//! A gradient is a total and a journal: each `back` with its loss and the total before it. A bad loss sets the total back to what
//! it was before the first entry of that loss. An update takes total and journal away, and a failed one puts them back.

use super::{Leaf, Update, by_number};
use crate::dtype::DType;
use crate::error::Result;
use crate::graph::{self, Claim, Graph, Handle, Tensor, Value};
use crate::small_map::SmallMap;
use smallvec::{SmallVec, smallvec};
use std::sync::Arc;

/// Calls of `back` that accumulate before the total is computed.
const MAX_ACCUMULATED: usize = 256;

/// The losses, by their nodes' numbers, that turned out Inf or NaN.
pub(crate) type Bad = SmallMap<u64>;

/// Losses, each with the total before its `back`. Losses that are known to be finite are left out.
type Journal<T> = SmallVec<[(T, Option<T>); 1]>;

/// The sum of the gradients of `back` since it was last zeroed.
#[derive(Default)]
pub(crate) struct Grad {
    /// Held like a result in a caller's hands: it is computed before what it needs is overwritten.
    total: Option<Handle>,
    journal: Journal<Claim>,
    /// The number of calls of `back` in it.
    calls: usize,
}

/// A gradient that an update has taken away: claimed while the update waits, bare while it is being committed.
#[derive(Clone)]
pub(super) struct Spent<T> {
    total: Option<T>,
    journal: Journal<T>,
}

impl Spent<Tensor> {
    /// Every tensor it refers to.
    pub(super) fn references(&self) -> impl Iterator<Item = &Tensor> {
        let journal = self.journal.iter().flat_map(|(loss, total)| std::iter::once(loss).chain(total));
        self.total.iter().chain(journal)
    }
}

impl Grad {
    fn new(g: &mut Graph, total: Option<Tensor>, journal: Journal<Tensor>, calls: usize) -> Grad {
        let claim = |(loss, before): (Tensor, Option<Tensor>)| (Claim::new(g, loss), before.map(|t| Claim::new(g, t)));
        let journal = journal.into_iter().map(claim).collect();
        Grad { total: total.map(|t| Handle::within(g, t)), journal, calls }
    }

    fn total(&self) -> Option<Tensor> {
        self.total.as_ref().map(|t| t.tensor().clone())
    }

    fn journal(&self) -> Journal<Tensor> {
        let bare = |(loss, before): &(Claim, Option<Claim>)| (loss.tensor().clone(), before.as_ref().map(|t| t.tensor().clone()));
        self.journal.iter().map(bare).collect()
    }

    /// The gradient as an update takes it away; the handle goes after the lock.
    pub(super) fn spend(self, g: &mut Graph, gone: &mut SmallVec<[Handle; 4]>) -> Spent<Claim> {
        let total = self.total.as_ref().map(|t| Claim::new(g, t.tensor().clone()));
        gone.extend(self.total);
        Spent { total, journal: self.journal }
    }
}

impl Spent<Claim> {
    pub(super) fn release(self, g: &mut Graph) -> Spent<Tensor> {
        let total = self.total.map(|t| t.release(g));
        let journal = self.journal.into_iter().map(|(loss, before)| (loss.release(g), before.map(|t| t.release(g)))).collect();
        Spent { total, journal }
    }
}

impl Update {
    /// Puts back the gradient that an update took which came to nothing, unless there is a newer one. The result goes after the lock.
    #[must_use]
    pub(crate) fn restore_grad(&self, g: &mut Graph) -> Option<Grad> {
        let spent = self.spent.clone().filter(|_| self.leaf.grad.get(g).total.is_none())?;
        let calls = spent.journal.len();
        let restored = Grad::new(g, spent.total, spent.journal, calls);
        Some(self.leaf.grad.set(g, restored))
    }

    /// True if it takes the gradient away.
    pub(crate) fn spends(&self) -> bool {
        self.spent.is_some()
    }
}

impl Leaf {
    /// The accumulated gradient; None before the first `back`.
    pub fn grad(&self) -> Option<Tensor> {
        self.grad.get(&graph::lock()).total()
    }

    /// As `grad`, for a step: another thread's step may spend the gradient, and then commit before this one is queued.
    pub fn held_grad(&self) -> Option<Handle> {
        let mut g = graph::lock();
        let total = self.grad.get(&g).total()?;
        Some(Handle::within(&mut g, total))
    }

    /// What its gradient keeps alive: the total, and the losses that may turn out bad with the totals before them.
    pub fn kept_by_grad(&self) -> Vec<Tensor> {
        let g = graph::lock();
        let grad = self.grad.get(&g);
        let journal = grad.journal.iter().flat_map(|(loss, before)| std::iter::once(loss).chain(before)).map(Claim::tensor);
        grad.total.iter().map(Handle::tensor).chain(journal).cloned().collect()
    }

    pub fn set_grad(&self, grad: Option<Tensor>) -> Result<()> {
        self.put_grad(grad, Journal::new())
    }

    fn put_grad(&self, grad: Option<Tensor>, journal: Journal<Tensor>) -> Result<()> {
        if let Some(g) = &grad {
            super::check("grad", &self.peek(), g)?;
        }
        let calls = journal.len();
        let mut g = graph::lock();
        let new = Grad::new(&mut g, grad, journal, calls);
        let old = self.grad.set(&mut g, new);
        drop(g);
        drop(old);
        Ok(())
    }

    /// Zeroes the gradient; what that leaves is to be dropped after the lock.
    pub(crate) fn take_grad(&self, g: &mut Graph) -> Grad {
        self.grad.set(g, Grad::default())
    }

    /// Adds what `back` of `loss` found.
    pub fn accumulate(&self, part: Tensor, loss: &Tensor) {
        {
            let mut g = graph::lock();
            let Grad { total, journal, .. } = self.grad.get(&g);
            if total.is_none() && journal.is_empty() {
                let first = Grad::new(&mut g, Some(part), smallvec![(loss.clone(), None)], 1);
                self.grad.set(&mut g, first);
                return;
            }
        }
        self.shorten_journal();
        let mut added = false;
        while !added {
            let old = self.grad();
            let total = old.as_ref().map_or_else(|| part.clone(), |old| graph::no_grad(|| old + &part));
            let mut slot = Some(Handle::new(total));
            let mut g = graph::lock();
            let mut grad = self.grad.set(&mut g, Grad::default());
            // Unless another thread has added to it, or taken it, in between.
            added = same(grad.total.as_ref().map(Handle::tensor), old.as_ref());
            if added {
                std::mem::swap(&mut grad.total, &mut slot);
                let entry = (Claim::new(&mut g, loss.clone()), old.map(|t| Claim::new(&mut g, t)));
                grad.journal.push(entry);
                grad.calls += 1;
            }
            self.grad.set(&mut g, grad);
        }
    }

    /// Forgets entries of losses that are known to be finite. What nothing asks for is computed now and then, so that no chain
    /// grows for ever.
    fn shorten_journal(&self) {
        let (known, many) = {
            let g = graph::lock();
            let grad = self.grad.get(&g);
            let known = grad.journal.first().is_some_and(|(loss, _)| graph::has_value(&g, loss.tensor()));
            (known, grad.calls > 0 && grad.calls.is_multiple_of(MAX_ACCUMULATED))
        };
        if many {
            crate::ENGINE.at_bound();
        }
        if known || many {
            self.forget_finite();
        }
    }

    fn forget_finite(&self) {
        let (old, mut journal, calls) = {
            let g = graph::lock();
            let grad = self.grad.get(&g);
            (grad.total(), grad.journal(), grad.calls)
        };
        let known = journal.len();
        crate::work::count(known);
        journal.retain(|(loss, _)| known_finite(loss) != Some(true));
        // Everything goes back to before the first loss that is bad; what came after is no matter.
        if let Some(bad) = journal.iter().position(|(loss, _)| known_finite(loss) == Some(false)) {
            journal.truncate(bad + 1);
        }
        // A total of finite losses alone derives from no loss any more.
        let settled =
            |t: &Tensor| t.0.guards.as_ref().is_none_or(|guards| !guards.any(|loss| has_finite_elements(loss) != Some(true)));
        let total = match &old {
            Some(t) if journal.is_empty() && settled(t) => Some(graph::without_guards(t)),
            _ => old.clone(),
        };
        let mut g = graph::lock();
        let now = self.grad.get(&g);
        let unchanged = now.journal.len() == known && same(now.total.as_ref().map(Handle::tensor), old.as_ref());
        let gone = unchanged.then(|| {
            let new = Grad::new(&mut g, total, journal, calls);
            self.grad.set(&mut g, new)
        });
        drop(g);
        drop(gone);
    }

    /// Takes back everything since the first `back` of one of these losses; all, where a gradient made of it was written over
    /// the total. What that leaves is to be dropped after the lock.
    pub(crate) fn undo_grad(&self, g: &mut Graph, bad: &Bad) -> Option<Grad> {
        let grad = self.grad.get(g);
        let is_bad = |loss: &Tensor| derives(loss, |loss| bad.contains(&loss.id()));
        let kept = match grad.journal.iter().position(|(loss, _)| is_bad(loss.tensor())) {
            Some(first) => {
                let mut journal = grad.journal();
                let before = journal.drain(first..).next().and_then(|(_, before)| before);
                Grad::new(g, before, journal, first)
            }
            None if grad.total.as_ref()?.tensor().0.guards.as_ref()?.any(is_bad) => Grad::default(),
            None => return None,
        };
        Some(self.grad.set(g, kept))
    }
}

/// True if this holds of a loss, or of one that it derives from.
fn derives(loss: &Tensor, is_such: impl Fn(&Tensor) -> bool) -> bool {
    is_such(loss) || loss.0.guards.as_ref().is_some_and(|guards| guards.any(is_such))
}

/// True if the elements of a loss, and of those that it derives from, are finite, None if they have not been computed. Not called
/// under the lock.
fn known_finite(loss: &Tensor) -> Option<bool> {
    let own = has_finite_elements(loss);
    let Some(guards) = loss.0.guards.as_ref().filter(|_| own != Some(false)) else { return own };
    match guards.any(|loss| has_finite_elements(loss) == Some(false)) {
        true => Some(false),
        false => own.filter(|_| !guards.any(|loss| has_finite_elements(loss).is_none())),
    }
}

fn has_finite_elements(loss: &Tensor) -> Option<bool> {
    match graph::base_node(loss).value.get(&graph::lock()) {
        // A parameter that was its own loss: it was committed as it was.
        Value::Overwritten => return Some(true),
        Value::Pending => return None,
        _ => {}
    }
    let host = crate::ENGINE.to_host(loss).ok()?;
    Some(match loss.dtype() {
        DType::F32 => host.as_slice::<f32>()[..loss.size()].iter().all(|x| x.is_finite()),
        DType::F64 => host.as_slice::<f64>()[..loss.size()].iter().all(|x| x.is_finite()),
        _ => true,
    })
}

fn same(a: Option<&Tensor>, b: Option<&Tensor>) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => a.ptr_eq(b),
        (a, b) => a.is_none() && b.is_none(),
    }
}

/// Adds the gradient of `y` (weighted by `seed`) to the `.grad` of every leaf that it depends on; returns how many there are.
pub fn back(y: &Tensor, seed: Option<&Tensor>) -> Result<usize> {
    super::queue::no_scan("back")?;
    let y = &crate::tape::whole(y);
    let leaves: Vec<Arc<Leaf>> = crate::tape::leaves(y).into_iter().filter_map(by_number).collect();
    use_foreign(&leaves)?;
    let targets: Vec<_> = leaves.iter().map(|l| crate::tape::Target::Leaf(l.number)).collect();
    let grads = crate::tape::gradient(y, seed, &targets, false)?;
    for (leaf, grad) in leaves.iter().zip(grads) {
        if let Some(grad) = grad {
            leaf.accumulate(grad, y);
        }
    }
    Ok(leaves.len())
}

/// Notes this thread as a user of the leaves, as if it had made the result itself: later steps of other threads leave their values
/// in memory. A step under way may already be overwriting them, so it is waited for.
fn use_foreign(leaves: &[Arc<Leaf>]) -> Result<()> {
    let under_way = {
        let g = graph::lock();
        leaves.iter().fold(false, |any, l| (l.note_user() && l.queue.get(&g).is_some()) | any)
    };
    if under_way { crate::COMMITTER.stand_by() } else { Ok(()) }
}

/// Gradients made of all those that the leaves have, by a common norm for example: what a bad loss has spoilt is undone in all.
pub fn replace_grads(leaves: &[Arc<Leaf>], grads: Vec<Tensor>) -> Result<()> {
    let now: Vec<(Option<Tensor>, Journal<Tensor>)> = {
        let g = graph::lock();
        let grads = leaves.iter().map(|l| l.grad.get(&g));
        grads.map(|grad| (grad.total(), grad.journal())).collect()
    };
    let mut losses: SmallMap<u64, &Tensor> = SmallMap::default();
    for (loss, _) in now.iter().flat_map(|(_, journal)| journal) {
        losses.insert(loss.id(), loss);
    }
    let losses: Vec<&Tensor> = losses.into_entries().map(|(_, loss)| loss).collect();
    for ((leaf, (total, journal)), grad) in leaves.iter().zip(&now).zip(grads) {
        let mut journal = journal.clone();
        let own: SmallMap<u64> = journal.iter().map(|(loss, _)| loss.id()).collect();
        let others = losses.iter().filter(|loss| !own.contains(&loss.id()));
        journal.extend(others.map(|&loss| (loss.clone(), total.clone())));
        leaf.put_grad(Some(grad), journal)?;
    }
    Ok(())
}

/// Takes back what `back` of this loss, and those after it, added to the gradients of its leaves.
pub fn forget(loss: &Tensor) {
    let bad = Bad::from_iter([loss.id()]);
    for leaf in crate::tape::leaves(loss).into_iter().filter_map(by_number) {
        let gone = leaf.undo_grad(&mut graph::lock(), &bad);
        drop(gone);
    }
}
