//! Loops over more tensors than one kernel may bind: parts of the program run before, in kernels of their own, and leave
//! their values in temporaries.

use super::builder::Target;
use super::program::Program;
use crate::fault::{Fault, Result};
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

/// The instruction whose value is worth a kernel of its own most, and whether that is an elementwise one: it reads the most
/// buffers that one kernel can, and of those the one of rows, whose temporary is small.
fn candidate<'a>(body: &'a Loop, targets: &[Target], limit: usize) -> Result<Option<(&'a Inst, bool)>> {
    let program = Program::new(body)?;
    let mut best: Option<((usize, bool), &Inst, bool)> = None;
    for inst in body.code.iter().filter(|inst| inst.code != Code::Spread) {
        let made_of = part(body, &[&store(body, inst, 0)]);
        let count = read(&made_of.loads, targets).len();
        let score = (count, inst.rank == Rank::Row);
        if (2..limit).contains(&count) && best.as_ref().is_none_or(|(most, ..)| score > *most) {
            let spreads = made_of.code.iter().any(|i| i.code == Code::Spread);
            best = Some((score, inst, inst.rank == Rank::Full && !spreads && program.level(inst.dst) == 0));
        }
    }
    Ok(best.map(|(_, inst, plain)| (inst, plain)))
}

/// Places of a register's elements in a buffer of their own: a `Row` register has none along the axes that are reduced.
fn places(body: &Loop, rank: Rank) -> (Map, usize) {
    let mut map = Map::contiguous(&body.dims);
    let kept = match (rank, body.mode) {
        (Rank::Full, _) | (_, Mode::Map) => 0..body.dims.len(),
        (Rank::Row, Mode::Rows) => 0..body.fence,
        (Rank::Row, Mode::Columns) => body.fence..body.dims.len(),
    };
    let own = Map::contiguous(&body.dims[kept.clone()]);
    map.strides.iter_mut().for_each(|stride| *stride = 0);
    map.strides[kept.clone()].copy_from_slice(&own.strides);
    (map, body.dims[kept].iter().product())
}

fn store(body: &Loop, inst: &Inst, buffer: Buf) -> Store {
    let dtype = super::ops::result(inst);
    Store { reg: inst.dst, buffer, dtype, rank: inst.rank, map: places(body, inst.rank).0 }
}

/// Loops that together do what one does, each over at most `limit` buffers. Groups of stores may run one after the other. All
/// of the first loops come before any of the second, which have the stores.
pub(crate) fn pieces(
    body: &Loop,
    groups: Vec<Vec<&Store>>,
    targets: &mut Targets,
    limit: usize,
) -> Result<(Vec<Loop>, Vec<Loop>)> {
    let (mut first, mut then) = (Vec::new(), Vec::new());
    for stores in groups {
        cut(part(body, &stores), targets, limit, (&mut first, &mut then))?;
    }
    Ok((first, then))
}

/// Cuts parts off a loop until it binds at most `limit` buffers. The parts come first, in order.
fn cut(mut body: Loop, targets: &mut Targets, limit: usize, out: (&mut Vec<Loop>, &mut Vec<Loop>)) -> Result<()> {
    while bindings(&body, &targets.all) > limit {
        let Some((inst, plain)) = candidate(&body, &targets.all, limit)? else {
            // All is at hand in temporaries: stores of several buffers hang together no more.
            let groups = super::map::dispatches(&Program::new(&body)?, &targets.all, limit);
            if groups.len() < 2 {
                let count = bindings(&body, &targets.all);
                return Err(Fault::Unsupported(format!("one kernel over {count} tensors (the driver binds {limit})")));
            }
            for stores in groups {
                cut(part(&body, &stores), targets, limit, (&mut *out.0, &mut *out.1))?;
            }
            return Ok(());
        };
        let (map, len) = places(&body, inst.rank);
        let buffer = targets.fresh(len);
        let Store { reg, dtype, rank, .. } = store(&body, inst, buffer);
        let first = part(&body, &[&Store { reg, buffer, dtype, rank, map: map.clone() }]);
        out.0.push(if plain { Loop { mode: Mode::Map, fence: 0, ..first } } else { first });
        body.code.retain(|inst| inst.dst != reg);
        body.loads.push(Load { reg, source: Source::Buffer(buffer), dtype, rank, map });
        let stores: Vec<Store> = body.stores.clone();
        body = part(&body, &stores.iter().collect::<Vec<_>>());
    }
    out.1.push(body);
    Ok(())
}
