//! Gradients that are zero but for some rows, as that of a table of which few rows were taken: only those rows reach memory, if the one
//! thing that reads them is a loop that goes over the table anyway. And where that loop changes nothing in the others, it skips them.

use super::Pending;
use super::emit::Program;
use super::group::{GroupKind, Groups};
use super::store::needed;
use crate::dtype::DType;
use crate::ops::{Elementwise, Op};
use crate::plan::{Body, Buf, Code, Loop, Rank, Reg, Source, Sparse, Storage};
use crate::shape::{self, Map};
use crate::work;
use rustc_hash::{FxHashMap, FxHashSet};
use smallvec::SmallVec;

/// The rows of a value that are not zero.
pub(super) struct Rows {
    pub keys: Buf,
    /// The numbers of rows that there are.
    pub n: usize,
    pub width: usize,
}

/// The values that are kept without their rows of zeros; their keys have no buffers yet.
pub(super) fn find(pending: &Pending, groups: &Groups, stored: &[bool]) -> FxHashMap<usize, Rows> {
    let mut found = FxHashMap::default();
    let candidates: Vec<usize> = (0..pending.locals.len()).filter(|&i| stored[i] && is_candidate(pending, i)).collect();
    if candidates.is_empty() {
        return found;
    }
    let mut readers: Vec<SmallVec<[usize; 2]>> = vec![SmallVec::new(); pending.locals.len()];
    for (i, _) in needed(pending).into_iter().enumerate().filter(|(_, needed)| *needed) {
        pending.edges[i].iter().for_each(|e| readers[e.base].push(i));
    }
    work::count(pending.locals.len());
    let mut taken = FxHashSet::default();
    for i in candidates {
        if reading_loop(pending, groups, stored, &readers, i).is_some_and(|group| taken.insert(group)) {
            let n = shape::size(&pending.edges[i][1].shape);
            found.insert(i, Rows { keys: Buf::MAX, n, width: pending.size(i) / pending.shape(i)[0] });
        }
    }
    found
}

fn is_candidate(pending: &Pending, i: usize) -> bool {
    let Op::Structured(op) = pending.op(i) else { return false };
    if !pending.is_compute(i) || !op.is_sparse() || pending.requested[i].is_some() || !pending.locals[i].node.device().is_cpu() {
        return false;
    }
    // With more of them there is little to gain.
    let (rows, n) = (pending.shape(i)[0], shape::size(&pending.edges[i][1].shape));
    n > 0 && n <= rows / 2 && pending.size(i) > 0 && rows.checked_mul(n).is_some_and(|keys| keys <= i64::MAX as usize)
}

/// The loop over the table's own space that alone reads value `i`, at the index that it is at.
fn reading_loop(
    pending: &Pending,
    groups: &Groups,
    stored: &[bool],
    readers: &[SmallVec<[usize; 2]>],
    i: usize,
) -> Option<usize> {
    let (group, _) = groups.of[*readers[i].first()?]?;
    let is_over_table = groups.list[group].kind == GroupKind::Loop
        && groups.list[group].axes == 0
        && groups.list[group].shape.as_slice() == pending.shape(i);
    let at_index = |&reader: &usize| {
        let mut edges = pending.edges[reader].iter().filter(|e| e.base == i);
        edges.all(|e| e.shape.as_slice() == pending.shape(i) && e.map == Map::contiguous(&e.shape))
    };
    if !is_over_table || !readers[i].iter().all(at_index) {
        return None;
    }
    // What is made of it and not stored may be computed again elsewhere.
    let mut open: Vec<usize> = vec![i];
    while let Some(x) = open.pop() {
        for &reader in &readers[x] {
            if groups.of[reader] != Some((group, Rank::Full)) {
                return None;
            }
            if !stored[reader] {
                open.push(reader);
            }
        }
    }
    Some(group)
}

impl Program {
    /// Makes the buffer just added of value `i` one of its rows alone, if it is kept so.
    pub(super) fn shrink(&mut self, i: usize) {
        let Some(rows) = self.sparse.get_mut(&i) else { return };
        let buffer = self.buffers.last_mut().expect("added just now");
        buffer.len = rows.n * rows.width;
        rows.keys = self.buffers.len() as Buf;
        let n = rows.n;
        self.temporary(DType::I64, n);
    }

    /// The load of a loop that is of some rows alone.
    pub(super) fn sparse_load(&self, body: &Loop) -> Option<Box<Sparse>> {
        let of = |(i, rows): (&usize, &Rows)| {
            let source = Source::Buffer(self.buffer_of[*i]?);
            let load = body.loads.iter().find(|load| load.source == source)?;
            Some(Box::new(Sparse { reg: load.reg, keys: rows.keys, n: rows.n, width: rows.width, only: None }))
        };
        self.sparse.iter().find_map(of)
    }

    /// Finds the loops that change nothing where their sparse operand is zero.
    pub(super) fn skip_zeros(&mut self) {
        for k in 0..self.kernels.len() {
            let Body::Loop(l) = &self.kernels[k].body else { continue };
            let Some(sparse) = &l.sparse else { continue };
            let only = self.change(l, sparse.reg);
            if let Body::Loop(Loop { sparse: Some(sparse), .. }) = &mut self.kernels[k].body {
                sparse.only = only;
            }
        }
    }

    /// For a loop p ± c·x over the memory of p: the number c, and the sign of zero of c·0 that leaves every p as it is.
    fn change(&self, l: &Loop, x: Reg) -> Option<(Source, f64)> {
        let [store] = &l.stores[..] else { return None };
        let Storage::Output(output) = self.buffers[store.buffer as usize].storage else { return None };
        let donor = self.outputs[output as usize].donor?;
        let (last, before) = l.code.split_last()?;
        let is_old = |reg: Reg| {
            let load = l.loads.iter().find(|load| load.reg == reg);
            load.is_some_and(|load| {
                let of = |b: Buf| self.buffers[b as usize].storage == Storage::Slot(donor);
                load.map == store.map && load.source.buffer().is_some_and(of)
            })
        };
        let (added, zero) = match (last.code, &last.src[..]) {
            (Code::Map(Elementwise::add), &[p, y]) | (Code::Map(Elementwise::add), &[y, p]) if is_old(p) => (y, -0.0),
            (Code::Map(Elementwise::subtract), &[p, y]) if is_old(p) => (y, 0.0),
            _ => return None,
        };
        let factor = match before {
            [inst] if inst.dst == added && inst.code == Code::Map(Elementwise::multiply) => {
                let factor = inst.src.iter().find(|&&reg| reg != x).filter(|_| inst.src.contains(&x))?;
                l.loads.iter().find(|load| load.reg == *factor)?.source
            }
            _ => return None,
        };
        (last.dst == store.reg && factor.buffer().is_none()).then_some((factor, zero))
    }
}
