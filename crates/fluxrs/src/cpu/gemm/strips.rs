//! A few rows times a matrix whose rows are contiguous, in the order of sums of `skinny.rs`.
use super::simd::{MOST_LANES, Simd};
use super::skinny::{PIECE, Task, fold, put};
use crate::stop::stopped;

/// A matrix that is narrow in memory, or short, is read in strips whose sums stay in registers. Another is read along its
/// rows, so that the machine fetches ahead, with the sums for a stretch of columns in the first-level cache.
const NARROW: usize = 64;
const SHORT: usize = 128;

fn in_strips<T>(task: &Task<T>) -> bool {
    task.strides.0.unsigned_abs() <= NARROW || task.k <= SHORT
}

/// Columns of a stretch: for each, there is a sum for every row and lane.
const fn stretch_of(rows: usize) -> usize {
    if rows == 1 { 256 } else { 128 }
}

/// Elements of scratch memory that [`strips`] needs.
pub(super) fn sums<S: Simd>(task: &Task<S::T>) -> usize {
    if in_strips(task) { 0 } else { task.few * S::LANES * stretch_of(task.few) }
}

/// `sums` is scratch memory of the size that [`sums`] says, aligned to vectors.
///
/// # Safety
/// The machine has the instruction set; the pointers are good for what the task says.
#[inline(always)]
pub(super) unsafe fn strips<S: Simd>(task: &Task<S::T>, sums: *mut S::T) {
    // SAFETY: the caller's promise.
    unsafe {
        if in_strips(task) {
            let width = vectors::<S>() * S::LANES;
            let whole = task.n / width * width;
            for j in (0..whole).step_by(width) {
                strip::<S, true>(task, j, width);
            }
            if whole < task.n {
                strip::<S, false>(task, whole, task.n - whole);
            }
        } else {
            match task.few {
                1 => stretches::<S, 1>(task, sums),
                2 => stretches::<S, 2>(task, sums),
                3 => stretches::<S, 3>(task, sums),
                _ => stretches::<S, 4>(task, sums),
            }
        }
    }
}

/// Vectors side by side in a strip: enough sums to hide the latency of the multiply-add, few enough for the registers.
const fn vectors<S: Simd>() -> usize {
    let sums = if S::MANY_REGISTERS { 16 } else { 8 };
    if sums > S::LANES { sums / S::LANES } else { 1 }
}

/// # Safety
/// The machine has the instruction set; the pointers are good for what the task says.
#[inline(always)]
unsafe fn strip<S: Simd, const WHOLE: bool>(task: &Task<S::T>, j: usize, width: usize) {
    // SAFETY: the caller's promise; a part is not read beyond its lanes.
    unsafe {
        for i in 0..task.few {
            let x = task.x.offset(i as isize * task.x_stride);
            // For each vector of the strip, one for each lane of the sum.
            let mut sums = [S::zero(); MOST_LANES];
            let mut p = 0;
            while p + S::LANES <= task.k {
                if p > 0 && p.is_multiple_of(PIECE) && stopped(task.stop) {
                    return;
                }
                for l in 0..S::LANES {
                    row::<S, WHOLE>(task, x, p + l, j, width, l, &mut sums);
                }
                p += S::LANES;
            }
            // Of a copy, for what is indexed by variables is not kept in registers.
            let mut all = sums;
            if p < task.k {
                for l in 0..task.k - p {
                    row::<S, WHOLE>(task, x, p + l, j, width, l, &mut all);
                }
                for v in 0..vectors::<S>() {
                    for sum in &mut all[v * S::LANES + task.k - p..(v + 1) * S::LANES] {
                        *sum = nothing::<S>(*sum);
                    }
                }
            }
            for v in 0..vectors::<S>() {
                let lanes = lanes::<S>(width, v);
                if lanes > 0 {
                    put::<S>(task, i, j + v * S::LANES, fold::<S>(&all[v * S::LANES..]), lanes);
                }
            }
        }
    }
}

/// Columns of a strip that are in its vector `v`.
#[inline(always)]
fn lanes<S: Simd>(width: usize, v: usize) -> usize {
    S::LANES.min(width.saturating_sub(v * S::LANES))
}

/// Adds the products with row p of a strip to the sums of a lane.
///
/// # Safety
/// The machine has the instruction set; the pointers are good for what the task says.
#[inline(always)]
unsafe fn row<S: Simd, const WHOLE: bool>(
    task: &Task<S::T>,
    x: *const S::T,
    p: usize,
    j: usize,
    width: usize,
    lane: usize,
    sums: &mut [S::V; MOST_LANES],
) {
    // SAFETY: the caller's promise; a part is not read beyond its lanes.
    unsafe {
        let x = S::splat(*x.add(p));
        for v in 0..vectors::<S>() {
            let from = task.matrix.offset(p as isize * task.strides.0).wrapping_add(j + v * S::LANES);
            let y = if WHOLE { S::load(from) } else { S::load_part(from, S::mask(lanes::<S>(width, v))) };
            let sum = &mut sums[v * S::LANES + lane];
            *sum = S::multiply_add(x, y, *sum);
        }
    }
}

/// A dot product multiplies zeros in the lanes beyond k, which can change the sign of a zero.
///
/// # Safety
/// The machine has the instruction set; the pointers are good for what the task says.
#[inline(always)]
unsafe fn nothing<S: Simd>(sum: S::V) -> S::V {
    // SAFETY: the caller has the instruction set.
    unsafe { S::multiply_add(S::zero(), S::zero(), sum) }
}

/// # Safety
/// The machine has the instruction set; the pointers are good for what the task says.
#[inline(always)]
unsafe fn stretches<S: Simd, const R: usize>(task: &Task<S::T>, sums: *mut S::T) {
    let width = stretch_of(R);
    for j in (0..task.n).step_by(width) {
        // SAFETY: the caller's promise.
        unsafe {
            if S::MANY_REGISTERS {
                stretch::<S, R, 4>(task, j, width.min(task.n - j), sums);
            } else {
                stretch::<S, R, 2>(task, j, width.min(task.n - j), sums);
            }
        }
    }
}

/// All `R` rows of y, with `N` rows of the matrix added to a sum while it is in a register.
///
/// # Safety
/// The machine has the instruction set; the pointers are good for what the task says.
#[inline(always)]
unsafe fn stretch<S: Simd, const R: usize, const N: usize>(task: &Task<S::T>, j: usize, width: usize, sums: *mut S::T) {
    let stride = width.next_multiple_of(S::LANES);
    // SAFETY: the caller's promise; `sums` holds `LANES` times `R` rows of `stride`.
    unsafe {
        for v in (0..R * S::LANES * stride).step_by(S::LANES) {
            S::store(sums.add(v), S::zero());
        }
        for p in (0..task.k).step_by(N * S::LANES) {
            if p > 0 && p.is_multiple_of(PIECE) && stopped(task.stop) {
                return;
            }
            for l in 0..S::LANES.min(task.k - p) {
                let sums = sums.add(l * R * stride);
                if p + l + (N - 1) * S::LANES < task.k {
                    accumulate::<S, R, N>(task, p + l, j, width, sums, stride);
                } else {
                    for p in (p + l..task.k).step_by(S::LANES) {
                        accumulate::<S, R, 1>(task, p, j, width, sums, stride);
                    }
                }
            }
        }
        let within = if task.k.is_multiple_of(S::LANES) { S::LANES } else { task.k % S::LANES };
        for i in 0..R {
            for v in (0..width).step_by(S::LANES) {
                let mut lanes = [S::zero(); MOST_LANES];
                for (l, lane) in lanes.iter_mut().enumerate().take(S::LANES) {
                    let sum = S::load(sums.add((l * R + i) * stride + v));
                    *lane = if l < within { sum } else { nothing::<S>(sum) };
                }
                put::<S>(task, i, j + v, fold::<S>(&lanes), S::LANES.min(width - v));
            }
        }
    }
}

/// Adds to the sums of a lane the products with the rows p, p + LANES, … of the matrix, `N` of them.
///
/// # Safety
/// The machine has the instruction set; the pointers are good for what the task says.
#[inline(always)]
unsafe fn accumulate<S: Simd, const R: usize, const N: usize>(
    task: &Task<S::T>,
    p: usize,
    j: usize,
    width: usize,
    sums: *mut S::T,
    stride: usize,
) {
    // SAFETY: the caller's promise; a part is not read beyond its lanes.
    unsafe {
        let mut x = [[S::zero(); N]; R];
        for (i, x) in x.iter_mut().enumerate() {
            for (n, x) in x.iter_mut().enumerate() {
                *x = S::splat(*task.x.offset(i as isize * task.x_stride).add(p + n * S::LANES));
            }
        }
        let step = S::LANES as isize * task.strides.0;
        let matrix = task.matrix.offset(p as isize * task.strides.0 + j as isize);
        let mask = S::mask(S::LANES.min(width - (width - 1) / S::LANES * S::LANES));
        for v in (0..width).step_by(S::LANES) {
            let mut rows = [S::zero(); N];
            for (n, row) in rows.iter_mut().enumerate() {
                let from = matrix.offset(n as isize * step + v as isize);
                *row = if v + S::LANES <= width { S::load(from) } else { S::load_part(from, mask) };
            }
            for (i, x) in x.iter().enumerate() {
                let to = sums.add(i * stride + v);
                let mut sum = S::load(to);
                for n in 0..N {
                    sum = S::multiply_add(x[n], rows[n], sum);
                }
                S::store(to, sum);
            }
        }
    }
}
