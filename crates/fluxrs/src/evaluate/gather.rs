//! The walk over the nodes of an evaluation, which makes the key of its plan on the way.

use crate::bail;
use crate::buffer::Buffer;
use crate::device::Device;
use crate::dtype::Number;
use crate::error::Result;
use crate::graph::{Borrowed, Graph, Node, Pass, Tensor, Value, base_node, mark, overwritten};
use crate::hash::Hasher128;
use crate::leaf::Update;
use crate::ops::Op;
use crate::schedule::{Local, LocalKind, Request, mark_all};
use crate::stop::NODES;
use crate::tape::deferred::Written;
use std::sync::{Arc, MutexGuard};

/// The result of a pass over the pending graph. Kept between evaluations, so that a replay allocates nothing for it.
#[derive(Default)]
pub(super) struct Gathered {
    /// True from the first node on until it is cleared.
    pub begun: bool,
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
    pub looks: usize,
    /// Gathered because there are handles to them or to something derived from them; these may go while the lock is not held.
    pub held: Vec<Tensor>,
    /// Other nodes that were looked at; this may be the last reference, so they go after the lock.
    pub passed: Vec<Tensor>,
    stack: Vec<Open>,
    /// True if something was kept for the backward pass.
    pub kept: bool,
    /// True for each update whose leaf had a value that only this thread has used and that had no handle, before anything else was
    /// looked at.
    pub free: Vec<bool>,
    /// The locals that are requested already.
    pub asked: Vec<bool>,
}

/// A node that waits for its operands.
struct Open {
    node: Borrowed,
    operands: &'static [Tensor],
    next: usize,
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

/// Nodes for which the lists keep their memory.
const MAX_LISTED: usize = 1 << 17;

impl Gathered {
    /// Lets go of everything but the memory of the lists, and of that, too, after a graph of unusual size.
    pub fn clear(&mut self) {
        if !std::mem::take(&mut self.begun) {
            return;
        }
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
        self.kept = false;
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
    /// The gradient that a node stands for, if it is written out.
    fn of(self, node: &Node) -> Option<&'a Tensor> {
        match self {
            Writing::Nothing => None,
            Writing::Beside { written, .. } | Writing::Instead(written) => written.of(node),
        }
    }

    /// The operands of a node that are gathered; those of one that is written out beside it are followed by that.
    pub fn operands<'n>(self, g: &'n Graph, node: &'n Node) -> &'n [Tensor]
    where
        'a: 'n,
    {
        match self {
            Writing::Instead(written) => written.operands(g, node),
            _ => node.operands(g),
        }
    }
}

/// Adds a base node with everything it needs, without the lock at times.
pub(super) fn add(
    mut g: MutexGuard<'static, Graph>,
    pass: &mut Pass,
    writing: Writing<'_>,
    out: &mut Gathered,
    root: &Arc<Node>,
) -> Result<MutexGuard<'static, Graph>> {
    let mut gatherer = Gatherer { g: &mut g, epoch: pass.epoch, writing, out };
    gatherer.begin(root)?;
    loop {
        let steps = gatherer.out.looks / NODES * NODES + NODES;
        if gatherer.go_on(steps)? {
            return Ok(g);
        }
        if pass.is_due(steps) {
            g = pass.pause(g, |g, epoch| {
                mark_all(g, epoch, &out.locals);
                out.stack.iter().for_each(|open| mark(g, epoch, &open.node, u32::MAX));
            })?;
        }
        gatherer = Gatherer { g: &mut g, epoch: pass.epoch, writing, out };
    }
}

pub(super) struct Gatherer<'g> {
    pub g: &'g mut Graph,
    pub epoch: u32,
    pub writing: Writing<'g>,
    pub out: &'g mut Gathered,
}

impl Gatherer<'_> {
    pub fn seen(&self, node: &Node) -> bool {
        node.mark.get(self.g).0 == self.epoch
    }

    pub fn local(&self, node: &Node) -> u32 {
        node.mark.get(self.g).1
    }

    pub fn computes(&self, node: &Node) -> bool {
        self.seen(node) && self.out.locals[self.local(node) as usize].kind == LocalKind::Compute
    }

    /// Adds a base node with everything it needs, operands first.
    pub fn add(&mut self, root: &Arc<Node>) -> Result<()> {
        self.begin(root)?;
        self.go_on(usize::MAX)?;
        Ok(())
    }

    /// As `add`, up to `go_on`.
    fn begin(&mut self, root: &Arc<Node>) -> Result<()> {
        if self.seen(root) { Ok(()) } else { self.enter(root) }
    }

    /// Adds what waits for its operands; false if there is more of it once the walk has taken `steps`.
    fn go_on(&mut self, steps: usize) -> Result<bool> {
        while let Some(open) = self.out.stack.last_mut() {
            if self.out.looks >= steps {
                return Ok(false);
            }
            let src = match open.operands.get(open.next) {
                Some(src) => src,
                None => {
                    let beside = if let Writing::Beside { .. } = self.writing { self.writing.of(&open.node.0) } else { None };
                    let Some(gradient) = beside.filter(|_| open.next == open.operands.len()) else {
                        let open = self.out.stack.pop().expect("the loop looked at it");
                        self.finish(open);
                        continue;
                    };
                    self.out.inside += 1;
                    gradient
                }
            };
            open.next += 1;
            self.out.looks += 1;
            let base = base_node(src);
            if base.mark.get(self.g).0 != self.epoch {
                self.enter(base)?;
            }
        }
        Ok(true)
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
                self.out.kept |= matches!(node.value.get(self.g), Value::Kept(_));
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
            Value::Pending if node.level > 0 => {
                bail!(
                    Value,
                    "scan: a value is asked for that belongs to the function, which is traced once and has no values then: use where in place of if, and return what is needed outside"
                );
            }
            Value::Pending => {
                // Marked before its operands are done: a graph has no cycles.
                node.mark.set(self.g, (self.epoch, u32::MAX));
                // SAFETY: as above: the operands live as long as their node.
                let operands = unsafe { &*std::ptr::from_ref(self.writing.operands(self.g, node)) };
                self.out.stack.push(Open { node: t, operands, next: 0 });
            }
        }
        Ok(())
    }

    fn finish(&mut self, open: Open) {
        let Open { node: t, operands, .. } = open;
        let written = self.writing.of(&t.0);
        let key = &mut self.out.key;
        key.add(t.0.hash);
        for s in written.map_or(operands, std::slice::from_ref) {
            key.add(base_node(s).mark.get(self.g).1 as u64);
            if matches!(s.0.op, Op::View(_)) {
                key.add(s.0.hash);
            }
        }
        if matches!(t.0.op, Op::Gradient(_)) {
            match self.writing {
                _ if written.is_none() => self.out.deferred.push(self.out.locals.len() as u32),
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

    pub fn request(&mut self, local: u32, donor: Option<u32>, publish: Publish) {
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
    pub fn donor(&self, i: usize, u: &Update) -> Option<u32> {
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
