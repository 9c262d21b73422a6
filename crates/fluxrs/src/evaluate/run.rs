//! One evaluation: plan, memory, run, publication.

use super::gather::{Gathered, Publish, collect};
use super::seen::Seen;
use super::{COUNTERS, MAX_PLANNED_NODES, MAX_PLANS, restart_count};
use crate::bail;
use crate::buffer::Buffer;
use crate::cache::Cache;
use crate::device::{Device, Executable, backend};
use crate::error::{Error, Result};
use crate::graph::{self, Graph, Node, Srcs, Tensor, Value};
use crate::leaf::{self, Queue, Update};
use crate::ops::Op;
use crate::plan::{Bindings, Plan};
use crate::profile::span;
use crate::schedule::{Local, LocalKind, schedule};
use smallvec::smallvec;
use std::cell::Cell;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard};
use std::time::Duration;

/// A plan and its form for the device.
struct Prepared {
    plan: Arc<Plan>,
    executable: Box<dyn Executable>,
}

/// Nodes of a plan that is remembered to be shown.
const MAX_SHOWN: usize = 1 << 14;

/// What outlives one evaluation.
struct Runner {
    /// The plans of graphs seen before.
    plans: Cache<u128, Arc<Prepared>>,
    seen: Seen,
    last: Option<Arc<Prepared>>,
    gathered: Gathered,
    outputs: Vec<Buffer>,
    /// What published nodes no longer need.
    dropped: Vec<Srcs>,
}

/// One evaluation at a time.
static RUNNER: LazyLock<Mutex<Runner>> = LazyLock::new(|| {
    Mutex::new(Runner {
        plans: Cache::new(MAX_PLANS, MAX_PLANNED_NODES),
        seen: Seen::default(),
        last: None,
        gathered: Gathered::default(),
        outputs: Vec::new(),
        dropped: Vec::new(),
    })
});

fn runner() -> MutexGuard<'static, Runner> {
    RUNNER.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// Asked every 20 ms while a long plan runs: whether to stop it.
pub type InterruptCheck = fn() -> bool;
static CHECK: Mutex<Option<InterruptCheck>> = Mutex::new(None);

pub fn set_interrupt_check(check: InterruptCheck) {
    *CHECK.lock().unwrap_or_else(|e| e.into_inner()) = Some(check);
}

/// Whether the caller should stop: for devices that wait for their own work.
pub fn interrupted() -> bool {
    let check = *CHECK.lock().unwrap_or_else(|e| e.into_inner());
    check.is_some_and(|check| check())
}

/// Stands between the caller and an evaluation that was not asked for, and lets go meanwhile of what others may wait for.
pub type Bystander = fn(&mut (dyn FnMut() + Send));
static BYSTANDER: Mutex<Option<Bystander>> = Mutex::new(None);

pub fn set_bystander(bystander: Bystander) {
    *BYSTANDER.lock().unwrap_or_else(|e| e.into_inner()) = Some(bystander);
}

pub(super) fn bystander() -> Option<Bystander> {
    *BYSTANDER.lock().unwrap_or_else(|e| e.into_inner())
}

thread_local! {
    /// Whether this thread is evaluating.
    static EVALUATING: Cell<bool> = const { Cell::new(false) };
}

struct Evaluating;

impl Evaluating {
    /// What is asked meanwhile whether to stop may ask for a value in turn: it would wait for itself.
    fn enter() -> Result<Evaluating> {
        if EVALUATING.replace(true) {
            bail!(
                Value,
                "a value is asked for while this thread computes another, as in a signal handler: ask when that is done"
            );
        }
        Ok(Evaluating)
    }
}

impl Drop for Evaluating {
    fn drop(&mut self) {
        EVALUATING.set(false);
    }
}

/// Waits for the evaluation under way.
pub(crate) fn wait() -> Result<()> {
    let _evaluating = Evaluating::enter()?;
    drop(runner());
    Ok(())
}

/// How many plans are kept.
pub fn cached_plans() -> usize {
    runner().plans.len()
}

/// Computes `roots`, or commits what is queued. Whatever happens, the queue is empty afterwards.
pub(super) fn run(roots: &[Tensor], queue: Option<&Queue>) -> Result<()> {
    let _evaluating = Evaluating::enter()?;
    let mut runner = runner();
    let g = graph::lock();
    let updates = queue.map_or_else(Vec::new, leaf::take_updates);
    if queue.is_some() && updates.is_empty() {
        return Ok(());
    }
    restart_count();
    let runner = &mut *runner;
    let mut result = runner.evaluate(g, roots, &updates, false);
    if matches!(result, Err(Error::Index(_) | Error::Value(_))) && !runner.gathered.held.is_empty() {
        // What was only computed along with the rest may be what failed: then the rest goes without it, and overwrites nothing.
        runner.gathered.clear();
        runner.outputs.clear();
        result = runner.evaluate(graph::lock(), roots, &updates, true);
    }
    let mut g = graph::lock();
    if matches!(&result, Err(e) if !matches!(e, Error::BadLoss(_))) {
        updates.iter().for_each(|u| u.leaf.restore_grad(&mut g, u));
    }
    leaf::release(&mut g, &updates);
    drop(g);
    // Buffers and nodes go after the graph lock: dropping a large graph takes time.
    runner.gathered.clear();
    runner.outputs.clear();
    runner.dropped.clear();
    result
}

impl Runner {
    fn evaluate(&mut self, mut g: MutexGuard<'static, Graph>, roots: &[Tensor], updates: &[Update], alone: bool) -> Result<()> {
        let looking = span("plan", || "gather and look up".into());
        collect(&mut g, roots, updates, alone, &mut self.gathered)?;
        if self.gathered.requests.is_empty() {
            return Ok(());
        }
        let prepared = self.prepare(&g)?;
        drop(g);
        drop(looking);
        self.allocate(&prepared.plan)?;

        let stop = AtomicBool::new(false);
        let (slots, numbers) = (&self.gathered.slots, &self.gathered.numbers);
        let mut bindings = Bindings { slots, numbers, outputs: &self.outputs, stop: &stop, bad_losses: vec![], failed: None };
        COUNTERS.runs.fetch_add(1, Ordering::Relaxed);
        COUNTERS.kernels.fetch_add(prepared.plan.kernels.len() as u64, Ordering::Relaxed);
        let running = span("run", || "run".into());
        let result = execute(&prepared, &mut bindings);
        drop(running);
        let failed = bindings.failed.map(|local| self.gathered.locals[local as usize].node.op());
        let origin = failed.and_then(|op| if let Op::Structured(s) = op { s.origin() } else { None });
        result.map_err(|e| origin.map_or_else(|| e.clone(), |origin| origin.named(e.clone())))?;

        let bad: Vec<Tensor> = bindings.bad_losses.iter().map(|&i| self.gathered.losses[i].0.clone()).collect();
        self.publish(&prepared.plan, updates, &bad);
        // The plan of an enormous graph is not worth its memory.
        self.last = (self.gathered.locals.len() <= MAX_SHOWN).then_some(prepared);
        if !bad.is_empty() {
            bail!(
                BadLoss,
                "the loss is Inf or NaN: no parameter was changed. Look for a log or a division of 0, a learning rate that is too large, or NaN in the data"
            );
        }
        Ok(())
    }

    /// The plan for what was gathered, from the cache or made now.
    fn prepare(&mut self, g: &Graph) -> Result<Arc<Prepared>> {
        let gathered = &self.gathered;
        let key = gathered.key.finish();
        if let Some(known) = self.plans.get(&key) {
            return Ok(known.clone());
        }
        let _span = span("plan", || "compile".into());
        let plan = Arc::new(make_plan(g, gathered));
        let prepared = Arc::new(Prepared { executable: backend(plan.device).compile(&plan)?, plan });
        COUNTERS.plans_made.fetch_add(1, Ordering::Relaxed);
        self.seen.remember(g, gathered);
        self.plans.insert(key, prepared.clone(), gathered.locals.len());
        Ok(prepared)
    }

    /// Memory for the results: all of it before the first kernel, so that a failure changes nothing.
    fn allocate(&mut self, plan: &Plan) -> Result<()> {
        for info in &plan.outputs {
            self.outputs.push(match info.donor {
                Some(slot) => self.gathered.slots[slot as usize].clone(),
                None => {
                    let b = &plan.buffers[info.buffer as usize];
                    if plan.device.is_cpu() {
                        Buffer::host(crate::buffer::byte_len(b.len, b.dtype)?)?
                    } else {
                        backend(plan.device).allocate(b.len, b.dtype)?
                    }
                }
            });
        }
        Ok(())
    }

    /// Hands the results to their nodes and leaves; with a bad loss, to nodes alone.
    fn publish(&mut self, plan: &Plan, updates: &[Update], bad: &[Tensor]) {
        // Gradients that are taken back, dropped after the lock.
        let mut gone = Vec::new();
        let mut g = graph::lock();
        let g = &mut *g;
        let gathered = &self.gathered;
        for (i, buffer) in self.outputs.drain(..).enumerate() {
            let node = &gathered.locals[gathered.requests[i].local as usize].node.0;
            match gathered.publish[i] {
                Publish::Leaf(_) if !bad.is_empty() => {}
                Publish::Leaf(u) => {
                    let old = updates[u].leaf.replace(g, buffer);
                    if plan.outputs[i].donor.is_some() {
                        old.0.value.set(g, Value::Overwritten);
                    }
                    self.dropped.push(smallvec![old]);
                }
                Publish::Keep => {
                    node.value.set(g, Value::Kept(buffer));
                }
                Publish::Value => {
                    if matches!(node.op, Op::Custom(_)) {
                        self.dropped.extend(share(g, node, &buffer));
                    }
                    node.value.set(g, Value::Ready(buffer));
                    if !node.tracked {
                        // Nobody can differentiate it: its history goes, once the gathered nodes are not looked at any more.
                        self.dropped.push(node.srcs.set(g, Default::default()));
                    }
                }
            }
        }
        if gathered.backward {
            release_kept(g, &gathered.locals);
        }
        if !bad.is_empty() {
            for u in updates {
                u.leaf.restore_grad(g, u);
                gone.extend(u.leaf.undo_grad(g, bad));
            }
        }
    }
}

/// The value of a node with a gradient of its own is its operand's, too, which then needs no history: that is returned.
fn share(g: &mut Graph, node: &Node, buffer: &Buffer) -> Option<Srcs> {
    let value = node.srcs.get(g)[0].clone();
    let pending = matches!(value.0.value.get(g), Value::Pending);
    if !pending || value.is_tracked() || matches!(value.op(), Op::View(_) | Op::Number(_)) {
        return None;
    }
    value.0.value.set(g, Value::Ready(buffer.clone()));
    Some(value.0.srcs.set(g, Srcs::new()))
}

fn make_plan(g: &Graph, gathered: &Gathered) -> Plan {
    let guards: Vec<u32> = gathered.losses.iter().map(|l| l.1).collect();
    let device = gathered.device.unwrap_or(Device::CPU);
    schedule(g, device, &gathered.locals, &gathered.requests, &guards)
}

/// Intermediates kept for the backward pass have served.
fn release_kept(g: &mut Graph, locals: &[Local]) {
    for local in locals {
        if matches!(local.node.0.value.get(g), Value::Kept(_)) && local.kind != LocalKind::Compute {
            local.node.0.value.set(g, Value::Pending);
        }
    }
}

/// Plans that take longer than this (in nanoseconds) are run beside a caller that looks for signals.
const LONG: usize = 10_000_000;

fn execute(prepared: &Prepared, bindings: &mut Bindings<'_>) -> Result<()> {
    if prepared.plan.cost <= LONG {
        return prepared.executable.run(bindings);
    }
    let check = *CHECK.lock().unwrap_or_else(|e| e.into_inner());
    let Some(check) = check else { return prepared.executable.run(bindings) };
    let stop = bindings.stop;
    let done = AtomicBool::new(false);
    let mut result = Ok(());
    let caller = std::thread::current();
    rayon::in_place_scope(|scope| {
        let (result, done, caller) = (&mut result, &done, caller.clone());
        scope.spawn(move |_| {
            *result = prepared.executable.run(bindings);
            done.store(true, Ordering::Release);
            caller.unpark();
        });
        while !done.load(Ordering::Acquire) {
            std::thread::park_timeout(Duration::from_millis(20));
            if !done.load(Ordering::Acquire) && check() {
                stop.store(true, Ordering::Relaxed);
            }
        }
    });
    result
}

/// The plan that evaluating these tensors would run, in words; with the updates that wait on this thread, if they are `queued`.
/// Nothing is computed.
pub fn explain(roots: &[Tensor], queued: bool) -> Result<String> {
    let _evaluating = Evaluating::enter()?;
    let updates = if queued { leaf::queued_updates() } else { vec![] };
    let mut runner = runner();
    let runner = &mut *runner;
    let mut g = graph::lock();
    let found = collect(&mut g, roots, &updates, false, &mut runner.gathered);
    let text = found.map(|()| {
        let gathered = &runner.gathered;
        if gathered.requests.is_empty() {
            return "nothing to compute: the values are there\n".into();
        }
        if let Some(known) = runner.plans.get(&gathered.key.finish()) {
            return crate::explain::describe(&known.plan, "replayed");
        }
        let state = format!("to be compiled ({})", runner.seen.why(&g, gathered));
        crate::explain::describe(&make_plan(&g, gathered), &state)
    });
    drop(g);
    runner.gathered.clear();
    text
}

/// The plan that ran last, in words.
pub fn explain_last() -> Result<String> {
    let _evaluating = Evaluating::enter()?;
    let last = runner().last.clone();
    Ok(last.map_or_else(
        || "nothing has been computed yet\n".into(),
        |last| crate::explain::describe(&last.plan, "the last that ran"),
    ))
}
