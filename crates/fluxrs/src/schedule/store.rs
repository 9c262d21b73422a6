//! Which values reach memory. A cheap elementwise value read outside its kernel is computed again there.

use super::group::{Groups, link};
use super::{Edge, Pending};
use crate::error::Result;
use crate::ops::Op;
use crate::plan::Rank;
use crate::shape::{Map, Shape};
use crate::stop::go_on;
use crate::work;

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
            let inline = !needs_memory && in_own_shape(pending, groups, i) && {
                let space = if pending.is_elementwise(i) { pending.shape(i) } else { &e.shape };
                let map = e.map.broadcast(&e.shape, space);
                cost(pending, &stored, e.base, &map, space, RECOMPUTE).is_some_and(|(c, l)| c <= budget && l <= RECOMPUTE_LOADS)
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

/// True if the node's kernel runs over the node's own shape, so that any map over that shape can be loaded there.
fn in_own_shape(pending: &Pending, groups: &Groups, i: usize) -> bool {
    match (pending.op(i), groups.of[i]) {
        (Op::Place(_) | Op::Reduce(_), _) => true,
        (_, Some((g, Rank::Full))) => groups.list[g].shape.as_slice() == pending.shape(i),
        (_, Some((g, Rank::Row))) => groups.list[g].kept().as_slice() == pending.shape(i),
        _ => false,
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

/// Instructions and loads of computing value `i` again, read through `map`; None if it cannot be.
fn cost(pending: &Pending, stored: &[bool], i: usize, map: &Map, space: &[usize], depth: usize) -> Option<(usize, usize)> {
    work::count(1);
    if pending.as_number(i).is_some() {
        return Some((0, 0));
    }
    if !pending.is_compute(i) || stored[i] || !pending.is_elementwise(i) {
        let in_cache = pending.size(i).saturating_mul(SMALL_SHARE) <= crate::shape::size(space);
        return Some(if in_cache { (1, 0) } else { (0, 1) });
    }
    if depth == 0 {
        return None;
    }
    let (mut instructions, mut loads) = (1, 0);
    for e in &pending.edges[i] {
        if pending.as_number(e.base).is_some() {
            continue;
        }
        let shape = pending.shape(i);
        let through = map.then(space, &e.map.broadcast(&e.shape, shape), shape)?;
        let (c, l) = cost(pending, stored, e.base, &through, space, depth - 1)?;
        instructions += c;
        loads += l;
        if instructions > RECOMPUTE || loads > RECOMPUTE_LOADS {
            return None;
        }
    }
    Some((instructions, loads))
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
