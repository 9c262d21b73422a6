//! Products by windows whose inner axes are walked more easily than their columns: gradients by a kernel, whose inner axes are an image's
//! places and whose columns are the kernel's elements. Computed as Cᵀ = Bᵀ·Aᵀ: A is packed, and so is the window, a few columns at a time;
//! beside few rows of A its elements are read one by one where they lie, or in a copy with margins.
use super::Tile;
use super::block::{self, Block, Panels};
use super::image::{Axis, Copying, Image, SPILL};
use super::lines::{Across, Lines, MOST_SIDES, Side, offsets, split};
use super::pack::Columns;
use super::packed::{self, Packed};
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

/// Multiply-adds of elements that a product takes here, of which those of a window's elements read one by one are slow.
pub(super) fn cost(w: &Patches, lanes: usize) -> usize {
    w.m.next_multiple_of(lanes) * size(&w.cols) * 3 / 2
}

/// Computes a tile of C, unless it is stopped.
///
/// # Safety
/// As for `window::product`; `a` and `c` point at the tile.
pub(super) unsafe fn product<S: Simd>(w: &Patches, a: *const S::T, b: *const S::T, c: *mut S::T, tile: &Tile, stop: &AtomicBool) {
    let (n, rows, k) = (tile.rows.len(), tile.cols.len(), size(&w.inner));
    let most = block::depth::<S>(k).min(k);
    let wide = 2 * S::LANES;
    let ldc = n.next_multiple_of(S::LANES);
    let line = most.next_multiple_of(S::LANES);
    let a_step = w.a_step();
    let copied = (0..k).step_by(most).map(|q| Terms::of(w, q, most.min(k - q), &tile.cols).size()).max().unwrap_or(0);
    let (panel_size, line_size) = (most * ldc, if a_step == Some(1) { 0 } else { wide * line });
    let height = packed::height::<S>(rows).0;
    let window_size = most * height.next_multiple_of(packed::ALIGN);
    let last = w.inner.len() - 1;
    let (a_rows, a_inner) = (Side { lens: &[w.m], strides: &[w.a_row as i64] }, Side { lens: &w.inner, strides: &w.a_inner });
    // SAFETY: the caller's promise; the scratch memory has room for what is put there.
    unsafe {
        let room = window_size + panel_size + copied + SPILL + line_size + rows * ldc;
        let (window, tables) = scratch::of::<S::T>(room, (2 * most + Across::words(wide)) * 8 / size_of::<S::T>());
        let (a_offsets, b_offsets) = (tables.cast::<isize>(), tables.cast::<isize>().add(most));
        let panels = window.add(window_size);
        let stage = panels.add(panel_size);
        let lines = stage.add(copied + SPILL);
        let sums = lines.add(line_size);
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
            let before: i64 = terms.start.iter().zip(&terms.along).map(|(&i, &s)| i as i64 * s).sum();
            let from = from.wrapping_offset(-before as isize);
            for j in (0..n).step_by(wide) {
                if stopped(stop) {
                    return;
                }
                let width = wide.min(n - j);
                let (packed, strides) = if a_step == Some(1) {
                    (a.offset(j as isize * w.a_row + q as isize), (1, w.a_row))
                } else {
                    let across = Across::new(&a_rows, j, width, &[], b_offsets.add(most).cast());
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
                let to = panels.add(j * depth);
                S::pack(&Panels { depth, width, wide, align: S::LANES, from: packed, strides, to, apart: 0, first: 0 });
            }
            let along = Side { lens: &w.inner, strides: &terms.along[..w.inner.len()] };
            if n <= wide {
                offsets(&along, q, depth, a_offsets);
                let vectors = n.div_ceil(S::LANES);
                (0..depth).for_each(|p| *b_offsets.add(p) = (p * vectors * S::LANES) as isize);
                each_run(w, &terms, &tile.cols, |at, count, (across, step)| {
                    let block = Block {
                        depth,
                        a: from.wrapping_offset(terms.column(w, tile.cols.start + at)),
                        a_strides: (across, 0),
                        b: panels,
                        b_stride: 0,
                        offsets: Some((a_offsets, b_offsets)),
                        c: sums.add(at * ldc),
                        ldc: step * ldc,
                        lanes: S::LANES,
                        padded: true,
                        add: q > 0,
                    };
                    block::rows::<S>(count, &block, vectors);
                });
                continue;
            }
            for i in (0..rows).step_by(height) {
                if stopped(stop) {
                    return;
                }
                let count = height.min(rows - i);
                let stride = count.next_multiple_of(packed::ALIGN);
                let columns: [isize; MOST_LANES] =
                    std::array::from_fn(|r| if r < count { terms.column(w, tile.cols.start + i + r) } else { 0 });
                let mut p = 0;
                while p < depth {
                    let index = split(q + p, &w.inner);
                    let length = (w.inner[last] - index[last]).min(depth - p);
                    let offset: i64 = index.iter().zip(along.strides).map(|(&i, &s)| i as i64 * s).sum();
                    for v in (0..stride).step_by(S::LANES) {
                        S::squares(&Columns {
                            depth: length,
                            from: from.wrapping_offset(offset as isize),
                            offsets: std::array::from_fn(|i| columns[(v + i).min(count - 1)]),
                            step: along.strides[last] as isize,
                            to: window.add(p * stride + v),
                            stride,
                            room: stride - v,
                        });
                    }
                    p += length;
                }
                for j in (0..n).step_by(wide) {
                    let vectors = (n - j).min(wide).div_ceil(S::LANES);
                    let (a, b, c) = (window.cast_const(), panels.add(j * depth), sums.add(i * ldc + j));
                    let block = Packed { depth, a, b, offsets: None, c, ldc, lanes: S::LANES, add: q > 0, ahead: [(a, 0); 2] };
                    S::PACKED[vectors - 1][count - 1](&block);
                }
            }
        }
        S::turn(&Turn { rows, n, from: sums, from_stride: ldc, to: c, to_stride: w.ldc });
    }
}

/// A matrix to be written transposed: rows of whole vectors, of which the first `n` elements count.
pub(super) struct Turn<T> {
    pub rows: usize,
    pub n: usize,
    pub from: *const T,
    pub from_stride: usize,
    pub to: *mut T,
    pub to_stride: usize,
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

/// All columns of a tile in runs along the longest of their axes: where a run begins in the tile, its length, and from one of its columns
/// to the next in the window and in the tile.
fn each_run(w: &Patches, terms: &Terms, cols: &Range<usize>, mut each: impl FnMut(usize, usize, (isize, usize))) {
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
            each(at - cols.start, count, (terms.across[axis] as isize, step));
        }
        j += count * step;
    }
}
