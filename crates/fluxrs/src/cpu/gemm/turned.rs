//! Products by windows whose inner axes are walked more easily than their columns: gradients by a kernel, whose inner axes are an image's
//! places and whose columns are the kernel's elements. Computed as Cᵀ = Bᵀ·Aᵀ: A is packed, and the window's elements are read one by
//! one where they lie, or in a copy with margins.
use super::Tile;
use super::block::{self, Block, Panels};
use super::image::{Axis, Copying, Image, SPILL};
use super::lines::{Across, Lines, MOST_SIDES, Side, offsets, split};
use super::scratch;
use super::simd::{MOST_LANES, Simd};
use super::window::Patches;
use crate::shape::size;
use crate::stop::stopped;
use std::ops::Range;
use std::sync::atomic::AtomicBool;

/// Where the elements that some terms of the sums read lie: in memory, or in copies of images.
struct Terms {
    image: Option<Image>,
    /// Which inner images (by the axis in front of the bounded ones) and which of the columns' have copies.
    inner: Range<usize>,
    cols: Range<usize>,
    /// Along the inner axes, from which index on, and along the columns'.
    start: [usize; MOST_SIDES],
    along: [i64; MOST_SIDES],
    across: [i64; MOST_SIDES],
}

impl Terms {
    /// For the terms `q..q + depth` and the tile's columns.
    fn of(w: &Patches, q: usize, depth: usize, cols: &Range<usize>) -> Terms {
        let mut t = Terms { image: None, inner: 0..1, cols: 0..1, start: [0; 4], along: [0; 4], across: [0; 4] };
        t.along[..w.inner.len()].copy_from_slice(&w.b_inner);
        t.across[..w.cols.len()].copy_from_slice(&w.b_cols);
        if !w.reaches_out() {
            return t;
        }
        let behind = size(&w.inner[w.bounds[0].inner..]);
        let (first, last) = (split(q, &w.inner), split(q + depth - 1, &w.inner));
        // All places of an image, if more than one is needed.
        let d = w.bounds[0].inner;
        let places = if q / behind == (q + depth - 1) / behind { first[d]..last[d] + 1 } else { 0..w.inner[d] };
        let side = Side { lens: &w.cols, strides: &w.b_cols };
        let along = |i: usize| if i == 0 { places.clone() } else { 0..w.inner[d + i] };
        let axes = w.bounds.iter().enumerate().map(|(i, b)| Axis::whole(b, &along(i), &side)).collect();
        let image = Image::new(axes);
        t.start[d] = places.start;
        t.inner = q / behind..(q + depth - 1) / behind + 1;
        let each = size(&w.cols[w.bounds[0].col..]);
        t.cols = cols.start / each..(cols.end - 1) / each + 1;
        for (b, &pitch) in w.bounds.iter().zip(&image.pitches) {
            t.along[b.inner] = b.steps.0 * pitch as i64;
            t.across[b.col] = b.steps.1 * pitch as i64;
        }
        if d > 0 {
            t.start[0] = first[0];
            t.along[0] = (t.cols.len() * image.size) as i64;
        }
        if w.bounds[0].col > 0 {
            t.across[0] = image.size as i64;
        }
        t.image = Some(image);
        t
    }

    fn size(&self) -> usize {
        self.image.as_ref().map_or(0, |image| self.inner.len() * self.cols.len() * image.size)
    }

    /// Where the element of the first index along all inner axes and of a column lies.
    fn column(&self, w: &Patches, j: usize) -> isize {
        let mut index = split(j, &w.cols);
        if self.image.is_some() && w.bounds[0].col > 0 {
            index[0] -= self.cols.start;
        }
        index.iter().zip(&self.across).map(|(&i, &s)| i as isize * s as isize).sum()
    }
}

/// Computes a tile of C, unless it is stopped.
///
/// # Safety
/// As for `window::product`; `a` and `c` point at the tile.
pub(super) unsafe fn product<S: Simd>(w: &Patches, a: *const S::T, b: *const S::T, c: *mut S::T, tile: &Tile, stop: &AtomicBool) {
    let (n, rows, k) = (tile.rows.len(), tile.cols.len(), size(&w.inner));
    let most = block::depth::<S>(k).min(k);
    let wide = if n > 2 * S::LANES { 4 * S::LANES } else { 2 * S::LANES };
    let ldc = n.next_multiple_of(S::LANES);
    let line = most.next_multiple_of(S::LANES);
    let a_step = w.a_step();
    let copied = (0..k).step_by(most).map(|q| Terms::of(w, q, most.min(k - q), &tile.cols).size()).max().unwrap_or(0);
    let (panel_size, line_size) = (most * wide, if a_step == Some(1) { 0 } else { wide * line });
    let (a_rows, a_inner) = (Side { lens: &[w.m], strides: &[w.a_row as i64] }, Side { lens: &w.inner, strides: &w.a_inner });
    // SAFETY: the caller's promise; the scratch memory has room for what is put there.
    unsafe {
        let room = copied + panel_size + line_size + rows * ldc + SPILL;
        let (memory, tables) = scratch::of::<S::T>(room, (2 * most + Across::words(wide)) * 8 / size_of::<S::T>());
        let (stage, panel) = (memory, memory.add(copied + SPILL));
        let (lines, sums) = (panel.add(panel_size), panel.add(panel_size + line_size));
        let (a_offsets, b_offsets) = (tables.cast::<isize>(), tables.cast::<isize>().add(most));
        let across_tables = b_offsets.add(most).cast::<i64>();
        for q in (0..k).step_by(most) {
            let depth = most.min(k - q);
            let terms = Terms::of(w, q, depth, &tile.cols);
            let from = match &terms.image {
                None => b,
                Some(image) => {
                    let mut to = stage;
                    for i in terms.inner.clone() {
                        for j in terms.cols.clone() {
                            let at = w.front(i, j) + w.origin();
                            S::image(&Copying { image, from: b.wrapping_offset(at), to });
                            to = to.add(image.size);
                        }
                    }
                    stage.cast_const()
                }
            };
            let along = Side { lens: &w.inner, strides: &terms.along };
            offsets(&along, q, depth, a_offsets);
            let before: i64 = terms.start.iter().zip(&terms.along).map(|(&i, &s)| i as i64 * s).sum();
            let from = from.wrapping_offset(-before as isize);
            for j in (0..n).step_by(wide) {
                if stopped(stop) {
                    return;
                }
                let width = wide.min(n - j);
                let stride = width.next_multiple_of(S::LANES);
                let (packed, strides) = if a_step == Some(1) {
                    (a.offset(j as isize * w.a_row + q as isize), (1, w.a_row))
                } else {
                    let across = Across::new(&a_rows, j, width, &[], across_tables);
                    S::lines(&Lines {
                        across,
                        along: a_inner,
                        start: q,
                        len: depth,
                        edges: &[],
                        from: a,
                        to: lines,
                        stride: line,
                    });
                    (lines.cast_const(), (1, line as isize))
                };
                S::pack(&Panels { depth, width, wide, from: packed, strides, to: panel });
                (0..depth).for_each(|p| *b_offsets.add(p) = (p * stride) as isize);
                let first = Block {
                    depth,
                    a: from,
                    a_strides: (0, 0),
                    b: panel,
                    b_stride: 0,
                    offsets: Some((a_offsets, b_offsets)),
                    c: sums.add(j),
                    ldc,
                    lanes: S::LANES,
                    padded: true,
                    add: q > 0,
                };
                columns::<S>(w, &terms, &tile.cols, &first, stride / S::LANES);
            }
        }
        S::turn(&Turn { rows, n, from: sums, from_stride: ldc, to: c, to_stride: w.ldc });
    }
}

/// A matrix to be written transposed: rows of whole vectors, of which the first `n` elements count.
pub(super) struct Turn<T> {
    rows: usize,
    n: usize,
    from: *const T,
    from_stride: usize,
    to: *mut T,
    to_stride: usize,
}

/// # Safety
/// The machine has the instruction set; the matrices are as large as said.
#[inline(always)]
pub(super) unsafe fn turn<S: Simd>(t: &Turn<S::T>) {
    // SAFETY: the caller's promise.
    unsafe {
        let mut square = [S::zero(); MOST_LANES];
        for i in (0..t.n).step_by(S::LANES) {
            for j in (0..t.rows).step_by(S::LANES) {
                let (height, width) = (S::LANES.min(t.n - i), S::LANES.min(t.rows - j));
                for (k, v) in square.iter_mut().enumerate().take(S::LANES) {
                    *v = if k < width { S::load(t.from.add((j + k) * t.from_stride + i)) } else { S::zero() };
                }
                S::transpose(&mut square);
                let mask = S::mask(width);
                for (k, &v) in square.iter().enumerate().take(height) {
                    S::store_part(t.to.add((i + k) * t.to_stride + j), v, mask);
                }
            }
        }
    }
}

/// All columns of a tile beside one panel, as rows: along the longest of their axes at a time.
///
/// # Safety
/// As for `product`.
unsafe fn columns<S: Simd>(w: &Patches, terms: &Terms, cols: &Range<usize>, first: &Block<S::T>, vectors: usize) {
    let behind = |d: usize| w.cols[d + 1..].iter().product::<usize>();
    let lens: [usize; MOST_SIDES] = std::array::from_fn(|d| match d {
        _ if d >= w.cols.len() => 1,
        0 => (cols.end - 1) / behind(0) - cols.start / behind(0) + 1,
        _ => w.cols[d],
    });
    let axis = (0..w.cols.len()).max_by_key(|&d| (lens[d], w.cols.len() - d)).expect("a product has columns");
    let step = behind(axis);
    let mut j = cols.start;
    while j < cols.end {
        // Columns `step` apart, as far as the axis and the tile go.
        let count = (w.cols[axis] - j / step % w.cols[axis]).min((cols.end - j).div_ceil(step));
        for at in j..(j + step).min(cols.end) {
            let count = count.min((cols.end - at).div_ceil(step));
            // SAFETY: the caller's promise.
            unsafe {
                let a = first.a.wrapping_offset(terms.column(w, at));
                let c = first.c.add((at - cols.start) * first.ldc);
                let block = Block { a, a_strides: (terms.across[axis] as isize, 0), c, ldc: step * first.ldc, ..*first };
                block::rows::<S>(count, &block, vectors);
            }
        }
        j += count * step;
    }
}
