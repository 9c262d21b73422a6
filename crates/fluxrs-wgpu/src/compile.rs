//! A plan made ready: every kernel compiled, temporaries assigned, arguments laid out in one uniform buffer.

use crate::codegen::{self, Launch, Target};
use crate::device::Gpu;
use crate::fault::{Fault, Result};
use crate::limits::Limits;
use crate::pipeline;
use crate::steps::Calls;
use fluxrs::cache::bytes_of;
use fluxrs::plan::{Body, Buf, Kernel, Loop, Plan, Storage};
use fluxrs::stop::go_on;
use rustc_hash::FxHashMap;
use std::sync::Arc;

/// One dispatch.
pub(crate) struct Dispatch {
    pub kernel: Arc<pipeline::Kernel>,
    /// Those with one number have the same bind groups.
    pub group: usize,
    pub targets: Vec<Target>,
    pub groups: [u32; 3],
    /// Where its arguments begin in the uniform, and how long they are, in bytes.
    pub args: (u32, u64),
    pub cost: usize,
}

/// A plan as kernels in WGSL, before any driver has seen them.
pub(crate) struct Lowered {
    pub launches: Vec<Launch>,
    pub commit: usize,
    pub temporaries: Vec<u64>,
    pub awaited: bool,
    pub alone: bool,
}

/// A plan as the device runs it.
pub(crate) struct Compiled {
    pub dispatches: Vec<Dispatch>,
    /// The first dispatch that looks at a loss, and the first that commits.
    pub commit: usize,
    /// Bytes of each temporary.
    pub temporaries: Vec<u64>,
    /// All arguments, and the words that a run fills in.
    pub words: Vec<u32>,
    pub patches: Vec<codegen::args::Patch>,
    /// True if the host must know how a run ended before it goes on: where a commit that did not happen would leave a result
    /// without a value, and where an index out of range, or the like, would leave one with a wrong value.
    pub awaited: bool,
    /// True if a run may begin only when all before it are known to have ended well: one that is awaited, and one that commits
    /// whatever flags are up.
    pub alone: bool,
    /// The calls that may raise a flag of their own.
    pub calls: Arc<Calls>,
}

/// Bytes of an element on the device: a word each.
pub(crate) const WORD: u64 = 4;

/// Temporaries, each used again once its last reader has run.
#[derive(Default)]
struct Temporaries {
    bytes: Vec<u64>,
    free: FxHashMap<u64, Vec<u32>>,
}

impl Temporaries {
    fn take(&mut self, len: usize) -> u32 {
        let bytes = (len as u64 * WORD).next_power_of_two().max(256);
        let exact = len as u64 * WORD;
        if let Some(found) = self.free.get_mut(&bytes).and_then(Vec::pop) {
            let kept = &mut self.bytes[found as usize];
            *kept = exact.max(*kept);
            return found;
        }
        self.bytes.push(exact);
        self.bytes.len() as u32 - 1
    }

    fn give(&mut self, index: u32) {
        let bytes = self.bytes[index as usize].next_power_of_two().max(256);
        self.free.entry(bytes).or_default().push(index);
    }
}

/// The place of each buffer of the plan on the device. A result that takes over a slot's memory is that slot.
fn fixed_targets(plan: &Plan) -> Vec<Option<Target>> {
    let place = |info: &fluxrs::plan::BufferInfo| match info.storage {
        Storage::Slot(slot) => Some(Target::Slot(slot)),
        Storage::Output(output) => {
            let donor = plan.outputs[output as usize].donor;
            Some(donor.map_or(Target::Output(output), Target::Slot))
        }
        Storage::Temporary => None,
    };
    plan.buffers.iter().map(place).collect()
}

/// Kernels count with 32 bits: what is stored fits them, as buffers do, but not every space that is reduced.
fn check_indices(kernel: &Kernel) -> Result<()> {
    let turns = |l: &Loop| l.dims.iter().copied().fold(1, usize::saturating_mul);
    let most = match &kernel.body {
        Body::Loop(l) => turns(l),
        Body::Matmul(m) => m.k().max(m.epilogue.as_ref().map_or(0, turns)),
        Body::Structured(call) => call.srcs.iter().map(|s| s.shape.iter().product()).max().unwrap_or(0),
        Body::Repeat(r) => return r.plan.kernels.iter().try_for_each(check_indices),
    };
    match most > u32::MAX as usize {
        true => Err(Fault::Unsupported(format!("kernels over {most} elements"))),
        false => Ok(()),
    }
}

pub(crate) fn lower(plan: &Plan, limits: &Limits) -> Result<Lowered> {
    let fixed = fixed_targets(plan);
    let mut temporaries = Temporaries::default();
    let mut targets: Vec<Target> = fixed.iter().map(|target| target.unwrap_or(Target::Status)).collect();
    let mut placed: Vec<bool> = fixed.iter().map(Option::is_some).collect();
    let mut launches: Vec<Launch> = Vec::new();
    let mut commit = None;
    let mut fresh_commit = false;
    let raises = plan.kernels.iter().any(codegen::raises);
    let guarded = raises || !plan.guards.is_empty();
    for (k, (kernel, life)) in plan.kernels.iter().zip(plan.lives()).enumerate() {
        go_on(k).map_err(|_| Fault::Interrupted)?;
        if k == plan.commit {
            for (number, kernel) in plan.kernels.iter().enumerate().skip(k) {
                let known = |buffer: &Buf| placed[*buffer as usize] || written(&kernel.body).any(|own| own == *buffer);
                if codegen::raises(kernel) && kernel.body.buffers().iter().all(known) {
                    launches.extend(rehearsal(number, plan, &targets, limits, &mut temporaries)?);
                }
            }
            commit = Some(launches.len());
            launches.extend(guards(plan, &targets));
        }
        for buffer in life.begins {
            placed[buffer as usize] = true;
            targets[buffer as usize] = Target::Temp(temporaries.take(plan.buffers[buffer as usize].len));
        }
        let late = k >= plan.commit;
        let mut scratch = Vec::new();
        let mut temporary = |len| {
            scratch.push(temporaries.take(len));
            scratch[scratch.len() - 1]
        };
        check_indices(kernel)?;
        let made = codegen::launches(kernel, &targets, number(k), late && guarded, limits, &mut temporary);
        launches.extend(labelled(made?, &kernel.label));
        scratch.into_iter().for_each(|temp| temporaries.give(temp));
        fresh_commit |= late && written(&kernel.body).any(|buffer| matches!(targets[buffer as usize], Target::Output(_)));
        for buffer in life.ends {
            if let Target::Temp(temp) = targets[buffer as usize] {
                temporaries.give(temp);
            }
        }
    }
    let commit = commit.unwrap_or(launches.len());
    // A step that is guarded by a loss hears later of other flags, too: it is set back as for a bad loss.
    let awaited = fresh_commit && guarded || raises && plan.guards.is_empty();
    let alone = awaited || !guarded && plan.commit < plan.kernels.len();
    Ok(Lowered { launches, commit, temporaries: temporaries.bytes, awaited, alone })
}

/// The buffers that a kernel writes.
fn written(body: &Body) -> impl Iterator<Item = Buf> {
    let (stores, own) = match body {
        Body::Loop(body) => (Some(&body.stores), None),
        Body::Matmul(m) => {
            (m.epilogue.as_ref().map(|body| &body.stores), Some(m.c).filter(|_| m.keeps_c || m.epilogue.is_none()))
        }
        Body::Structured(call) => (None, call.out),
        // Its results are never a parameter's memory.
        Body::Repeat(_) => (None, None),
    };
    let elements = if let Body::Structured(call) = body { call.elements } else { None };
    stores.into_iter().flatten().map(|store| store.buffer).chain(own).chain(elements)
}

/// A kernel that commits and may raise a flag of its own runs to scratch before anything is committed: by then the flag must
/// be up.
fn rehearsal(k: usize, plan: &Plan, targets: &[Target], limits: &Limits, temporaries: &mut Temporaries) -> Result<Vec<Launch>> {
    let kernel = &plan.kernels[k];
    let mut targets = targets.to_vec();
    let mut scratch = Vec::new();
    let mut temporary = |len| {
        scratch.push(temporaries.take(len));
        scratch[scratch.len() - 1]
    };
    for buffer in written(&kernel.body) {
        targets[buffer as usize] = Target::Temp(temporary(plan.buffers[buffer as usize].len));
    }
    let made = codegen::launches(kernel, &targets, number(k), false, limits, &mut temporary);
    scratch.into_iter().for_each(|temp| temporaries.give(temp));
    Ok(labelled(made?, &kernel.label))
}

/// The number that kernel k of a plan raises its flag with.
fn number(k: usize) -> u32 {
    k as u32 + 1
}

/// The calls of a plan that may raise a flag.
fn calls(plan: &Plan) -> Calls {
    let call = |(k, kernel): (usize, &Kernel)| match &kernel.body {
        Body::Structured(call) if codegen::raises(kernel) => Some((number(k), (call.op.clone(), call.local))),
        // Within a scan the first that may raise one.
        Body::Repeat(r) => calls(&r.plan).into_values().next().map(|(op, _)| (number(k), (op, r.local))),
        _ => None,
    };
    plan.kernels.iter().enumerate().filter_map(call).collect()
}

/// Dispatches under the name of their kernel.
fn labelled(mut made: Vec<Launch>, label: &str) -> Vec<Launch> {
    let label: Arc<str> = label.into();
    made.iter_mut().for_each(|launch| launch.label = label.clone());
    made
}

fn guards(plan: &Plan, targets: &[Target]) -> Vec<Launch> {
    let look = |(i, &buffer): (usize, &Buf)| codegen::guard(targets[buffer as usize], plan.buffers[buffer as usize].len, i);
    plan.guards.iter().enumerate().map(look).collect()
}

impl Compiled {
    /// Memory of the host that it takes.
    pub fn bytes(&self) -> usize {
        bytes_of(&self.dispatches)
            + self.dispatches.iter().map(|d| bytes_of(&d.targets)).sum::<usize>()
            + bytes_of(&self.temporaries)
            + bytes_of(&self.words)
            + bytes_of(&self.patches)
    }
}

pub(crate) fn compile(gpu: &'static Gpu, plan: &Plan) -> Result<Compiled> {
    let Lowered { launches, commit, temporaries, awaited, alone } = lower(plan, &gpu.limits)?;
    let access = |launch: &Launch| -> Vec<_> { launch.bindings.iter().map(|(_, access)| *access).collect() };
    let wanted: Vec<_> = launches.iter().map(|launch| (launch.source.clone(), access(launch), launch.label.clone())).collect();
    let kernels = gpu.kernels(&wanted)?;
    let (mut words, mut patches, mut dispatches) = (Vec::new(), Vec::new(), Vec::new());
    let align = gpu.limits.align as usize / 4;
    let mut alike: FxHashMap<(u64, Vec<Target>, usize), usize> = FxHashMap::default();
    for (launch, kernel) in launches.into_iter().zip(kernels) {
        words.resize(words.len().next_multiple_of(align), 0);
        let start = words.len();
        patches.extend(launch.args.patches.iter().map(|patch| codegen::args::Patch { word: patch.word + start, ..*patch }));
        words.extend(&launch.args.words);
        words.resize(start + launch.args.words.len().max(1).next_multiple_of(4), 0);
        let targets: Vec<Target> = launch.bindings.iter().map(|(target, _)| *target).collect();
        let next = alike.len();
        let group = *alike.entry((kernel.id, targets.clone(), words.len() - start)).or_insert(next);
        dispatches.push(Dispatch {
            kernel,
            group,
            targets,
            groups: launch.groups,
            args: (4 * start as u32, 4 * (words.len() - start) as u64),
            cost: launch.cost,
        });
    }
    let calls = Arc::new(calls(plan));
    Ok(Compiled { dispatches, commit, temporaries, words, patches, awaited, alone, calls })
}
