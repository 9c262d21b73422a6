//! How nodes are made.

use super::scopes::Scopes;
use super::{Defined, Guarded, Node, Srcs, Tensor, Value, bound, handles, lock, no_grad};
use crate::buffer::Buffer;
use crate::device::Device;
use crate::dtype::{DType, Number};
use crate::error::Result;
use crate::guards::Guards;
use crate::hash::Hasher;
use crate::ops::Op;
use crate::shape::Shape;
use smallvec::smallvec;
use std::mem::MaybeUninit;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

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
        let (mut tracked, mut guarded, mut device) = (false, false, None);
        for src in &srcs {
            tracked |= src.0.tracked;
            guarded |= src.0.guards.is_some();
            if device.is_none() && !src.is_number() {
                device = Some(src.0.device);
            }
        }
        // Truth values and integers have no gradient.
        let tracked = tracked && dtype.is_float() && scopes.tracking();
        let guards = if guarded { Guards::merge(&srcs) } else { None };
        let device = device.unwrap_or(Device::CPU);
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
        for src in &srcs {
            match &src.0.defined {
                Some(_) if tracked => defined = Defined::union(defined, src.0.defined.as_ref()),
                of => late |= !tracked && (of.is_some() || src.0.late),
            }
        }
        if let Op::Custom(own) = &op {
            defined = Some(Defined::with(own, defined));
        }
        let level = if scopes.level() == 0 { 0 } else { own_level(&op, &srcs, scopes.level()) };
        let place = Arc::new(MaybeUninit::<Node>::uninit());
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
