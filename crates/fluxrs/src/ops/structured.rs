//! What an op that is neither elementwise, a view, a reduction nor a product must say of itself: one file each.

use super::poll::Poll;
use crate::bail;
use crate::call_site::CallSite;
use crate::dtype::DType;
use crate::error::Result;
use crate::graph::Tensor;
use crate::shape;

/// A contiguous operand of a kernel.
#[derive(Clone, Copy)]
pub struct Operand<'a> {
    pub ptr: *const u8,
    pub shape: &'a [usize],
    pub dtype: DType,
}

/// The contiguous result of a kernel, uninitialised.
pub struct OperandMut<'a> {
    pub ptr: *mut u8,
    pub shape: &'a [usize],
    pub dtype: DType,
    /// Asked before each piece of work.
    pub poll: Poll<'a>,
}

/// Room for `n` elements of a kernel's own, or a MemoryError.
pub fn room<T>(n: usize) -> Result<Vec<T>> {
    let mut out = Vec::new();
    match out.try_reserve_exact(n) {
        Ok(()) => Ok(out),
        Err(_) => bail!(Memory, "cannot get {} bytes of memory for a kernel's own use", n.saturating_mul(size_of::<T>())),
    }
}

impl<'a> Operand<'a> {
    pub fn as_slice<T: crate::dtype::Element>(&self) -> &'a [T] {
        debug_assert_eq!(self.dtype, T::DTYPE);
        // SAFETY: the plan binds each operand to aligned, initialised memory of its size for the whole call.
        unsafe { std::slice::from_raw_parts(self.ptr.cast(), shape::size(self.shape)) }
    }

    /// A number operand as an integer: a counter, a seed, an offset.
    pub fn as_int(&self) -> i64 {
        self.as_slice::<i64>()[0]
    }
}

impl OperandMut<'_> {
    pub fn as_mut_slice<T: crate::dtype::Element>(&mut self) -> &mut [T] {
        debug_assert_eq!(self.dtype, T::DTYPE);
        // SAFETY: the plan binds the result to memory that nobody else touches during the call; every bit pattern is an element.
        unsafe { std::slice::from_raw_parts_mut(self.ptr.cast(), shape::size(self.shape)) }
    }
}

pub trait Structured: Send + Sync {
    fn name(&self) -> &'static str;

    /// Everything but shapes, dtypes and wiring that decides what code runs.
    fn key(&self) -> u64 {
        0
    }

    /// The gradient towards `srcs[i]`, written in forward ops.
    fn gradient(&self, i: usize, srcs: &[Tensor], out: &Tensor, g: &Tensor) -> Option<Tensor>;

    /// The CPU kernel: `srcs` are contiguous, number operands are their eight bytes as i64 or f64.
    /// An error (an index out of range, a singular matrix) fails the evaluation.
    fn cpu(&self, srcs: &[Operand<'_>], out: OperandMut<'_>) -> Result<()>;

    /// Roughly how many nanoseconds the kernel takes for operands and a result of these shapes: long ones are watched for interrupts.
    fn cost(&self, srcs: &[&[usize]], out: &[usize]) -> usize {
        srcs.iter().fold(shape::size(out), |n, s| n.saturating_add(shape::size(s))).saturating_mul(4)
    }

    /// Where it was called, for an op that can fail on values.
    fn call_site(&self) -> Option<&CallSite> {
        None
    }

    /// The name of its shader in `shaders/`, for devices that run WGSL.
    fn shader(&self) -> Option<&'static str> {
        None
    }
}
