//! Gathers what an evaluation takes part in, and the key of its plan on the way.

use super::{base_node, held_and_pending, overwritten};
use crate::buffer::Buffer;
use crate::device::Device;
use crate::dtype::Number;
use crate::error::Result;
use crate::graph::{Borrowed, Graph, Node, Srcs, Tensor, Value};
use crate::hash::Hasher128;
use crate::leaf::Update;
use crate::ops::Op;
use crate::schedule::{Local, LocalKind, Request};
use rustc_hash::FxHashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// What a pass over the pending graph finds. Kept between evaluations, so that a replay allocates nothing for it.
#[derive(Default)]
pub(super) struct Gathered {
    pub locals: Vec<Local>,
    pub slots: Vec<Buffer>,
    pub numbers: Vec<Number>,
    pub key: Hasher128,
    pub device: Option<Device>,
    /// Whether something in it derives from a gradient.
    pub backward: bool,
    pub requests: Vec<Request>,
    pub publish: Vec<Publish>,
    /// The losses that the updates derive from, with their local numbers.
    pub losses: Vec<(Tensor, u32)>,
    /// Gathered because somebody holds them, who may let go meanwhile.
    held: Vec<Tensor>,
    stack: Vec<(Borrowed, u32)>,
    /// The locals that are requested already.
    asked: Vec<bool>,
}

/// What becomes of a result.
#[derive(Clone, Copy)]
pub(super) enum Publish {
    Value,
    /// Kept for the backward pass.
    Keep,
    /// The new value of the leaf of this update.
    Leaf(usize),
}

impl Gathered {
    /// Lets go of everything but the memory of the lists.
    pub fn clear(&mut self) {
        self.locals.clear();
        self.slots.clear();
        self.numbers.clear();
        self.key = Hasher128::default();
        self.device = None;
        self.backward = false;
        self.requests.clear();
        self.publish.clear();
        self.losses.clear();
        self.stack.clear();
        self.held.clear();
        self.asked.clear();
    }
}

struct Gatherer<'g> {
    g: &'g mut Graph,
    epoch: u32,
    out: &'g mut Gathered,
}

/// The srcs that a node's value depends on: a custom gradient's arguments are not among them.
fn operands<'a>(g: &'a Graph, node: &'a Node) -> &'a [Tensor] {
    let srcs = node.srcs.get(g);
    if matches!(node.op, Op::Custom(_)) { &srcs[..1] } else { srcs }
}

impl Gatherer<'_> {
    fn seen(&self, node: &Node) -> bool {
        node.mark.get(self.g).0 == self.epoch
    }

    fn local(&self, node: &Node) -> u32 {
        node.mark.get(self.g).1
    }

    /// Adds a base node with everything it needs, operands first.
    fn add(&mut self, root: &Arc<Node>) -> Result<()> {
        if self.seen(root) {
            return Ok(());
        }
        self.enter(root)?;
        while let Some((node, next)) = self.out.stack.last_mut() {
            let Some(src) = operands(self.g, &node.0).get(*next as usize) else {
                let (node, _) = self.out.stack.pop().expect("the loop looked at it");
                self.finish(node);
                continue;
            };
            *next += 1;
            let base = base_node(src);
            if base.mark.get(self.g).0 != self.epoch {
                // SAFETY: as in `enter`: the node at hand holds its operands.
                let base = unsafe { &*std::ptr::from_ref(base) };
                self.enter(base)?;
            }
        }
        Ok(())
    }

    fn enter(&mut self, node: &Arc<Node>) -> Result<()> {
        // SAFETY: what an evaluation gathers is held by its roots, updates and `held` until it has cleared the lists:
        // operands are reached through their nodes, and nobody else changes a graph while the one evaluation runs.
        let t = unsafe { Borrowed::of(node) };
        if let Op::Number(n) = node.op {
            self.out.key.add(node.hash);
            self.out.numbers.push(n);
            self.push(t, LocalKind::Number(self.out.numbers.len() as u32 - 1));
            return Ok(());
        }
        match node.value.get(self.g) {
            Value::Overwritten => return Err(overwritten(node)),
            Value::Ready(b) | Value::Kept(b) => {
                self.out.slots.push(b.clone());
                let is_data = matches!(node.op, Op::Data);
                self.out.key.add(if is_data { node.hash } else { Op::Data.hash(&node.shape, node.dtype, node.device) });
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
        for s in operands(self.g, &t.0) {
            key.add(base_node(s).mark.get(self.g).1 as u64);
            if matches!(s.0.op, Op::View(_)) {
                key.add(s.0.hash);
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

    /// The slot of a leaf's old value, if the update may be written over it: nobody outside can see it.
    fn donor(&self, u: &Update) -> Option<u32> {
        let old = u.leaf.current(self.g);
        if !self.seen(&old.0) || old.0.handles.load(Ordering::Relaxed) > 0 || u.value.dtype() != old.dtype() {
            return None;
        }
        let LocalKind::Slot(slot) = self.out.locals[self.local(&old.0) as usize].kind else { return None };
        // The gathered copy and the node's own are the only ones.
        self.out.slots[slot as usize].is_shared_by(2).then_some(slot)
    }
}

/// The nodes of an evaluation, its results and its key.
pub(super) fn collect(g: &mut Graph, roots: &[Tensor], updates: &[Update], out: &mut Gathered) -> Result<()> {
    g.epoch += 1;
    let epoch = g.epoch;
    let mut gatherer = Gatherer { g, epoch, out };
    for u in updates {
        gatherer.add(base_node(&u.value))?;
        for loss in u.value.0.guards.iter().flat_map(|guards| &guards.0) {
            if !gatherer.out.losses.iter().any(|(l, _)| l.ptr_eq(loss)) {
                gatherer.out.losses.push((loss.clone(), 0));
            }
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
    add_dependents(&mut gatherer, updates)?;
    request_results(&mut gatherer, roots, updates);
    Ok(())
}

fn request_results(gatherer: &mut Gatherer<'_>, roots: &[Tensor], updates: &[Update]) {
    gatherer.out.asked.resize(gatherer.out.locals.len(), false);
    for (i, u) in updates.iter().enumerate() {
        // Of several updates of one leaf, each made of the one before, the last is its new value.
        if updates[i + 1..].iter().any(|later| Arc::ptr_eq(&later.leaf, &u.leaf)) {
            continue;
        }
        let local = gatherer.local(base_node(&u.value));
        let donor = gatherer.donor(u);
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
    // What a forward evaluation computed at some expense is kept for the backward pass.
    let keeps = updates.is_empty() && !gatherer.out.backward;
    for i in 0..gatherer.out.locals.len() {
        let local = &gatherer.out.locals[i];
        if local.kind != LocalKind::Compute || gatherer.out.asked[i] {
            continue;
        }
        let node = &local.node.0;
        if node.handles.load(Ordering::Relaxed) > 0 {
            gatherer.request(i as u32, None, Publish::Value);
        } else if keeps && node.tracked && node.op.is_expensive() {
            gatherer.request(i as u32, None, Publish::Keep);
        }
    }
}

/// Adds every node that somebody holds and that depends on what is computed, or reads what is overwritten.
fn add_dependents(gatherer: &mut Gatherer<'_>, updates: &[Update]) -> Result<()> {
    let mut held = held_and_pending(gatherer.g);
    held.retain(|t| !gatherer.seen(&t.0));
    if held.is_empty() {
        return Ok(());
    }
    let overwritten: Vec<Tensor> = updates.iter().map(|u| u.leaf.current(gatherer.g).clone()).collect();
    let touched = |gatherer: &Gatherer<'_>, node: &Arc<Node>| {
        let computed = gatherer.seen(node) && gatherer.out.locals[gatherer.local(node) as usize].kind == LocalKind::Compute;
        computed || overwritten.iter().any(|o| Arc::ptr_eq(&o.0, node))
    };
    // Whether a node not yet gathered depends on one; every node is looked at once.
    let mut verdict: FxHashMap<u64, bool> = FxHashMap::default();
    for root in held {
        let mut stack: Vec<(Arc<Node>, Srcs, usize, bool)> = Vec::new();
        let enter = |gatherer: &Gatherer<'_>, node: &Arc<Node>| (node.clone(), operands(gatherer.g, node).into(), 0, false);
        if !verdict.contains_key(&root.id()) {
            stack.push(enter(gatherer, &root.0));
        }
        while let Some((_, srcs, next, found)) = stack.last_mut() {
            let Some(src) = srcs.get(*next) else {
                let (node, _, _, found) = stack.pop().expect("the loop looked at it");
                verdict.insert(node.id, found);
                if let Some(above) = stack.last_mut() {
                    above.3 |= found;
                }
                continue;
            };
            *next += 1;
            let base = base_node(src).clone();
            match verdict.get(&base.id) {
                Some(&v) => *found |= v,
                None if touched(gatherer, &base) => *found = true,
                None => {
                    let open = matches!(base.value.get(gatherer.g), Value::Pending) && !matches!(base.op, Op::Number(_));
                    if open && !gatherer.seen(&base) {
                        stack.push(enter(gatherer, &base));
                    }
                }
            }
        }
        if verdict[&root.id()] {
            gatherer.add(&root.0)?;
            gatherer.out.held.push(root);
        }
    }
    Ok(())
}
