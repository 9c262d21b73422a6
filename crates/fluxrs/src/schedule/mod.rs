//! From the pending graph to a plan: which nodes run in one kernel, which values are stored, and where.
//!
//! `group` puts nodes into kernels, `store` decides which values reach memory and which are computed again where
//! they are read, and `emit` writes the kernels, those of fused loops with `program`. Where temporaries lie is the device's matter.

mod emit;
mod group;
mod product;
mod program;
mod repeat;
mod sparse;
mod store;

pub(crate) use group::reduction_mode;
pub(crate) use repeat::kept_bytes;

use crate::device::Device;
use crate::dtype::DType;
use crate::error::Result;
use crate::graph::{Borrowed, Graph, Pass, Tensor, base_node, mark};
use crate::ops::Op;
use crate::plan::{Plan, Source};
use crate::shape::Map;
use crate::tape::deferred::Written;
use crate::work;
use std::ops::Index;
use std::sync::{MutexGuard, OnceLock};

/// A node that takes part in an evaluation.
pub struct Local {
    pub node: Borrowed,
    pub kind: LocalKind,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LocalKind {
    /// Its value is `slots[i]`.
    Slot(u32),
    /// `numbers[i]`.
    Number(u32),
    Compute,
}

/// A value that must be there after the run.
#[derive(Clone, Copy, Debug)]
pub struct Request {
    pub local: u32,
    /// The slot whose memory it may take over: the old value of a leaf that nothing else can see.
    pub donor: Option<u32>,
    /// True if it is the new value of a leaf, written in the last segment.
    pub commit: bool,
}

/// One operand of a node: element i lies at `map(i)` of the contiguous base.
#[derive(Clone, PartialEq)]
pub(crate) struct Edge {
    pub base: usize,
    pub shape: crate::shape::Shape,
    pub map: Map,
}

/// The operands of each node, one list behind the other.
#[derive(Clone, Default)]
pub(crate) struct Edges {
    all: Vec<Edge>,
    ends: Vec<usize>,
}

impl Edges {
    pub fn push(&mut self, of_next: impl IntoIterator<Item = Edge>) {
        self.all.extend(of_next);
        self.ends.push(self.all.len());
    }
}

impl Index<usize> for Edges {
    type Output = [Edge];
    fn index(&self, i: usize) -> &[Edge] {
        &self.all[if i == 0 { 0 } else { self.ends[i - 1] }..self.ends[i]]
    }
}

/// Marks nodes with an epoch and their numbers.
pub(crate) fn mark_all(g: &mut Graph, epoch: u32, locals: &[Local]) {
    locals.iter().enumerate().for_each(|(i, local)| mark(g, epoch, &local.node, i as u32));
}

/// The pending graph with operands resolved through views.
pub(crate) struct Pending<'a> {
    pub locals: &'a [Local],
    pub edges: Edges,
    pub requests: &'a [Request],
    /// The request that each node answers, if any.
    pub requested: Vec<Option<usize>>,
}

impl<'a> Pending<'a> {
    /// Of nodes that are marked with their numbers; without the lock at times.
    pub fn new(
        mut g: MutexGuard<'static, Graph>,
        locals: &'a [Local],
        requests: &'a [Request],
        written: &Written,
    ) -> Result<Pending<'a>> {
        let pass = &mut Pass::of_marked(&g);
        let mut edges = Edges::default();
        for (i, local) in locals.iter().enumerate() {
            if pass.is_due(i) {
                g = pass.pause(g, |g, epoch| mark_all(g, epoch, locals))?;
            }
            let srcs = if local.kind == LocalKind::Compute { written.operands(&g, &local.node.0) } else { &[] };
            let edge = |s: &Tensor| Edge { base: base_node(s).mark.get(&g).1 as usize, shape: s.0.shape.clone(), map: s.map() };
            edges.push(srcs.iter().map(edge));
        }
        drop(g);
        work::count(locals.len() + edges.all.len());
        let mut requested = vec![None; locals.len()];
        requests.iter().enumerate().for_each(|(i, r)| requested[r.local as usize] = Some(i));
        Ok(Pending { locals, edges, requests, requested })
    }

    pub fn op(&self, i: usize) -> &Op {
        self.locals[i].node.op()
    }

    pub fn shape(&self, i: usize) -> &[usize] {
        self.locals[i].node.shape()
    }

    pub fn size(&self, i: usize) -> usize {
        self.locals[i].node.size()
    }

    pub fn dtype(&self, i: usize) -> DType {
        self.locals[i].node.dtype()
    }

    pub fn is_compute(&self, i: usize) -> bool {
        self.locals[i].kind == LocalKind::Compute
    }

    /// True if each element depends on the elements at the same index alone.
    pub fn is_elementwise(&self, i: usize) -> bool {
        self.is_compute(i) && matches!(self.op(i), Op::Map(_) | Op::Cast | Op::Fill | Op::Custom(_) | Op::Gradient(_))
    }

    /// A constant of any shape, loaded as a number wherever it is read.
    pub fn as_number(&self, i: usize) -> Option<u32> {
        match (self.locals[i].kind, self.op(i)) {
            (LocalKind::Number(k), _) => Some(k),
            (LocalKind::Compute, Op::Fill) => self.as_number(self.edges[i][0].base),
            _ => None,
        }
    }
}

/// Makes the plan for these nodes (each behind its operands, every gradient written out) and results.
pub(crate) fn schedule(pending: &Pending, device: Device, guards: &[u32]) -> Result<Plan> {
    let groups = group::assign(pending)?;
    let stored = store::decide(pending, &groups)?;
    let program = emit::emit(pending, &groups, &stored)?;
    let cost = program.kernels.iter().fold(0usize, |sum, k| sum.saturating_add(k.cost));
    Ok(Plan {
        device,
        guards: guards.iter().map(|&l| program.buffer_of[l as usize].expect("a loss is requested")).collect(),
        buffers: program.buffers,
        outputs: program.outputs,
        kernels: program.kernels,
        commit: program.commit,
        cost,
        lowered: OnceLock::new(),
    })
}

/// Where a finished value is read from.
pub(crate) fn source_of(pending: &Pending, buffer_of: &[Option<u32>], i: usize) -> Option<Source> {
    pending.as_number(i).map(Source::Number).or(buffer_of[i].map(Source::Buffer))
}
