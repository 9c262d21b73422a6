//! A loop's program made ready to run, with runs of machine code.

use super::units::{Unit, Width, joined, units, widths};
use super::{Builder, Item};
use crate::cpu::lower::{
    Action, LONG_ROW, Location, Lowered, Micro, Walk, donor, fold_of_inst, instruction, load_places, loads_of, registers,
};
use crate::dtype::DType;
use crate::plan::{Code, Loop, Mode, Plan, Rank, Reg};
use crate::shape;

/// Rows from this length on are worth a block of their own in a loop without reductions, whose instructions are few runs.
const SHORT_ROW: usize = 64;

/// The most operands of a run.
pub const OPERANDS: usize = 48;

/// A run's place in the code and the registers that are its operands.
type Run = (usize, Vec<Reg>);

/// A loop, and what its registers are to runs.
struct Source<'a> {
    body: &'a Loop,
    plan: &'a Plan,
    types: Vec<DType>,
    /// The registers that runs read as one element.
    single: Vec<bool>,
    /// The register in whose memory runs find each: of a spread, the row's.
    origin: Vec<Reg>,
    /// The number of times that each is read, by instructions that runs may have, and whether it is stored.
    reads: Vec<usize>,
    by_runs: Vec<usize>,
    stored: Vec<bool>,
    /// The results that are stored over old values, and the loads of those.
    over: Vec<(Reg, Reg)>,
}

/// The lowered loop; None if it is too small, or has nothing to compile.
pub fn lower(body: &Loop, plan: &Plan, code: &mut Builder) -> Option<Lowered> {
    if shape::size(&body.dims) < code.least {
        return None;
    }
    let count = registers(body);
    let mut out = Lowered::of(body);
    cut_at_rows(&mut out);
    let widths = widths(body, count, out.mode == Mode::Columns && out.by_row);
    if !body.code.iter().zip(&widths).any(|(inst, width)| width.is_some() && matches!(inst.code, Code::Map(_))) {
        return None;
    }
    let mut source = Source::of(body, plan, count, &widths);
    source.find_singles(&out);
    let aside: Vec<bool> = body.code.iter().map(|i| i.code == Code::Spread && source.single[i.dst as usize]).collect();
    for (load, step) in body.loads.iter().zip(&mut out.loads) {
        step.single = source.single[load.reg as usize] && source.only_runs_read(load.reg);
    }
    let mut done: Vec<(Unit, Option<Run>)> = vec![];
    let mut left = units(body, count, &widths, &aside);
    left.reverse();
    while let Some(unit) = left.pop() {
        let Some(double) = unit.double else {
            done.push((unit, None));
            continue;
        };
        let (items, operands) = source.program(&unit.insts);
        let at = if operands.len() <= OPERANDS { code.place(items, double) } else { None };
        match at {
            Some(at) => done.push((unit, Some((at, operands)))),
            None if unit.insts.len() == 1 => return None,
            None => {
                // In two, of which each has less to keep in registers.
                let (first, second) = unit.insts.split_at(unit.insts.len() / 2);
                left.extend([second, first].map(|insts| Unit { insts: insts.to_vec(), ..unit }));
            }
        }
    }
    source.place(&mut out, done);
    Some(out)
}

/// Ends blocks with long rows, so that what is broadcast along the others is read in place, and what is one number a row as one.
fn cut_at_rows(out: &mut Lowered) {
    let strided =
        out.loads.iter().any(|l| l.rank == Rank::Full && l.how == Walk::Strided && matches!(l.map.strides.last(), Some(0 | 1)));
    match out.mode {
        Mode::Map if out.sparse.is_none() => {
            let strided = strided || out.stores.iter().any(|s| s.how == Walk::Strided && s.map.strides.last() == Some(&1));
            out.row = out.dims.last().copied().filter(|&n| n >= SHORT_ROW && strided);
        }
        Mode::Rows => out.by_row = out.cols() >= LONG_ROW && (strided || out.spreads),
        Mode::Columns => out.by_row = out.cols() >= if strided { LONG_ROW } else { 2 * LONG_ROW },
        _ => {}
    }
}

/// The type of each register.
fn types(body: &Loop, count: usize) -> Vec<DType> {
    let mut types = vec![DType::Bool; count];
    body.loads.iter().for_each(|load| types[load.reg as usize] = load.dtype);
    for inst in &body.code {
        types[inst.dst as usize] = match inst.code {
            Code::Map(e) => e.record().class.types(inst.dtype).1,
            Code::Cast(to) => to,
            Code::Fold(_) | Code::Spread => inst.dtype,
        };
    }
    types
}

impl<'a> Source<'a> {
    fn of(body: &'a Loop, plan: &'a Plan, count: usize, widths: &[Option<Width>]) -> Source<'a> {
        let (mut reads, mut by_runs, mut stored, mut over) = (vec![0; count], vec![0; count], vec![false; count], vec![]);
        for (inst, width) in body.code.iter().zip(widths) {
            for &r in &inst.src {
                reads[r as usize] += 1;
                by_runs[r as usize] += width.is_some() as usize;
            }
        }
        for store in &body.stores {
            stored[store.reg as usize] = true;
            let old = donor(plan, store.buffer).into_iter().flat_map(|slot| loads_of(body, plan, slot));
            over.extend(old.map(|load| (store.reg, load.reg)));
        }
        let origin = (0..count as Reg).collect();
        Source { body, plan, types: types(body, count), single: vec![false; count], origin, reads, by_runs, stored, over }
    }

    fn only_runs_read(&self, r: Reg) -> bool {
        self.by_runs[r as usize] == self.reads[r as usize] && !self.stored[r as usize]
    }

    /// Runs read as one element what is one element in every block.
    fn find_singles(&mut self, out: &Lowered) {
        for (load, step) in self.body.loads.iter().zip(&out.loads) {
            let same = match step.rank {
                Rank::Full if out.by_row => step.map.strides[out.fence..].iter().all(|&s| s == 0),
                Rank::Full if out.row.is_some() => step.map.strides.last() == Some(&0),
                _ => false,
            };
            self.single[load.reg as usize] = load.dtype != DType::Bool && (step.how == Walk::Fixed || same);
        }
        for inst in self.body.code.iter().filter(|i| i.code == Code::Spread && out.by_row && i.dtype != DType::Bool) {
            if self.only_runs_read(inst.dst) {
                self.single[inst.dst as usize] = true;
                self.origin[inst.dst as usize] = inst.src[0];
            }
        }
    }

    /// The program of a run, and the registers whose memory it reads and writes.
    fn program(&self, insts: &[usize]) -> (Vec<Item>, Vec<Reg>) {
        let body = self.body;
        let (mut items, mut operands) = (Vec::with_capacity(3 * insts.len()), vec![]);
        let mut values: Vec<Option<u16>> = vec![None; self.types.len()];
        let mut within = vec![0; self.types.len()];
        insts.iter().flat_map(|&k| &body.code[k].src).for_each(|&r| within[r as usize] += 1);
        // The results that others read, each with the last instruction that must have run before it is written.
        let mut results: Vec<(usize, Reg)> = vec![];
        for &k in insts {
            let r = body.code[k].dst;
            let is_read = self.stored[r as usize] || within[r as usize] < self.reads[r as usize];
            if is_read && !matches!(body.code[k].code, Code::Fold(_)) {
                results.push((self.overwrites(r, insts).unwrap_or(k).max(k), r));
            }
        }
        for &k in insts {
            let inst = &body.code[k];
            let mut ids = [0; 3];
            for (id, &r) in ids.iter_mut().zip(&inst.src) {
                *id = *values[r as usize].get_or_insert_with(|| {
                    let operand = operands.len() as u16;
                    operands.push(r);
                    items.push(match self.types[r as usize] {
                        DType::Bool => Item::Truths(operand),
                        _ if self.single[r as usize] => Item::Single(operand),
                        _ => Item::Load(operand),
                    });
                    items.len() as u16 - 1
                });
            }
            match inst.code {
                Code::Fold(kind) => {
                    let op = joined(kind).expect("its width was found");
                    items.push(Item::Join(op, inst.dtype, operands.len() as u16, ids[0]));
                    operands.push(inst.dst);
                }
                Code::Map(e) => items.push(Item::Op(e, inst.dtype, ids)),
                _ => unreachable!("it has no width"),
            }
            values[inst.dst as usize] = Some(items.len() as u16 - 1);
            for &(_, r) in results.iter().filter(|result| result.0 == k) {
                let (operand, value) = (operands.len() as u16, values[r as usize].unwrap_or(0));
                operands.push(r);
                let truths = self.types[r as usize] == DType::Bool;
                items.push(if truths { Item::StoreTruths(operand, value) } else { Item::Store(operand, value) });
            }
        }
        (items, operands)
    }

    /// The last of the instructions that reads what a result would be written over.
    fn overwrites(&self, r: Reg, insts: &[usize]) -> Option<usize> {
        let reads = |k: usize, old: Reg| self.body.code[k].src.contains(&old);
        let old = self.over.iter().filter(|over| over.0 == r);
        old.filter_map(|&(_, old)| insts.iter().copied().rfind(|&k| reads(k, old))).max()
    }

    /// Finds a place for every register, and writes the actions.
    fn place(&self, out: &mut Lowered, units: Vec<(Unit, Option<Run>)>) {
        let (body, count) = (self.body, self.types.len());
        let mut last = vec![0; count];
        let mut made = vec![None; count];
        for (u, (unit, _)) in units.iter().enumerate() {
            for inst in unit.insts.iter().map(|&k| &body.code[k]) {
                inst.src.iter().for_each(|&r| last[r as usize] = u);
                made[inst.dst as usize] = Some(u);
            }
        }
        let is_fold = |k: usize| matches!(body.code[k].code, Code::Fold(_));
        let folds = units.iter().filter(|(unit, run)| run.is_none() && is_fold(unit.insts[0]));
        let folded = folds.map(|(unit, _)| body.code[unit.insts[0]].src[0]);
        body.stores.iter().map(|s| s.reg).chain(folded).for_each(|r| last[r as usize] = usize::MAX);
        let mut sums = vec![None; count];
        body.code.iter().filter(|i| matches!(i.code, Code::Fold(_))).for_each(|i| sums[i.dst as usize] = Some(0));
        let ranks: Vec<Rank> = units.iter().map(|(unit, _)| unit.rank).collect();
        let mut place = load_places(body, count);
        // A result that is stored straight to memory of its own is computed there: in place, once the old value is read no more.
        let mut direct: Vec<Option<u16>> = vec![None; count];
        for (k, (store, step)) in body.stores.iter().zip(&out.stores).enumerate() {
            let is_sum = sums[store.reg as usize].is_some();
            let by_rows = out.row.is_some() && step.map.strides.last() == Some(&1) && donor(self.plan, store.buffer).is_none();
            let fits = step.how == Walk::Straight || step.how == Walk::Strided && by_rows;
            let Some(at) = made[store.reg as usize].filter(|_| fits && !is_sum) else { continue };
            let old = donor(self.plan, store.buffer).into_iter().flat_map(|slot| loads_of(body, self.plan, slot));
            let read = old.map(|l| last[l.reg as usize]).max();
            // A run reads an element before it writes that.
            if direct[store.reg as usize].is_none() && read.is_none_or(|read| read < at || read == at && units[at].1.is_some()) {
                direct[store.reg as usize] = Some(k as u16);
            }
        }
        let (mut free, mut folds_so_far) = (Vec::<u16>::new(), 0);
        for (u, (unit, run)) in units.into_iter().enumerate() {
            let insts = || unit.insts.iter().map(|&k| &body.code[k]);
            for inst in insts() {
                let within = run.as_ref().is_some_and(|(_, operands)| !operands.contains(&inst.dst));
                place[inst.dst as usize] = match direct[inst.dst as usize] {
                    Some(store) => Location::Store(store),
                    None if within => continue,
                    None => Location::Reg(free.pop().unwrap_or_else(|| {
                        out.registers += 1;
                        out.registers as u16 - 1
                    })),
                };
            }
            // Row registers are kept: where the reductions run in a pass of their own, their results must outlive it.
            let mut read: Vec<Reg> = insts().flat_map(|i| i.src.iter().copied()).collect();
            read.sort_unstable();
            read.dedup();
            for r in read {
                let made_full = made[r as usize].is_some_and(|m| m != u && ranks[m] == Rank::Full) && sums[r as usize].is_none();
                if let (true, true, Location::Reg(reg)) = (last[r as usize] == u, made_full, place[r as usize]) {
                    free.push(reg);
                }
            }
            match run {
                Some((at, operands)) => {
                    // The sums of columns are added to where they are kept for all rows.
                    let added = insts().filter(|i| matches!(i.code, Code::Fold(_)));
                    let joins: Vec<Micro> = added
                        .map(|inst| {
                            sums[inst.dst as usize] = Some(folds_so_far);
                            folds_so_far += 1;
                            let action = Action::Joined(fold_of_inst(inst));
                            Micro {
                                action,
                                dst: place[inst.dst as usize],
                                src: [Location::Reg(0); 3],
                                arity: 0,
                                rank: Rank::Row,
                                size: inst.dtype.bytes(),
                            }
                        })
                        .collect();
                    let at_sum = |r: Reg| sums[r as usize].filter(|_| unit.rank == Rank::Full).map(Location::Sum);
                    let list = operands.iter().map(|&r| at_sum(r).unwrap_or(place[self.origin[r as usize] as usize])).collect();
                    let size = if unit.double == Some(true) { 8 } else { 4 };
                    let (action, dst, src) = (Action::Run(at, list), Location::Reg(0), [Location::Reg(0); 3]);
                    out.code.push(Micro { action, dst, src, arity: 0, rank: unit.rank, size });
                    out.code.extend(joins);
                }
                None => {
                    let inst = &body.code[unit.insts[0]];
                    folds_so_far += matches!(inst.code, Code::Fold(_)) as u16;
                    let mut src = [Location::Reg(0); 3];
                    src.iter_mut().zip(&inst.src).for_each(|(s, &r)| *s = place[r as usize]);
                    out.code.push(instruction(inst, place[inst.dst as usize], src));
                }
            }
        }
        out.finish(body, &place);
    }
}
