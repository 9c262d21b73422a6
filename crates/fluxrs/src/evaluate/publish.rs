//! The results of a run become the values of their nodes and leaves.

use super::gather::Publish;
use super::rollback::Commit;
use super::run::Runner;
use crate::buffer::Buffer;
use crate::graph::{self, Graph, Node, Srcs, Tensor, Value};
use crate::leaf::{Bad, Update};
use crate::ops::Op;
use crate::plan::Plan;
use crate::schedule::{Local, LocalKind};
use smallvec::smallvec;

impl Runner {
    /// Hands the results to their nodes and leaves; with a bad loss, to nodes alone. Gives the losses that are bad as known by then.
    pub fn publish(&mut self, plan: &Plan, updates: &[Update], mut bad: Bad, awaited: Option<&Commit>) -> Bad {
        // Gradients that are taken back, dropped after the lock.
        let mut gone = Vec::new();
        let mut g = graph::lock();
        let g = &mut *g;
        let gathered = &self.gathered;
        if gathered.backward && gathered.kept {
            release_kept(g, &gathered.locals);
        }
        if awaited.is_some_and(Commit::is_undone) {
            // Another thread has taken the report by now: of which loss is no matter here, where everything goes.
            bad = gathered.losses.iter().map(|(loss, _)| loss.id()).collect();
        }
        let undone = !bad.is_empty();
        let mut made: Vec<_> = updates.iter().filter(|_| awaited.is_some()).map(|u| (u.clone(), None)).collect();
        for (i, buffer) in self.outputs.drain(..).enumerate() {
            let node = &gathered.locals[gathered.requests[i].local as usize].node.0;
            match gathered.publish[i] {
                Publish::Leaf(_) if undone => {}
                Publish::Leaf(u) => {
                    let old = updates[u].leaf.replace(g, buffer);
                    if plan.outputs[i].donor.is_some() {
                        old.0.value.set(g, Value::Overwritten);
                    }
                    if awaited.is_some() {
                        made[u].1 = Some((old.clone(), updates[u].leaf.current(g).clone()));
                    }
                    self.dropped.push(smallvec![old]);
                }
                Publish::Keep => {
                    node.value.set(g, Value::Kept(buffer));
                }
                Publish::Value => {
                    if matches!(node.op, Op::Custom(_)) {
                        self.dropped.extend(share(g, node, &buffer));
                    }
                    node.value.set(g, Value::Ready(buffer));
                    if !node.tracked {
                        // It cannot be differentiated: its history goes, once the gathered nodes are not looked at any more.
                        self.dropped.push(node.srcs.set(g, Default::default()));
                    }
                }
            }
        }
        if let (Some(commit), false) = (awaited, undone) {
            commit.record(g, made, gathered.losses.iter().map(|(loss, _)| loss.clone()).collect());
        }
        if undone {
            for u in updates {
                gone.extend(u.restore_grad(g));
                gone.extend(u.leaf.undo_grad(g, &bad));
            }
        }
        bad
    }
}

/// The value of a node with a gradient of its own is its operand's, too, which then needs no history: that is returned.
fn share(g: &mut Graph, node: &Node, buffer: &Buffer) -> Option<Srcs> {
    let value = node.srcs.get(g)[0].clone();
    let pending = matches!(value.0.value.get(g), Value::Pending);
    if !pending || value.is_tracked() || matches!(value.op(), Op::View(_) | Op::Number(_)) {
        return None;
    }
    value.0.value.set(g, Value::Ready(buffer.clone()));
    Some(value.0.srcs.set(g, Srcs::new()))
}

/// Intermediates kept for the backward pass have served; they stay where they could not be computed again, for another gradient.
fn release_kept(g: &mut Graph, locals: &[Local]) {
    let is_kept =
        |g: &Graph, local: &Local| local.kind != LocalKind::Compute && matches!(local.node.0.value.get(g), Value::Kept(_));
    let kept: Vec<&Tensor> = locals.iter().filter(|local| is_kept(g, local)).map(|local| &*local.node).collect();
    let operands: Vec<Tensor> = kept.iter().flat_map(|t| t.0.operands(g).iter().cloned()).collect();
    if graph::out_of_reach(g, operands.iter()).is_some() {
        return;
    }
    for t in kept {
        t.0.value.set(g, Value::Pending);
    }
}
