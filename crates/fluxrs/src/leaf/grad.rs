//! What `back` accumulates in its leaves, and what becomes of it when a loss turns out bad.

use super::{Leaf, Update, by_number};
use crate::error::Result;
use crate::evaluate::{self, Handle};
use crate::graph::{self, Graph, Tensor};
use crate::small_map::SmallMap;
use std::sync::Arc;

/// Calls of `back` that accumulate before the total is computed.
const MAX_ACCUMULATED: usize = 256;

/// The losses, by their nodes' numbers, that turned out Inf or NaN.
pub(crate) type Bad = SmallMap<u64>;

/// What `back` has accumulated since it was last zeroed.
#[derive(Default)]
pub(crate) struct Grad {
    /// Held like a result in somebody's hands: it is computed before what it needs is overwritten.
    total: Option<Handle>,
    /// Each `back` with its loss and the total before it: what a bad loss is undone to. Not those whose loss is known to be finite.
    before: Vec<(Tensor, Option<Tensor>)>,
    /// How many calls of `back` are in it.
    calls: usize,
}

/// A gradient that an update has taken away, to be put back if the update comes to nothing.
#[derive(Clone, Default)]
pub(super) struct Spent {
    total: Option<Tensor>,
    before: Vec<(Tensor, Option<Tensor>)>,
}

impl Grad {
    /// What an update takes away; and the hold on it, which goes after the graph lock.
    pub(super) fn spend(self) -> (Spent, Option<Handle>) {
        (Spent { total: self.total.as_ref().map(|t| t.tensor().clone()), before: self.before }, self.total)
    }
}

impl Leaf {
    /// The accumulated gradient; None before the first `back`.
    pub fn grad(&self) -> Option<Tensor> {
        self.grad.get(&graph::lock()).total.as_ref().map(|t| t.tensor().clone())
    }

    pub fn set_grad(&self, grad: Option<Tensor>) -> Result<()> {
        self.put_grad(grad, vec![])
    }

    fn put_grad(&self, grad: Option<Tensor>, before: Vec<(Tensor, Option<Tensor>)>) -> Result<()> {
        if let Some(g) = &grad {
            self.check("grad", g)?;
        }
        let calls = before.len();
        let new = Grad { total: grad.map(Handle::new), before, calls };
        let old = self.grad.set(&mut graph::lock(), new);
        drop(old);
        Ok(())
    }

    /// Adds what `back` of `loss` found.
    pub fn accumulate(&self, part: Tensor, loss: &Tensor) {
        {
            let mut g = graph::lock();
            let Grad { total, before, .. } = self.grad.get(&g);
            if total.is_none() && before.is_empty() {
                let total = Some(Handle::within(&mut g, part));
                self.grad.set(&mut g, Grad { total, before: vec![(loss.clone(), None)], calls: 1 });
                return;
            }
        }
        self.shorten_history();
        let mut added = false;
        while !added {
            let old = self.grad();
            let total = old.as_ref().map_or_else(|| part.clone(), |old| graph::no_grad(|| old + &part));
            let mut slot = Some(Handle::new(total));
            let mut g = graph::lock();
            let mut grad = self.grad.set(&mut g, Grad::default());
            // Unless another thread has added to it, or taken it, meanwhile.
            added = same(grad.total.as_ref().map(Handle::tensor), old.as_ref());
            if added {
                std::mem::swap(&mut grad.total, &mut slot);
                grad.before.push((loss.clone(), old));
                grad.calls += 1;
            }
            self.grad.set(&mut g, grad);
        }
    }

    /// Forgets how the gradient was before losses that are known to be finite. What nobody asks for is computed now and then, so
    /// that no chain grows for ever.
    fn shorten_history(&self) {
        let (known, many) = {
            let g = graph::lock();
            let grad = self.grad.get(&g);
            let known = grad.before.first().is_some_and(|(loss, _)| evaluate::has_value(&g, loss));
            (known, grad.calls > 0 && grad.calls.is_multiple_of(MAX_ACCUMULATED))
        };
        if many {
            evaluate::evaluate_at_bound();
        }
        if known || many {
            self.forget_finite();
        }
    }

    fn forget_finite(&self) {
        let (old, mut before, calls) = {
            let g = graph::lock();
            let grad = self.grad.get(&g);
            (grad.total.as_ref().map(|t| t.tensor().clone()), grad.before.clone(), grad.calls)
        };
        let known = before.len();
        before.retain(|(loss, _)| evaluate::known_finite(loss) != Some(true));
        // Everything goes back to before the first loss that is bad; what came after is no matter.
        if let Some(bad) = before.iter().position(|(loss, _)| evaluate::known_finite(loss) == Some(false)) {
            before.truncate(bad + 1);
        }
        // A total without history derives from no loss any more.
        let total = if before.is_empty() { old.as_ref().map(evaluate::without_guards) } else { old.clone() };
        let mut slot = Some(Grad { total: total.map(Handle::new), before, calls });
        let mut g = graph::lock();
        let now = self.grad.get(&g);
        let unchanged = now.before.len() == known;
        if unchanged && same(now.total.as_ref().map(Handle::tensor), old.as_ref()) {
            let gone = self.grad.set(&mut g, slot.take().expect("made above"));
            slot = Some(gone);
        }
        drop(g);
        drop(slot);
    }

    /// Puts a gradient back that an update took which came to nothing, unless there is a newer one.
    pub(crate) fn restore_grad(&self, g: &mut Graph, update: &Update) {
        if update.spends && self.grad.get(g).total.is_none() {
            let Spent { total, before } = update.spent.clone();
            let calls = before.len();
            let total = total.map(|t| Handle::within(g, t));
            self.grad.set(g, Grad { total, before, calls });
        }
    }

    /// Takes back an update that a device did not make after all; what that leaves is to be dropped after the lock. The memory is as
    /// it was, so that both values are.
    pub(crate) fn set_back(&self, g: &mut Graph, update: &Update, values: Option<&(Tensor, Tensor)>) -> Grad {
        if let Some((old, new)) = values.filter(|(_, new)| self.current.get(g).ptr_eq(new)) {
            let value = new.0.value.get(g).clone();
            old.0.value.set(g, value);
            self.current.set(g, old.clone());
        }
        if !update.spends {
            return Grad::default();
        }
        let gone = self.grad.set(g, Grad::default());
        self.restore_grad(g, update);
        gone
    }

    /// Takes back everything since the first `back` of one of these losses; all, where somebody has written a gradient made of it.
    /// What that leaves is to be dropped after the lock.
    pub(crate) fn undo_grad(&self, g: &mut Graph, bad: &Bad) -> Option<Grad> {
        let Grad { total, before, .. } = self.grad.get(g);
        let is_bad = |loss: &Tensor| bad.contains(&loss.id());
        let kept = match before.iter().position(|(loss, _)| is_bad(loss)) {
            Some(first) => {
                let (total, before) = (before[first].1.clone(), before[..first].to_vec());
                Grad { total: total.map(|t| Handle::within(g, t)), before, calls: first }
            }
            None if !before.is_empty() => return None,
            None if total.as_ref()?.tensor().0.guards.as_ref()?.any(is_bad) => Grad::default(),
            None => return None,
        };
        Some(self.grad.set(g, kept))
    }
}

fn same(a: Option<&Tensor>, b: Option<&Tensor>) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => a.ptr_eq(b),
        (a, b) => a.is_none() && b.is_none(),
    }
}

/// Adds the gradient of `y` (weighted by `seed`) to the `.grad` of every leaf that it depends on; returns how many there are.
pub fn back(y: &Tensor, seed: Option<&Tensor>) -> Result<usize> {
    let y = &crate::tape::whole(y);
    let leaves: Vec<Arc<Leaf>> = crate::tape::leaves(y).into_iter().filter_map(by_number).collect();
    let targets: Vec<_> = leaves.iter().map(|l| crate::tape::Target::Leaf(l.number)).collect();
    let grads = crate::tape::gradient(y, seed, &targets, false)?;
    for (leaf, grad) in leaves.iter().zip(grads) {
        if let Some(grad) = grad {
            leaf.accumulate(grad, y);
        }
    }
    Ok(leaves.len())
}

/// Gradients made of all those that the leaves have, by a common norm for example: what a bad loss has spoilt is undone in all.
pub fn replace_grads(leaves: &[Arc<Leaf>], grads: Vec<Tensor>) -> Result<()> {
    type Before = Vec<(Tensor, Option<Tensor>)>;
    let now: Vec<(Option<Tensor>, Before)> = {
        let g = graph::lock();
        let grads = leaves.iter().map(|l| l.grad.get(&g));
        grads.map(|grad| (grad.total.as_ref().map(|t| t.tensor().clone()), grad.before.clone())).collect()
    };
    let mut losses: SmallMap<u64, &Tensor> = SmallMap::default();
    for (loss, _) in now.iter().flat_map(|(_, before)| before) {
        losses.insert(loss.id(), loss);
    }
    let losses: Vec<&Tensor> = losses.into_entries().map(|(_, loss)| loss).collect();
    for ((leaf, (total, before)), grad) in leaves.iter().zip(&now).zip(grads) {
        let mut before = before.clone();
        let own: SmallMap<u64> = before.iter().map(|(loss, _)| loss.id()).collect();
        let others = losses.iter().filter(|loss| !own.contains(&loss.id()));
        before.extend(others.map(|&loss| (loss.clone(), total.clone())));
        leaf.put_grad(Some(grad), before)?;
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
