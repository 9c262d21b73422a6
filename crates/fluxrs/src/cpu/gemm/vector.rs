//! A row times a matrix, or a matrix times a column. Each lane of a vector sums every `LANES`-th product, and the lanes
//! are added as a tree: in this order a matrix is read at full speed whether its rows or its columns are contiguous.
use super::Product;
use super::scratch;
use super::simd::{MOST_LANES, Simd};

/// `y[j] = Σ x[p]·matrix[p, j]`
pub(super) struct Task<T> {
    k: usize,
    n: usize,
    /// Contiguous.
    x: *const T,
    matrix: *const T,
    /// Along the inner axis and along y.
    strides: (isize, isize),
    y: *mut T,
    y_stride: usize,
}

/// Whether a product is computed here. It must not depend on anything but the whole product's shape.
pub(super) fn suits<S: Simd>(p: &Product) -> bool {
    (p.m == 1 || p.n == 1) && p.k >= 2 * S::LANES
}

/// Computes C, or a tile of it.
///
/// # Safety
/// The machine has the instruction set; the matrices are as the product says; C overlaps neither operand.
pub(super) unsafe fn product<S: Simd>(p: &Product, a: *const S::T, b: *const S::T, c: *mut S::T) {
    let k = p.k;
    // SAFETY: as promised.
    unsafe {
        let task = if p.m == 1 {
            let x = contiguous(k, a, p.a_strides.1);
            Task { k, n: p.n, x, matrix: b, strides: p.b_strides, y: c, y_stride: 1 }
        } else {
            let x = contiguous(k, b, p.b_strides.0);
            let strides = (p.a_strides.1, p.a_strides.0);
            Task { k, n: p.m, x, matrix: a, strides, y: c, y_stride: p.ldc }
        };
        if task.strides.1 == 1 && task.strides.0 != 1 { S::strips(&task) } else { S::dots(&task) }
    }
}

unsafe fn contiguous<T: Copy>(k: usize, x: *const T, stride: isize) -> *const T {
    if stride == 1 {
        return x;
    }
    let copy = scratch::of::<T>(k);
    for p in 0..k {
        // SAFETY: there are k elements on both sides.
        unsafe { *copy.add(p) = *x.offset(p as isize * stride) };
    }
    copy
}

/// Adds the first `LANES` vectors as a tree.
#[inline(always)]
unsafe fn fold<S: Simd>(of: &[S::V]) -> S::V {
    // SAFETY: the caller has the instruction set.
    let mut sums = [unsafe { S::zero() }; MOST_LANES];
    sums[..S::LANES].copy_from_slice(&of[..S::LANES]);
    let mut half = S::LANES / 2;
    while half > 0 {
        for i in 0..half {
            // SAFETY: the caller has the instruction set.
            sums[i] = unsafe { S::add(sums[i], sums[i + half]) };
        }
        half /= 2;
    }
    sums[0]
}

/// Stores the first `count` lanes at y[j..].
#[inline(always)]
unsafe fn put<S: Simd>(task: &Task<S::T>, j: usize, v: S::V, count: usize) {
    // SAFETY: the caller's promise.
    unsafe {
        if task.y_stride == 1 {
            return S::store_part(task.y.add(j), v, S::mask(count));
        }
        let mut lanes = [S::T::default(); MOST_LANES];
        S::store(lanes.as_mut_ptr(), v);
        for (i, &x) in lanes.iter().enumerate().take(count) {
            *task.y.add((j + i) * task.y_stride) = x;
        }
    }
}

/// The matrix is contiguous along the inner axis, or not at all.
#[inline(always)]
pub(super) unsafe fn dots<S: Simd>(task: &Task<S::T>) {
    // SAFETY: the caller's promise.
    unsafe { if task.strides.0 == 1 { dots_of::<S, true>(task) } else { dots_of::<S, false>(task) } }
}

#[inline(always)]
unsafe fn dots_of<S: Simd, const UNIT: bool>(task: &Task<S::T>) {
    // SAFETY: the caller's promise.
    unsafe {
        // Eight sums at a time hide the latency of the multiply-add.
        let group = S::LANES.max(8);
        let mut sums = [S::zero(); MOST_LANES];
        let mut j = 0;
        while j < task.n {
            let count = group.min(task.n - j);
            let mut i = 0;
            while i < count {
                let sums = &mut sums[i..];
                i += match count - i {
                    8.. => few::<S, 8, UNIT>(task, j + i, sums),
                    4.. => few::<S, 4, UNIT>(task, j + i, sums),
                    2.. => few::<S, 2, UNIT>(task, j + i, sums),
                    _ => few::<S, 1, UNIT>(task, j + i, sums),
                };
            }
            for i in (0..count).step_by(S::LANES) {
                let mut square = [S::zero(); MOST_LANES];
                square[..S::LANES].copy_from_slice(&sums[i..i + S::LANES]);
                S::transpose(&mut square);
                put::<S>(task, j + i, fold::<S>(&square), S::LANES.min(count - i));
            }
            j += count;
        }
    }
}

/// The lanes' sums of `N` columns; says how many.
#[inline(always)]
unsafe fn few<S: Simd, const N: usize, const UNIT: bool>(task: &Task<S::T>, j: usize, sums: &mut [S::V]) -> usize {
    // SAFETY: the caller's promise; a part is not read beyond its lanes.
    unsafe {
        let (along, across) = task.strides;
        let matrix = task.matrix.offset(j as isize * across);
        let mut acc = [S::zero(); N];
        let mut p = 0;
        while p + S::LANES <= task.k {
            let x = S::load(task.x.add(p));
            for (i, acc) in acc.iter_mut().enumerate() {
                let from = matrix.offset(p as isize * along + i as isize * across);
                let v = if UNIT { S::load(from) } else { gather::<S>(from, along, S::LANES) };
                *acc = S::multiply_add(x, v, *acc);
            }
            p += S::LANES;
        }
        if p < task.k {
            let mask = S::mask(task.k - p);
            let x = S::load_part(task.x.add(p), mask);
            for (i, acc) in acc.iter_mut().enumerate() {
                let from = matrix.offset(p as isize * along + i as isize * across);
                let v = if UNIT { S::load_part(from, mask) } else { gather::<S>(from, along, task.k - p) };
                *acc = S::multiply_add(x, v, *acc);
            }
        }
        sums[..N].copy_from_slice(&acc);
        N
    }
}

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

/// The matrix is contiguous along y: strips of it are summed for all lanes at once.
#[inline(always)]
pub(super) unsafe fn strips<S: Simd>(task: &Task<S::T>) {
    // SAFETY: the caller's promise.
    unsafe {
        let width = vectors::<S>() * S::LANES;
        let mut j = 0;
        while j < task.n {
            if task.n - j >= width {
                strip::<S, true>(task, j, width);
            } else {
                strip::<S, false>(task, j, task.n - j);
            }
            j += width;
        }
    }
}

/// Vectors side by side in a strip: enough sums to hide the latency of the multiply-add, few enough for the registers.
const fn vectors<S: Simd>() -> usize {
    let sums = if S::KERNELS[1].len() > 8 { 16 } else { 8 };
    if sums > S::LANES { sums / S::LANES } else { 1 }
}

#[inline(always)]
unsafe fn strip<S: Simd, const WHOLE: bool>(task: &Task<S::T>, j: usize, width: usize) {
    // SAFETY: the caller's promise; a part is not read beyond its lanes.
    unsafe {
        let lanes = |v: usize| S::LANES.min(width.saturating_sub(v * S::LANES));
        // For each vector of the strip, one for each lane of the sum.
        let mut sums = [S::zero(); MOST_LANES];
        let mut p = 0;
        while p < task.k {
            let rows = S::LANES.min(task.k - p);
            let from = task.matrix.offset(p as isize * task.strides.0 + j as isize);
            let mut row = |l: usize| {
                let x = S::splat(*task.x.add(p + l));
                for v in 0..vectors::<S>() {
                    let from = from.wrapping_offset(l as isize * task.strides.0 + (v * S::LANES) as isize);
                    let y = if WHOLE { S::load(from) } else { S::load_part(from, S::mask(lanes(v))) };
                    let sum = &mut sums[v * S::LANES + l];
                    *sum = S::multiply_add(x, y, *sum);
                }
            };
            if rows == S::LANES {
                for l in 0..S::LANES {
                    row(l);
                }
            } else {
                for l in 0..rows {
                    row(l);
                }
                // A dot product multiplies zeros here, which can change the sign of a zero.
                for l in rows..S::LANES {
                    for v in 0..vectors::<S>() {
                        let sum = &mut sums[v * S::LANES + l];
                        *sum = S::multiply_add(S::zero(), S::zero(), *sum);
                    }
                }
            }
            p += rows;
        }
        for v in 0..vectors::<S>() {
            if lanes(v) > 0 {
                put::<S>(task, j + v * S::LANES, fold::<S>(&sums[v * S::LANES..]), lanes(v));
            }
        }
    }
}
