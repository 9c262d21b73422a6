//! Which values reach memory. A cheap elementwise value read outside its kernel is computed again there.

use super::group::{Groups, link};
use super::{Edge, Pending};
use crate::error::Result;
use crate::ops::Op;
use crate::plan::Rank;
use crate::shape::{Map, Shape};
use crate::stop::go_on;
use crate::work;
use smallvec::SmallVec;

/// Instructions that are cheaper to run again than to store and load.
const RECOMPUTE: usize = 16;
/// Values that an expression computed again may load: those of a size near its own.
const RECOMPUTE_LOADS: usize = 3;
/// A value with fewer elements than this share of the space is in cache.
const SMALL_SHARE: usize = 64;
/// Instructions that may run again for every element that a broadcast makes of one.
const RECOMPUTE_BROADCAST: usize = 2;

/// For every node whether its value is written to memory.
pub(crate) fn decide(pending: &Pending, groups: &Groups) -> Result<Vec<bool>> {
    let n = pending.locals.len();
    let mut stored: Vec<bool> = (0..n).map(|i| pending.requested[i].is_some()).collect();
    for (i, needed) in needed(pending).into_iter().enumerate() {
        go_on(i)?;
        // A part is made by its scan, which has no value of its own.
        if !needed || !pending.is_compute(i) || groups.of[i].is_none() || matches!(pending.op(i), Op::Part(_)) {
            continue;
        }
        for e in &pending.edges[i] {
            if !pending.is_compute(e.base) || pending.as_number(e.base).is_some() || is_fused(pending, groups, i, e) {
                continue;
            }
            let needs_memory = matches!(pending.op(i), Op::Matmul | Op::Conv(_) | Op::Structured(_) | Op::Scan(_));
            let budget = match pending.size(i).max(size(&e.shape)) > pending.size(e.base) {
                true => RECOMPUTE_BROADCAST,
                false => RECOMPUTE,
            };
            let inline = !needs_memory && {
                let shape = if pending.is_elementwise(i) { pending.shape(i) } else { &e.shape };
                let space = space(pending, groups, i);
                let mut again =
                    Again { pending, stored: &stored, shape, space: space.as_deref().unwrap_or(shape), loads: SmallVec::new() };
                let cost = again.cost(e.base, &e.map.broadcast(&e.shape, shape), RECOMPUTE);
                cost.is_some_and(|cost| cost <= budget) && !again.is_own_result(e.base, groups)
            };
            if inline {
                store_inputs(pending, &mut stored, e.base);
            } else {
                stored[e.base] = true;
            }
        }
    }
    Ok(stored)
}

/// True for the nodes that a result is made of. A gradient that is written out needs not all that it was made of.
pub(super) fn needed(pending: &Pending) -> Vec<bool> {
    let mut needed: Vec<bool> = pending.requested.iter().map(Option::is_some).collect();
    for i in (0..needed.len()).rev() {
        if needed[i] {
            // A part needs its scan; the parts beside it serve the gradient.
            let some = if matches!(pending.op(i), Op::Part(_)) { 1 } else { usize::MAX };
            pending.edges[i].iter().take(some).for_each(|e| needed[e.base] = true);
        }
    }
    needed
}

/// The space that the node's kernel runs over, if that has a shape of its own.
fn space(pending: &Pending, groups: &Groups, i: usize) -> Option<Shape> {
    match (pending.op(i), groups.of[i]) {
        (Op::Place(_) | Op::Reduce(_), _) | (_, None) => None,
        (_, Some((g, Rank::Full))) => Some(groups.list[g].shape.clone()),
        (_, Some((g, Rank::Row))) => Some(groups.list[g].kept()),
    }
}

fn size(shape: &Shape) -> usize {
    crate::shape::size(shape)
}

/// True if the operand is in a register of the same kernel.
pub(crate) fn is_fused(pending: &Pending, groups: &Groups, i: usize, e: &Edge) -> bool {
    let (Some((g, to)), Some((h, from))) = (groups.of[i], groups.of[e.base]) else { return false };
    if g != h {
        return false;
    }
    match pending.op(i) {
        Op::Reduce(_) => from == Rank::Full,
        _ => {
            let shape = pending.shape(i);
            link(&groups.list[g], from, to, shape, &e.map.broadcast(&e.shape, shape))
        }
    }
}

/// Values that are computed again where they are read: over a shape, in a kernel whose space has as many elements.
struct Again<'a> {
    pending: &'a Pending<'a>,
    stored: &'a [bool],
    shape: &'a [usize],
    space: &'a [usize],
    /// Those that are loaded, and as what.
    loads: SmallVec<[(usize, Map); RECOMPUTE_LOADS]>,
}

impl Again<'_> {
    /// True if a product and something else would be loaded where the product's own kernel can give their result: that, then, is stored
    /// instead of the product.
    fn is_own_result(&self, i: usize, groups: &Groups) -> bool {
        let group = |i: usize| groups.of[i].map(|(g, _)| g);
        let is_own = |p: usize| matches!(self.pending.op(p), Op::Matmul | Op::Conv(_)) && group(p) == group(i) && !self.stored[p];
        self.loads.len() > 1 && self.loads.iter().any(|&(p, _)| p != i && self.pending.is_compute(p) && is_own(p))
    }

    /// Instructions of computing value `i`, read through `map`; None if it cannot be, or takes too many or too many loads.
    fn cost(&mut self, i: usize, map: &Map, depth: usize) -> Option<usize> {
        let pending = self.pending;
        work::count(1);
        if pending.as_number(i).is_some() {
            return Some(0);
        }
        map.reshape(self.shape, self.space)?;
        if !pending.is_compute(i) || self.stored[i] || !pending.is_elementwise(i) {
            if pending.size(i).saturating_mul(SMALL_SHARE) <= crate::shape::size(self.shape) {
                return Some(1);
            }
            if !self.loads.iter().any(|(known, as_)| *known == i && as_ == map) {
                if self.loads.len() == RECOMPUTE_LOADS {
                    return None;
                }
                self.loads.push((i, map.clone()));
            }
            return Some(0);
        }
        if depth == 0 {
            return None;
        }
        let mut instructions = 1;
        for e in &pending.edges[i] {
            if pending.as_number(e.base).is_some() {
                continue;
            }
            let shape = pending.shape(i);
            let through = map.then(self.shape, &e.map.broadcast(&e.shape, shape), shape)?;
            instructions += self.cost(e.base, &through, depth - 1)?;
            if instructions > RECOMPUTE {
                return None;
            }
        }
        Some(instructions)
    }
}

/// Stores the inputs of an expression that is computed again.
fn store_inputs(pending: &Pending, stored: &mut [bool], i: usize) {
    work::count(1);
    if pending.as_number(i).is_some() || !pending.is_compute(i) || stored[i] {
        return;
    }
    if !pending.is_elementwise(i) {
        stored[i] = true;
        return;
    }
    for e in &pending.edges[i] {
        store_inputs(pending, stored, e.base);
    }
}
