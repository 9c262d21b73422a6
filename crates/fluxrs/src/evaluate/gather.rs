//! Gathers what an evaluation takes part in, and the key of its plan on the way.

use super::closed::is_closed;
use crate::buffer::Buffer;
use crate::device::Device;
use crate::dtype::Number;
use crate::error::Result;
use crate::graph::{Borrowed, Graph, Node, Srcs, Tensor, Value, base_node, held_and_pending, held_count, overwritten};
use crate::guards::Losses;
use crate::hash::Hasher128;
use crate::leaf::Update;
use crate::ops::Op;
use crate::plan::Plan;
use crate::schedule::{Local, LocalKind, Request, schedule};
use crate::small_map::SmallMap;
use crate::tape::deferred::Written;
use crate::work;
use rustc_hash::FxHashMap;
use std::sync::{Arc, LazyLock};

/// The result of a pass over the pending graph. Kept between evaluations, so that a replay allocates nothing for it.
#[derive(Default)]
pub(super) struct Gathered {
    pub locals: Vec<Local>,
    pub slots: Vec<Buffer>,
    pub numbers: Vec<Number>,
    pub key: Hasher128,
    pub device: Option<Device>,
    /// True if something in it derives from a gradient.
    pub backward: bool,
    pub requests: Vec<Request>,
    pub publish: Vec<Publish>,
    /// The losses that the updates derive from, with their local numbers.
    pub losses: Vec<(Tensor, u32)>,
    /// Gradients that are not written out.
    deferred: Vec<u32>,
    /// True if a differentiable node has a value already: its operands are not in the key then.
    pub shortened: bool,
    /// Numbers that only gradient rules brought in: the same in every graph of this key.
    pub constants: Vec<Number>,
    /// True if gradient rules brought in values in memory.
    pub foreign: bool,
    /// The number of gradients, written out beside their nodes, that the walk is inside of.
    inside: u32,
    /// Steps of the walk.
    looks: usize,
    /// Gathered because there are handles to them or to something derived from them; these may go while the lock is not held.
    pub held: Vec<Tensor>,
    /// Other nodes that were looked at; this may be the last reference, so they go after the lock.
    passed: Vec<Tensor>,
    stack: Vec<(Borrowed, u32)>,
    /// True for each update whose leaf had a value that only this thread has used and that had no handle, before anything else was
    /// looked at.
    free: Vec<bool>,
    /// The locals that are requested already.
    asked: Vec<bool>,
}

/// The destination of a result.
#[derive(Clone, Copy)]
pub(super) enum Publish {
    Value,
    /// Kept for the backward pass.
    Keep,
    /// The new value of the leaf of this update.
    Leaf(usize),
}

/// As many held nodes are looked through faster than it is found out that none of them matters.
const FEW_HELD: usize = 64;

/// Nodes for which the lists keep their memory.
const MAX_LISTED: usize = 1 << 17;

impl Gathered {
    /// Lets go of everything but the memory of the lists, and of that, too, after a graph of unusual size.
    pub fn clear(&mut self) {
        if self.locals.capacity() > MAX_LISTED {
            *self = Gathered::default();
            return;
        }
        self.locals.clear();
        self.slots.clear();
        self.numbers.clear();
        self.key = Hasher128::default();
        self.device = None;
        self.backward = false;
        self.requests.clear();
        self.publish.clear();
        self.losses.clear();
        self.deferred.clear();
        self.shortened = false;
        self.constants.clear();
        self.foreign = false;
        self.inside = 0;
        self.looks = 0;
        self.stack.clear();
        self.held.clear();
        self.passed.clear();
        self.free.clear();
        self.asked.clear();
    }
}

impl Gathered {
    pub fn deferred(&self) -> Vec<Tensor> {
        self.deferred.iter().map(|&i| Tensor::clone(&self.locals[i as usize].node)).collect()
    }

    pub fn has_deferred(&self) -> bool {
        !self.deferred.is_empty()
    }
}

/// The way in which deferred gradients are gathered.
#[derive(Clone, Copy)]
pub(super) enum Writing<'a> {
    /// As the nodes that they are.
    Nothing,
    /// As those, and each written out behind what its node is made of. Numbers that are met there alone are counted on from
    /// `numbers`.
    Beside { written: &'a Written, numbers: usize },
    /// Written out, and nothing of what their nodes are made of.
    Instead(&'a Written),
}

impl<'a> Writing<'a> {
    fn written(self) -> &'a Written {
        static NOTHING: LazyLock<Written> = LazyLock::new(Written::default);
        match self {
            Writing::Nothing => &NOTHING,
            Writing::Beside { written, .. } | Writing::Instead(written) => written,
        }
    }

    /// A node's k-th operand, and whether that is a gradient written out beside it.
    fn operand<'n>(self, g: &'n Graph, node: &'n Node, k: usize) -> Option<(&'n Tensor, bool)>
    where
        'a: 'n,
    {
        let Writing::Beside { written, .. } = self else { return self.written().operands(g, node).get(k).map(|s| (s, false)) };
        let own = node.operands(g);
        own.get(k).map(|s| (s, false)).or_else(|| written.of(node).filter(|_| k == own.len()).map(|s| (s, true)))
    }
}

struct Gatherer<'g> {
    g: &'g mut Graph,
    epoch: u32,
    writing: Writing<'g>,
    out: &'g mut Gathered,
}

impl Gatherer<'_> {
    fn seen(&self, node: &Node) -> bool {
        node.mark.get(self.g).0 == self.epoch
    }

    fn local(&self, node: &Node) -> u32 {
        node.mark.get(self.g).1
    }

    fn computes(&self, node: &Node) -> bool {
        self.seen(node) && self.out.locals[self.local(node) as usize].kind == LocalKind::Compute
    }

    /// Adds a base node with everything it needs, operands first.
    fn add(&mut self, root: &Arc<Node>) -> Result<()> {
        if self.seen(root) {
            return Ok(());
        }
        self.enter(root)?;
        while let Some((node, next)) = self.out.stack.last_mut() {
            let Some((src, enters)) = self.writing.operand(self.g, &node.0, *next as usize) else {
                let (node, _) = self.out.stack.pop().expect("the loop looked at it");
                self.finish(node);
                continue;
            };
            *next += 1;
            self.out.looks += 1;
            self.out.inside += enters as u32;
            let base = base_node(src);
            if base.mark.get(self.g).0 != self.epoch {
                // SAFETY: as in `enter`: the node at hand, or what is written out, holds its operands.
                let base = unsafe { &*std::ptr::from_ref(base) };
                self.enter(base)?;
            }
        }
        Ok(())
    }

    fn enter(&mut self, node: &Arc<Node>) -> Result<()> {
        // SAFETY: what an evaluation gathers is held by its roots, updates and `held` until it has cleared the lists:
        // operands are reached through their nodes, written gradients outlive the lists, and nothing else changes a graph while the one evaluation runs.
        let t = unsafe { Borrowed::of(node) };
        if let Op::Number(n) = node.op {
            self.out.key.add(node.hash);
            if let (Writing::Beside { numbers, .. }, 1..) = (self.writing, self.out.inside) {
                self.push(t, LocalKind::Number((numbers + self.out.constants.len()) as u32));
                self.out.constants.push(n);
                return Ok(());
            }
            self.out.numbers.push(n);
            self.push(t, LocalKind::Number(self.out.numbers.len() as u32 - 1));
            return Ok(());
        }
        match node.value.get(self.g) {
            Value::Overwritten => return Err(overwritten(node)),
            Value::Ready(b) | Value::Kept(b) => {
                self.out.slots.push(b.clone());
                let is_data = matches!(node.op, Op::Data);
                self.out.key.add(match is_data {
                    true => node.hash,
                    false => Op::Data.hash(&node.shape, node.dtype, node.device, node.tracked),
                });
                self.out.shortened |= node.tracked && !is_data;
                self.out.foreign |= self.out.inside > 0;
                self.out.device.get_or_insert(node.device);
                self.push(t, LocalKind::Slot(self.out.slots.len() as u32 - 1));
            }
            Value::Pending => {
                // Marked before its operands are done: a graph has no cycles.
                node.mark.set(self.g, (self.epoch, u32::MAX));
                self.out.stack.push((t, 0));
            }
        }
        Ok(())
    }

    fn finish(&mut self, t: Borrowed) {
        let key = &mut self.out.key;
        key.add(t.0.hash);
        for s in self.writing.written().operands(self.g, &t.0) {
            key.add(base_node(s).mark.get(self.g).1 as u64);
            if matches!(s.0.op, Op::View(_)) {
                key.add(s.0.hash);
            }
        }
        if matches!(t.0.op, Op::Gradient(_)) {
            match self.writing {
                _ if self.writing.written().of(&t.0).is_none() => self.out.deferred.push(self.out.locals.len() as u32),
                Writing::Beside { .. } => self.out.inside -= 1,
                _ => {}
            }
        }
        self.out.backward |= t.0.guards.is_some();
        if self.out.device.is_none_or(|d| d.is_cpu()) {
            self.out.device = Some(t.0.device);
        }
        self.push(t, LocalKind::Compute);
    }

    fn push(&mut self, t: Borrowed, kind: LocalKind) {
        t.0.mark.set(self.g, (self.epoch, self.out.locals.len() as u32));
        self.out.locals.push(Local { node: t, kind });
    }

    fn request(&mut self, local: u32, donor: Option<u32>, publish: Publish) {
        let commit = matches!(publish, Publish::Leaf(_));
        let tag = match publish {
            Publish::Leaf(_) => 1 + donor.map_or(0, |d| (d as u64 + 1) << 32),
            _ => 2,
        };
        self.out.key.add(tag);
        self.out.key.add(local as u64);
        self.out.asked[local as usize] = true;
        self.out.requests.push(Request { local, donor, commit });
        self.out.publish.push(publish);
    }

    /// The slot of a leaf's old value, if the update may be written over it: nothing outside can see it.
    fn donor(&self, i: usize, u: &Update) -> Option<u32> {
        let old = u.leaf.current(self.g);
        if !self.out.free[i] || !self.seen(&old.0) || u.value.dtype() != old.dtype() {
            return None;
        }
        let LocalKind::Slot(slot) = self.out.locals[self.local(&old.0) as usize].kind else { return None };
        // The gathered copy and the node's own are the only ones.
        self.out.slots[slot as usize].is_shared_by(2).then_some(slot)
    }
}

/// The request that an evaluation serves.
#[derive(Clone, Copy)]
pub(super) struct Wanted<'a> {
    pub roots: &'a [Tensor],
    pub updates: &'a [Update],
    /// Nodes with handles do not join in, and nothing is overwritten.
    pub alone: bool,
}

/// The nodes of an evaluation, its results and its key.
pub(super) fn collect(g: &mut Graph, wanted: &Wanted<'_>, writing: Writing<'_>, out: &mut Gathered) -> Result<()> {
    let Wanted { roots, updates, alone } = *wanted;
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
        add_losses(&mut gatherer)?;
    }
    request_results(&mut gatherer, roots, updates, alone);
    let Gathered { looks, locals, held, passed, .. } = out;
    work::count(*looks + locals.len() + held.len() + passed.len() + updates.len());
    Ok(())
}

pub(super) fn make_plan(g: &Graph, gathered: &Gathered, written: &Written) -> Plan {
    let guards: Vec<u32> = gathered.losses.iter().map(|l| l.1).collect();
    let device = gathered.device.unwrap_or(Device::CPU);
    schedule(g, device, &gathered.locals, &gathered.requests, &guards, written)
}

fn request_results(gatherer: &mut Gatherer<'_>, roots: &[Tensor], updates: &[Update], alone: bool) {
    gatherer.out.asked.resize(gatherer.out.locals.len(), false);
    // Of several updates of one leaf, each made of the one before, the last is its new value.
    let mut last: SmallMap<u64, usize> = SmallMap::default();
    updates.iter().enumerate().for_each(|(i, u)| *last.entry(u.leaf.number()) = i);
    for (i, u) in updates.iter().enumerate().filter(|&(i, u)| last.get(&u.leaf.number()) == Some(&i)) {
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
        if node.is_held(commits) {
            gatherer.request(i as u32, None, Publish::Value);
        } else if keeps && node.tracked && !node.passing && node.op.is_expensive() {
            gatherer.request(i as u32, None, Publish::Keep);
        }
    }
}

/// Adds every node that has a handle and depends on what is computed, or reads what is overwritten; what is out of
/// reach by now stays so.
fn add_dependents(gatherer: &mut Gatherer<'_>, updates: &[Update]) -> Result<()> {
    let held = held_and_pending(gatherer.g, !updates.is_empty());
    let first = gatherer.out.passed.len();
    gatherer.out.passed.extend(held);
    if gatherer.out.passed[first..].iter().all(|t| gatherer.seen(&t.0)) {
        return Ok(());
    }
    let mut search = Search { overwrites: !updates.is_empty(), verdict: FxHashMap::default() };
    for u in updates {
        search.verdict.insert(u.leaf.current(gatherer.g).id(), (true, true));
    }
    let roots = gatherer.out.passed[first..].to_vec();
    let (mut all, mut losses) = (Losses::default(), Vec::new());
    for root in &roots {
        // The losses of nodes with handles will be asked for, too, by updates that are made of them.
        let known = losses.len();
        root.0.guards.iter().for_each(|guards| all.add(guards, |loss| losses.push(loss.base())));
        for node in losses[known..].iter().chain([root]) {
            if search.is_lost_without(gatherer, &node.0) {
                gatherer.add(&node.0)?;
                gatherer.out.held.push(node.clone());
            }
        }
    }
    // Also one that is computed here on the way to something else must be kept when a parameter is overwritten.
    if !updates.is_empty() {
        losses.retain(|loss| gatherer.computes(&loss.0));
        gatherer.out.held.extend(losses);
    }
    Ok(())
}

/// Adds the losses that computed nodes with handles derive from: an update made of one asks for them later.
fn add_losses(gatherer: &mut Gatherer<'_>) -> Result<()> {
    let (mut all, mut losses) = (Losses::default(), Vec::new());
    for local in &gatherer.out.locals {
        let node = &local.node.0;
        let (Some(guards), LocalKind::Compute) = (&node.guards, local.kind) else { continue };
        if node.is_held(false) {
            all.add(guards, |loss| losses.push(loss.base()));
        }
    }
    let mut search = Search { overwrites: false, verdict: FxHashMap::default() };
    for loss in losses {
        let pending = matches!(loss.0.value.get(gatherer.g), Value::Pending);
        if pending && (gatherer.seen(&loss.0) || search.look(gatherer, &loss.0).1) {
            gatherer.add(&loss.0)?;
            gatherer.out.held.push(loss);
        }
    }
    Ok(())
}

/// Looks through nodes not yet gathered, each once.
struct Search {
    /// True if parameters are overwritten: their nodes have a verdict from the start.
    overwrites: bool,
    /// Says if a node depends on what is computed or overwritten, and if all it needs is within reach.
    verdict: FxHashMap<u64, (bool, bool)>,
}

impl Search {
    /// True if a pending node must be computed now, and can be.
    fn is_lost_without(&mut self, gatherer: &Gatherer<'_>, node: &Arc<Node>) -> bool {
        let pending = matches!(node.value.get(gatherer.g), Value::Pending) && !matches!(node.op, Op::Number(_));
        pending && !gatherer.seen(node) && self.look(gatherer, node) == (true, true)
    }

    fn look(&mut self, gatherer: &Gatherer<'_>, root: &Arc<Node>) -> (bool, bool) {
        let enter = |node: &Arc<Node>| (node.clone(), Srcs::from(node.operands(gatherer.g)), 0, (false, true));
        let mut stack = Vec::new();
        if !self.verdict.contains_key(&root.id) {
            stack.push(enter(root));
        }
        let mut looks = 0;
        while let Some((_, srcs, next, (found, within))) = stack.last_mut() {
            looks += 1;
            let Some(src) = srcs.get(*next) else {
                let (node, _, _, mut verdict) = stack.pop().expect("the loop looked at it");
                verdict.1 |= matches!(node.value.get(gatherer.g), Value::Kept(_));
                self.verdict.insert(node.id, verdict);
                if let Some((_, _, _, above)) = stack.last_mut() {
                    *above = (above.0 | verdict.0, above.1 & verdict.1);
                }
                continue;
            };
            *next += 1;
            let base = base_node(src).clone();
            match (self.verdict.get(&base.id), base.value.get(gatherer.g)) {
                (Some(&(f, w)), _) => (*found, *within) = (*found | f, *within & w),
                (None, Value::Overwritten) => *within = false,
                (None, _) if gatherer.computes(&base) => *found = true,
                // A value kept for the backward pass goes with that, and what it is made of may be gone by then.
                (None, Value::Kept(_)) if self.overwrites => stack.push(enter(&base)),
                (None, Value::Pending) if !gatherer.seen(&base) && !matches!(base.op, Op::Number(_)) => stack.push(enter(&base)),
                _ => {}
            }
        }
        work::count(1 + looks);
        self.verdict[&root.id]
    }
}
