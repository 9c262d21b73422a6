//! Writes the kernels and the list of buffers; `program` has what a fused loop consists of.

use super::group::{Group, GroupKind, Groups};
use super::program::{Emitter, simplify};
use super::sparse::{self, Rows};
use super::{Edge, Pending, product, source_of};
use crate::dtype::DType;
use crate::error::Result;
use crate::ops::Op;
use crate::plan::{
    Argument, Body, Buf, BufferInfo, Call, Kernel, Load, Loop, Matmul, Mode, OutputInfo, Rank, Source, Storage, Store,
};
use crate::schedule::LocalKind;
use crate::shape::{self, Map, Shape};
use crate::stop::go_on;
use crate::work;
use rustc_hash::FxHashMap;
use smallvec::{SmallVec, smallvec};

/// The plan under construction.
pub(crate) struct Program {
    pub buffers: Vec<BufferInfo>,
    pub outputs: Vec<OutputInfo>,
    pub kernels: Vec<Kernel>,
    pub commit: usize,
    /// The buffer of each value that is in memory.
    pub buffer_of: Vec<Option<Buf>>,
    /// The values that are in memory without their rows of zeros.
    pub sparse: FxHashMap<usize, Rows>,
}

pub(crate) fn emit(pending: &Pending, groups: &Groups, stored: &[bool]) -> Result<Program> {
    let mut program = Program {
        buffers: vec![],
        outputs: vec![],
        kernels: vec![],
        commit: 0,
        buffer_of: vec![None; pending.locals.len()],
        sparse: sparse::find(pending, groups, stored),
    };
    for (i, local) in pending.locals.iter().enumerate() {
        go_on(i)?;
        if let LocalKind::Slot(k) = local.kind {
            program.add_buffer(pending, i, Storage::Slot(k));
        } else if let Some(r) = pending.requested[i] {
            program.add_buffer(pending, i, Storage::Output(r as u32));
        } else if stored[i] && pending.as_number(i).is_none() {
            program.add_buffer(pending, i, Storage::Temporary);
            program.shrink(i);
        }
    }
    program.outputs = pending
        .requests
        .iter()
        .map(|r| OutputInfo { buffer: program.buffer_of[r.local as usize].expect("made above"), donor: None })
        .collect();
    let mut commit = None;
    let mut nodes = 0;
    for (k, group) in groups.list.iter().enumerate() {
        for _ in &group.members {
            go_on(nodes)?;
            nodes += 1;
        }
        if group.last && commit.is_none() {
            commit = Some(program.kernels.len());
        }
        match group.kind {
            GroupKind::Loop => {
                let body = Emitter::new(pending, groups, &program, k).loop_of(stored);
                if let Some(mut body) = body {
                    body.sparse = program.sparse_load(&body);
                    program.push(Body::Loop(body), label(pending, group));
                }
            }
            GroupKind::Matmul => program.product(pending, groups, stored, k),
            GroupKind::Alone => match pending.op(group.members[0]) {
                Op::Place(_) => program.place(pending, groups, k),
                Op::Scan(scan) => program.repeat(pending, group, scan)?,
                _ => program.call(pending, group),
            },
        }
    }
    program.commit = commit.unwrap_or(program.kernels.len());
    program.donate(pending);
    program.skip_zeros();
    Ok(program)
}

/// The names of a kernel's ops, for people.
pub(super) fn label(pending: &Pending, group: &Group) -> String {
    let names: Vec<&str> = group.members.iter().map(|&i| pending.op(i).name()).collect();
    names.join(" ")
}

impl Program {
    fn add_buffer(&mut self, pending: &Pending, i: usize, storage: Storage) -> Buf {
        self.buffers.push(BufferInfo { storage, dtype: pending.dtype(i), len: pending.size(i) });
        let buffer = self.buffers.len() as Buf - 1;
        self.buffer_of[i] = Some(buffer);
        buffer
    }

    pub(super) fn temporary(&mut self, dtype: DType, len: usize) -> Buf {
        self.buffers.push(BufferInfo { storage: Storage::Temporary, dtype, len });
        self.buffers.len() as Buf - 1
    }

    pub(super) fn push(&mut self, body: Body, label: String) {
        let cost = cost(&body);
        self.kernels.push(Kernel { body, label, cost });
    }

    /// An operand of a structured op: where it lies, or a contiguous copy if the op does not read it through a map.
    pub(super) fn argument(&mut self, pending: &Pending, e: &Edge, mapped: bool) -> Argument {
        let (dtype, shape, map) = (pending.dtype(e.base), e.shape.clone(), e.map.clone());
        if let Some(number) = pending.as_number(e.base).filter(|_| pending.locals[e.base].kind != LocalKind::Compute) {
            return Argument { source: Source::Number(number), map, shape, dtype };
        }
        let source = source_of(pending, &self.buffer_of, e.base).expect("operands of structured ops are stored");
        if matches!(source, Source::Buffer(_)) && (mapped || map.is_contiguous(&shape)) {
            return Argument { source, map, shape, dtype };
        }
        let copy = self.copy(source, dtype, &map, &shape);
        Argument { source: Source::Buffer(copy), map: Map::contiguous(&shape), shape, dtype }
    }

    /// A loop that copies a strided source into a temporary.
    pub(super) fn copy(&mut self, source: Source, dtype: DType, map: &Map, shape: &Shape) -> Buf {
        let buffer = self.temporary(dtype, shape::size(shape));
        self.copy_to(buffer, source, dtype, map, shape);
        buffer
    }

    pub(super) fn copy_to(&mut self, buffer: Buf, source: Source, dtype: DType, map: &Map, shape: &Shape) {
        let load = Load { reg: 0, source, dtype, rank: Rank::Full, map: map.clone() };
        let store = Store { reg: 0, buffer, dtype, rank: Rank::Full, map: Map::contiguous(shape) };
        let body = Loop {
            mode: Mode::Map,
            dims: shape.clone(),
            fence: 0,
            loads: vec![load],
            code: vec![],
            stores: vec![store],
            sparse: None,
        };
        self.push(Body::Loop(simplify(body)), "copy".into());
    }

    fn call(&mut self, pending: &Pending, group: &Group) {
        let i = group.members[0];
        let Op::Structured(op) = pending.op(i) else { unreachable!("only structured ops and places are alone") };
        let edges = pending.edges[i].iter().enumerate();
        let srcs = edges.map(|(n, e)| self.argument(pending, e, op.reads_through_map(n))).collect();
        let out = self.buffer_of[i];
        let elements = group.members.get(1).and_then(|&j| self.buffer_of[j]);
        if out.is_none() && elements.is_none() {
            return;
        }
        let keys = self.sparse.get(&i).map(|rows| rows.keys);
        let shape = self.sparse.get(&i).map_or_else(|| Shape::from(pending.shape(i)), |rows| smallvec![rows.n, rows.width]);
        let shapes: SmallVec<[&[usize]; 4]> = pending.edges[i].iter().map(|e| &e.shape[..]).collect();
        let cost = op.cost(&shapes, &shape);
        let label = label(pending, group);
        self.kernels.push(Kernel {
            body: Body::Structured(Call {
                op: op.clone(),
                local: i as u32,
                srcs,
                out,
                elements,
                keys,
                shape,
                dtype: pending.dtype(i),
            }),
            label,
            cost,
        });
    }

    fn place(&mut self, pending: &Pending, groups: &Groups, k: usize) {
        let i = groups.list[k].members[0];
        let Op::Place(place) = pending.op(i) else { unreachable!("checked by the caller") };
        let Some(buffer) = self.buffer_of[i] else { return };
        let dtype = pending.dtype(i);
        if let Some(fill) = place.fill {
            // The fill is part of the op, hence of the code: a constant of its own, made by comparing nothing.
            let dims: Shape = smallvec![pending.size(i)];
            let body = crate::plan::Loop {
                mode: Mode::Map,
                loads: vec![Load {
                    reg: 0,
                    source: Source::Constant(fill),
                    dtype,
                    rank: Rank::Full,
                    map: Map { offset: 0, strides: smallvec![0] },
                }],
                code: vec![],
                stores: vec![Store { reg: 0, buffer, dtype, rank: Rank::Full, map: Map::contiguous(&dims) }],
                dims,
                fence: 0,
                sparse: None,
            };
            self.push(Body::Loop(body), "fill".into());
        }
        for (e, map) in pending.edges[i].iter().zip(&place.maps) {
            let mut emitter = Emitter::new(pending, groups, self, k);
            let reg = emitter.value(e.base, &e.map, &e.shape, dtype, Rank::Full);
            let (loads, code) = (emitter.loads, emitter.code);
            let stores = vec![Store { reg, buffer, dtype, rank: Rank::Full, map: map.clone() }];
            let body = Loop { mode: Mode::Map, dims: e.shape.clone(), fence: 0, loads, code, stores, sparse: None };
            self.push(Body::Loop(simplify(body)), "place".into());
        }
    }

    /// A product or a convolution, with its epilogue.
    fn product(&mut self, pending: &Pending, groups: &Groups, stored: &[bool], k: usize) {
        let group = &groups.list[k];
        let i = group.members[0];
        let (shape, edges) = (Shape::from(pending.shape(i)), &pending.edges[i]);
        let dtype = pending.dtype(i);
        let mut operand = |e: &Edge| match source_of(pending, &self.buffer_of, e.base) {
            Some(Source::Buffer(b)) => (b, e.map.clone()),
            Some(source) => (self.copy(source, dtype, &e.map, &e.shape), Map::contiguous(&e.shape)),
            None => unreachable!("operands of products are stored"),
        };
        let [(first, first_map), (second, second_map)] = [&edges[0], &edges[1]].map(&mut operand);
        let (first_map, second_map) = ((&edges[0].shape[..], first_map), (&edges[1].shape[..], second_map));
        let (a, b, axes) = match pending.op(i) {
            // The kernels by the patches.
            Op::Conv(conv) => (second, first, product::conv(conv, first_map, second_map, &shape)),
            _ => (first, second, product::matmul(first_map, second_map)),
        };
        let c = match self.buffer_of[i] {
            Some(c) => c,
            None => self.temporary(dtype, shape::size(&shape)),
        };
        let kept = self.buffer_of[i].replace(c);
        let epilogue = Emitter::new(pending, groups, self, k).loop_of(stored);
        let label = label(pending, group);
        let product::Axes { batch, m, inner, cols, a_map, b_map, window } = axes;
        let keeps_c = kept.is_some();
        let body = Matmul { dtype, batch, m, inner, cols, a, a_map, b, b_map, window, c, epilogue, keeps_c };
        self.push(Body::Matmul(Box::new(body)), label);
    }

    /// Lets new values of leaves be written over the old ones where nothing reads the old one afterwards.
    fn donate(&mut self, pending: &Pending) {
        let last: Vec<&Loop> = self.kernels[self.commit..].iter().map_while(|k| k.body.as_loop()).collect();
        if last.len() < self.kernels.len() - self.commit {
            return;
        }
        let uses = Uses::of(&last, self.buffers.len());
        let mut of_slot: FxHashMap<u32, usize> = FxHashMap::default();
        of_slot.extend(self.buffers.iter().enumerate().filter_map(|(b, info)| match info.storage {
            Storage::Slot(slot) => Some((slot, b)),
            _ => None,
        }));
        for (r, request) in pending.requests.iter().enumerate() {
            let (Some(slot), true) = (request.donor, request.commit) else { continue };
            let new = self.outputs[r].buffer as usize;
            let Some(&old) = of_slot.get(&slot) else { continue };
            let fits = self.buffers[new].dtype == self.buffers[old].dtype && self.buffers[new].len == self.buffers[old].len;
            let Some(first) = uses.stores[new].first().map(|&(k, _)| k) else { continue };
            // A read that comes before the write sees the old value.
            work::count(1 + uses.loads[old].len() * uses.stores[new].len());
            let safe = uses.loads[old].iter().filter(|&&(k, _)| k >= first).all(|&(k, map)| {
                let store = uses.stores[new].iter().find(|s| s.0 == k);
                store.is_some_and(|s| s.1 == map)
            });
            if fits && safe {
                self.outputs[r].donor = Some(slot);
            }
        }
    }
}

/// The kernels that touch each buffer in the last segment, by number, ascending, each with a map.
struct Uses<'a> {
    loads: Vec<SmallVec<[(usize, &'a Map); 1]>>,
    stores: Vec<SmallVec<[(usize, &'a Map); 1]>>,
}

impl<'a> Uses<'a> {
    fn of(kernels: &[&'a Loop], buffers: usize) -> Uses<'a> {
        let mut uses = Uses { loads: vec![SmallVec::new(); buffers], stores: vec![SmallVec::new(); buffers] };
        for (k, l) in kernels.iter().enumerate() {
            for load in &l.loads {
                if let Source::Buffer(b) = load.source {
                    uses.loads[b as usize].push((k, &load.map));
                }
            }
            l.stores.iter().for_each(|store| uses.stores[store.buffer as usize].push((k, &store.map)));
        }
        uses
    }
}

/// A kernel's cost in nanoseconds of one core, as estimated.
fn cost(body: &Body) -> usize {
    match body {
        Body::Loop(l) => {
            let turns = l.loads.len() + l.code.len() * 2 + l.stores.len();
            shape::size(&l.dims).saturating_mul(turns) / 16 + 20
        }
        Body::Matmul(m) => [m.m, m.n(), m.k()].into_iter().fold(shape::size(&m.batch), usize::saturating_mul) / 32 + 50,
        Body::Structured(c) => shape::size(&c.shape) * 4 + 50,
        Body::Repeat(r) => r.length.saturating_mul(r.plan.cost) + 50,
    }
}
