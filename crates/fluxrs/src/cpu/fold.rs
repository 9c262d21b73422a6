//! Reductions with a fixed tree: what is added to what depends on the length and the type alone, never on the
//! instruction set, the number of threads or what runs beside it.
//!
//! Accumulators stand side by side in lanes, 64 of 4 bytes or 32 of 8, and the upper half of them is joined to the lower half
//! until one is left. A row no longer than that has one element a lane. Of a longer one, up to [`CHUNK`], lane i takes the
//! elements i, i + lanes, i + 2·lanes, … in order, and the elements of the last, incomplete round go to the last lanes. Chunks are
//! joined pairwise. So the error of a sum grows like the logarithm of its length.

// `per_isa` compiles a body for an instruction set through its last type parameter, whether the body asks for it or not.
#![allow(clippy::extra_unused_type_parameters, clippy::needless_range_loop)]

use crate::dtype::DType;
use crate::ops::reduce::Reduction;
use crate::per_isa;
use crate::pool::grain;
use crate::simd::isa::{Isa, level};
use crate::simd::lanes::Lane;
use crate::simd::math::Num;

/// Elements folded in one go; longer rows are folded in pieces of this length, whose results are combined pairwise.
pub const CHUNK: usize = grain(2048);
/// Rows that a column fold adds up in order before the sums are combined pairwise.
pub const ROWS: usize = 64;

/// The loops of one kind of reduction over one type.
#[derive(Clone, Copy)]
pub struct Fold {
    /// Up to CHUNK contiguous elements to one; none give the neutral element. Here as below, pointers are aligned and have as many
    /// elements as said; results have no other user.
    pub block: unsafe fn(src: *const u8, n: usize, out: *mut u8),
    /// Contiguous rows of any length, to one element each: the bits of `block` and `combine_all`.
    pub rows: unsafe fn(src: *const u8, rows: usize, cols: usize, out: *mut u8),
    /// acc\[i\] = acc\[i\] ∘ src\[i\].
    pub combine: unsafe fn(acc: *mut u8, src: *const u8, n: usize),
    /// dst\[i\] = the neutral element.
    pub clear: unsafe fn(dst: *mut u8, n: usize),
    pub size: usize,
}

impl Fold {
    /// `count` partial results of `n` elements each, `stride` elements apart, combined pairwise into the first.
    ///
    /// # Safety
    /// The partial results are of the fold's type, and have no other user.
    pub unsafe fn combine_all(&self, partials: *mut u8, count: usize, stride: usize, n: usize) {
        let mut step = 1;
        while step < count {
            for i in (0..count - step).step_by(2 * step) {
                // SAFETY: both pieces lie within the partials and do not overlap.
                unsafe {
                    let at = partials.add(i * stride * self.size);
                    (self.combine)(at, at.add(step * stride * self.size), n);
                }
            }
            step *= 2;
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

/// Joins the upper half of the lanes to the lower one until one is left.
#[inline(always)]
fn join_lanes<T: Lane, M: Monoid<T>, const L: usize>(mut lanes: [T; L], pause: bool) -> T {
    let mut half = L / 2;
    while half > 0 {
        for i in 0..half {
            lanes[i] = M::join(lanes[i], lanes[i + half]);
        }
        if half == 16 && pause {
            // Writing the lanes out here makes the compiler use whole vectors up to here, where it would else pick pairs.
            std::hint::black_box(&mut lanes);
        }
        half /= 2;
    }
    lanes[0]
}

/// Rows of L to CHUNK elements.
///
/// # Safety
/// The machine has the instruction set.
#[inline(always)]
unsafe fn chunk_body<T: Lane, M: Monoid<T>, const L: usize, I: Isa>(src: &[T], cols: usize, out: &mut [T]) {
    for (row, out) in src.chunks_exact(cols).zip(out) {
        let mut lanes = [M::neutral(); L];
        let (chunks, rest) = row.as_chunks::<L>();
        for chunk in chunks {
            for (a, &x) in lanes.iter_mut().zip(chunk) {
                *a = M::join(*a, x);
            }
        }
        if let Some(last) = row.last_chunk::<L>().filter(|_| !rest.is_empty()) {
            for (i, a) in lanes.iter_mut().enumerate() {
                *a = M::join(*a, if i >= L - rest.len() { last[i] } else { M::neutral() });
            }
        }
        *out = join_lanes::<T, M, L>(lanes, true);
    }
}

/// Rows of at most `P` elements.
///
/// # Safety
/// The machine has the instruction set.
#[inline(always)]
unsafe fn short_body<T: Lane, M: Monoid<T>, const P: usize, I: Isa>(src: &[T], cols: usize, out: &mut [T]) {
    let fold = |x: &[T; P]| join_lanes::<T, M, P>(std::array::from_fn(|i| if i < cols { x[i] } else { M::neutral() }), P == 64);
    // All but the last rows may read on into their neighbours, and mask that out.
    let free = if src.len() < P { 0 } else { ((src.len() - P) / cols + 1).min(out.len()) };
    for r in 0..free {
        // SAFETY: r·cols + P ≤ the length, by the bound on r.
        out[r] = fold(unsafe { &*src.as_ptr().add(r * cols).cast() });
    }
    for r in free..out.len() {
        let mut padded = [M::neutral(); P];
        padded[..cols].copy_from_slice(&src[r * cols..(r + 1) * cols]);
        out[r] = fold(&padded);
    }
}

/// # Safety
/// The machine has the instruction set.
#[inline(always)]
unsafe fn combine_body<T: Lane, M: Monoid<T>, I: Isa>(acc: &mut [T], src: &[T]) {
    for (a, &x) in acc.iter_mut().zip(src) {
        *a = M::join(*a, x);
    }
}

per_isa! { fn chunk_loop[T: Lane, M: Monoid<T>; const L: usize](src: &[T], cols: usize, out: &mut [T]) = chunk_body }
per_isa! { fn short_loop[T: Lane, M: Monoid<T>; const P: usize](src: &[T], cols: usize, out: &mut [T]) = short_body }
per_isa! { fn combine_loop[T: Lane, M: Monoid<T>](acc: &mut [T], src: &[T]) = combine_body }

/// # Safety
/// As [`Fold::block`] says.
unsafe fn block<T: Lane, M: Monoid<T>>(src: *const u8, n: usize, out: *mut u8) {
    // SAFETY: the contract of `Fold::block`.
    unsafe { rows::<T, M>(src, 1, n, out) }
}

/// # Safety
/// As [`Fold::rows`] says.
unsafe fn rows<T: Lane, M: Monoid<T>>(src: *const u8, rows: usize, cols: usize, out: *mut u8) {
    // SAFETY: the contract of `Fold::rows`.
    let (src, out) = unsafe {
        (std::slice::from_raw_parts(src.cast::<T>(), rows * cols), std::slice::from_raw_parts_mut(out.cast::<T>(), rows))
    };
    let wide = size_of::<T>() == 8;
    let level = level();
    let rows = match cols {
        0 => return out.fill(M::neutral()),
        1..=16 if T::FLOAT => short_loop::<T, M, 16>(level),
        1..=32 => short_loop::<T, M, 32>(level),
        33..=64 if !wide => short_loop::<T, M, 64>(level),
        33..=CHUNK if wide => chunk_loop::<T, M, 32>(level),
        33..=CHUNK => chunk_loop::<T, M, 64>(level),
        _ => {
            for (row, out) in src.chunks_exact(cols).zip(out) {
                *out = pairwise::<T, M>(row.chunks(CHUNK).map(|part| {
                    let mut sum = M::neutral();
                    // SAFETY: one row, one result.
                    unsafe { block::<T, M>(part.as_ptr().cast(), part.len(), (&raw mut sum).cast()) };
                    sum
                }));
            }
            return;
        }
    };
    // SAFETY: the machine has the level.
    unsafe { rows(src, cols, out) }
}

/// The tree of [`Fold::combine_all`] over parts as they come: the binary digits of a part's number say which subtrees it ends.
fn pairwise<T: Lane, M: Monoid<T>>(parts: impl Iterator<Item = T>) -> T {
    let mut whole = [M::neutral(); usize::BITS as usize];
    let mut depth = 0;
    for (i, part) in parts.enumerate() {
        let mut sum = part;
        for _ in 0..i.trailing_ones() {
            depth -= 1;
            sum = M::join(whole[depth], sum);
        }
        whole[depth] = sum;
        depth += 1;
    }
    whole[..depth].iter().copied().rev().reduce(|sum, part| M::join(part, sum)).unwrap_or_else(M::neutral)
}

/// # Safety
/// As [`Fold::combine`] says.
unsafe fn combine<T: Lane, M: Monoid<T>>(acc: *mut u8, src: *const u8, n: usize) {
    use std::slice::{from_raw_parts, from_raw_parts_mut};
    // SAFETY: the contract of `Fold::combine`.
    unsafe { combine_loop::<T, M>(level())(from_raw_parts_mut(acc.cast(), n), from_raw_parts(src.cast(), n)) }
}

/// # Safety
/// As [`Fold::clear`] says.
unsafe fn clear<T: Lane, M: Monoid<T>>(dst: *mut u8, n: usize) {
    // SAFETY: the contract of `Fold::clear`.
    unsafe { std::slice::from_raw_parts_mut(dst.cast::<T>(), n).fill(M::neutral()) }
}

/// The loops of a reduction, if the type has it.
pub fn of(kind: Reduction, dtype: DType) -> Option<Fold> {
    macro_rules! fold {
        ($T:ty, $M:ty) => {
            Some(Fold {
                block: block::<$T, $M>,
                rows: rows::<$T, $M>,
                combine: combine::<$T, $M>,
                clear: clear::<$T, $M>,
                size: size_of::<$T>(),
            })
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
        Reduction::Sum => numbers!(Sum),
        Reduction::Prod => numbers!(Prod),
        Reduction::Max if dtype == DType::Bool => fold!(bool, Any),
        Reduction::Min if dtype == DType::Bool => fold!(bool, All),
        Reduction::Max => numbers!(Max),
        Reduction::Min => numbers!(Min),
        Reduction::Any => (dtype == DType::Bool).then_some(fold!(bool, Any))?,
        Reduction::All => (dtype == DType::Bool).then_some(fold!(bool, All))?,
    }
}
