//! Reductions with a fixed tree: what is added to what depends on the length and the type alone, never on the
//! instruction set, the number of threads or what runs beside it.

use super::isa::level;
use super::lanes::Lane;
use super::math::Num;
use crate::dtype::DType;
use crate::ops::reduce::Kind;
use crate::per_isa;

/// Accumulators side by side: element i goes to accumulator i mod LANES.
const LANES: usize = 32;
/// Elements folded in one go; longer rows are folded in pieces of this length, whose results are combined pairwise.
pub const CHUNK: usize = 2048;
/// Rows that a column fold adds up in order before the sums are combined pairwise.
pub const ROWS: usize = 64;

/// The loops of one kind of reduction over one type.
#[derive(Clone, Copy)]
pub struct Fold {
    /// Up to CHUNK contiguous elements to one; none give the neutral element.
    pub block: unsafe fn(src: *const u8, n: usize, out: *mut u8),
    /// acc\[i\] = acc\[i\] ∘ src\[i\].
    pub combine: unsafe fn(acc: *mut u8, src: *const u8, n: usize),
    /// dst\[i\] = the neutral element.
    pub clear: unsafe fn(dst: *mut u8, n: usize),
    pub size: usize,
}

impl Fold {
    /// `count` partial results, `stride` elements each, combined pairwise into the first.
    ///
    /// # Safety
    /// `partials` holds `count · stride` elements of the fold's type.
    pub unsafe fn combine_all(&self, partials: *mut u8, count: usize, stride: usize) {
        let mut step = 1;
        while step < count {
            for i in (0..count - step).step_by(2 * step) {
                // SAFETY: both pieces lie within the partials and do not overlap.
                unsafe {
                    let at = partials.add(i * stride * self.size);
                    (self.combine)(at, at.add(step * stride * self.size), stride);
                }
            }
            step *= 2;
        }
    }

    /// A row of any length to one element.
    ///
    /// # Safety
    /// `src` holds `n` elements, `out` has room for one.
    pub unsafe fn row(&self, src: *const u8, n: usize, out: *mut u8) {
        if n <= CHUNK {
            // SAFETY: the caller's promise.
            return unsafe { (self.block)(src, n, out) };
        }
        let count = n.div_ceil(CHUNK);
        let mut partials = vec![0u64; count];
        let at = partials.as_mut_ptr().cast::<u8>();
        // SAFETY: every chunk lies within the row; partials have eight bytes each, at least an element's.
        unsafe {
            for c in 0..count {
                let start = c * CHUNK;
                (self.block)(src.add(start * self.size), CHUNK.min(n - start), at.add(c * self.size));
            }
            self.combine_all(at, count, 1);
            std::ptr::copy_nonoverlapping(at, out, self.size);
        }
    }
}

trait Monoid<T>: 'static {
    fn neutral() -> T;
    fn join(x: T, y: T) -> T;
}

macro_rules! monoid {
    ($name:ident, $bound:path, $neutral:expr, |$x:ident, $y:ident| $join:expr) => {
        struct $name;
        impl<T: $bound> Monoid<T> for $name {
            #[inline(always)]
            fn neutral() -> T {
                $neutral
            }
            #[inline(always)]
            fn join($x: T, $y: T) -> T {
                $join
            }
        }
    };
}
monoid!(Sum, Num, T::of(0.0), |x, y| x.add(y));
monoid!(Prod, Num, T::of(1.0), |x, y| x.mul(y));
monoid!(Max, Bounded, T::LOWEST, |x, y| x.maximum(y));
monoid!(Min, Bounded, T::HIGHEST, |x, y| x.minimum(y));
monoid!(Any, Truth, T::FALSE, |x, y| x.or(y));
monoid!(All, Truth, T::TRUE, |x, y| x.and(y));

trait Bounded: Num {
    const LOWEST: Self;
    const HIGHEST: Self;
}
macro_rules! bounded {
    ($($t:ident $low:expr, $high:expr);*) => { $(impl Bounded for $t { const LOWEST: $t = $low; const HIGHEST: $t = $high; })* };
}
bounded!(f32 f32::NEG_INFINITY, f32::INFINITY; f64 f64::NEG_INFINITY, f64::INFINITY; i32 i32::MIN, i32::MAX; i64 i64::MIN, i64::MAX);

trait Truth: Lane {
    const TRUE: Self;
    const FALSE: Self;
    fn or(self, other: Self) -> Self;
    fn and(self, other: Self) -> Self;
}
impl Truth for bool {
    const TRUE: bool = true;
    const FALSE: bool = false;
    fn or(self, other: bool) -> bool {
        self | other
    }
    fn and(self, other: bool) -> bool {
        self & other
    }
}

#[inline(always)]
unsafe fn block_body<T: Lane, M: Monoid<T>, I: super::isa::Isa>(src: &[T], out: &mut T) {
    let mut acc = [M::neutral(); LANES];
    let mut chunks = src.chunks_exact(LANES);
    for chunk in &mut chunks {
        for (a, &x) in acc.iter_mut().zip(chunk) {
            *a = M::join(*a, x);
        }
    }
    for (a, &x) in acc.iter_mut().zip(chunks.remainder()) {
        *a = M::join(*a, x);
    }
    let mut width = LANES;
    while width > 1 {
        width /= 2;
        for i in 0..width {
            acc[i] = M::join(acc[i], acc[i + width]);
        }
    }
    *out = acc[0];
}

#[inline(always)]
unsafe fn combine_body<T: Lane, M: Monoid<T>, I: super::isa::Isa>(acc: &mut [T], src: &[T]) {
    for (a, &x) in acc.iter_mut().zip(src) {
        *a = M::join(*a, x);
    }
}

per_isa! { fn block_loop[T: Lane, M: Monoid<T>](src: &[T], out: &mut T) = block_body }
per_isa! { fn combine_loop[T: Lane, M: Monoid<T>](acc: &mut [T], src: &[T]) = combine_body }

unsafe fn block<T: Lane, M: Monoid<T>>(src: *const u8, n: usize, out: *mut u8) {
    // SAFETY: the contract of `Fold::block`.
    unsafe { block_loop::<T, M>(level())(std::slice::from_raw_parts(src.cast(), n), &mut *out.cast()) }
}

unsafe fn combine<T: Lane, M: Monoid<T>>(acc: *mut u8, src: *const u8, n: usize) {
    use std::slice::{from_raw_parts, from_raw_parts_mut};
    // SAFETY: the contract of `Fold::combine`.
    unsafe { combine_loop::<T, M>(level())(from_raw_parts_mut(acc.cast(), n), from_raw_parts(src.cast(), n)) }
}

unsafe fn clear<T: Lane, M: Monoid<T>>(dst: *mut u8, n: usize) {
    // SAFETY: the contract of `Fold::clear`.
    unsafe { std::slice::from_raw_parts_mut(dst.cast::<T>(), n).fill(M::neutral()) }
}

/// The loops of a reduction, if the type has it.
pub fn of(kind: Kind, dtype: DType) -> Option<Fold> {
    macro_rules! fold {
        ($T:ty, $M:ty) => {
            Some(Fold { block: block::<$T, $M>, combine: combine::<$T, $M>, clear: clear::<$T, $M>, size: size_of::<$T>() })
        };
    }
    macro_rules! numbers {
        ($M:ty) => {
            match dtype {
                DType::F32 => fold!(f32, $M),
                DType::F64 => fold!(f64, $M),
                DType::I32 => fold!(i32, $M),
                DType::I64 => fold!(i64, $M),
                DType::Bool => None,
            }
        };
    }
    match kind {
        Kind::Sum => numbers!(Sum),
        Kind::Prod => numbers!(Prod),
        Kind::Max if dtype == DType::Bool => fold!(bool, Any),
        Kind::Min if dtype == DType::Bool => fold!(bool, All),
        Kind::Max => numbers!(Max),
        Kind::Min => numbers!(Min),
        Kind::Any => (dtype == DType::Bool).then(|| fold!(bool, Any))?,
        Kind::All => (dtype == DType::Bool).then(|| fold!(bool, All))?,
    }
}
