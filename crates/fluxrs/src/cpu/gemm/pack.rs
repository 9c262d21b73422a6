//! Packing: a panel of B, of any strides, into contiguous rows of whole vectors.
use super::block::Panel;
use super::simd::{MOST_LANES, Simd};

/// # Safety
/// The panel's memory is as large as it says.
#[inline(always)]
pub(super) unsafe fn pack<S: Simd>(panel: &Panel<S::T>) {
    // SAFETY: as promised.
    unsafe {
        match panel.strides {
            (_, 1) => rows::<S>(panel),
            (1, _) => columns::<S>(panel),
            _ => scattered::<S>(panel),
        }
    }
}

/// Rows are contiguous: copies them.
#[inline(always)]
unsafe fn rows<S: Simd>(panel: &Panel<S::T>) {
    let Panel { depth, width, from, strides, to, stride } = *panel;
    // SAFETY: the caller's promise.
    unsafe {
        let last = width - width.min(stride - S::LANES);
        let mask = S::mask(last);
        for p in 0..depth {
            let (from, to) = (from.offset(p as isize * strides.0), to.add(p * stride));
            let mut j = 0;
            while j + S::LANES < stride {
                S::store(to.add(j), S::load(from.add(j)));
                j += S::LANES;
            }
            S::store(to.add(j), S::load_part(from.add(j), mask));
        }
    }
}

/// Columns are contiguous: transposes squares of them.
#[inline(always)]
unsafe fn columns<S: Simd>(panel: &Panel<S::T>) {
    let Panel { depth, width, from, strides, to, stride } = *panel;
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
                    for (i, v) in square.iter_mut().enumerate().take(S::LANES) {
                        *v = S::load(from.offset(p as isize + i as isize * strides.1));
                    }
                    S::transpose(&mut square);
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
    let Panel { depth, width, from, strides, to, stride } = *panel;
    for p in 0..depth {
        for j in 0..width {
            // SAFETY: the caller's promise.
            unsafe {
                *to.add(p * stride + j) = *from.offset(p as isize * strides.0 + j as isize * strides.1);
            }
        }
    }
}
