//! The values of the reference.

use crate::dtype::{DType, Number};
use crate::shape::{self, Map, Shape};
use std::sync::Arc;

/// An array in row-major order, or a Python number, whose bytes depend on what it meets.
#[derive(Clone, Debug)]
pub enum Value {
    Array(Array),
    Number(Number),
    /// The parts of a scan, by their numbers.
    Parts(Arc<Vec<Array>>),
}

#[derive(Clone, Debug)]
pub struct Array {
    pub shape: Shape,
    pub dtype: DType,
    /// Words, for the sake of alignment.
    words: Arc<Vec<u64>>,
}

impl Array {
    /// `fill` gets zeroed memory for the elements.
    pub(super) fn make(shape: &[usize], dtype: DType, fill: impl FnOnce(*mut u8)) -> Array {
        let mut words = vec![0u64; (shape::size(shape) * dtype.bytes()).div_ceil(8) + 1];
        fill(words.as_mut_ptr().cast());
        Array { shape: shape.into(), dtype, words: Arc::new(words) }
    }

    /// A copy of the elements at `map` of memory that has them.
    ///
    /// # Safety
    /// The map stays within the memory at `ptr`, which holds elements of `dtype`.
    pub unsafe fn copied(ptr: *const u8, map: &Map, shape: &[usize], dtype: DType) -> Array {
        let n = dtype.bytes();
        Array::make(shape, dtype, |to| {
            for (i, at) in positions(map, shape).into_iter().enumerate() {
                // SAFETY: the caller's promise, and `make` gave room for every element of the shape.
                unsafe { std::ptr::copy_nonoverlapping(ptr.offset(at as isize * n as isize), to.add(i * n), n) };
            }
        })
    }

    pub fn len(&self) -> usize {
        shape::size(&self.shape)
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn ptr(&self) -> *const u8 {
        self.words.as_ptr().cast()
    }

    pub fn bytes(&self) -> &[u8] {
        // SAFETY: `make` gave that much memory.
        unsafe { std::slice::from_raw_parts(self.ptr(), self.len() * self.dtype.bytes()) }
    }

    /// The elements at these positions, as an array of another shape.
    pub(super) fn view(&self, map: &Map, shape: &[usize]) -> Array {
        // SAFETY: views stay within what they view.
        unsafe { Array::copied(self.ptr(), map, shape, self.dtype) }
    }

    /// The element at `i` as a number.
    pub fn at(&self, i: usize) -> f64 {
        let word = &self.bytes()[i * self.dtype.bytes()..][..self.dtype.bytes()];
        match self.dtype {
            DType::Bool => word[0] as f64,
            DType::I32 => i32::from_ne_bytes(word.try_into().expect("four bytes")) as f64,
            DType::I64 => i64::from_ne_bytes(word.try_into().expect("eight bytes")) as f64,
            DType::F32 => f32::from_ne_bytes(word.try_into().expect("four bytes")) as f64,
            DType::F64 => f64::from_ne_bytes(word.try_into().expect("eight bytes")),
        }
    }

    /// The same bits, but that one NaN is as good as another.
    pub fn same(&self, other: &Array) -> bool {
        let nan = |a: &Array, i: usize| a.dtype.is_float() && a.at(i).is_nan();
        let size = self.dtype.bytes();
        self.shape == other.shape
            && self.dtype == other.dtype
            && (self.bytes() == other.bytes()
                || (0..self.len()).all(|i| {
                    let range = i * size..(i + 1) * size;
                    self.bytes()[range.clone()] == other.bytes()[range] || nan(self, i) && nan(other, i)
                }))
    }
}

impl Value {
    /// As an array of `dtype`: what a number is where it meets one.
    pub fn array(&self, dtype: DType) -> Array {
        match self {
            Value::Array(a) => a.clone(),
            Value::Number(n) => full(&[], dtype, *n),
            Value::Parts(_) => unreachable!("only parts are made of a scan"),
        }
    }
}

pub(super) fn full(shape: &[usize], dtype: DType, n: Number) -> Array {
    let (word, size) = (n.to_bytes(dtype), dtype.bytes());
    Array::make(shape, dtype, |to| {
        for i in 0..shape::size(shape) {
            // SAFETY: `make` gave room for every element.
            unsafe { std::ptr::copy_nonoverlapping(word.as_ptr(), to.add(i * size), size) };
        }
    })
}

/// Where a map puts each index of a shape, in row-major order.
pub(super) fn positions(map: &Map, shape: &[usize]) -> Vec<i64> {
    shape
        .iter()
        .zip(&map.strides)
        .fold(vec![map.offset], |list, (&n, &s)| list.iter().flat_map(|&at| (0..n).map(move |i| at + i as i64 * s)).collect())
}
