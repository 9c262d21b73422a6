//! Nodes that were not asked for and take part all the same: those with handles that depend on what an evaluation computes or
//! overwrites, and the losses behind them.

use super::gather::Gatherer;
use crate::error::Result;
use crate::graph::{Node, Srcs, Value, base_node, held_and_pending, is_any_held};
use crate::guards::Losses;
use crate::leaf::Update;
use crate::ops::Op;
use crate::schedule::LocalKind;
use crate::work;
use rustc_hash::FxHashMap;
use std::sync::Arc;

/// Pending nodes behind one with a handle from which on that is computed, though nothing asks for it: a sum that every step adds to
/// and that is not read would be a longer chain to look through at each.
const MAX_UNREAD: usize = 64;

/// Adds every node that has a handle and depends on what is computed, or reads what is overwritten; what is out of
/// reach by now stays so.
pub(super) fn add_dependents(gatherer: &mut Gatherer<'_>, updates: &[Update]) -> Result<()> {
    let epoch = gatherer.epoch;
    if !is_any_held(gatherer.g, !updates.is_empty(), |g, node| node.mark.get(g).0 != epoch) {
        return Ok(());
    }
    let held = held_and_pending(gatherer.g, !updates.is_empty());
    let first = gatherer.out.passed.len();
    gatherer.out.passed.extend(held);
    let mut search = Search { overwrites: !updates.is_empty(), verdict: FxHashMap::default() };
    for u in updates {
        search.verdict.insert(u.leaf.current(gatherer.g).id(), (true, true));
    }
    let roots = gatherer.out.passed[first..].to_vec();
    let (mut all, mut losses) = (Losses::default(), Vec::new());
    for root in &roots {
        // The losses of nodes with handles will be asked for, too, by updates that are made of them.
        let known = losses.len();
        root.0.guards.iter().for_each(|guards| all.add(guards, |loss| losses.push(loss.base())));
        for node in losses[known..].iter().chain([root]) {
            if search.is_lost_without(gatherer, &node.0) {
                gatherer.add(&node.0)?;
                gatherer.out.held.push(node.clone());
            }
        }
    }
    // Also one that is computed here on the way to something else must be kept when a parameter is overwritten.
    if !updates.is_empty() {
        losses.retain(|loss| gatherer.computes(&loss.0));
        gatherer.out.held.extend(losses);
    }
    Ok(())
}

/// Adds the losses that computed nodes with handles derive from: an update made of one asks for them later. `known` are those that
/// are asked for already.
pub(super) fn add_losses(gatherer: &mut Gatherer<'_>, known: &mut Losses) -> Result<()> {
    let mut losses = Vec::new();
    for local in &gatherer.out.locals {
        let node = &local.node.0;
        let (Some(guards), LocalKind::Compute) = (&node.guards, local.kind) else { continue };
        if node.is_held(false) {
            known.add(guards, |loss| losses.push(loss.base()));
        }
    }
    let mut search = Search { overwrites: false, verdict: FxHashMap::default() };
    for loss in losses {
        let pending = matches!(loss.0.value.get(gatherer.g), Value::Pending);
        if pending && (gatherer.seen(&loss.0) || search.look(gatherer, &loss.0).1) {
            gatherer.add(&loss.0)?;
            gatherer.out.held.push(loss);
        }
    }
    Ok(())
}

/// Looks through nodes not yet gathered, each once.
struct Search {
    /// True if parameters are overwritten: their nodes have a verdict from the start.
    overwrites: bool,
    /// Says if a node depends on what is computed or overwritten, and if all it needs is within reach.
    verdict: FxHashMap<u64, (bool, bool)>,
}

impl Search {
    /// True if a pending node must be computed now, or better now than never, and can be.
    fn is_lost_without(&mut self, gatherer: &Gatherer<'_>, node: &Arc<Node>) -> bool {
        let pending = matches!(node.value.get(gatherer.g), Value::Pending) && !matches!(node.op, Op::Number(_));
        if !pending || gatherer.seen(node) {
            return false;
        }
        let known = self.verdict.len();
        let (found, within) = self.look(gatherer, node);
        let unread = || self.verdict.len() - known > MAX_UNREAD && gatherer.out.device.is_none_or(|d| d == node.device);
        within && (found || unread())
    }

    fn look(&mut self, gatherer: &Gatherer<'_>, root: &Arc<Node>) -> (bool, bool) {
        let enter = |node: &Arc<Node>| (node.clone(), Srcs::from(node.operands(gatherer.g)), 0, (false, true));
        let mut stack = Vec::new();
        if !self.verdict.contains_key(&root.id) {
            stack.push(enter(root));
        }
        let mut looks = 0;
        while let Some((_, srcs, next, (found, within))) = stack.last_mut() {
            looks += 1;
            let Some(src) = srcs.get(*next) else {
                let (node, _, _, mut verdict) = stack.pop().expect("the loop looked at it");
                verdict.1 |= matches!(node.value.get(gatherer.g), Value::Kept(_));
                self.verdict.insert(node.id, verdict);
                if let Some((_, _, _, above)) = stack.last_mut() {
                    *above = (above.0 | verdict.0, above.1 & verdict.1);
                }
                continue;
            };
            *next += 1;
            let base = base_node(src).clone();
            match (self.verdict.get(&base.id), base.value.get(gatherer.g)) {
                (Some(&(f, w)), _) => (*found, *within) = (*found | f, *within & w),
                (None, Value::Overwritten) => *within = false,
                (None, _) if base.level > 0 => *within = false,
                (None, _) if gatherer.computes(&base) => *found = true,
                // A value kept for the backward pass goes with that, and what it is made of may be gone by then.
                (None, Value::Kept(_)) if self.overwrites => stack.push(enter(&base)),
                (None, Value::Pending) if !gatherer.seen(&base) && !matches!(base.op, Op::Number(_)) => stack.push(enter(&base)),
                _ => {}
            }
        }
        work::count(1 + looks);
        self.verdict[&root.id]
    }
}
