//! The kernel of a scan: the plan of its function, and where each step finds and leaves its rows.

use super::emit::{Program, label};
use super::group::Group;
use super::{Edge, Edges, Local, LocalKind, Pending, Request, schedule, source_of};
use crate::cache::{Cache, bytes_of};
use crate::device::Device;
use crate::error::Result;
use crate::graph::{Borrowed, Node, Tensor, base_node};
use crate::hash::Hasher128;
use crate::ops::Op;
use crate::ops::scan::{Body, Part, Scan};
use crate::plan::{Argument, Buf, Carry, Feed, Plan, Repeat, Source};
use crate::shape::{self, Map};
use rustc_hash::FxHashMap;
use smallvec::SmallVec;
use std::sync::{Arc, Mutex, MutexGuard};

/// Bytes of the plans of steps that are kept for other scans of the same function.
const MAX_BYTES: usize = 32 << 20;

/// Plans of steps: of no length, so that one serves sequences of any.
static PLANNED: Mutex<Cache<u128, Arc<Planned>>> = Mutex::new(Cache::new(MAX_BYTES));

fn planned() -> MutexGuard<'static, Cache<u128, Arc<Planned>>> {
    PLANNED.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// Bytes of the plans that are kept here.
pub(crate) fn kept_bytes() -> usize {
    planned().bytes()
}

/// The plan of one step.
struct Planned {
    plan: Arc<Plan>,
    /// The input of the body behind each slot, and whether it is laid anew; and that behind each number.
    slots: Vec<(usize, bool)>,
    numbers: Vec<usize>,
}

impl Planned {
    /// The plan that makes the new states and, of what a step gives, the results of these numbers.
    fn of(body: &Body, device: Device, steps: &[usize]) -> Result<Arc<Planned>> {
        let key = key(body, device, steps);
        if let Some(known) = planned().get(&key) {
            return Ok(known.clone());
        }
        let outputs = body.outputs[..body.states].iter().chain(steps.iter().map(|j| &body.outputs[body.states + j]));
        let outputs: Vec<&Tensor> = outputs.collect();
        let mut step = Step::new(body);
        outputs.iter().for_each(|x| step.add(x));
        let plan = Arc::new(step.plan(device, &outputs)?);
        let made = Arc::new(Planned { plan, slots: step.slots, numbers: step.numbers });
        let bytes = made.plan.bytes() + bytes_of(&made.slots) + bytes_of(&made.numbers);
        planned().insert(key, made.clone(), bytes);
        Ok(made)
    }
}

/// Everything that decides how a step is planned.
fn key(body: &Body, device: Device, steps: &[usize]) -> u128 {
    let mut h = Hasher128::default();
    [body.key, device.0 as u64, body.states as u64, steps.len() as u64].into_iter().for_each(|word| h.add(word));
    steps.iter().for_each(|&j| h.add(j as u64));
    let mut bases: FxHashMap<u64, u64> = FxHashMap::default();
    for x in &body.inputs {
        let next = bases.len() as u64;
        h.add(*bases.entry(base_node(x).id).or_insert(next));
        if matches!(x.op(), Op::View(_)) {
            h.add(x.0.hash);
        }
    }
    h.finish()
}

/// The nodes of a function that are computed for some of its results.
struct Step {
    inputs: FxHashMap<u64, usize>,
    locals: Vec<Local>,
    edges: Edges,
    local_of: FxHashMap<u64, usize>,
    /// As of a [`Planned`].
    slots: Vec<(usize, bool)>,
    numbers: Vec<usize>,
}

impl Step {
    fn new(body: &Body) -> Step {
        let inputs = body.inputs.iter().enumerate().map(|(k, x)| (x.id(), k)).collect();
        let (locals, edges, local_of) = (vec![], Edges::default(), FxHashMap::default());
        Step { inputs, locals, edges, local_of, slots: vec![], numbers: vec![] }
    }

    fn push(&mut self, node: &Arc<Node>, kind: LocalKind, edges: SmallVec<[Edge; 3]>) {
        self.local_of.insert(node.id, self.locals.len());
        // SAFETY: the body holds its inputs and results, pending nodes hold their operands, and the scan holds the body.
        self.locals.push(Local { node: unsafe { Borrowed::of(node) }, kind });
        self.edges.push(edges);
    }

    /// A value that is there at each step, if the tensor, or what it is a view of, is one.
    fn enter(&mut self, x: &Tensor, by: &Op) -> bool {
        let base = base_node(x);
        if self.is_copied(x, by) {
            if !self.local_of.contains_key(&x.id()) {
                self.slots.push((self.inputs[&x.id()], true));
                self.push(&x.0, LocalKind::Slot(self.slots.len() as u32 - 1), SmallVec::new());
            }
            return true;
        }
        if self.local_of.contains_key(&base.id) {
            return true;
        }
        let Some(&k) = self.inputs.get(&x.id()).or_else(|| self.inputs.get(&base.id)) else { return false };
        let kind = if x.is_number() {
            self.numbers.push(k);
            LocalKind::Number(self.numbers.len() as u32 - 1)
        } else {
            self.slots.push((k, false));
            LocalKind::Slot(self.slots.len() as u32 - 1)
        };
        self.push(base, kind, SmallVec::new());
        true
    }

    /// True of a matrix that products of all steps read across its rows: it is laid in the order in which they read it.
    fn is_copied(&self, x: &Tensor, by: &Op) -> bool {
        let across = |x: &Tensor| matches!(x.op(), Op::View(v) if matches!(v.map.strides[..], [1, step] if step > 1));
        matches!(by, Op::Matmul) && across(x) && self.inputs.contains_key(&x.id())
    }

    fn edge(&self, x: &Tensor, by: &Op) -> Edge {
        let shape = x.0.shape.clone();
        match self.is_copied(x, by) {
            true => Edge { base: self.local_of[&x.id()], map: Map::contiguous(&shape), shape },
            false => Edge { base: self.local_of[&base_node(x).id], shape, map: x.map() },
        }
    }

    /// Adds a node with all it needs, operands first.
    fn add(&mut self, root: &Tensor) {
        let mut stack: Vec<(&Arc<Node>, bool)> = vec![(&root.0, false)];
        while let Some((node, done)) = stack.pop() {
            if self.local_of.contains_key(&node.id) {
                continue;
            }
            let srcs = operands(node);
            if done {
                let edges = srcs.iter().map(|s| self.edge(s, &node.op)).collect();
                self.push(node, LocalKind::Compute, edges);
                continue;
            }
            stack.push((node, true));
            for s in srcs.iter().rev() {
                if !self.enter(s, &node.op) {
                    stack.push((base_node(s), false));
                }
            }
        }
    }

    fn plan(&self, device: Device, outputs: &[&Tensor]) -> Result<Plan> {
        let request = |x: &&Tensor| Request { local: self.local_of[&x.id()] as u32, donor: None, commit: false };
        let requests: Vec<Request> = outputs.iter().map(request).collect();
        let mut requested = vec![None; self.locals.len()];
        requests.iter().enumerate().for_each(|(i, r)| requested[r.local as usize] = Some(i));
        let pending = Pending { locals: &self.locals, edges: self.edges.clone(), requests: &requests, requested };
        schedule(&pending, device, &[])
    }
}

/// The srcs that a node of a function is computed from.
fn operands(node: &Node) -> &[Tensor] {
    // SAFETY: nothing of a scan's function is ever computed by itself, so that its srcs never change.
    let srcs = unsafe { node.srcs.lasting() };
    if matches!(node.op, Op::Custom(_)) { &srcs[..1] } else { srcs }
}

impl Program {
    pub(super) fn repeat(&mut self, pending: &Pending, group: &Group, scan: &Scan) -> Result<()> {
        let (body, i) = (&scan.body, group.members[0]);
        let mut parts: FxHashMap<u32, Buf> = FxHashMap::default();
        let mut again: Vec<(Buf, usize)> = Vec::new();
        let is_result = |member: &usize| pending.requested[*member].is_some();
        let (results, others): (Vec<usize>, Vec<usize>) = group.members[1..].iter().partition(|member| is_result(member));
        for member in results.into_iter().chain(others) {
            let (Op::Part(k), Some(buffer)) = (pending.op(member), self.buffer_of[member]) else { continue };
            let first = *parts.entry(*k).or_insert(buffer);
            match is_result(&member) {
                true => again.extend((first != buffer).then_some((first, member))),
                // Two nodes of one part are one buffer.
                false => self.buffer_of[member] = Some(first),
            }
        }
        if parts.is_empty() {
            return Ok(());
        }
        let buffer = |part: Part| parts.get(&scan.number(part)).copied();
        let steps: Vec<(usize, Buf)> =
            (0..body.outputs.len() - body.states).filter_map(|j| Some((j, buffer(Part::Step(j))?))).collect();
        let numbers: Vec<usize> = steps.iter().map(|(j, _)| *j).collect();
        let step = Planned::of(body, pending.locals[i].node.device(), &numbers)?;
        let edges = &pending.edges[i];
        let carries = (0..body.states)
            .map(|k| Carry {
                first: self.argument(pending, &edges[k], false),
                all: buffer(Part::All(k)),
                last: buffer(Part::Last(k)),
            })
            .collect();
        let feeds = step.slots.iter().map(|&(k, is_copied)| match k {
            k if k < body.states => Feed::State(k),
            k if k < body.states + body.rows => self.rows(pending, &edges[k]),
            k if is_copied => match self.argument(pending, &edges[k], false).source {
                Source::Buffer(copy) => Feed::Whole(copy),
                _ => unreachable!("a matrix is no number"),
            },
            k => Feed::Whole(self.whole(pending, &edges[k])),
        });
        let feeds = feeds.collect();
        let number = |&k: &usize| {
            let source = Source::Number(pending.as_number(edges[k].base).expect("a number is one in every plan"));
            let counter = scan.counters.iter().find(|c| c.input == k);
            (source, counter.map_or(0, |c| c.first), counter.map_or(0, |c| c.step))
        };
        let numbers = step.numbers.iter().map(number).collect();
        let repeat = Repeat {
            plan: step.plan.clone(),
            local: i as u32,
            length: scan.length,
            reverse: scan.reverse,
            feeds,
            numbers,
            carries,
            steps: steps.into_iter().map(|(_, buffer)| buffer).collect(),
        };
        self.push(crate::plan::Body::Repeat(repeat), label(pending, group));
        for (first, member) in again {
            let shape = shape::Shape::from(pending.shape(member));
            let to = self.buffer_of[member].expect("looked at above");
            self.copy_to(to, Source::Buffer(first), pending.dtype(member), &Map::contiguous(&shape), &shape);
        }
        Ok(())
    }

    /// The rows of a sequence: where they lie, if each is contiguous.
    fn rows(&mut self, pending: &Pending, e: &Edge) -> Feed {
        let row_is_whole = shape::is_contiguous(&e.shape[1..], &e.map.strides[1..]);
        let Argument { source, map, .. } = self.argument(pending, e, row_is_whole);
        match source {
            Source::Buffer(buffer) => Feed::Row { buffer, offset: map.offset, stride: map.strides[0] },
            _ => unreachable!("a sequence is no number"),
        }
    }

    /// The buffer that a tensor lies in, whatever of it the tensor shows.
    fn whole(&mut self, pending: &Pending, e: &Edge) -> Buf {
        match source_of(pending, &self.buffer_of, e.base).expect("operands of scans are stored") {
            Source::Buffer(buffer) => buffer,
            constant => {
                let (shape, dtype) = (shape::Shape::from(pending.shape(e.base)), pending.dtype(e.base));
                self.copy(constant, dtype, &Map { offset: 0, strides: SmallVec::from_elem(0, shape.len()) }, &shape)
            }
        }
    }
}
