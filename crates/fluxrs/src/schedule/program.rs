//! Writes the program of one fused loop: loads, instructions and stores in registers that are written once.

use super::emit::Program;
use super::group::{Group, GroupKind, Groups};
use super::store::is_fused;
use super::{Pending, source_of};
use crate::dtype::DType;
use crate::ops::Op;
use crate::plan::{Code, Inst, Load, Loop, Mode, Rank, Reg, Source, Store};
use crate::shape::{Map, Shape, Strides, collapse};
use crate::work;
use rustc_hash::FxHashMap;
use smallvec::{SmallVec, smallvec};

/// One loop's program.
pub(super) struct Emitter<'a> {
    pending: &'a Pending<'a>,
    groups: &'a Groups,
    program: &'a Program,
    k: usize,
    pub loads: Vec<Load>,
    pub code: Vec<Inst>,
    regs: Reg,
    /// Registers of members of the group.
    member: FxHashMap<usize, Reg>,
    /// Registers of values read through a map.
    known: FxHashMap<(usize, Map, Rank, DType), Reg>,
}

impl<'a> Emitter<'a> {
    pub fn new(pending: &'a Pending<'a>, groups: &'a Groups, program: &'a Program, k: usize) -> Self {
        Emitter {
            pending,
            groups,
            program,
            k,
            loads: vec![],
            code: vec![],
            regs: 0,
            member: FxHashMap::default(),
            known: FxHashMap::default(),
        }
    }

    fn fresh(&mut self) -> Reg {
        self.regs += 1;
        self.regs - 1
    }

    /// The group's loop, without values that nothing reads; None if nothing is left.
    pub fn loop_of(mut self, stored: &[bool]) -> Option<Loop> {
        let (groups, pending) = (self.groups, self.pending);
        let group = &groups.list[self.k];
        let mut stores = Vec::new();
        for &i in &group.members {
            let rank = groups.of[i].expect("members have a place").1;
            let is_product = matches!(pending.op(i), Op::Matmul | Op::Conv(_));
            let reg = if is_product {
                let source = Source::Buffer(self.program.buffer_of[i].expect("products have a buffer"));
                self.load(source, &Map::contiguous(&group.shape), pending.dtype(i), Rank::Full)
            } else {
                self.compute(i, rank)
            };
            self.member.insert(i, reg);
            if stored[i] && !is_product {
                let buffer = self.program.buffer_of[i].expect("stored values have a buffer");
                let space = if rank == Rank::Full { group.shape.clone() } else { group.kept() };
                stores.push(Store { reg, buffer, dtype: pending.dtype(i), rank, map: Map::contiguous(&space) });
            }
        }
        let mode = group.mode();
        let body = Loop { mode, dims: group.shape.clone(), fence: 0, loads: self.loads, code: self.code, stores, sparse: None };
        let body = drop_unused(body);
        (!body.stores.is_empty()).then(|| simplify(arrange(body, group)))
    }

    /// The register of member `i`.
    fn compute(&mut self, i: usize, rank: Rank) -> Reg {
        let pending = self.pending;
        let shape = pending.shape(i);
        if let Op::Reduce(r) = pending.op(i) {
            let e = &pending.edges[i][0];
            let src = match is_fused(pending, self.groups, i, e) {
                true => self.member[&e.base],
                false => self.value(e.base, &e.map, &e.shape, pending.dtype(i), Rank::Full),
            };
            return self.instruction(Code::Fold(r.kind), pending.dtype(i), smallvec![src], Rank::Row);
        }
        if let Some(number) = pending.as_number(i) {
            let strides = Strides::from_elem(0, self.space(rank).len());
            return self.load(Source::Number(number), &Map { offset: 0, strides }, pending.dtype(i), rank);
        }
        let srcs: SmallVec<[Reg; 3]> = (0..pending.edges[i].len())
            .map(|n| {
                let e = &pending.edges[i][n];
                let dtype = operand_dtype(pending, i, n);
                let map = e.map.broadcast(&e.shape, shape);
                if !is_fused(pending, self.groups, i, e) || pending.as_number(e.base).is_some() {
                    return self.value(e.base, &map, shape, dtype, rank);
                }
                let reg = self.member[&e.base];
                let from = self.groups.of[e.base].expect("fused").1;
                if from == rank { reg } else { self.spread(e.base, reg) }
            })
            .collect();
        self.apply(i, srcs, rank)
    }

    fn spread(&mut self, base: usize, reg: Reg) -> Reg {
        let key = (base, Map { offset: 0, strides: smallvec![] }, Rank::Full, self.pending.dtype(base));
        if let Some(&known) = self.known.get(&key) {
            return known;
        }
        let wide = self.instruction(Code::Spread, self.pending.dtype(base), smallvec![reg], Rank::Full);
        self.known.insert(key, wide);
        wide
    }

    fn apply(&mut self, i: usize, srcs: SmallVec<[Reg; 3]>, rank: Rank) -> Reg {
        let pending = self.pending;
        match pending.op(i) {
            Op::Map(e) => {
                let last = pending.edges[i].len() - 1;
                self.instruction(Code::Map(*e), operand_dtype(pending, i, last), srcs, rank)
            }
            Op::Cast => {
                let from = pending.dtype(pending.edges[i][0].base);
                self.instruction(Code::Cast(pending.dtype(i)), from, srcs, rank)
            }
            _ => srcs[0],
        }
    }

    fn instruction(&mut self, code: Code, dtype: DType, src: SmallVec<[Reg; 3]>, rank: Rank) -> Reg {
        let dst = self.fresh();
        self.code.push(Inst { code, dtype, dst, src, rank });
        dst
    }

    fn space(&self, rank: Rank) -> Shape {
        let group = &self.groups.list[self.k];
        if rank == Rank::Full { group.shape.clone() } else { group.kept() }
    }

    /// A value from outside, read through `map` over `shape`: loaded, or computed again.
    pub fn value(&mut self, i: usize, map: &Map, shape: &[usize], dtype: DType, rank: Rank) -> Reg {
        work::count(1);
        let pending = self.pending;
        let key = (i, map.clone(), rank, dtype);
        if let Some(&reg) = self.known.get(&key) {
            return reg;
        }
        let reg = match source_of(pending, &self.program.buffer_of, i) {
            Some(source) => {
                let space = self.space(rank);
                let alone = self.groups.list[self.k].kind == GroupKind::Alone;
                let map = match source {
                    // A constant is the same wherever it is read.
                    Source::Number(_) => {
                        Map { offset: 0, strides: Strides::from_elem(0, if alone { shape.len() } else { space.len() }) }
                    }
                    _ if alone => map.clone(),
                    _ => map.reshape(shape, &space).expect("checked when the node joined"),
                };
                let dtype = if matches!(source, Source::Number(_)) { dtype } else { pending.dtype(i) };
                self.load(source, &map, dtype, rank)
            }
            None => {
                let inner = pending.shape(i);
                let srcs = (0..pending.edges[i].len())
                    .map(|n| {
                        let e = &pending.edges[i][n];
                        let read = e.map.broadcast(&e.shape, inner);
                        let through = match pending.as_number(e.base) {
                            Some(_) => Map { offset: 0, strides: Strides::from_elem(0, shape.len()) },
                            None => map.then(shape, &read, inner).expect("checked when it was left unstored"),
                        };
                        self.value(e.base, &through, shape, operand_dtype(pending, i, n), rank)
                    })
                    .collect();
                self.apply(i, srcs, rank)
            }
        };
        self.known.insert(key, reg);
        reg
    }

    fn load(&mut self, source: Source, map: &Map, dtype: DType, rank: Rank) -> Reg {
        work::count(1 + self.loads.len());
        let same = |l: &&Load| l.source == source && l.dtype == dtype && l.rank == rank && l.map == *map;
        if let Some(l) = self.loads.iter().find(same) {
            return l.reg;
        }
        let reg = self.fresh();
        self.loads.push(Load { reg, source, dtype, rank, map: map.clone() });
        reg
    }
}

/// The dtype that operand `n` of an elementwise node is read in.
fn operand_dtype(pending: &Pending, i: usize, n: usize) -> DType {
    let bases = &pending.edges[i];
    match pending.op(i) {
        Op::Map(e) => {
            let class = e.record().class;
            let strong = class.values(bases).iter().find(|b| !pending.locals[b.base].node.is_number());
            class.operand(n, strong.map_or(pending.dtype(i), |b| pending.dtype(b.base)))
        }
        Op::Cast => pending.dtype(bases[n].base),
        _ => pending.dtype(i),
    }
}

/// Removes instructions and loads that lead to no store.
fn drop_unused(mut body: Loop) -> Loop {
    let mut used: rustc_hash::FxHashSet<Reg> = body.stores.iter().map(|s| s.reg).collect();
    let mut code: Vec<Inst> = Vec::with_capacity(body.code.len());
    for inst in body.code.into_iter().rev() {
        if used.contains(&inst.dst) {
            used.extend(inst.src.iter().copied());
            code.push(inst);
        }
    }
    code.reverse();
    body.loads.retain(|l| used.contains(&l.reg));
    body.code = code;
    body
}

/// Brings the axes into the order of the loop's mode: kept before reduced for rows, reduced before kept for columns.
fn arrange(mut body: Loop, group: &Group) -> Loop {
    if body.mode == Mode::Map {
        return body;
    }
    let (kept, gone): (Vec<usize>, Vec<usize>) = (0..group.shape.len()).partition(|&a| group.axes >> a & 1 == 0);
    let order: Vec<usize> = match body.mode {
        Mode::Rows => kept.iter().chain(&gone).copied().collect(),
        _ => gone.iter().chain(&kept).copied().collect(),
    };
    let place = |rank: Rank, map: &Map| -> Map {
        let strides = order.iter().map(|a| match rank {
            Rank::Full => map.strides[*a],
            Rank::Row => kept.iter().position(|k| k == a).map_or(0, |k| map.strides[k]),
        });
        Map { offset: map.offset, strides: strides.collect() }
    };
    body.loads.iter_mut().for_each(|l| l.map = place(l.rank, &l.map));
    body.stores.iter_mut().for_each(|s| s.map = place(s.rank, &s.map));
    body.dims = order.iter().map(|&a| group.shape[a]).collect();
    body.fence = if body.mode == Mode::Rows { kept.len() } else { gone.len() };
    body
}

/// Merges axes that are walked as one.
pub(super) fn simplify(mut body: Loop) -> Loop {
    let maps = body.loads.iter_mut().map(|l| &mut l.map).chain(body.stores.iter_mut().map(|s| &mut s.map));
    let mut maps: Vec<&mut Map> = maps.collect();
    let (dims, fence) = collapse(&body.dims, body.fence, &mut maps);
    body.dims = dims;
    body.fence = fence;
    body
}
