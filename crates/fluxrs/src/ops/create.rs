//! Constants: a number in every element, and tensors made from host data.

use super::Op;
use crate::buffer::{Buffer, HostBuffer};
use crate::device::Device;
use crate::dtype::{DType, Element, Number};
use crate::error::Result;
use crate::graph::Tensor;
use smallvec::smallvec;
use std::sync::Arc;

impl Tensor {
    /// This number in every element of a new shape.
    pub(crate) fn fill(&self, shape: &[usize], dtype: DType) -> Tensor {
        debug_assert!(self.is_number());
        Tensor::node(Op::Fill, smallvec![self.clone()], shape.into(), dtype)
    }

    pub fn full(shape: &[usize], value: impl Into<Number>, dtype: DType) -> Tensor {
        Tensor::number(value).fill(shape, dtype)
    }

    pub(crate) fn zeros_like(&self) -> Tensor {
        Tensor::filled(self, 0.0)
    }

    pub(crate) fn filled(like: &Tensor, value: f64) -> Tensor {
        let guards = None;
        let srcs = smallvec![Tensor::number(value)];
        Tensor::guarded(Op::Fill, srcs, like.shape().into(), like.dtype(), like.device(), guards)
    }

    /// A copy of host data.
    pub fn from_slice<T: Element>(data: &[T], shape: &[usize]) -> Result<Tensor> {
        debug_assert_eq!(data.len(), crate::shape::size(shape));
        let buffer = Buffer::Host(Arc::new(HostBuffer::from_slice(data)?));
        Ok(Tensor::from_buffer(buffer, shape, T::DTYPE, Device::CPU))
    }
}
