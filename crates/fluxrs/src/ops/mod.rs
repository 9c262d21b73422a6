//! Every op: what the graph is made of. Elementwise ops are entries of `table`, the others a file each.

#[macro_use]
pub mod table;

pub mod activations;
pub mod along;
pub mod apply;
pub mod argextreme;
pub mod attention;
pub mod compose;
pub mod conv;
pub mod create;
pub mod cumulative;
pub mod custom;
pub mod einsum;
pub mod elementwise;
mod factors;
pub mod index;
mod lift;
pub mod linalg;
pub mod matmul;
mod pieces;
pub mod place;
pub mod poll;
pub mod pool;
pub mod power;
pub mod products;
pub mod random;
pub mod reduce;
pub mod rules;
pub mod scan;
pub mod scatter;
pub mod shader;
pub mod sort;
mod stream;
pub mod structured;
pub mod subscript;
pub mod view;
pub mod window;

use crate::device::Device;
use crate::dtype::{DType, Number};
use crate::graph::{Piece, Tensor};
use crate::hash::Hasher;
use std::any::Any;
use std::sync::Arc;

pub use conv::Conv;
pub use elementwise::{Class, Elementwise, Record};
pub(crate) use pieces::Sum;
pub use place::Place;
pub use poll::Poll;
pub use reduce::Reduce;
pub use scan::Scan;
pub use structured::{Half, Operand, OperandMut, Structured};
pub use view::{View, ViewKind};

pub enum Op {
    /// The value is there: constants and parameters.
    Data,
    /// A Python number.
    Number(Number),
    /// `srcs[0]`, a number, in every element.
    Fill,
    Map(Elementwise),
    /// The elements of `srcs[0]` in the node's dtype.
    Cast,
    View(Box<View>),
    Place(Box<Place>),
    Reduce(Reduce),
    /// `srcs[0]` (…, m, k) by `srcs[1]` (…, k, n), with equal leading axes; or a vector (k) in place of either.
    Matmul,
    /// `srcs[0]` by the kernels `srcs[1]`: see `conv`.
    Conv(Box<Conv>),
    Structured(Arc<dyn Structured>),
    /// The value of `srcs[0]`, with a gradient of its own towards the other srcs.
    Custom(Arc<dyn Pullback>),
    /// The gradient of `srcs[0]` by a leaf, whose nodes are the other srcs: see `tape::deferred`.
    Gradient(Deferred),
    /// An input of the function that a scan runs at each step: it has no value outside.
    Argument,
    /// A function run step by step over sequences. It has several results and no value of its own: see `Part`.
    Scan(Arc<Scan>),
    /// One result of the scan `srcs[0]`. The other srcs are results of it that its gradient needs.
    Part(u32),
    /// The gradients by some parts of a scan, by their numbers; behind them the parts that its gradient needs. Never computed.
    Parts(Box<[u32]>),
}

/// A gradient that is not written out in other ops.
pub struct Deferred {
    pub leaf: u64,
    /// Gradients that were asked for together are written out together.
    pub call: u64,
}

/// A gradient that the caller defines, such as a Python function.
pub trait Pullback: Send + Sync {
    fn name(&self) -> String;
    /// The gradients towards the node's srcs but the first, `None` where there is none.
    fn pull(&self, out: &Tensor, g: &Tensor) -> crate::error::Result<Vec<Option<Tensor>>>;
    /// Itself, for a caller that looks for its own.
    fn as_any(&self) -> Option<&dyn Any> {
        None
    }
}

impl Op {
    pub fn name(&self) -> &'static str {
        match self {
            Op::Data => "data",
            Op::Number(_) => "number",
            Op::Fill => "fill",
            Op::Map(e) => e.record().name,
            Op::Cast => "astype",
            Op::View(v) => v.kind.name(),
            Op::Place(_) => "place",
            Op::Reduce(r) => r.kind.name(),
            Op::Matmul => "matmul",
            Op::Conv(_) => "conv",
            Op::Structured(s) => s.name(),
            Op::Custom(_) => "custom",
            Op::Gradient(_) => "gradient",
            Op::Argument => "argument",
            Op::Scan(_) => "scan",
            Op::Part(_) | Op::Parts(_) => "part",
        }
    }

    /// Everything of a node that decides what code runs for it, but for its wiring.
    pub(crate) fn hash(&self, shape: &[usize], dtype: DType, device: Device, tracked: bool) -> u64 {
        let tag = match self {
            Op::Data => 1,
            Op::Number(n) => 2 + n.dtype() as u64,
            Op::Fill => 8,
            Op::Map(e) => *e as u64 + 256,
            Op::Cast => 9,
            // The difference to its operand decides its gradient.
            Op::View(v) => 10 | (v.kind.tag() << 16),
            Op::Place(_) => 11,
            Op::Reduce(r) => 12 | (r.kind as u64) << 16,
            Op::Matmul => 13,
            Op::Structured(_) => 14,
            Op::Custom(_) => 15,
            Op::Gradient(_) => 16,
            Op::Conv(_) => 17,
            Op::Argument => 18,
            Op::Scan(_) => 19,
            Op::Part(k) => 20 | (*k as u64) << 16,
            Op::Parts(_) => 21,
        };
        let mut h = Hasher::new(
            (dtype as u64) << 56 | (device.0 as u64) << 48 | (tracked as u64) << 47 | (shape.len() as u64) << 40 | tag,
        );
        match self {
            Op::View(v) => {
                h.add(v.map.offset as u64);
                v.map.strides.iter().for_each(|&s| h.add(s as u64));
            }
            Op::Place(p) => p.hash(dtype, &mut h),
            Op::Reduce(r) => h.add(r.axes),
            Op::Conv(c) => c.hash(&mut h),
            Op::Structured(s) => {
                s.name().bytes().for_each(|b| h.add(b as u64));
                h.add(s.key());
            }
            Op::Scan(s) => s.hash(&mut h),
            _ => {}
        }
        shape.iter().for_each(|&n| h.add(n as u64));
        h.finish()
    }

    /// A view of the whole of `x`.
    pub(crate) fn identity_view(x: &Tensor) -> Op {
        Op::View(Box::new(View { kind: ViewKind::Reshape, base: x.base(), map: x.map() }))
    }

    /// Takes out what the op of a node that is being dropped holds of the graph.
    #[inline]
    pub(crate) fn take_held(&mut self) -> Option<Piece> {
        if !matches!(self, Op::View(_) | Op::Custom(_) | Op::Scan(_)) {
            return None;
        }
        match std::mem::replace(self, Op::Data) {
            Op::View(view) => Some(Piece::Node(view.base)),
            Op::Custom(pullback) => Some(Piece::Pullback(pullback)),
            Op::Scan(scan) => Some(Piece::Scan(scan)),
            _ => unreachable!("looked at above"),
        }
    }

    /// True if the result is dear enough to keep a forward evaluation's value for the backward pass.
    pub(crate) fn is_expensive(&self) -> bool {
        matches!(self, Op::Matmul | Op::Conv(_) | Op::Reduce(_) | Op::Structured(_) | Op::Custom(_) | Op::Part(_))
    }
}

/// The gradient towards `srcs[i]` of a node with value `out`, given `g` of its shape; `None` where it is zero or does not exist.
/// Elementwise ops leave it in the broadcast shape: the tape sums it back.
pub(crate) fn gradient(i: usize, srcs: &[Tensor], out: &Tensor, g: &Tensor) -> Option<Tensor> {
    match out.op() {
        Op::Part(k) => scan::towards(*k, i, srcs, g),
        // The tape asks a scan for all its gradients together.
        Op::Scan(_) | Op::Parts(_) | Op::Argument => None,
        Op::Data | Op::Number(_) | Op::Fill | Op::Custom(_) | Op::Gradient(_) => None,
        Op::Map(e) => e.gradient(i, srcs, out, g),
        Op::Cast => srcs[0].dtype().is_float().then(|| g.cast(srcs[0].dtype())),
        Op::View(v) => Some(v.gradient(&srcs[0], g)),
        Op::Place(p) => Some(p.gradient(i, srcs[i].shape(), g)),
        Op::Reduce(r) => r.gradient(&srcs[0], out, g),
        Op::Matmul => Some(matmul::gradient(i, srcs, g)),
        Op::Conv(c) => c.gradient(i, srcs, g),
        Op::Structured(s) => s.gradient(i, srcs, out, g),
    }
}
