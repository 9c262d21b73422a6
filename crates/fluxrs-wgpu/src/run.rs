//! Runs a compiled plan: one encoder and one submit a step, arguments written once, bind groups kept.

use crate::backend::storage;
use crate::codegen::Target;
use crate::codegen::args::Args;
use crate::compile::{Compiled, Dispatch, WORD, compile};
use crate::device::{Gpu, Own, lock};
use crate::fault::{Fault, Result};
use crate::groups::Set;
use crate::pool::Storage;
use crate::steps::{Raised, Step, Steps, is_bad};
use fluxrs::backend::Executable;
use fluxrs::plan::{Bindings, Plan};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

struct State {
    words: Vec<u32>,
    /// True if the uniform holds these words.
    written: bool,
}

pub(crate) struct GpuPlan {
    gpu: &'static Gpu,
    compiled: Compiled,
    losses: usize,
    args: wgpu::Buffer,
    state: Mutex<State>,
    groups: Arc<Set>,
}

impl GpuPlan {
    pub fn new(gpu: &'static Gpu, plan: &Plan) -> Result<GpuPlan> {
        let compiled = compile(gpu, plan)?;
        let args = gpu.device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("fluxrs arguments"),
            size: (4 * compiled.words.len() as u64).max(256),
            usage: wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        gpu.check()?;
        let groups = gpu.groups.set(compiled.dispatches.iter().map(|d| d.group + 1).max().unwrap_or(0));
        let state = State { words: compiled.words.clone(), written: false };
        Ok(GpuPlan { gpu, compiled, losses: plan.guards.len(), args, state: Mutex::new(state), groups })
    }

    fn write_args(&self, state: &mut State, bindings: &Bindings<'_>) -> Result<()> {
        let written = std::mem::take(&mut state.written);
        let changed = Args::fill(&self.compiled.patches, bindings.numbers, &mut state.words)?;
        if (changed || !written) && !state.words.is_empty() {
            let bytes: Vec<u8> = state.words.iter().flat_map(|word| word.to_le_bytes()).collect();
            self.gpu.queue.write_buffer(&self.args, 0, &bytes);
        }
        state.written = true;
        Ok(())
    }

    /// The bind group of a dispatch for the buffers of this run.
    fn group(&self, dispatch: &Dispatch, run: &Run<'_>) -> Result<wgpu::BindGroup> {
        let mut ids = Vec::with_capacity(dispatch.targets.len());
        for target in &dispatch.targets {
            ids.push(run.id(*target)?);
        }
        self.groups.get(dispatch.group, ids, || {
            let size = std::num::NonZeroU64::new(dispatch.args.1);
            let args = wgpu::BufferBinding { buffer: &self.args, offset: 0, size };
            let mut entries = vec![wgpu::BindGroupEntry { binding: 0, resource: wgpu::BindingResource::Buffer(args) }];
            for (i, target) in dispatch.targets.iter().enumerate() {
                let resource = run.buffer(*target)?.as_entire_binding();
                entries.push(wgpu::BindGroupEntry { binding: i as u32 + 1, resource });
            }
            self.gpu.counters.bind_groups.fetch_add(1, Ordering::Relaxed);
            let label = Some("fluxrs");
            let descriptor = wgpu::BindGroupDescriptor { label, layout: &dispatch.kernel.layout, entries: &entries };
            Ok(self.gpu.device.create_bind_group(&descriptor))
        })
    }

    /// Encodes dispatches from `at` on until a submit's worth of work; the commit is never cut. Returns where it stopped, and
    /// the work.
    fn encode(&self, at: usize, run: &Run<'_>, encoder: &mut wgpu::CommandEncoder) -> Result<(usize, usize)> {
        let budget = self.gpu.pace.budget(self.gpu.limits.submit);
        let label = Some("fluxrs");
        let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor { label, timestamp_writes: None });
        let mut cost = 0;
        let mut last = None;
        for (i, dispatch) in self.compiled.dispatches.iter().enumerate().skip(at) {
            if i > at && i <= self.compiled.commit && cost + dispatch.cost > budget {
                return Ok((i, cost));
            }
            cost += dispatch.cost;
            if last != Some(dispatch.kernel.id) {
                pass.set_pipeline(&dispatch.kernel.pipeline);
                last = Some(dispatch.kernel.id);
            }
            pass.set_bind_group(0, &self.group(dispatch, run)?, &[dispatch.args.0]);
            let [x, y, z] = dispatch.groups;
            pass.dispatch_workgroups(x, y, z);
            self.gpu.counters.dispatches.fetch_add(1, Ordering::Relaxed);
        }
        Ok((self.compiled.dispatches.len(), cost))
    }

    fn run_steps(&self, bindings: &mut Bindings<'_>) -> Result<()> {
        let gpu = self.gpu;
        gpu.check()?;
        gpu.purge();
        let mut state = lock(&self.state);
        let steps = &mut *lock(&gpu.steps);
        if self.compiled.dispatches.is_empty() {
            return Ok(());
        }
        let run = Run::new(self, bindings, steps)?;
        self.write_args(&mut state, bindings)?;
        let mut at = 0;
        let first = steps.number().wrapping_add(1);
        loop {
            let mut encoder = gpu.device.create_command_encoder(&wgpu::CommandEncoderDescriptor { label: Some("fluxrs") });
            steps.begin(gpu, &mut encoder);
            let (end, work) = self.encode(at, &run, &mut encoder)?;
            at = end;
            let is_last = at == self.compiled.dispatches.len();
            let rollback = if is_last && self.losses > 0 && !self.compiled.awaited { bindings.rollback.take() } else { None };
            steps.submit(gpu, encoder, Step { work, rollback, calls: self.compiled.calls.clone() })?;
            gpu.counters.submits.fetch_add(1, Ordering::Relaxed);
            if is_last {
                break;
            }
            // A plan in pieces may be stopped between them.
            steps.wait(gpu, 0, Some(bindings.stop))?;
        }
        if self.compiled.awaited {
            // The commit is under way: it is awaited to its end, whatever the stop flag says.
            steps.wait(gpu, 0, None)?;
            match steps.take_raised(gpu)? {
                Some(Raised::Loss { step, losses }) if step == steps.number() => {
                    bindings.bad_losses = (0..self.losses).filter(|&i| is_bad(losses, i)).collect();
                }
                Some(raised) => {
                    if let Raised::Call { step, local, .. } = &raised
                        && step.wrapping_sub(first) <= steps.number().wrapping_sub(first)
                    {
                        bindings.failed = Some(*local);
                    }
                    return Err(Fault::Raised(raised));
                }
                None => (),
            }
        }
        Ok(())
    }
}

impl Executable for Own<GpuPlan> {
    fn run(&self, bindings: &mut Bindings<'_>) -> fluxrs::error::Result<()> {
        Ok(self.run_steps(bindings)?)
    }

    fn bytes(&self) -> usize {
        let groups = Set::bytes(self.compiled.dispatches.len());
        size_of::<GpuPlan>() + self.compiled.bytes() + 4 * self.compiled.words.len() + groups
    }

    fn runs_alone(&self) -> bool {
        self.compiled.alone
    }

    fn late_calls(&self) -> Vec<u32> {
        if self.compiled.awaited {
            return Vec::new();
        }
        self.compiled.calls.values().map(|(_, local)| *local).collect()
    }
}

/// The buffers of one run.
struct Run<'a> {
    slots: Vec<&'a Storage>,
    outputs: Vec<&'a Storage>,
    temporaries: Vec<Storage>,
    status: wgpu::Buffer,
}

impl<'a> Run<'a> {
    fn new(plan: &GpuPlan, bindings: &Bindings<'a>, steps: &Steps) -> Result<Run<'a>> {
        let temporaries: Result<Vec<Storage>> =
            plan.compiled.temporaries.iter().map(|&bytes| plan.gpu.storage(bytes.max(WORD))).collect();
        Ok(Run {
            slots: bindings.slots.iter().map(storage).collect::<Result<_>>()?,
            outputs: bindings.outputs.iter().map(storage).collect::<Result<_>>()?,
            temporaries: temporaries?,
            status: steps.status.clone(),
        })
    }

    fn storage(&self, target: Target) -> Option<&Storage> {
        match target {
            Target::Slot(i) => self.slots.get(i as usize).copied(),
            Target::Output(i) => self.outputs.get(i as usize).copied(),
            Target::Temp(i) => self.temporaries.get(i as usize),
            Target::Status => None,
        }
    }

    fn id(&self, target: Target) -> Result<u64> {
        match (target, self.storage(target)) {
            (Target::Status, _) => Ok(u64::MAX),
            (_, Some(storage)) => Ok(storage.id()),
            _ => Err(Fault::Driver(format!("a plan names {target:?}, which it was not given"))),
        }
    }

    fn buffer(&self, target: Target) -> Result<&wgpu::Buffer> {
        match (target, self.storage(target)) {
            (Target::Status, _) => Ok(&self.status),
            (_, Some(storage)) => Ok(storage),
            _ => Err(Fault::Driver(format!("a plan names {target:?}, which it was not given"))),
        }
    }
}
