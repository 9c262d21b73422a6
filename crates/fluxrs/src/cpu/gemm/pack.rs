//! Packing: a part of B, of any strides, into panels whose rows are contiguous.
use super::block::Panels;
use super::simd::{MOST_LANES, Simd};

/// # Safety
/// The memory is as large as the panels say.
#[inline(always)]
pub(super) unsafe fn pack<S: Simd>(panels: &Panels<S::T>) {
    let Panels { depth, width, wide, from, strides, to } = *panels;
    // SAFETY: as promised.
    unsafe {
        if strides.1 == 1 {
            return rows::<S>(panels);
        }
        for j in (0..width).step_by(wide) {
            let (from, to) = (from.offset(j as isize * strides.1), to.add(j * depth));
            let panel = Panels { width: wide.min(width - j), from, to, ..*panels };
            if strides.0 == 1 { columns::<S>(&panel) } else { scattered::<S>(&panel) }
        }
    }
}

/// Rows are contiguous: copies them, whole rows at a time, for each of many short pieces would wait for memory.
///
/// # Safety
/// The machine has the instruction set; the matrices are as large as the panels say.
#[inline(always)]
unsafe fn rows<S: Simd>(panels: &Panels<S::T>) {
    let Panels { depth, width, wide, from, strides, to } = *panels;
    let whole = width / wide * wide;
    let rest = width - whole;
    let stride = rest.next_multiple_of(S::LANES);
    let full = rest.saturating_sub(1) / S::LANES * S::LANES;
    // SAFETY: the caller's promise; a part is not read beyond its lanes.
    unsafe {
        let mask = S::mask(rest - full);
        for p in 0..depth {
            let from = from.offset(p as isize * strides.0);
            for j in (0..whole).step_by(wide) {
                let to = to.add(j * depth + p * wide);
                for v in (0..wide).step_by(S::LANES) {
                    S::store(to.add(v), S::load(from.add(j + v)));
                }
            }
            if rest > 0 {
                let to = to.add(whole * depth + p * stride);
                for v in (0..full).step_by(S::LANES) {
                    S::store(to.add(v), S::load(from.add(whole + v)));
                }
                S::store(to.add(full), S::load_part(from.add(whole + full), mask));
            }
        }
    }
}

/// One panel whose columns are contiguous: transposes squares of them.
///
/// # Safety
/// The machine has the instruction set; the matrices are as large as the panels say.
#[inline(always)]
unsafe fn columns<S: Simd>(panel: &Panels<S::T>) {
    let Panels { depth, width, from, strides, to, .. } = *panel;
    let stride = width.next_multiple_of(S::LANES);
    // SAFETY: the caller's promise; a part is not read beyond its lanes.
    unsafe {
        let mut square = [S::zero(); MOST_LANES];
        for j in (0..width).step_by(S::LANES) {
            let count = S::LANES.min(width - j);
            let from = from.offset(j as isize * strides.1);
            for p in (0..depth).step_by(S::LANES) {
                let lanes = S::LANES.min(depth - p);
                if count == S::LANES && lanes == S::LANES {
                    S::load_columns(from.add(p), strides.1, &mut square);
                    for (i, &v) in square.iter().enumerate().take(S::LANES) {
                        S::store(to.add((p + i) * stride + j), v);
                    }
                } else {
                    let mask = S::mask(lanes);
                    for (i, v) in square.iter_mut().enumerate().take(S::LANES) {
                        let column = from.wrapping_offset(p as isize + i as isize * strides.1);
                        *v = if i < count { S::load_part(column, mask) } else { S::zero() };
                    }
                    S::transpose(&mut square);
                    for (i, &v) in square.iter().enumerate().take(lanes) {
                        S::store(to.add((p + i) * stride + j), v);
                    }
                }
            }
        }
    }
}

/// One panel of any other strides, element by element, with zeros where vectors go beyond it.
///
/// # Safety
/// The machine has the instruction set; the matrices are as large as the panels say.
#[inline(always)]
unsafe fn scattered<S: Simd>(panel: &Panels<S::T>) {
    let Panels { depth, width, from, strides, to, .. } = *panel;
    let stride = width.next_multiple_of(S::LANES);
    for p in 0..depth {
        for j in 0..stride {
            let from = from.wrapping_offset(p as isize * strides.0 + j as isize * strides.1);
            // SAFETY: the caller's promise.
            unsafe { *to.add(p * stride + j) = if j < width { *from } else { S::T::default() } };
        }
    }
}
