//! Gathers an evaluation: the nodes that take part, its results and its key.

use super::audit;
use super::closed::is_closed;
use super::dependents::{add_dependents, add_losses};
use super::gather::{Gathered, Gatherer, Publish, Wanted, Writing, add};
use crate::device::Device;
use crate::error::Result;
use crate::graph::{Graph, Pass, Tensor, Value, base_node, held_count};
use crate::guards::Losses;
use crate::leaf::Update;
use crate::ops::Op;
use crate::plan::Plan;
use crate::schedule::{LocalKind, Pending, schedule};
use crate::small_map::SmallMap;
use crate::tape::deferred::Written;
use crate::work;
use std::sync::MutexGuard;

/// As many held nodes are looked through faster than it is found out that none of them matters.
const FEW_HELD: usize = 64;

/// Gathers what is wanted and what takes part with it. What is asked for is walked through without the lock at times, and everything
/// that depends on the handles that there are, under it.
pub(super) fn collect(
    mut g: MutexGuard<'static, Graph>,
    wanted: &Wanted<'_>,
    writing: Writing<'_>,
    out: &mut Gathered,
) -> Result<MutexGuard<'static, Graph>> {
    let Wanted { roots, updates, alone } = *wanted;
    out.begun = true;
    let pass = &mut Pass::begin(&mut g);
    // Before the list of handles is read: another thread drops its handle to a leaf's value only after what it made of it is there.
    out.free.extend(updates.iter().map(|u| u.leaf.is_this_threads_alone() && !u.leaf.current(&g).0.is_held(false)));
    let mut losses = Losses::default();
    for u in updates {
        g = add(g, pass, writing, out, base_node(&u.value))?;
        if let Some(guards) = &u.value.0.guards {
            losses.add(guards, |loss| {
                // A loss that was a parameter itself may be gone; then it was committed as it was, and is no news.
                let base = base_node(loss);
                if !matches!(base.op, Op::Data) || !matches!(base.value.get(&g), Value::Overwritten) {
                    out.losses.push((loss.clone(), 0));
                }
            });
        }
    }
    for t in roots {
        g = add(g, pass, writing, out, base_node(t))?;
    }
    for i in 0..out.losses.len() {
        let base = base_node(&out.losses[i].0).clone();
        g = add(g, pass, writing, out, &base)?;
        out.losses[i].1 = base.mark.get(&g).1;
    }
    let mut gatherer = Gatherer { g: &mut g, epoch: pass.epoch, writing, out };
    if !alone {
        // Many are only looked through where one of them may depend on what is computed.
        if held_count(gatherer.g) <= FEW_HELD || !is_closed(gatherer.g, gatherer.out, wanted) {
            add_dependents(&mut gatherer, updates)?;
        }
        add_losses(&mut gatherer, &mut losses)?;
    }
    request_results(&mut gatherer, roots, updates, alone);
    if !matches!(writing, Writing::Beside { .. }) {
        audit::look(gatherer.g, gatherer.out, writing);
    }
    let Gathered { looks, locals, held, passed, .. } = out;
    work::count(*looks + locals.len() + held.len() + passed.len() + updates.len());
    Ok(g)
}

/// The plan for what was gathered. A long one is made without the lock, and signals end it as they end a run.
pub(super) fn make_plan(g: MutexGuard<'static, Graph>, gathered: &Gathered, written: &Written) -> Result<Plan> {
    let guards: Vec<u32> = gathered.losses.iter().map(|l| l.1).collect();
    let device = gathered.device.unwrap_or(Device::CPU);
    let pending = Pending::new(g, &gathered.locals, &gathered.requests, written)?;
    schedule(&pending, device, &guards)
}

fn request_results(gatherer: &mut Gatherer<'_>, roots: &[Tensor], updates: &[Update], alone: bool) {
    gatherer.out.asked.resize(gatherer.out.locals.len(), false);
    // Of several updates of one leaf the last is its new value.
    let mut last: SmallMap<u64, usize> = SmallMap::default();
    updates.iter().enumerate().for_each(|(i, u)| *last.entry(u.leaf.number()) = i);
    for &(_, i) in last.entries() {
        let u = &updates[i];
        let local = gatherer.local(base_node(&u.value));
        let donor = if alone { None } else { gatherer.donor(i, u) };
        gatherer.request(local, donor, Publish::Leaf(i));
    }
    for t in roots {
        let local = gatherer.local(base_node(t));
        if gatherer.out.locals[local as usize].kind == LocalKind::Compute && !gatherer.out.asked[local as usize] {
            gatherer.request(local, None, Publish::Value);
        }
    }
    for i in 0..gatherer.out.losses.len() {
        let local = gatherer.out.losses[i].1;
        gatherer.out.key.add(3 << 32 | local as u64);
        if gatherer.out.locals[local as usize].kind == LocalKind::Compute && !gatherer.out.asked[local as usize] {
            gatherer.request(local, None, Publish::Value);
        }
    }
    for i in 0..gatherer.out.held.len() {
        let local = gatherer.local(&gatherer.out.held[i].0);
        if gatherer.out.locals[local as usize].kind == LocalKind::Compute && !gatherer.out.asked[local as usize] {
            gatherer.request(local, None, Publish::Value);
        }
    }
    // Dear intermediates of a forward evaluation are kept for the backward pass.
    let commits = !updates.is_empty();
    let keeps = !commits && !gatherer.out.backward;
    for i in 0..gatherer.out.locals.len() {
        let local = &gatherer.out.locals[i];
        if local.kind != LocalKind::Compute || gatherer.out.asked[i] {
            continue;
        }
        let node = &local.node.0;
        if !alone && node.is_held(commits) {
            gatherer.request(i as u32, None, Publish::Value);
        } else if keeps && node.tracked && !node.passing && node.op.is_expensive() {
            gatherer.request(i as u32, None, Publish::Keep);
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::error::{Error, Result};
    use crate::graph::{Handle, Tensor};
    use crate::leaf::Leaf;
    use crate::ops::Elementwise;
    use crate::stop::set_interrupt_check;
    use crate::tape::{self, Target, gradient};
    use crate::transfer;
    use std::cell::{Cell, RefCell};
    use std::sync::Arc;

    thread_local! {
        /// The graph that is marked by another pass in each pause of this thread's, and the pauses so far.
        static MARKED: RefCell<Option<Tensor>> = const { RefCell::new(None) };
        static PAUSES: Cell<usize> = const { Cell::new(0) };
        /// The pause that a signal comes in.
        static LAST: Cell<usize> = const { Cell::new(usize::MAX) };
    }

    fn between() -> bool {
        PAUSES.set(PAUSES.get() + 1);
        MARKED.with_borrow(|graph| graph.as_ref().map(|y| tape::inputs(y, 0)));
        PAUSES.get() > LAST.get()
    }

    fn chain(p: &Arc<Leaf>) -> Tensor {
        let y = (0..20_000).fold(p.value().unwrap(), |y, _| Elementwise::sin.apply(&[&y]).unwrap() * 1.001);
        y.sum(None, false).unwrap()
    }

    fn value(x: &Handle) -> Result<Vec<f32>> {
        Ok(transfer::to_host(x.tensor())?.as_slice::<f32>()[..x.tensor().size()].to_vec())
    }

    #[test]
    fn other_passes_and_signals_come_between() {
        set_interrupt_check(between);
        let p = Leaf::of(&Tensor::from_slice(&[0.5f32, 1.5], &[2]).unwrap(), true).unwrap();
        let forward = |y: &Tensor| Ok(y.clone());
        let by_leaf = |y: &Tensor, nest| Ok(gradient(y, None, &[Target::Leaf(p.number())], nest)?.remove(0).unwrap());
        let deferred = |y: &Tensor| by_leaf(y, false);
        let nested = |y: &Tensor| by_leaf(y, true);
        type Of<'a> = &'a dyn Fn(&Tensor) -> Result<Tensor>;
        let cases: [(&str, Of<'_>); 3] = [("forward", &forward), ("deferred", &deferred), ("nested", &nested)];
        for (what, of) in cases {
            let run = |marked: bool, last: usize| {
                let y = chain(&p);
                let x = of(&y).map(Handle::new);
                MARKED.set(marked.then_some(y));
                PAUSES.set(0);
                LAST.set(last);
                let result = x.and_then(|x| value(&x).map(|value| (x, value)));
                MARKED.set(None);
                LAST.set(usize::MAX);
                result
            };
            let (_, want) = run(false, usize::MAX).unwrap();
            let (_, got) = run(true, usize::MAX).unwrap();
            let pauses = PAUSES.get();
            assert_eq!(got, want, "{what}");
            assert!(pauses > 30, "{what}: {pauses} pauses");
            for last in [0, 7, pauses / 2, pauses - 1] {
                assert_eq!(run(true, last).map(|got| got.1), Err(Error::Interrupted), "{what}, in pause {last} of {pauses}");
            }
            assert_eq!(run(true, usize::MAX).unwrap().1, want, "{what}");
        }
    }
}
