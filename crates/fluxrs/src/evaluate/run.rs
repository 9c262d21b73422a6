//! One evaluation: plan, memory, run.

use super::collect::{collect, make_plan};
use super::deferred::{gather_instead, plan_beside};
use super::gather::{Gathered, Wanted, Writing};
use super::rollback::Commit;
use super::seen::Seen;
use super::turn::{Evaluating, lock_runner, runner};
use super::{COUNTERS, MAX_PLANNED_BYTES};
use crate::backend::{Executable, backend};
use crate::bail;
use crate::buffer::Buffer;
use crate::cache::{Cache, bytes_of};
use crate::debug::explain::describe;
use crate::debug::profile::span;
use crate::device::Device;
use crate::dtype::Number;
use crate::error::{Error, Result};
use crate::graph::{self, Graph, Srcs, Tensor};
use crate::leaf::{self, Bad, Queue, Update};
use crate::ops::Op;
use crate::plan::{Bindings, Plan, Rollback};
use crate::schedule::kept_bytes;
use crate::stop::watch;
use crate::tape::deferred::{Written, write_out};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, MutexGuard};

/// A plan and its form for the device.
struct Prepared {
    plan: Arc<Plan>,
    executable: Box<dyn Executable>,
    /// Follow the numbers of the graph.
    constants: Vec<Number>,
}

impl Prepared {
    fn bytes(&self) -> usize {
        size_of::<Prepared>() + self.plan.bytes() + self.executable.bytes() + bytes_of(&self.constants)
    }
}

/// A plan for a graph whose key was not known: one that its gradients' key finds, or a new one with its constants.
enum Scheduled {
    Known(Arc<Prepared>),
    New(Plan, Vec<Number>),
}

/// Nodes of a plan that is remembered to be shown.
const MAX_SHOWN: usize = 1 << 14;

/// The state that outlives one evaluation.
pub(super) struct Runner {
    /// The plans of graphs seen before.
    plans: Cache<u128, Arc<Prepared>>,
    seen: Seen,
    last: Option<Arc<Prepared>>,
    pub gathered: Gathered,
    /// The same graph with its gradients written out beside it.
    long: Gathered,
    /// Gradients that are written out, for as long as they are looked at.
    written: Written,
    pub outputs: Vec<Buffer>,
    /// Operands that published nodes no longer need.
    pub dropped: Vec<Srcs>,
}

impl Default for Runner {
    fn default() -> Self {
        Runner {
            plans: Cache::new(MAX_PLANNED_BYTES),
            seen: Seen::default(),
            last: None,
            gathered: Gathered::default(),
            long: Gathered::default(),
            written: Written::default(),
            outputs: Vec::new(),
            dropped: Vec::new(),
        }
    }
}

/// Bytes of all that is kept for graphs that come again.
pub fn cached_bytes() -> usize {
    let runner = lock_runner();
    runner.plans.bytes() + runner.seen.bytes() + kept_bytes()
}

/// Computes `roots`, or commits what is queued. Whatever happens, the queue is empty afterwards.
pub(super) fn run(roots: &[Tensor], queue: Option<&Queue>) -> Result<()> {
    let _evaluating = Evaluating::enter()?;
    let turn = runner();
    let (mut updates, _lost);
    let mut g = graph::lock();
    (updates, _lost) = queue.map_or_else(Default::default, |queue| leaf::take_updates(&mut g, queue));
    let mut runner = match turn {
        Ok(runner) => runner,
        Err(interrupted) => {
            let_go(g, &updates, true);
            return Err(interrupted);
        }
    };
    if queue.is_some() && updates.is_empty() {
        return Ok(());
    }
    graph::restart_count();
    for u in &mut updates {
        // A claimed value that had to be computed early has memory of its own, which a view may show; the leaf gets a copy.
        if graph::has_value(&g, &u.value) {
            u.value = graph::unbounded(|| graph::no_grad(|| u.value.copied()));
        }
    }
    let runner = &mut *runner;
    // Empty, unless an evaluation ended in a fault.
    runner.clear();
    let mut all = updates.iter().map(|u| &u.value).chain(roots).map(Tensor::device);
    let first = all.next();
    if all.all(|device| Some(device) == first) {
        return run_on_one(runner, g, Wanted { roots, updates: &updates, alone: false });
    }
    // A plan is of one device. Where one fails the others go on: they hang together by nothing.
    drop(g);
    let mut devices: Vec<Device> = updates.iter().map(|u| &u.value).chain(roots).map(Tensor::device).collect();
    devices.sort_unstable_by_key(|device| device.0);
    devices.dedup();
    let part = |device: Device| {
        let updates: Vec<Update> = updates.iter().filter(|u| u.value.device() == device).cloned().collect();
        let roots: Vec<Tensor> = roots.iter().filter(|t| t.device() == device).cloned().collect();
        (roots, updates)
    };
    let mut run = |device| {
        let (roots, updates) = part(device);
        run_on_one(runner, graph::lock(), Wanted { roots: &roots, updates: &updates, alone: false })
    };
    devices.into_iter().map(&mut run).fold(Ok(()), Result::and)
}

fn run_on_one(runner: &mut Runner, g: MutexGuard<'static, Graph>, mut wanted: Wanted<'_>) -> Result<()> {
    let updates = wanted.updates;
    let mut result = runner.evaluate(g, &wanted);
    if matches!(result, Err(Error::Index(_) | Error::Value(_) | Error::Memory(_))) && !runner.gathered.held.is_empty() {
        // The nodes that were only computed along may be what failed: then the rest goes without them, and overwrites nothing.
        runner.clear();
        wanted.alone = true;
        result = runner.evaluate(graph::lock(), &wanted);
    }
    let_go(graph::lock(), updates, matches!(&result, Err(e) if !matches!(e, Error::BadLoss(_))));
    // Buffers and nodes go after the graph lock: dropping a large graph takes time.
    runner.clear();
    runner.dropped.clear();
    result
}

/// Lets the leaves of updates go, with the gradients that these took away if they have `failed`.
fn let_go(mut g: MutexGuard<'_, Graph>, updates: &[Update], failed: bool) {
    let restored = |u: &Update| if failed { u.restore_grad(&mut g) } else { None };
    let gone: Vec<_> = updates.iter().filter_map(restored).collect();
    leaf::release(&mut g, updates);
    // Before what was restored over goes.
    drop(g);
    drop(gone);
}

impl Runner {
    /// Lets go of what one evaluation was about.
    fn clear(&mut self) {
        self.gathered.clear();
        self.long.clear();
        self.outputs.clear();
        self.written = Written::default();
    }

    fn evaluate(&mut self, g: MutexGuard<'static, Graph>, wanted: &Wanted<'_>) -> Result<()> {
        let updates = wanted.updates;
        let looking = span("plan", || "gather and look up".into());
        let g = self.gather(g, wanted)?;
        if self.gathered.requests.is_empty() {
            return Ok(());
        }
        let known = self.plans.get(&self.gathered.key.finish()).cloned();
        let prepared = match known {
            Some(known) => {
                drop(g);
                known
            }
            None => watch(&AtomicBool::new(false), || self.prepare(g, wanted))?,
        };
        drop(looking);
        let ready = || {
            let backend = backend(prepared.plan.device);
            if prepared.executable.runs_alone() { backend.synchronize() } else { backend.ready() }
        };
        if !prepared.plan.device.is_cpu()
            && let Err(earlier) = ready()
        {
            // Of an earlier evaluation: that this one held more than it was asked for is not why.
            self.gathered.held.clear();
            return Err(earlier);
        }
        self.allocate(&prepared.plan)?;
        self.gathered.numbers.extend_from_slice(&prepared.constants);

        let stop = AtomicBool::new(false);
        let (slots, numbers) = (&self.gathered.slots, &self.gathered.numbers);
        let commit = (!updates.is_empty() && !prepared.plan.device.is_cpu()).then(Arc::<Commit>::default);
        let outputs = &self.outputs;
        let mut bindings = Bindings { slots, numbers, outputs, stop: &stop, bad_losses: vec![], failed: None, rollback: None };
        bindings.rollback = commit.clone().map(|commit| commit as Arc<dyn Rollback>);
        COUNTERS.runs.fetch_add(1, Ordering::Relaxed);
        COUNTERS.kernels.fetch_add(prepared.plan.kernels.len() as u64, Ordering::Relaxed);
        let running = span("run", || "run".into());
        let result = execute(&prepared, &mut bindings);
        drop(running);
        // Nodes that only a written gradient has are not among the locals.
        let locals = &self.gathered.locals;
        let call_site = |local: u32| match locals.get(local as usize)?.node.op() {
            Op::Structured(s) => s.call_site(),
            _ => None,
        };
        let failed = bindings.failed.and_then(call_site);
        result.map_err(|e| failed.map_or_else(|| e.clone(), |call_site| call_site.named(e.clone())))?;

        let bad: Bad = bindings.bad_losses.iter().map(|&i| self.gathered.losses[i].0.id()).collect();
        // The device has taken over: it says later if the commit happened.
        let awaited = commit.filter(|_| bindings.rollback.is_none());
        if let Some(commit) = &awaited {
            let known = |local| Some((local, call_site(local)?.clone()));
            commit.remember(prepared.executable.late_calls().into_iter().filter_map(known).collect());
        }
        let bad = self.publish(&prepared.plan, updates, bad, awaited.as_deref());
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

    /// Gathers what takes part; with gradients written out where the key does not say what they are made of.
    fn gather(&mut self, g: MutexGuard<'static, Graph>, wanted: &Wanted<'_>) -> Result<MutexGuard<'static, Graph>> {
        let g = collect(g, wanted, Writing::Nothing, &mut self.gathered)?;
        if !self.gathered.shortened || !self.gathered.has_deferred() {
            return Ok(g);
        }
        drop(g);
        watch(&AtomicBool::new(false), || write_out(&self.gathered.deferred(), &mut self.written))?;
        gather_instead(wanted, &mut self.gathered, &self.written)
    }

    /// The plan for what was gathered, made now.
    fn prepare(&mut self, g: MutexGuard<'static, Graph>, wanted: &Wanted<'_>) -> Result<Arc<Prepared>> {
        let _span = span("plan", || "compile".into());
        if self.gathered.locals.len() <= MAX_SHOWN {
            self.seen.remember(&g, &self.gathered, &self.written);
        }
        let (plan, constants) = match self.schedule(g, wanted)? {
            Scheduled::Known(known) => return Ok(known),
            Scheduled::New(plan, constants) => (Arc::new(plan), constants),
        };
        let prepared = Arc::new(Prepared { executable: backend(plan.device).compile(&plan)?, plan, constants });
        COUNTERS.plans_made.fetch_add(1, Ordering::Relaxed);
        self.long.clear();
        self.plans.insert(self.gathered.key.finish(), prepared.clone(), prepared.bytes());
        Ok(prepared)
    }

    /// The plan for what was gathered. Gradients that are written out instead of their nodes change the key, which may be known.
    fn schedule(&mut self, mut g: MutexGuard<'static, Graph>, wanted: &Wanted<'_>) -> Result<Scheduled> {
        // Again for gradients that another thread has come to hold while the lock was not.
        while self.gathered.has_deferred() {
            drop(g);
            write_out(&self.gathered.deferred(), &mut self.written)?;
            if let Some((plan, constants)) = plan_beside(wanted, &mut self.gathered, &mut self.long, &self.written)? {
                return Ok(Scheduled::New(plan, constants));
            }
            self.long.clear();
            g = gather_instead(wanted, &mut self.gathered, &self.written)?;
            if let Some(known) = self.plans.get(&self.gathered.key.finish()) {
                return Ok(Scheduled::Known(known.clone()));
            }
        }
        Ok(Scheduled::New(make_plan(g, &self.gathered, &self.written)?, vec![]))
    }

    fn explain(&mut self, wanted: &Wanted<'_>) -> Result<String> {
        let g = self.gather(graph::lock(), wanted)?;
        if self.gathered.requests.is_empty() {
            return Ok("nothing to compute: the values are there\n".into());
        }
        if let Some(known) = self.plans.get(&self.gathered.key.finish()) {
            return Ok(describe(&known.plan, "replayed"));
        }
        let state = format!("to be compiled ({})", self.seen.why(&g, &self.gathered, &self.written));
        Ok(match self.schedule(g, wanted)? {
            Scheduled::Known(known) => describe(&known.plan, "replayed"),
            Scheduled::New(plan, _) => describe(&plan, &state),
        })
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
}

/// Plans that take longer than this (in nanoseconds) look for signals.
const LONG: usize = 1_000_000;

fn execute(prepared: &Prepared, bindings: &mut Bindings<'_>) -> Result<()> {
    let stop = bindings.stop;
    let mut run = || prepared.executable.run(bindings);
    if prepared.plan.cost <= LONG { run() } else { watch(stop, run) }
}

/// The plan that evaluating these tensors would run, in words; with the updates that wait on this thread, if they are `queued`.
/// Nothing is computed.
pub fn explain(roots: &[Tensor], queued: bool) -> Result<String> {
    let _evaluating = Evaluating::enter()?;
    // No thread forks while this one has the runner, and so none while it has its queue.
    let mut runner = runner()?;
    let updates = if queued { leaf::queued_updates() } else { vec![] };
    runner.clear();
    let text = runner.explain(&Wanted { roots, updates: &updates, alone: false });
    runner.clear();
    text
}

/// The plan that ran last, in words.
pub fn explain_last() -> Result<String> {
    let _evaluating = Evaluating::enter()?;
    let last = runner()?.last.clone();
    Ok(last.map_or_else(|| "nothing has been computed yet\n".into(), |last| describe(&last.plan, "the last that ran")))
}
