//! The graph: tensors are reference-counted nodes, made by calling ops and run later.

mod bound;
mod defined;
mod drops;
mod engine;
mod handles;
mod scopes;
mod thread;

pub(crate) use bound::{restart_count, unbounded};
pub use defined::{Defined, kept_until_computed};
pub(crate) use drops::{Piece, let_go};
pub use engine::Engine;
pub(crate) use handles::{Claim, held_and_pending, held_count, is_any_held};
pub use handles::{Handle, has_late};
use scopes::Scopes;
pub use scopes::{Checkpoint, NoGrad, Tracing, Tracking, level, no_grad, tracking};
pub(crate) use thread::thread;

use crate::buffer::Buffer;
use crate::device::Device;
use crate::dtype::{DType, Number};
use crate::error::{Error, Result};
use crate::guards::Guards;
use crate::hash::Hasher;
use crate::ops::Op;
use crate::shape::{Map, Shape};
use smallvec::{SmallVec, smallvec};
use std::cell::UnsafeCell;
use std::fmt;
use std::mem::ManuallyDrop;
use std::ops::Deref;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

pub type Srcs = SmallVec<[Tensor; 3]>;

/// The proof that the one lock over what evaluation changes in a graph is held.
pub struct Graph {
    pub(crate) epoch: u32,
    /// Nodes that are referred to from outside and may have to be computed for that.
    held: handles::Held,
}

static GRAPH: Mutex<Graph> = Mutex::new(Graph { epoch: 0, held: handles::Held::new() });

/// Takes the graph lock: short, and never held while Python code or a kernel runs.
pub fn lock() -> MutexGuard<'static, Graph> {
    GRAPH.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// A cell that only the holder of the graph lock may look into: one lock for a whole pass over a
/// graph instead of one a node.
pub struct Guarded<T>(UnsafeCell<T>);

// SAFETY: every access borrows the `Graph` behind the one lock, shared for reading and mutable for
// writing, so that references from `get` and `get_mut` cannot overlap between threads.
unsafe impl<T: Send + Sync> Sync for Guarded<T> {}

impl<T> Guarded<T> {
    pub fn new(value: T) -> Self {
        Guarded(UnsafeCell::new(value))
    }

    pub fn get<'a>(&'a self, _: &'a Graph) -> &'a T {
        // SAFETY: the graph lock is held, and shared borrows of it allow reading only.
        unsafe { &*self.0.get() }
    }

    /// A reference that outlives the lock.
    ///
    /// # Safety
    /// `set` is not called on this cell while the reference is in use.
    pub(crate) unsafe fn lasting(&self) -> &T {
        // SAFETY: the caller's promise.
        unsafe { &*self.0.get() }
    }

    pub fn set(&self, _: &mut Graph, value: T) -> T {
        // SAFETY: the mutable borrow of the graph excludes every reference given out by `get`.
        unsafe { std::mem::replace(&mut *self.0.get(), value) }
    }

    fn get_mut_owned(&mut self) -> &mut T {
        self.0.get_mut()
    }
}

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

/// The level of a new node: random numbers are drawn at each step anew, whatever else does not depend on an argument is made once.
#[cold]
fn own_level(op: &Op, srcs: &[Tensor], now: u32) -> u32 {
    let draws = match op {
        Op::Argument => true,
        Op::Structured(op) => op.counter().is_some(),
        Op::Scan(scan) => scan.draws(),
        _ => false,
    };
    if draws { now } else { srcs.iter().map(|s| s.0.level).max().unwrap_or(0) }
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

static NEXT_ID: AtomicU64 = AtomicU64::new(1);

/// A fresh number, larger than all before: nodes are topologically ordered by theirs.
pub fn next_id() -> u64 {
    NEXT_ID.fetch_add(1, Ordering::Relaxed)
}

impl Tensor {
    /// A new pending node, or an error where no tensor can have the shape.
    #[inline]
    pub(crate) fn node(op: Op, srcs: Srcs, shape: Shape, dtype: DType) -> Result<Tensor> {
        crate::shape::check(op.name(), &shape)?;
        Ok(Tensor::within(op, srcs, shape, dtype))
    }

    /// A new pending node whose shape is an operand's or a part of one, and so is possible.
    #[inline]
    pub(crate) fn within(op: Op, srcs: Srcs, shape: Shape, dtype: DType) -> Tensor {
        let scopes = bound::count_node();
        // Truth values and integers have no gradient.
        let tracked = dtype.is_float() && srcs.iter().any(|s| s.0.tracked) && scopes.tracking();
        let device = srcs.iter().find(|s| !s.is_number()).map_or(Device::CPU, |s| s.0.device);
        let guards = Guards::merge(&srcs);
        Tensor::build(op, srcs, shape, dtype, device, tracked, guards, 0, Value::Pending, scopes)
    }

    #[allow(clippy::too_many_arguments)]
    #[inline(always)]
    fn build(
        op: Op,
        srcs: Srcs,
        shape: Shape,
        dtype: DType,
        device: Device,
        tracked: bool,
        guards: Option<Arc<Guards>>,
        leaf: u64,
        value: Value,
        scopes: Scopes,
    ) -> Tensor {
        // Kernels rely on it; whatever can be asked for has been checked before.
        assert!(crate::shape::is_possible(&shape), "{}: a node of the impossible shape {shape:?}", op.name());
        let mut hash = op.hash(&shape, dtype, device, tracked);
        if let (Op::View(_), Some(Op::View(_))) = (&op, srcs.first().map(Tensor::op)) {
            // A gradient goes back through every view of a chain, in its order.
            let mut chain = Hasher::new(srcs[0].0.hash);
            chain.add(hash);
            hash = chain.finish();
        }
        let mut defined = guards.as_ref().and_then(|g| g.defined().cloned());
        let mut late = false;
        if tracked {
            defined = srcs.iter().filter_map(|s| s.0.defined.as_ref()).fold(defined, |all, one| Defined::union(all, Some(one)));
        } else {
            late = srcs.iter().any(|s| s.0.defined.is_some() || s.0.late);
        }
        if let Op::Custom(own) = &op {
            defined = Some(Defined::with(own, defined));
        }
        let level = if scopes.level() == 0 { 0 } else { own_level(&op, &srcs, scopes.level()) };
        let place = Arc::<Node>::new_uninit();
        // SAFETY: nothing else refers to it. It is built where it stays: moving it there would be a tenth of its cost.
        Tensor(unsafe {
            Arc::as_ptr(&place).cast_mut().cast::<Node>().write(Node {
                id: next_id(),
                hash,
                op,
                shape,
                dtype,
                device,
                tracked,
                passing: scopes.passing(),
                level,
                leaf,
                guards,
                defined,
                late,
                srcs: Guarded::new(srcs),
                value: Guarded::new(value),
                mark: Guarded::new((0, 0)),
                handles: AtomicU32::new(0),
                claims: AtomicU32::new(0),
                shown: AtomicU32::new(0),
                place: Guarded::new(handles::NOWHERE),
            });
            place.assume_init()
        })
    }

    /// A node whose value is there, of a possible shape.
    pub fn from_buffer(buffer: Buffer, shape: &[usize], dtype: DType, device: Device) -> Tensor {
        Tensor::ready(buffer, shape, dtype, device, None)
    }

    fn ready(buffer: Buffer, shape: &[usize], dtype: DType, device: Device, guards: Option<Arc<Guards>>) -> Tensor {
        bound::count_bytes(crate::shape::size(shape) * dtype.bytes());
        Tensor::build(
            Op::Data,
            smallvec![],
            Shape::from_slice(shape),
            dtype,
            device,
            false,
            guards,
            0,
            Value::Ready(buffer),
            Scopes(0),
        )
    }

    /// The value of leaf number `leaf`, as a node of its own: gradients find it by that number.
    pub(crate) fn leaf_value(buffer: Buffer, shape: &[usize], dtype: DType, device: Device, tracked: bool, leaf: u64) -> Tensor {
        Tensor::build(
            Op::Data,
            smallvec![],
            Shape::from_slice(shape),
            dtype,
            device,
            tracked,
            None,
            leaf,
            Value::Ready(buffer),
            Scopes(0),
        )
    }

    /// An input of a function that a scan runs.
    pub fn argument(shape: &[usize], dtype: DType, device: Device, tracked: bool) -> Tensor {
        Tensor::build(Op::Argument, smallvec![], shape.into(), dtype, device, tracked, None, 0, Value::Pending, Scopes::now())
    }

    /// The same value as `x` under an identity of its own, tracked: what `gradient` differentiates by.
    pub fn tracked_identity(x: &Tensor) -> Tensor {
        let guards = x.0.guards.clone();
        let (shape, dtype) = (x.0.shape.clone(), x.0.dtype);
        let op = Op::identity_view(x);
        Tensor::build(op, smallvec![x.clone()], shape, dtype, x.0.device, true, guards, 0, Value::Pending, Scopes::now())
    }

    /// The same value without history: what it was made from is let go as soon as it is there.
    pub fn detached(&self) -> Tensor {
        if !self.is_tracked() {
            return self.clone();
        }
        let base = self.base();
        let ready = base.0.value.get(&lock()).buffer().cloned();
        let (shape, dtype, device) = (self.0.shape.clone(), self.0.dtype, self.0.device);
        let guards = self.0.guards.clone();
        let base = match ready {
            Some(buffer) => Tensor::ready(buffer, &base.0.shape, dtype, device, guards.clone()),
            // An element for an element, fused into what makes them: a view would hold the history as long as it lives.
            None => return no_grad(|| self.copied()),
        };
        if !matches!(self.0.op, Op::View(_)) {
            return base;
        }
        let op =
            Op::View(Box::new(crate::ops::View { kind: crate::ops::ViewKind::Reshape, base: base.clone(), map: self.map() }));
        Tensor::build(op, smallvec![base], shape, dtype, device, false, guards, 0, Value::Pending, Scopes(0))
    }

    /// A pending node without operands in memory, computed on a device.
    pub(crate) fn on(device: Device, op: Op, srcs: Srcs, shape: Shape, dtype: DType) -> Tensor {
        bound::count_node();
        Tensor::guarded(op, srcs, shape, dtype, device, None)
    }

    /// A pending node with guards of its own choosing.
    pub(crate) fn guarded(op: Op, srcs: Srcs, shape: Shape, dtype: DType, device: Device, guards: Option<Arc<Guards>>) -> Tensor {
        Tensor::build(op, srcs, shape, dtype, device, false, guards, 0, Value::Pending, Scopes::now())
    }

    /// A Python number: data of a plan, never part of its key.
    pub fn number(x: impl Into<Number>) -> Tensor {
        let x = x.into();
        Tensor::build(Op::Number(x), smallvec![], Shape::new(), x.dtype(), Device::CPU, false, None, 0, Value::Pending, Scopes(0))
    }

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
