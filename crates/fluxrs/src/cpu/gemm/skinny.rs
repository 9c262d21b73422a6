//! A few rows times a matrix, or a matrix times a few columns: reading the matrix is most of the work, and packing it would
//! double that. Each lane of a vector sums every `LANES`-th product, and the lanes are added as a tree: in this order a
//! matrix is read at full speed whether its rows or its columns are contiguous, and the bits are the same.
use super::Product;
use super::scratch;
use super::simd::{MOST_LANES, Simd};
use super::strips;
use crate::stop::stopped;
use std::sync::atomic::AtomicBool;

/// The most rows (or columns) that count as few.
const FEW: usize = 4;
/// Steps of a sum from one look at the stop flag to the next: whole vectors.
pub(super) const PIECE: usize = 1 << 16;

/// `y[i, j] = Σ x[i, p]·matrix[p, j]` for a few `i`.
pub(super) struct Task<'a, T> {
    pub few: usize,
    pub k: usize,
    pub n: usize,
    /// Its rows are contiguous, and this far apart.
    pub x: *const T,
    pub x_stride: isize,
    pub matrix: *const T,
    /// Along the inner axis and along columns.
    pub strides: (isize, isize),
    pub y: *mut T,
    pub y_strides: (usize, usize),
    pub stop: &'a AtomicBool,
}

/// True if a product is computed here. It must not depend on anything but the whole product's shape.
pub(super) fn suits<S: Simd>(p: &Product) -> bool {
    match p.m.min(p.n) {
        1 => p.k >= 2 * S::LANES,
        // Adding the lanes must be little beside the products.
        2..=FEW => p.k >= 8 * S::LANES,
        _ => false,
    }
}

/// Computes C, or a tile of it, unless it is stopped; `rows` says whether it has few rows, or few columns.
///
/// # Safety
/// The machine has the instruction set; the matrices are as the product says; C overlaps neither operand.
pub(super) unsafe fn product<S: Simd>(p: &Product, rows: bool, a: *const S::T, b: *const S::T, c: *mut S::T, stop: &AtomicBool) {
    let k = p.k;
    // SAFETY: as promised.
    unsafe {
        let mut task = if rows {
            let (x_stride, strides) = (p.a_strides.0, p.b_strides);
            Task { few: p.m, k, n: p.n, x: a, x_stride, matrix: b, strides, y: c, y_strides: (p.ldc, 1), stop }
        } else {
            let (x_stride, strides) = (p.b_strides.1, (p.a_strides.1, p.a_strides.0));
            Task { few: p.n, k, n: p.m, x: b, x_stride, matrix: a, strides, y: c, y_strides: (1, p.ldc), stop }
        };
        let along = if rows { p.a_strides.1 } else { p.b_strides.0 };
        let copied = if along == 1 { 0 } else { task.few * k };
        let (copy, sums) = scratch::of::<S::T>(copied, strips::sums::<S>(&task));
        if along != 1 {
            for i in 0..task.few {
                for q in 0..k {
                    *copy.add(i * k + q) = *task.x.offset(i as isize * task.x_stride + q as isize * along);
                }
            }
            (task.x, task.x_stride) = (copy, k as isize);
        }
        if task.strides.1 == 1 && task.strides.0 != 1 { S::strips(&task, sums) } else { S::dots(&task) }
    }
}

/// Adds the first `LANES` vectors as a tree.
///
/// # Safety
/// The machine has the instruction set; the pointers are good for what the task says.
#[inline(always)]
pub(super) unsafe fn fold<S: Simd>(of: &[S::V]) -> S::V {
    // SAFETY: the caller has the instruction set.
    let mut sums = [unsafe { S::zero() }; MOST_LANES];
    sums[..S::LANES].copy_from_slice(&of[..S::LANES]);
    let mut half = S::LANES / 2;
    while half > 0 {
        for i in 0..half {
            // SAFETY: likewise.
            sums[i] = unsafe { S::add(sums[i], sums[i + half]) };
        }
        half /= 2;
    }
    sums[0]
}

/// Stores the first `count` lanes at y[i, j..].
///
/// # Safety
/// The machine has the instruction set; the pointers are good for what the task says.
#[inline(always)]
pub(super) unsafe fn put<S: Simd>(task: &Task<S::T>, i: usize, j: usize, v: S::V, count: usize) {
    // SAFETY: the caller's promise.
    unsafe {
        let (down, right) = task.y_strides;
        let to = task.y.add(i * down + j * right);
        if right == 1 {
            return S::store_part(to, v, S::mask(count));
        }
        let mut lanes = [S::T::default(); MOST_LANES];
        S::store(lanes.as_mut_ptr(), v);
        for (l, &x) in lanes.iter().enumerate().take(count) {
            *to.add(l * right) = x;
        }
    }
}

/// The matrix is contiguous along the inner axis, or not at all.
///
/// # Safety
/// The machine has the instruction set; the pointers are good for what the task says.
#[inline(always)]
pub(super) unsafe fn dots<S: Simd>(task: &Task<S::T>) {
    // SAFETY: the caller's promise.
    unsafe {
        match (task.few, task.strides.0 == 1) {
            (1, true) => dots_of::<S, 1, true>(task, 0),
            (2, true) => dots_of::<S, 2, true>(task, 0),
            (3, true) => dots_of::<S, 3, true>(task, 0),
            (4, true) => dots_of::<S, 4, true>(task, 0),
            _ => {
                for i in 0..task.few {
                    dots_of::<S, 1, false>(task, i);
                }
            }
        }
    }
}

/// Rows `i..i + R` of y.
///
/// # Safety
/// The machine has the instruction set; the pointers are good for what the task says.
#[inline(always)]
unsafe fn dots_of<S: Simd, const R: usize, const UNIT: bool>(task: &Task<S::T>, i: usize) {
    // SAFETY: the caller's promise.
    unsafe {
        let group = S::LANES.max(8);
        let mut sums = [[S::zero(); MOST_LANES]; R];
        let mut j = 0;
        while j < task.n {
            let count = group.min(task.n - j);
            let mut l = 0;
            while l < count {
                // At least eight sums at a time, to hide the latency of the multiply-add.
                l += match count - l {
                    8.. if R == 1 => columns::<S, R, 8, UNIT>(task, i, j, l, &mut sums),
                    4.. => columns::<S, R, 4, UNIT>(task, i, j, l, &mut sums),
                    2.. => columns::<S, R, 2, UNIT>(task, i, j, l, &mut sums),
                    _ => columns::<S, R, 1, UNIT>(task, i, j, l, &mut sums),
                };
            }
            for (r, sums) in sums.iter().enumerate() {
                for l in (0..count).step_by(S::LANES) {
                    let mut square = [S::zero(); MOST_LANES];
                    square[..S::LANES].copy_from_slice(&sums[l..l + S::LANES]);
                    S::transpose(&mut square);
                    put::<S>(task, i + r, j + l, fold::<S>(&square), S::LANES.min(count - l));
                }
            }
            j += count;
        }
    }
}

/// The lanes' sums for `R` rows of x and the columns `j + l..` of the matrix, `N` of them, which it says.
///
/// # Safety
/// The machine has the instruction set; the pointers are good for what the task says.
#[inline(always)]
#[allow(clippy::needless_range_loop)]
unsafe fn columns<S: Simd, const R: usize, const N: usize, const UNIT: bool>(
    task: &Task<S::T>,
    i: usize,
    j: usize,
    l: usize,
    sums: &mut [[S::V; MOST_LANES]; R],
) -> usize {
    // SAFETY: the caller's promise; a part is not read beyond its lanes.
    unsafe {
        let (along, across) = task.strides;
        let matrix = task.matrix.offset((j + l) as isize * across);
        let x = task.x.offset(i as isize * task.x_stride);
        let mut acc = [[S::zero(); N]; R];
        let mut p = 0;
        let whole = task.k / S::LANES * S::LANES;
        loop {
            let end = whole.min(p + PIECE);
            while p < end {
                let mut rows = [S::zero(); R];
                for r in 0..R {
                    rows[r] = S::load(x.offset(p as isize + r as isize * task.x_stride));
                }
                for n in 0..N {
                    let from = matrix.offset(p as isize * along + n as isize * across);
                    let v = if UNIT { S::load(from) } else { gather::<S>(from, along, S::LANES) };
                    for r in 0..R {
                        acc[r][n] = S::multiply_add(rows[r], v, acc[r][n]);
                    }
                }
                p += S::LANES;
            }
            if p == whole {
                break;
            }
            if stopped(task.stop) {
                return N;
            }
        }
        if p < task.k {
            let mask = S::mask(task.k - p);
            for n in 0..N {
                let from = matrix.offset(p as isize * along + n as isize * across);
                let v = if UNIT { S::load_part(from, mask) } else { gather::<S>(from, along, task.k - p) };
                for r in 0..R {
                    let x = S::load_part(x.offset(p as isize + r as isize * task.x_stride), mask);
                    acc[r][n] = S::multiply_add(x, v, acc[r][n]);
                }
            }
        }
        for r in 0..R {
            sums[r][l..l + N].copy_from_slice(&acc[r]);
        }
        N
    }
}

/// # Safety
/// The machine has the instruction set; the pointers are good for what the task says.
#[inline(always)]
unsafe fn gather<S: Simd>(from: *const S::T, stride: isize, count: usize) -> S::V {
    let mut lanes = [S::T::default(); MOST_LANES];
    for (i, x) in lanes.iter_mut().enumerate().take(count) {
        // SAFETY: the caller's promise.
        *x = unsafe { *from.offset(i as isize * stride) };
    }
    // SAFETY: as long as the longest vector.
    unsafe { S::load(lanes.as_ptr()) }
}
