//! A test of the keys of plans: while it is on, every graph that is gathered is written down beside its key, and a key that two
//! different graphs have is kept, to be asked for. A plan that serves another graph gives wrong numbers, and only sometimes.

use super::gather::{Gathered, Writing};
use crate::graph::{Graph, Node, Tensor, base_node};
use crate::ops::Op;
use crate::schedule::LocalKind;
use crate::shape::show;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard};

static IS_ON: AtomicBool = AtomicBool::new(false);
static AUDIT: Mutex<Option<Audit>> = Mutex::new(None);

/// Graphs written down are forgotten beyond so many bytes.
const MOST_BYTES: usize = 64 << 20;

#[derive(Default)]
struct Audit {
    graphs: HashMap<u128, String>,
    bytes: usize,
    shared: Option<String>,
}

fn audit() -> MutexGuard<'static, Option<Audit>> {
    AUDIT.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// Begins to write down every graph, for good.
pub fn audit_keys() {
    audit().get_or_insert_default();
    IS_ON.store(true, Ordering::Relaxed);
}

/// Two different graphs that had one key, if there were any since this was last asked.
pub fn shared_key() -> Option<String> {
    audit().as_mut()?.shared.take()
}

#[inline]
pub(super) fn look(g: &Graph, gathered: &Gathered, writing: Writing<'_>) {
    if IS_ON.load(Ordering::Relaxed) {
        remember(gathered.key.finish(), describe(g, gathered, writing));
    }
}

#[cold]
fn remember(key: u128, graph: String) {
    let mut audit = audit();
    let Some(audit) = audit.as_mut() else { return };
    if audit.bytes > MOST_BYTES {
        *audit = Audit { shared: audit.shared.take(), ..Audit::default() };
    }
    match audit.graphs.entry(key) {
        Entry::Vacant(place) => {
            audit.bytes += graph.len();
            place.insert(graph);
        }
        Entry::Occupied(known) if *known.get() != graph => {
            audit.shared = Some(format!("one key for two graphs:\n{}and\n{graph}", known.get()));
        }
        Entry::Occupied(_) => {}
    }
}

/// Everything that decides which code runs: not what numbers are, nor where memory is.
#[cold]
fn describe(g: &Graph, gathered: &Gathered, writing: Writing<'_>) -> String {
    let mut out = String::new();
    for (i, local) in gathered.locals.iter().enumerate() {
        let node: &Node = &local.node.0;
        let _ = write!(out, "{i}: {}{} on {}: ", node.dtype, show(&node.shape), node.device);
        let _ = match local.kind {
            LocalKind::Slot(slot) => writeln!(out, "slot {slot}"),
            LocalKind::Number(number) => writeln!(out, "number {number}"),
            LocalKind::Compute => {
                let operands: Vec<String> = writing.operands(g, node).iter().map(|src| operand(g, src)).collect();
                writeln!(out, "{} of {}", op(node), operands.join(", "))
            }
        };
    }
    for request in &gathered.requests {
        let _ = writeln!(out, "result {}, over {:?}, commits {}", request.local, request.donor, request.commit);
    }
    let losses: Vec<u32> = gathered.losses.iter().map(|loss| loss.1).collect();
    let _ = writeln!(out, "guarded by {losses:?}");
    out
}

fn op(node: &Node) -> String {
    let name = node.op.name();
    match &node.op {
        Op::Place(p) => format!("{name} at {:?} over {:?}", p.maps, p.fill.map(|f| f.to_bytes(node.dtype))),
        Op::Reduce(r) => format!("{name} along {:b}", r.axes),
        Op::Structured(s) => format!("{name} {:x}", s.key()),
        _ => name.to_string(),
    }
}

/// The base, and where its elements lie. The stride of an axis of length 1 is never used.
fn operand(g: &Graph, src: &Tensor) -> String {
    let mut map = src.map();
    map.strides.iter_mut().zip(src.shape()).filter(|(_, n)| **n == 1).for_each(|(stride, _)| *stride = 0);
    format!("{}{} at {} by {:?}", base_node(src).mark.get(g).1, show(src.shape()), map.offset, map.strides)
}
