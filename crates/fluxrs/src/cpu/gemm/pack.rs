//! Packing: a panel of B, of any strides, into contiguous rows of whole vectors.
use super::block::Panel;
use super::simd::{MOST_LANES, Simd};

/// # Safety
/// The panel's memory is as large as it says.
#[inline(always)]
pub(super) unsafe fn pack<S: Simd>(panel: &Panel<S::T>) {
    let Panel { depth, width, wide, from, strides, to, .. } = *panel;
    // SAFETY: as promised.
    unsafe {
        if strides.1 == 1 {
            // Along whole rows: pieces of rows that are far apart would each wait for memory.
            let whole = width / wide * wide;
            let rest = width - whole;
            let stride = rest.next_multiple_of(S::LANES);
            let full = rest.saturating_sub(1) / S::LANES * S::LANES;
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
            return;
        }
        for j in (0..width).step_by(wide) {
            let width = wide.min(width - j);
            let from = from.offset(j as isize * strides.1);
            let stride = width.next_multiple_of(S::LANES);
            let panel = Panel { depth, width, wide, from, strides, to: to.add(j * depth), stride };
            if strides.0 == 1 { columns::<S>(&panel) } else { scattered::<S>(&panel) }
        }
    }
}

/// Copies as it lies.
#[inline(always)]
pub(super) unsafe fn copy<S: Simd>(panel: &Panel<S::T>) {
    // SAFETY: the caller's promise.
    unsafe { if panel.strides.1 == 1 { rows::<S>(panel) } else { scattered::<S>(panel) } }
}

/// Rows are contiguous: copies them, the last vector of each whole.
#[inline(always)]
unsafe fn rows<S: Simd>(panel: &Panel<S::T>) {
    let Panel { depth, width, from, strides, to, stride, .. } = *panel;
    let whole = (width - 1) / S::LANES * S::LANES;
    // SAFETY: the caller's promise.
    unsafe {
        let mask = S::mask(width - whole);
        for p in 0..depth {
            let (from, to) = (from.offset(p as isize * strides.0), to.add(p * stride));
            for j in (0..whole).step_by(S::LANES) {
                S::store(to.add(j), S::load(from.add(j)));
            }
            S::store(to.add(whole), S::load_part(from.add(whole), mask));
        }
    }
}

/// Columns are contiguous: transposes squares of them.
#[inline(always)]
unsafe fn columns<S: Simd>(panel: &Panel<S::T>) {
    let Panel { depth, width, from, strides, to, stride, .. } = *panel;
    // SAFETY: the caller's promise.
    unsafe {
        let mut square = [S::zero(); MOST_LANES];
        for j in (0..width).step_by(S::LANES) {
            let count = S::LANES.min(width - j);
            let from = from.offset(j as isize * strides.1);
            let mut p = 0;
            while p < depth {
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
                p += lanes;
            }
        }
    }
}

/// Any other strides, element by element.
#[inline(always)]
unsafe fn scattered<S: Simd>(panel: &Panel<S::T>) {
    let Panel { depth, width, from, strides, to, stride, .. } = *panel;
    for p in 0..depth {
        for j in 0..width {
            // SAFETY: the caller's promise.
            unsafe {
                *to.add(p * stride + j) = *from.offset(p as isize * strides.0 + j as isize * strides.1);
            }
        }
    }
}
