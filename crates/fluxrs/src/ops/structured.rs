//! The record of an op that is neither elementwise, a view, a reduction nor a product: one file each.

use super::poll::Poll;
use super::shader::{Shader, Spec};
use crate::bail;
use crate::call_site::CallSite;
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::graph::Tensor;
use crate::shape;

/// An operand of a kernel: contiguous, unless the op says that it reads it through an index map.
#[derive(Clone, Copy)]
pub struct Operand<'a> {
    /// The first element.
    pub ptr: *const u8,
    pub shape: &'a [usize],
    pub strides: &'a [i64],
    pub dtype: DType,
}

// SAFETY: the plan binds an operand to memory that nothing writes while the kernel runs.
unsafe impl Sync for Operand<'_> {}

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

/// Where the i-th element, in row-major order, of axes with these lengths and strides lies.
pub fn offset(mut i: usize, shape: &[usize], strides: &[i64]) -> isize {
    let mut at = 0;
    for (&n, &stride) in shape.iter().zip(strides).rev() {
        at += (i % n) as i64 * stride;
        i /= n;
    }
    at as isize
}

/// Where each element of axes with these lengths and strides lies.
pub fn offsets(shape: &[usize], strides: &[i64]) -> Result<Vec<isize>> {
    let n = shape::size(shape);
    let mut out = room(n)?;
    out.extend((0..n).map(|i| offset(i, shape, strides)));
    Ok(out)
}

impl<'a> Operand<'a> {
    /// True if elements lie one after the other in row-major order.
    pub fn is_contiguous(&self) -> bool {
        shape::is_contiguous(self.shape, self.strides)
    }

    /// The element at an offset from the first.
    ///
    /// # Safety
    /// The offset is that of an element: what `offset` gives for an index within the shape.
    pub unsafe fn get<T: crate::dtype::Element>(&self, at: isize) -> T {
        debug_assert_eq!(self.dtype, T::DTYPE);
        // SAFETY: the caller's promise, and the plan binds each operand to initialised memory for the whole call.
        unsafe { *self.ptr.cast::<T>().offset(at) }
    }

    /// As many elements, one after the other, from an offset on.
    ///
    /// # Safety
    /// They are elements of the operand, and lie so.
    pub unsafe fn run<T: crate::dtype::Element>(&self, at: isize, n: usize) -> &'a [T] {
        debug_assert_eq!(self.dtype, T::DTYPE);
        // SAFETY: as above.
        unsafe { std::slice::from_raw_parts(self.ptr.cast::<T>().offset(at), n) }
    }

    pub fn as_slice<T: crate::dtype::Element>(&self) -> &'a [T] {
        debug_assert_eq!(self.dtype, T::DTYPE);
        assert!(self.is_contiguous(), "an operand that is read through a map has no slice");
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
        // SAFETY: the plan binds the result to memory that nothing else touches during the call; every bit pattern is an element.
        unsafe { std::slice::from_raw_parts_mut(self.ptr.cast(), shape::size(self.shape)) }
    }
}

/// The two results that one kernel may give: places in the last axis of an operand, and the elements there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Half {
    /// Of an op that finds places in the last axis of `srcs[0]`.
    Places,
    /// Of an op that gives the elements of the last axis of `srcs[0]` at the places `srcs[1]`.
    Elements,
}

pub trait Structured: Send + Sync {
    fn name(&self) -> &'static str;

    /// Everything but shapes, dtypes and wiring that decides what code runs.
    fn key(&self) -> u64 {
        0
    }

    /// The gradient towards `srcs[i]`, written in forward ops.
    fn gradient(&self, i: usize, srcs: &[Tensor], out: &Tensor, g: &Tensor) -> Option<Tensor>;

    /// The gradients towards the operands that are wanted, for an op whose gradients have work in common.
    fn gradients(&self, wanted: &[bool], srcs: &[Tensor], out: &Tensor, g: &Tensor) -> Vec<Option<Tensor>> {
        wanted.iter().enumerate().map(|(i, &wanted)| if wanted { self.gradient(i, srcs, out, g) } else { None }).collect()
    }

    /// One node for all steps of a scan, for a node of its function: given `srcs[i]` for each operand, or its values at all steps on a
    /// first axis, if it has one for each.
    fn over_steps(&self, _srcs: &[Tensor], _all: &[Option<&Tensor>]) -> Option<Result<Tensor>> {
        None
    }

    /// True if the kernels of both devices read this operand through an index map. Others are made contiguous.
    fn reads_through_map(&self, _operand: usize) -> bool {
        false
    }

    /// The CPU kernel. Number operands are their eight bytes as i64 or f64.
    /// An error (an index out of range, a singular matrix) fails the evaluation.
    fn cpu(&self, srcs: &[Operand<'_>], out: OperandMut<'_>) -> Result<()>;

    /// Its part, if it can be one of two results of one kernel. The places are an op's first result then, the elements its second.
    fn half(&self) -> Option<Half> {
        None
    }

    /// The CPU kernel of an op that finds places, for the elements there and, if they are asked for, the places.
    fn cpu_elements(&self, _srcs: &[Operand<'_>], _places: Option<OperandMut<'_>>, _elements: OperandMut<'_>) -> Result<()> {
        Err(Error::Value(format!("{}: the kernel gives no elements", self.name())))
    }

    /// True if `srcs[1]` holds numbers of rows, and the result is zero but for those, along its first axis.
    fn is_sparse(&self) -> bool {
        false
    }

    /// The CPU kernel for the rows alone that are not zero. Of n numbers it gives the keys row · n + place, sorted, and for the first
    /// key of each row, at its place among the keys, that row.
    fn cpu_rows(&self, _srcs: &[Operand<'_>], _keys: OperandMut<'_>, _rows: OperandMut<'_>) -> Result<()> {
        Err(Error::Value(format!("{}: the kernel gives no rows alone", self.name())))
    }

    /// An estimate in nanoseconds for operands and a result of these shapes: long kernels are watched for interrupts.
    fn cost(&self, srcs: &[&[usize]], out: &[usize]) -> usize {
        srcs.iter().fold(shape::size(out), |n, s| n.saturating_add(shape::size(s))).saturating_mul(4)
    }

    /// The operand that says where in the random stream it draws from: at each step of a scan from a place of its own.
    fn counter(&self) -> Option<usize> {
        None
    }

    /// Where it was called, for an op that can fail on values.
    fn call_site(&self) -> Option<&CallSite> {
        None
    }

    /// True if operands may be wrong where the result has no elements: its shader runs then as well.
    fn looks_at_operands(&self) -> bool {
        false
    }

    /// The kernel for a device that runs WGSL; an error says what of it such a device cannot do: " of bools".
    fn shader(&self, _srcs: &[Spec<'_>], _out: Spec<'_>) -> Result<Shader, String> {
        Err(String::new())
    }

    /// The error for the flag that its shader raised with these words.
    fn raised(&self, _words: [u32; 2]) -> Error {
        Error::Value(format!("{}: the kernel failed", self.name()))
    }
}
