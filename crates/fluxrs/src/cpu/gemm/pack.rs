//! Packing: a part of B, of any strides, into panels whose rows are contiguous.
use super::block::Panels;
use super::simd::{MOST_LANES, Simd};

/// Rows that are fetched ahead.
const AHEAD: isize = 8;

/// # Safety
/// The memory is as large as the panels say.
#[inline(always)]
pub(super) unsafe fn pack<S: Simd>(panels: &Panels<S::T>) {
    let Panels { width, wide, align, from, strides, to, apart, first, .. } = *panels;
    // SAFETY: as promised.
    unsafe {
        if strides.1 == 1 {
            return rows::<S>(panels);
        }
        for (n, j) in (0..width).step_by(wide).enumerate() {
            let width = wide.min(width - j);
            let to = to.add(n * apart + first * width.next_multiple_of(align));
            let panel = Panels { width, from: from.offset(j as isize * strides.1), to, ..*panels };
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
    let Panels { depth, width, wide, align, from, strides, to, apart, first } = *panels;
    // SAFETY: the caller's promise; a part is not read beyond its lanes.
    unsafe {
        for p in 0..depth {
            let from = from.offset(p as isize * strides.0);
            for (n, j) in (0..width).step_by(wide).enumerate() {
                let stride = wide.min(width - j).next_multiple_of(align);
                let to = to.add(n * apart + (first + p) * stride);
                for v in (0..stride).step_by(S::LANES) {
                    S::prefetch::<true>(from.wrapping_offset(AHEAD * strides.0).wrapping_add(j + v));
                    let x = match width - (j + v) {
                        rest if rest < S::LANES => S::load_part(from.add(j + v), S::mask(rest)),
                        _ => S::load(from.add(j + v)),
                    };
                    put::<S>(to.add(v), x, stride - v);
                }
            }
        }
    }
}

/// One panel whose columns are contiguous.
///
/// # Safety
/// The machine has the instruction set; the matrices are as large as the panels say.
#[inline(always)]
unsafe fn columns<S: Simd>(panel: &Panels<S::T>) {
    let Panels { depth, width, align, from, strides, to, .. } = *panel;
    let stride = width.next_multiple_of(align);
    for j in (0..width).step_by(S::LANES) {
        let offsets = std::array::from_fn(|i| (j + i).min(width - 1) as isize * strides.1);
        // SAFETY: the caller's promise.
        unsafe { squares::<S>(&Columns { depth, from, step: 1, offsets, to: to.add(j), stride, room: stride - j }) }
    }
}

/// Stores a vector, or as many of its lanes as there is room for.
///
/// # Safety
/// The machine has the instruction set; there is the room.
#[inline(always)]
unsafe fn put<S: Simd>(to: *mut S::T, v: S::V, room: usize) {
    // SAFETY: the caller's promise.
    unsafe { if room < S::LANES { S::store_part(to, v, S::mask(room)) } else { S::store(to, v) } }
}

/// Columns to be packed side by side in one vector: where each begins, and from one of its elements to the next.
pub(super) struct Columns<T> {
    pub depth: usize,
    pub from: *const T,
    /// Those beyond the last column begin where some other does.
    pub offsets: [isize; MOST_LANES],
    pub step: isize,
    pub to: *mut T,
    /// From one row of the panel to the next.
    pub stride: usize,
    /// Elements of a row that may be written.
    pub room: usize,
}

/// Transposes squares of contiguous columns; takes others element by element.
///
/// # Safety
/// The machine has the instruction set; the columns are readable, and there is room for whole vectors.
#[inline(always)]
pub(super) unsafe fn squares<S: Simd>(c: &Columns<S::T>) {
    let Columns { depth, from, ref offsets, step, to, stride, room } = *c;
    // SAFETY: the caller's promise; a part is not read beyond its lanes.
    unsafe {
        let whole = if step == 1 { depth / S::LANES * S::LANES } else { 0 };
        let mut square = [S::zero(); MOST_LANES];
        for p in (0..whole).step_by(S::LANES) {
            S::load_columns(from.add(p), offsets, &mut square);
            for (i, &v) in square.iter().enumerate().take(S::LANES) {
                put::<S>(to.add((p + i) * stride), v, room);
            }
        }
        if whole < depth && step == 1 {
            let mask = S::mask(depth - whole);
            for (v, &offset) in square.iter_mut().zip(offsets).take(S::LANES) {
                *v = S::load_part(from.wrapping_offset(whole as isize + offset), mask);
            }
            S::transpose(&mut square);
            for (i, &v) in square.iter().enumerate().take(depth - whole) {
                put::<S>(to.add((whole + i) * stride), v, room);
            }
        } else {
            for p in whole..depth {
                let from = from.wrapping_offset(p as isize * step);
                for (i, &offset) in offsets.iter().enumerate().take(S::LANES.min(room)) {
                    *to.add(p * stride + i) = *from.wrapping_offset(offset);
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
    let Panels { depth, width, align, from, strides, to, .. } = *panel;
    let stride = width.next_multiple_of(align);
    for p in 0..depth {
        for j in 0..stride {
            let from = from.wrapping_offset(p as isize * strides.0 + j as isize * strides.1);
            // SAFETY: the caller's promise.
            unsafe { *to.add(p * stride + j) = if j < width { *from } else { S::T::default() } };
        }
    }
}
