//! The graph: tensors are reference-counted nodes, made by calling ops and run later.

mod bound;
mod defined;
mod drops;
mod engine;
mod handles;
mod lock;
mod make;
mod pass;
mod scopes;
mod thread;

pub(crate) use bound::{restart_count, unbounded};
pub use defined::{Defined, kept_until_computed};
pub(crate) use drops::{Piece, let_go};
pub use engine::Engine;
pub(crate) use handles::{Claim, held_and_pending, held_count, is_any_held};
pub use handles::{Handle, has_late};
pub use lock::{Graph, Guarded, lock};
pub use make::next_id;
pub(crate) use pass::{Pass, mark};
pub use scopes::{Checkpoint, NoGrad, Tracing, Tracking, level, no_grad, tracking};
pub(crate) use thread::thread;

use crate::buffer::Buffer;
use crate::device::Device;
use crate::dtype::DType;
use crate::error::Error;
use crate::guards::Guards;
use crate::ops::Op;
use crate::shape::{Map, Shape};
use smallvec::SmallVec;
use std::fmt;
use std::mem::ManuallyDrop;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;

pub type Srcs = SmallVec<[Tensor; 3]>;

/// The state of a node's value.
#[derive(Clone)]
pub enum Value {
    Pending,
    Ready(Buffer),
    /// An intermediate kept for the backward pass; freed by the first one.
    Kept(Buffer),
    /// A parameter's former value, overwritten by an update.
    Overwritten,
}

impl Value {
    pub fn buffer(&self) -> Option<&Buffer> {
        match self {
            Value::Ready(b) | Value::Kept(b) => Some(b),
            _ => None,
        }
    }
}

pub struct Node {
    pub(crate) id: u64,
    pub(crate) hash: u64,
    pub(crate) op: Op,
    pub(crate) shape: Shape,
    pub(crate) dtype: DType,
    pub(crate) device: Device,
    pub(crate) tracked: bool,
    /// Made in a checkpoint: no value of it is kept for the backward pass.
    pub(crate) passing: bool,
    /// The function of a scan that it belongs to: 0 is none, those inside others count up.
    pub(crate) level: u32,
    pub(crate) leaf: u64,
    pub(crate) guards: Option<Arc<Guards>>,
    pub(crate) defined: Option<Arc<Defined>>,
    /// Without a history, but made of what the caller defined gradients of: it keeps those until its value is there.
    pub(crate) late: bool,
    pub(crate) srcs: Guarded<Srcs>,
    pub(crate) value: Guarded<Value>,
    /// (epoch, local index) of the pass that saw this node last.
    pub(crate) mark: Guarded<(u32, u32)>,
    /// Handles and claims, of a base also those to its views; and how many of both are to views.
    pub(crate) handles: AtomicU32,
    claims: AtomicU32,
    shown: AtomicU32,
    /// Where it stands in the list of nodes with handles.
    place: Guarded<u32>,
}

/// A value in the graph, computed when it is needed. Cloning is cheap.
#[derive(Clone)]
pub struct Tensor(pub(crate) Arc<Node>);

/// A tensor that something else keeps for as long as this is used: counting references costs more than all else in a pass over
/// a graph of small tensors.
pub struct Borrowed(ManuallyDrop<Tensor>);

impl Borrowed {
    /// # Safety
    /// The node lives as long as the result is used.
    pub(crate) unsafe fn of(node: &Arc<Node>) -> Borrowed {
        // SAFETY: a bitwise copy that is never dropped, of a reference that outlives it.
        Borrowed(ManuallyDrop::new(Tensor(unsafe { std::ptr::read(node) })))
    }
}

impl Deref for Borrowed {
    type Target = Tensor;
    fn deref(&self) -> &Tensor {
        &self.0
    }
}

/// The node that owns the elements that a tensor shows.
pub(crate) fn base_node(t: &Tensor) -> &Arc<Node> {
    match t.op() {
        Op::View(v) => &v.base.0,
        _ => &t.0,
    }
}

impl Node {
    /// The srcs that the value depends on: a custom gradient's arguments are not among them.
    pub(crate) fn operands<'a>(&'a self, g: &'a Graph) -> &'a [Tensor] {
        let srcs = self.srcs.get(g);
        if matches!(self.op, Op::Custom(_)) { &srcs[..1] } else { srcs }
    }
}

pub(crate) fn overwritten(node: &Node) -> Error {
    Error::Value(format!(
        "a value is needed that an update has overwritten since: the {} parameter of shape {} was updated after the result was made; call the forward pass again",
        node.dtype,
        crate::shape::show(&node.shape)
    ))
}

/// True if a tensor's value is in memory.
pub(crate) fn has_value(g: &Graph, t: &Tensor) -> bool {
    base_node(t).value.get(g).buffer().is_some()
}

/// A value that has been computed as a constant, which derives from no loss; else itself.
pub(crate) fn without_guards(t: &Tensor) -> Tensor {
    let value = base_node(t).value.get(&lock()).buffer().cloned();
    match value {
        Some(buffer) if !matches!(t.op(), Op::View(_)) => Tensor::from_buffer(buffer, t.shape(), t.dtype(), t.device()),
        _ => t.clone(),
    }
}

/// The overwritten value that computing these tensors would need, if there is one.
pub(crate) fn out_of_reach<'a>(g: &mut Graph, tensors: impl Iterator<Item = &'a Tensor>) -> Option<Tensor> {
    g.epoch += 1;
    let epoch = g.epoch;
    let mut stack: Vec<Tensor> = tensors.map(Tensor::base).collect();
    while let Some(node) = stack.pop() {
        if node.0.mark.set(g, (epoch, 0)).0 == epoch {
            continue;
        }
        match node.0.value.get(g) {
            Value::Overwritten => return Some(node),
            Value::Pending => stack.extend(node.0.operands(g).iter().map(Tensor::base)),
            _ => {}
        }
    }
    None
}

impl Tensor {
    #[inline]
    pub fn shape(&self) -> &[usize] {
        &self.0.shape
    }

    #[inline]
    pub fn ndim(&self) -> usize {
        self.0.shape.len()
    }

    #[inline]
    pub fn size(&self) -> usize {
        crate::shape::size(&self.0.shape)
    }

    #[inline]
    pub fn dtype(&self) -> DType {
        self.0.dtype
    }

    #[inline]
    pub fn device(&self) -> Device {
        self.0.device
    }

    #[inline]
    pub fn is_tracked(&self) -> bool {
        self.0.tracked
    }

    /// True of what belongs to the function of a scan, which has no values.
    pub fn is_traced(&self) -> bool {
        self.0.level > 0
    }

    /// The gradients that the caller defined in what it keeps alive.
    #[inline]
    pub fn defined(&self) -> Option<&Arc<Defined>> {
        self.0.defined.as_ref()
    }

    /// True if it may keep gradients that the caller defined until its value is there: see [`kept_until_computed`].
    #[inline]
    pub fn is_late(&self) -> bool {
        self.0.late
    }

    #[inline]
    pub fn is_number(&self) -> bool {
        matches!(self.0.op, Op::Number(_))
    }

    #[inline]
    pub fn id(&self) -> u64 {
        self.0.id
    }

    #[inline]
    pub fn op(&self) -> &Op {
        &self.0.op
    }

    #[inline]
    pub fn ptr_eq(&self, other: &Tensor) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// The node that owns the elements this one shows: itself, unless it is a view.
    pub fn base(&self) -> Tensor {
        match &self.0.op {
            Op::View(view) => view.base.clone(),
            _ => self.clone(),
        }
    }

    /// Where the elements lie in the base.
    pub fn map(&self) -> Map {
        match &self.0.op {
            Op::View(view) => view.map.clone(),
            _ => Map::contiguous(&self.0.shape),
        }
    }
}

impl fmt::Debug for Tensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{} {} {}{:?}", self.0.id, self.0.op.name(), self.0.dtype, self.0.shape.as_slice())
    }
}
