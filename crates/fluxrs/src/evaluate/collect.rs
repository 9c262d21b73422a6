//! Gathers an evaluation: the nodes that take part, its results and its key.

use super::audit;
use super::closed::is_closed;
use super::dependents::{add_dependents, add_losses};
use super::gather::{Gathered, Gatherer, Publish, Wanted, Writing};
use crate::device::Device;
use crate::error::Result;
use crate::graph::{Graph, Tensor, Value, base_node, held_count};
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

pub(super) fn collect(g: &mut Graph, wanted: &Wanted<'_>, writing: Writing<'_>, out: &mut Gathered) -> Result<()> {
    let Wanted { roots, updates, alone } = *wanted;
    out.begun = true;
    g.epoch += 1;
    let epoch = g.epoch;
    // Before the list of handles is read: another thread drops its handle to a leaf's value only after what it made of it is there.
    out.free.extend(updates.iter().map(|u| u.leaf.is_this_threads_alone() && !u.leaf.current(g).0.is_held(false)));
    let mut gatherer = Gatherer { g, epoch, writing, out };
    let mut losses = Losses::default();
    for u in updates {
        gatherer.add(base_node(&u.value))?;
        if let Some(guards) = &u.value.0.guards {
            losses.add(guards, |loss| {
                // A loss that was a parameter itself may be gone; then it was committed as it was, and is no news.
                let base = base_node(loss);
                if !matches!(base.op, Op::Data) || !matches!(base.value.get(gatherer.g), Value::Overwritten) {
                    gatherer.out.losses.push((loss.clone(), 0));
                }
            });
        }
    }
    for t in roots {
        gatherer.add(base_node(t))?;
    }
    for i in 0..gatherer.out.losses.len() {
        let base = base_node(&gatherer.out.losses[i].0).clone();
        gatherer.add(&base)?;
        gatherer.out.losses[i].1 = gatherer.local(&base);
    }
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
    Ok(())
}

/// The plan for what was gathered. A long one is made without the lock, and signals end it as they end a run.
pub(super) fn make_plan(g: MutexGuard<'_, Graph>, gathered: &Gathered, written: &Written) -> Result<Plan> {
    let guards: Vec<u32> = gathered.losses.iter().map(|l| l.1).collect();
    let device = gathered.device.unwrap_or(Device::CPU);
    let pending = Pending::new(&g, &gathered.locals, &gathered.requests, written);
    drop(g);
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
