//! Loops over more tensors than one kernel may bind: parts of the program run before, in kernels of their own, and leave
//! their values in temporaries.

use super::builder::Target;
use super::program::Program;
use crate::fault::{Fault, Result};
use fluxrs::dtype::DType;
use fluxrs::plan::{Buf, Code, Inst, Load, Loop, Mode, Rank, Reg, Source, Store};
use fluxrs::shape::Map;
use rustc_hash::FxHashSet;

/// The buffers of a plan; temporaries join them as loops are cut.
pub(crate) struct Targets<'a> {
    pub all: Vec<Target>,
    pub temporary: &'a mut dyn FnMut(usize) -> u32,
}

impl Targets<'_> {
    fn fresh(&mut self, len: usize) -> Buf {
        self.all.push(Target::Temp((self.temporary)(len)));
        self.all.len() as Buf - 1
    }
}

/// The buffers that some loads read.
pub(crate) fn read<'a>(loads: impl IntoIterator<Item = &'a Load>, targets: &[Target]) -> FxHashSet<Target> {
    let buffer = |load: &Load| match load.source {
        Source::Buffer(buffer) => Some(targets[buffer as usize]),
        _ => None,
    };
    loads.into_iter().filter_map(buffer).collect()
}

/// The number of buffers that a loop binds.
pub(crate) fn bindings(body: &Loop, targets: &[Target]) -> usize {
    let mut all = read(&body.loads, targets);
    all.extend(body.stores.iter().map(|store| targets[store.buffer as usize]));
    all.len()
}

/// The part of a loop that some of its stores are made of.
pub(crate) fn part(body: &Loop, stores: &[&Store]) -> Loop {
    let mut used: FxHashSet<Reg> = stores.iter().map(|store| store.reg).collect();
    // Operands come before their users: one look backwards finds everything.
    for inst in body.code.iter().rev() {
        if used.contains(&inst.dst) {
            used.extend(&inst.src);
        }
    }
    Loop {
        mode: body.mode,
        dims: body.dims.clone(),
        fence: body.fence,
        loads: body.loads.iter().filter(|load| used.contains(&load.reg)).cloned().collect(),
        code: body.code.iter().filter(|inst| used.contains(&inst.dst)).cloned().collect(),
        stores: stores.iter().map(|&store| store.clone()).collect(),
        sparse: body.sparse.clone(),
    }
}

/// The instruction whose value is worth a kernel of its own most: it reads the most buffers that one kernel can.
fn candidate<'a>(program: &Program<'a>, targets: &[Target], limit: usize) -> Option<&'a Inst> {
    let mut best: Option<(usize, &Inst)> = None;
    for inst in &program.body.code {
        let plain = inst.rank == Rank::Full && inst.code != Code::Spread && program.level(inst.dst) == 0;
        let cone = program.cone([inst.dst]);
        let spreads = program.body.code.iter().any(|i| i.code == Code::Spread && cone.contains(&i.dst));
        let count = read(program.body.loads.iter().filter(|load| cone.contains(&load.reg)), targets).len();
        if plain && !spreads && (2..limit).contains(&count) && best.as_ref().is_none_or(|(most, _)| count > *most) {
            best = Some((count, inst));
        }
    }
    best.map(|(_, inst)| inst)
}

/// Cuts parts off a loop until it binds at most `limit` buffers. The parts come first, in order.
pub(crate) fn cut(mut body: Loop, targets: &mut Targets, limit: usize) -> Result<(Vec<Loop>, Loop)> {
    let mut parts = Vec::new();
    while bindings(&body, &targets.all) > limit {
        let program = Program::new(&body)?;
        let Some(inst) = candidate(&program, &targets.all, limit) else {
            let count = bindings(&body, &targets.all);
            return Err(Fault::Unsupported(format!("one kernel over {count} tensors (the driver binds {limit})")));
        };
        let (reg, dtype): (Reg, DType) = (inst.dst, super::ops::result(inst));
        let map = Map::contiguous(&body.dims);
        let buffer = targets.fresh(body.dims.iter().product());
        let store = Store { reg, buffer, dtype, rank: Rank::Full, map: map.clone() };
        let first = part(&body, &[&store]);
        parts.push(Loop { mode: Mode::Map, fence: 0, ..first });
        body.code.retain(|inst| inst.dst != reg);
        body.loads.push(Load { reg, source: Source::Buffer(buffer), dtype, rank: Rank::Full, map });
        let stores: Vec<Store> = body.stores.clone();
        body = part(&body, &stores.iter().collect::<Vec<_>>());
    }
    Ok((parts, body))
}
