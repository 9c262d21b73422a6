//! Evaluation: gathers what is pending, finds or makes its plan, binds memory, runs, and publishes the results.

use crate::bail;
use crate::buffer::{Buffer, byte_len};
use crate::cache::Cache;
use crate::device::{Device, Executable, backend};
use crate::dtype::{DType, Number};
use crate::error::{Error, Result};
use crate::graph::{self, Graph, Node, Tensor, Value};
use crate::hash::Hasher128;
use crate::leaf::{self, Queue, Update};
use crate::ops::Op;
use crate::plan::{Bindings, Plan};
use crate::profile::span;
use crate::schedule::{Local, LocalKind, Request, schedule};
use crate::shape::Map;
use std::cell::{Cell, RefCell};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};

/// Nodes made on a thread before everything pending there is evaluated.
const MAX_PENDING_NODES: u32 = 1 << 17;
/// Plans kept for graphs that come again.
const MAX_PLANS: usize = 512;

/// A plan and its form for the device.
pub struct Prepared {
    pub plan: Arc<Plan>,
    pub executable: Box<dyn Executable>,
}

/// One evaluation at a time; holds the plans of graphs seen before.
static RUN: Mutex<Cache<u128, Arc<Prepared>>> = Mutex::new(Cache::new(MAX_PLANS));

/// What evaluation has done since the process began: independent of the machine, so tests assert it.
#[derive(Default)]
pub struct Counters {
    pub runs: AtomicU64,
    pub plans_made: AtomicU64,
    pub kernels: AtomicU64,
}

pub static COUNTERS: Counters = Counters { runs: AtomicU64::new(0), plans_made: AtomicU64::new(0), kernels: AtomicU64::new(0) };

/// Asked every 20 ms while a long plan runs: whether to stop it.
pub type InterruptCheck = fn() -> bool;
static CHECK: Mutex<Option<InterruptCheck>> = Mutex::new(None);

pub fn set_interrupt_check(check: InterruptCheck) {
    *CHECK.lock().unwrap_or_else(|e| e.into_inner()) = Some(check);
}

thread_local! {
    /// Nodes that somebody outside the graph holds and that had no value when they were handed out.
    static PENDING: RefCell<Vec<Weak<Node>>> = const { RefCell::new(Vec::new()) };
    static PENDING_LIMIT: Cell<usize> = const { Cell::new(64) };
    static MADE: Cell<u32> = const { Cell::new(0) };
}

/// A tensor held from outside the graph: evaluations that compute it keep its value.
pub struct Handle(Tensor);

impl Handle {
    pub fn new(tensor: Tensor) -> Handle {
        let base = base_node(&tensor);
        base.handles.fetch_add(1, Ordering::Relaxed);
        if !matches!(base.op, Op::Data | Op::Number(_)) {
            PENDING.with_borrow_mut(|list| {
                list.push(Arc::downgrade(base));
                if list.len() > PENDING_LIMIT.get() {
                    let alive = |w: &Weak<Node>| w.upgrade().is_some_and(|n| n.handles.load(Ordering::Relaxed) > 0);
                    list.retain(alive);
                    PENDING_LIMIT.set((2 * list.len()).max(64));
                }
            });
        }
        Handle(tensor)
    }

    pub fn tensor(&self) -> &Tensor {
        &self.0
    }
}

impl Clone for Handle {
    fn clone(&self) -> Handle {
        Handle::new(self.0.clone())
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        base_node(&self.0).handles.fetch_sub(1, Ordering::Relaxed);
    }
}

fn base_node(t: &Tensor) -> &Arc<Node> {
    match t.op() {
        Op::View(v) => &v.base.0,
        _ => &t.0,
    }
}

/// Called for every node made: bounds what a loop that reads nothing can pile up.
pub(crate) fn count_node() {
    let made = MADE.get() + 1;
    MADE.set(made);
    if made >= MAX_PENDING_NODES {
        MADE.set(0);
        // What fails here fails again, with its message, where the value is read.
        let _ = evaluate_pending();
    }
}

/// Evaluates everything on this thread that somebody holds.
pub fn evaluate_pending() -> Result<()> {
    let held: Vec<Tensor> = PENDING.with_borrow(|list| {
        let live = list.iter().filter_map(Weak::upgrade).filter(|n| n.handles.load(Ordering::Relaxed) > 0);
        live.map(Tensor).collect()
    });
    evaluate(&held)
}

/// Computes these tensors, and whatever else is held and depends on what that computes.
pub fn evaluate(roots: &[Tensor]) -> Result<()> {
    run(roots, None)
}

pub(crate) fn commit(queue: &Queue) -> Result<()> {
    run(&[], Some(queue))
}

/// The elements of a tensor: the buffer of its base, and where they lie in it.
pub fn read(t: &Tensor) -> Result<(Buffer, Map)> {
    let base = base_node(t);
    loop {
        match base.value.get(&graph::lock()) {
            Value::Ready(b) | Value::Kept(b) => return Ok((b.clone(), t.map())),
            Value::Overwritten => return Err(overwritten(base)),
            Value::Pending => {}
        }
        evaluate(&[Tensor(base.clone())])?;
    }
}

/// A fresh buffer with the elements of `x` in row-major order.
pub(crate) fn own_copy(x: &Tensor) -> Result<(Buffer, Device)> {
    let copy = graph::no_grad(|| x.copied());
    let (buffer, _) = read(&copy)?;
    Ok((buffer, copy.device()))
}

fn overwritten(node: &Node) -> Error {
    Error::Value(format!(
        "a value is needed that an update has overwritten since: the parameter of shape {} (leaf {}) was updated after the result was made; call the forward pass again",
        crate::shape::show(&node.shape),
        node.leaf
    ))
}

/// What a pass over the pending graph finds.
#[derive(Default)]
struct Gathered {
    locals: Vec<Local>,
    slots: Vec<Buffer>,
    numbers: Vec<Number>,
    key: Hasher128,
    device: Option<Device>,
    /// Whether something in it derives from a gradient.
    backward: bool,
}

struct Gatherer<'g> {
    g: &'g mut Graph,
    epoch: u32,
    out: Gathered,
    stack: Vec<(Tensor, u32)>,
}

impl Gatherer<'_> {
    fn seen(&self, node: &Node) -> bool {
        node.mark.get(self.g).0 == self.epoch
    }

    /// Adds a base node with everything it needs, operands first.
    fn add(&mut self, root: &Tensor) -> Result<()> {
        if self.seen(&root.0) {
            return Ok(());
        }
        self.enter(root)?;
        while let Some((node, next)) = self.stack.last_mut() {
            let srcs = node.0.srcs.get(self.g);
            let count = if matches!(node.0.op, Op::Custom(_)) { 1 } else { srcs.len() };
            if (*next as usize) < count {
                let base = srcs[*next as usize].base();
                *next += 1;
                if base.0.mark.get(self.g).0 != self.epoch {
                    self.enter(&base)?;
                }
                continue;
            }
            let (node, _) = self.stack.pop().expect("the loop looked at it");
            self.finish(node);
        }
        Ok(())
    }

    fn enter(&mut self, t: &Tensor) -> Result<()> {
        let node = &t.0;
        if let Op::Number(n) = node.op {
            self.out.key.add(node.hash);
            self.out.numbers.push(n);
            self.push(t, LocalKind::Number(self.out.numbers.len() as u32 - 1));
            return Ok(());
        }
        match node.value.get(self.g) {
            Value::Overwritten => {
                self.stack.clear();
                return Err(overwritten(node));
            }
            Value::Ready(b) | Value::Kept(b) => {
                let hash =
                    if matches!(node.op, Op::Data) { node.hash } else { Op::Data.hash(&node.shape, node.dtype, node.device) };
                self.out.key.add(hash);
                self.out.slots.push(b.clone());
                self.out.device.get_or_insert(node.device);
                self.push(t, LocalKind::Slot(self.out.slots.len() as u32 - 1));
            }
            Value::Pending => {
                // Marked before its operands are done: a graph has no cycles.
                node.mark.set(self.g, (self.epoch, u32::MAX));
                self.stack.push((t.clone(), 0));
            }
        }
        Ok(())
    }

    fn finish(&mut self, t: Tensor) {
        self.out.key.add(t.0.hash);
        let srcs = t.0.srcs.get(self.g);
        let count = if matches!(t.0.op, Op::Custom(_)) { 1 } else { srcs.len() };
        for s in &srcs[..count] {
            let base = base_node(s);
            self.out.key.add(base.mark.get(self.g).1 as u64);
            if matches!(s.0.op, Op::View(_)) {
                self.out.key.add(s.0.hash);
            }
        }
        self.out.backward |= t.0.guards.is_some();
        if self.out.device.is_none_or(|d| d.is_cpu()) {
            self.out.device = Some(t.0.device);
        }
        self.push(&t, LocalKind::Compute);
    }

    fn push(&mut self, t: &Tensor, kind: LocalKind) {
        t.0.mark.set(self.g, (self.epoch, self.out.locals.len() as u32));
        self.out.locals.push(Local { node: t.clone(), kind });
    }

    fn local(&self, node: &Node) -> u32 {
        node.mark.get(self.g).1
    }
}

/// What to do with a result.
enum Publish {
    Value,
    Keep,
    Leaf(usize),
}

fn run(roots: &[Tensor], queue: Option<&Queue>) -> Result<()> {
    let mut plans = RUN.lock().unwrap_or_else(|e| e.into_inner());
    let mut guard = graph::lock();
    let g = &mut *guard;
    let updates = queue.map_or_else(Vec::new, |q| leaf::take_updates(g, q));
    if queue.is_some() && updates.is_empty() {
        return Ok(());
    }
    MADE.set(0);
    let looking = span("plan", || "gather and look up".into());
    let (gathered, requests, publish, losses) = collect(g, roots, &updates)?;
    if requests.is_empty() {
        return Ok(());
    }
    let device = gathered.device.unwrap_or(Device::CPU);
    let key = gathered.key.finish();
    let prepared = match plans.get(&key) {
        Some(p) => p.clone(),
        None => {
            let _span = span("plan", || "compile".into());
            let guards: Vec<u32> = losses.iter().map(|l| l.1).collect();
            let plan = Arc::new(schedule(g, device, &gathered.locals, &requests, &guards));
            let executable = backend(device).compile(&plan)?;
            COUNTERS.plans_made.fetch_add(1, Ordering::Relaxed);
            let mut kinds = KINDS.lock().unwrap_or_else(|e| e.into_inner());
            if kinds.len() > 16 * MAX_PLANS {
                kinds.clear();
            }
            kinds.insert(kind(g, &gathered));
            drop(kinds);
            let prepared = Arc::new(Prepared { plan, executable });
            plans.insert(key, prepared.clone());
            prepared
        }
    };
    let plan = &prepared.plan;
    let mut outputs: Vec<Buffer> = Vec::with_capacity(requests.len());
    for info in &plan.outputs {
        outputs.push(match info.donor {
            Some(slot) => gathered.slots[slot as usize].clone(),
            None => {
                let b = &plan.buffers[info.buffer as usize];
                if device.is_cpu() { Buffer::host(byte_len(b.len, b.dtype)?)? } else { backend(device).allocate(b.len, b.dtype)? }
            }
        });
    }
    drop(guard);
    drop(looking);
    let stop = AtomicBool::new(false);
    let mut bindings =
        Bindings { slots: &gathered.slots, numbers: &gathered.numbers, outputs: &outputs, stop: &stop, bad_losses: vec![] };
    COUNTERS.runs.fetch_add(1, Ordering::Relaxed);
    COUNTERS.kernels.fetch_add(plan.kernels.len() as u64, Ordering::Relaxed);
    let running = span("run", || "run".into());
    execute(&prepared, &mut bindings)?;
    drop(running);
    let bad: Vec<Tensor> = bindings.bad_losses.iter().map(|&i| losses[i].0.clone()).collect();

    let mut guard = graph::lock();
    let g = &mut *guard;
    let mut dropped = Vec::new();
    for ((request, publish), (buffer, info)) in requests.iter().zip(&publish).zip(outputs.into_iter().zip(&plan.outputs)) {
        let node = &gathered.locals[request.local as usize].node;
        match publish {
            Publish::Leaf(_) if !bad.is_empty() => {}
            Publish::Leaf(u) => {
                let old = updates[*u].leaf.replace(g, buffer);
                if info.donor.is_some() {
                    old.0.value.set(g, Value::Overwritten);
                }
                dropped.push(old);
            }
            Publish::Keep => {
                node.0.value.set(g, Value::Kept(buffer));
            }
            Publish::Value => {
                node.0.value.set(g, Value::Ready(buffer));
                if !node.0.tracked {
                    dropped.extend(node.0.srcs.set(g, Default::default()));
                }
            }
        }
    }
    if gathered.backward {
        release_kept(g, &gathered.locals);
    }
    if !bad.is_empty() {
        updates.iter().for_each(|u| u.leaf.undo_grad(g, &bad));
    }
    drop(guard);
    drop(dropped);
    if !bad.is_empty() {
        bail!(
            BadLoss,
            "the loss is Inf or NaN: no parameter was changed. Look for a log or a division of 0, a learning rate that is too large, or NaN in the data"
        );
    }
    Ok(())
}

type Collected = (Gathered, Vec<Request>, Vec<Publish>, Vec<(Tensor, u32)>);

/// The nodes of an evaluation and what becomes of its results.
fn collect(g: &mut Graph, roots: &[Tensor], updates: &[Update]) -> Result<Collected> {
    g.epoch += 1;
    let epoch = g.epoch;
    let mut gatherer = Gatherer { g, epoch, out: Gathered::default(), stack: Vec::new() };
    let mut losses: Vec<Tensor> = Vec::new();
    for u in updates {
        gatherer.add(&u.value.base())?;
        for loss in u.value.0.guards.iter().flat_map(|guards| &guards.0) {
            if !losses.iter().any(|l| l.ptr_eq(loss)) {
                losses.push(loss.clone());
            }
        }
    }
    for t in roots.iter().chain(&losses) {
        gatherer.add(&t.base())?;
    }
    add_dependents(&mut gatherer, updates)?;

    let mut requests = Vec::new();
    let mut publish = Vec::new();
    let mut asked = rustc_hash::FxHashSet::default();
    let mut last_of_leaf = rustc_hash::FxHashMap::default();
    updates.iter().enumerate().for_each(|(i, u)| {
        last_of_leaf.insert(u.leaf.number(), i);
    });
    for (i, u) in updates.iter().enumerate().filter(|(i, u)| last_of_leaf[&u.leaf.number()] == *i) {
        let local = gatherer.local(&u.value.base().0);
        let donor = donor(&gatherer, u, &asked);
        asked.insert(local);
        gatherer.out.key.add(1 << 32 | (local as u64) << 33 | donor.map_or(0, |d| d as u64 + 1));
        requests.push(Request { local, donor, commit: true });
        publish.push(Publish::Leaf(i));
    }
    let losses: Vec<(Tensor, u32)> = losses.into_iter().map(|l| (l.clone(), gatherer.local(base_node(&l)))).collect();
    for (i, local) in gatherer.out.locals.iter().enumerate() {
        if local.kind != LocalKind::Compute {
            continue;
        }
        let i = i as u32;
        let node = &local.node.0;
        let wanted = node.handles.load(Ordering::Relaxed) > 0
            || losses.iter().any(|l| l.1 == i)
            || roots.iter().any(|r| Arc::ptr_eq(base_node(r), node));
        let keep = !wanted && updates.is_empty() && !gatherer.out.backward && node.tracked && node.op.is_expensive();
        if (wanted || keep) && asked.insert(i) {
            gatherer.out.key.add(2 << 32 | i as u64);
            requests.push(Request { local: i, donor: None, commit: false });
            publish.push(if keep { Publish::Keep } else { Publish::Value });
        }
    }
    losses.iter().for_each(|l| gatherer.out.key.add(3 << 32 | l.1 as u64));
    Ok((gatherer.out, requests, publish, losses))
}

/// The slot of a leaf's old value, if the update may be written over it: nobody outside can see it.
fn donor(gatherer: &Gatherer<'_>, u: &Update, asked: &rustc_hash::FxHashSet<u32>) -> Option<u32> {
    let old = u.leaf.current(gatherer.g);
    if !gatherer.seen(&old.0) || old.0.handles.load(Ordering::Relaxed) > 0 {
        return None;
    }
    let LocalKind::Slot(slot) = gatherer.out.locals[gatherer.local(&old.0) as usize].kind else { return None };
    // The gathered copy and the node's own are the only ones.
    let buffer = &gatherer.out.slots[slot as usize];
    let fresh = u.value.dtype() == old.dtype() && !asked.contains(&gatherer.local(&u.value.base().0));
    (fresh && buffer.is_shared_by(2)).then_some(slot)
}

/// Adds every node that somebody holds and that depends on what is computed, or reads what is overwritten.
fn add_dependents(gatherer: &mut Gatherer<'_>, updates: &[Update]) -> Result<()> {
    let held: Vec<Tensor> = PENDING.with_borrow_mut(|list| {
        let mut held = Vec::new();
        list.retain(|w| match w.upgrade() {
            Some(n) if n.handles.load(Ordering::Relaxed) > 0 && matches!(n.value.get(gatherer.g), Value::Pending) => {
                held.push(Tensor(n));
                true
            }
            _ => false,
        });
        held
    });
    if held.iter().all(|t| gatherer.seen(&t.0)) {
        return Ok(());
    }
    let overwritten: Vec<Tensor> = updates.iter().map(|u| u.leaf.current(gatherer.g).clone()).collect();
    // Whether a node not yet gathered depends on one; every node is looked at once.
    let mut verdict: rustc_hash::FxHashMap<u64, bool> = Default::default();
    let touched = |gatherer: &Gatherer<'_>, t: &Tensor| {
        let mark = t.0.mark.get(gatherer.g);
        let computed = mark.0 == gatherer.epoch && gatherer.out.locals[mark.1 as usize].kind == LocalKind::Compute;
        computed || overwritten.iter().any(|o| o.ptr_eq(t))
    };
    let mut dependents = Vec::new();
    for root in held {
        if gatherer.seen(&root.0) {
            continue;
        }
        let mut stack = vec![(root.clone(), 0usize, false)];
        while let Some((node, next, found)) = stack.last_mut() {
            let srcs = node.0.srcs.get(gatherer.g);
            if *next < srcs.len() {
                let base = srcs[*next].base();
                *next += 1;
                match verdict.get(&base.id()) {
                    Some(&v) => *found |= v,
                    None if touched(gatherer, &base) => *found = true,
                    None if matches!(base.0.value.get(gatherer.g), Value::Pending)
                        && !gatherer.seen(&base.0)
                        && !base.is_number() =>
                    {
                        stack.push((base, 0, false));
                    }
                    None => {}
                }
                continue;
            }
            let (node, _, found) = stack.pop().expect("the loop looked at it");
            verdict.insert(node.id(), found);
            if let Some(above) = stack.last_mut() {
                above.2 |= found;
            }
        }
        if verdict[&root.id()] {
            dependents.push(root);
        }
    }
    for t in dependents {
        gatherer.add(&t)?;
    }
    Ok(())
}

/// Intermediates kept for the backward pass have served.
fn release_kept(g: &mut Graph, locals: &[Local]) {
    for local in locals {
        if matches!(local.node.0.value.get(g), Value::Kept(_)) && local.kind != LocalKind::Compute {
            local.node.0.value.set(g, Value::Pending);
        }
    }
}

/// Plans that take longer than this are run beside a caller that looks for signals.
const LONG: usize = 10_000_000;

fn execute(prepared: &Prepared, bindings: &mut Bindings<'_>) -> Result<()> {
    let check = *CHECK.lock().unwrap_or_else(|e| e.into_inner());
    let (Some(check), true) = (check, prepared.plan.cost > LONG) else {
        return prepared.executable.run(bindings);
    };
    let stop = bindings.stop;
    let done = AtomicU32::new(0);
    let mut result = Ok(());
    let caller = std::thread::current();
    rayon::in_place_scope(|scope| {
        let (result, done, caller) = (&mut result, &done, caller.clone());
        scope.spawn(move |_| {
            *result = prepared.executable.run(bindings);
            done.store(1, Ordering::Release);
            caller.unpark();
        });
        while done.load(Ordering::Acquire) == 0 {
            std::thread::park_timeout(std::time::Duration::from_millis(20));
            if done.load(Ordering::Acquire) == 0 && check() {
                stop.store(true, Ordering::Relaxed);
            }
        }
    });
    result
}

/// The plan that evaluating these tensors would run, in words; nothing is computed.
pub fn explain(roots: &[Tensor]) -> Result<String> {
    let mut plans = RUN.lock().unwrap_or_else(|e| e.into_inner());
    let mut guard = graph::lock();
    let g = &mut *guard;
    let (gathered, requests, _, _) = collect(g, roots, &[])?;
    if requests.is_empty() {
        return Ok("nothing to compute: the values are there\n".into());
    }
    if let Some(known) = plans.get(&gathered.key.finish()) {
        return Ok(crate::explain::describe(&known.plan, "replayed"));
    }
    let state = match KINDS.lock().unwrap_or_else(|e| e.into_inner()).contains(&kind(g, &gathered)) {
        true => "compiled again (the same ops with other shapes, strides, types or results)",
        false => "compiled (a graph not seen before)",
    };
    let device = gathered.device.unwrap_or(Device::CPU);
    Ok(crate::explain::describe(&schedule(g, device, &gathered.locals, &requests, &[]), state))
}

/// Graphs by their ops and wiring alone, to tell why a plan is made.
static KINDS: Mutex<rustc_hash::FxHashSet<u128>> = Mutex::new(rustc_hash::FxHashSet::with_hasher(rustc_hash::FxBuildHasher));

fn kind(g: &Graph, gathered: &Gathered) -> u128 {
    let mut h = Hasher128::default();
    for local in &gathered.locals {
        h.add(matches!(local.kind, LocalKind::Compute) as u64);
        local.node.op().name().bytes().for_each(|b| h.add(b as u64));
        if local.kind == LocalKind::Compute {
            local.node.0.srcs.get(g).iter().for_each(|s| h.add(base_node(s).mark.get(g).1 as u64));
        }
    }
    h.finish()
}

/// Whether a node's value is in memory.
pub fn is_ready(t: &Tensor) -> bool {
    base_node(t).value.get(&graph::lock()).buffer().is_some()
}

/// A DType and a length as bytes that a host copy needs.
pub fn host_bytes(dtype: DType, len: usize) -> Result<usize> {
    byte_len(len, dtype)
}
