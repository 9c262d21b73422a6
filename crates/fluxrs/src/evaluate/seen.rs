//! The graphs that have been planned, to tell why one is planned again.

use super::gather::Gathered;
use crate::cache::{Cache, bytes_of};
use crate::dtype::DType;
use crate::graph::{Graph, base_node};
use crate::hash::Hasher128;
use crate::schedule::LocalKind;
use crate::shape::{Shape, show, spilled};
use crate::tape::deferred::Written;

/// Graphs by their ops and wiring alone, each with what it was last given and how much was asked for.
pub(super) struct Seen(Cache<u128, (Vec<Input>, usize)>);

#[derive(Clone, PartialEq)]
struct Input {
    shape: Shape,
    dtype: DType,
}

/// Bytes of what is remembered.
const MAX_BYTES: usize = 4 << 20;

impl Default for Seen {
    fn default() -> Self {
        Seen(Cache::new(MAX_BYTES))
    }
}

impl Seen {
    pub fn remember(&mut self, g: &Graph, gathered: &Gathered, written: &Written) {
        let inputs = inputs(gathered);
        let bytes = bytes_of(&inputs) + inputs.iter().map(|i| spilled(&i.shape)).sum::<usize>();
        self.0.insert(kind(g, gathered, written), (inputs, gathered.requests.len()), bytes);
    }

    pub fn bytes(&self) -> usize {
        self.0.bytes()
    }

    /// Why there is no plan for a graph.
    pub fn why(&mut self, g: &Graph, gathered: &Gathered, written: &Written) -> String {
        let Some((old, results)) = self.0.get(&kind(g, gathered, written)) else { return "a graph not seen before".into() };
        let new = inputs(gathered);
        let say = |i: &Input| format!("{}{}", i.dtype, show(&i.shape));
        let changed: Vec<String> =
            old.iter().zip(&new).filter(|(a, b)| a != b).map(|(a, b)| format!("{} for {}", say(b), say(a))).collect();
        let what = match changed.len() {
            0 if *results != gathered.requests.len() => format!("{} results for {results}", gathered.requests.len()),
            0 => "other strides, views or results in use".into(),
            1..=3 => changed.join(", "),
            n => format!("{}, and {} more", changed[..3].join(", "), n - 3),
        };
        format!("the same ops were planned with other inputs: {what}").replace("with other inputs: other", "with other")
    }
}

fn inputs(gathered: &Gathered) -> Vec<Input> {
    let slots = gathered.locals.iter().filter(|l| matches!(l.kind, LocalKind::Slot(_)));
    slots.map(|l| Input { shape: l.node.0.shape.clone(), dtype: l.node.0.dtype }).collect()
}

/// The ops and wiring of a graph, without sizes.
fn kind(g: &Graph, gathered: &Gathered, written: &Written) -> u128 {
    let mut h = Hasher128::default();
    for local in &gathered.locals {
        let computed = local.kind == LocalKind::Compute;
        h.add(computed as u64);
        if computed {
            local.node.op().name().bytes().for_each(|b| h.add(b as u64));
            written.operands(g, &local.node.0).iter().for_each(|s| h.add(base_node(s).mark.get(g).1 as u64));
        }
    }
    h.finish()
}
