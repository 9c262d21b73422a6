//! A product whose B is a window over memory: patches of an image. What a panel needs of it is read while it is packed, or where it lies, so
//! that nothing of B's size is ever in memory. Every sum runs over the inner axes in order, in the pieces that [`order`](super::order)
//! says: its bits depend on nothing else, however it is computed.
use super::block::{self, Panels};
use super::lines::{Across, Edge, Lines, Side, offsets, split};
use super::packed::{self, Packed};
use super::simd::Simd;
use super::{Element, Grid, Product, Tile, channels, grid, scratch, staged, turned};
use crate::shape::{Bound, Shape, Strides, size};
use crate::simd::isa::level;
use crate::stop::stopped;
use smallvec::SmallVec;
use std::sync::atomic::AtomicBool;

/// C = A·B, with B's element (i…, j…) at Σ strides, or zero where a bound says so.
pub struct Patches {
    pub m: usize,
    pub inner: Shape,
    pub cols: Shape,
    pub a_row: isize,
    pub a_inner: Strides,
    pub b_inner: Strides,
    pub b_cols: Strides,
    pub bounds: SmallVec<[Bound; 3]>,
    pub ldc: usize,
}

/// How one is computed: its shape decides.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Way {
    /// As a product without a window.
    Plain,
    /// Panels of B are packed.
    Packed,
    /// See `staged`.
    Staged,
    /// See `turned`.
    Turned,
    /// See `channels`.
    Channels,
}

impl Patches {
    /// The way to compute it for elements of type `T`.
    pub fn way<T: Element>(&self) -> Way {
        let lanes = T::register(level()).lanes;
        if size(&self.inner) == 0 || size(&self.cols) == 0 || self.m == 0 || self.plain() {
            Way::Plain
        } else if let Some(staged) = staged::cost(self, lanes) {
            if staged <= turned::cost(self, lanes) { Way::Staged } else { Way::Turned }
        } else if channels::cost(self, lanes).is_some_and(|cost| cost < turned::cost(self, lanes)) {
            Way::Channels
        } else if self.by_columns(lanes) {
            Way::Turned
        } else {
            Way::Packed
        }
    }

    /// The tiles of each of `batch` of them.
    pub fn grid<T: Element>(&self, batch: usize, way: Way) -> Grid {
        let step = match way {
            Way::Turned => (grid::COL_STEP, self.cols[1..].iter().product()),
            Way::Channels => (grid::ROW_STEP, grid::COL_STEP * size(&self.cols[1..])),
            _ => (grid::ROW_STEP, grid::COL_STEP),
        };
        Grid::of_window(self.m, size(&self.inner), size(&self.cols), batch, size_of::<T>(), step)
    }

    fn plain(&self) -> bool {
        self.inner.len() == 1 && self.cols.len() == 1 && self.bounds.is_empty()
    }

    /// The one stride of A's rows, if they have one.
    pub(super) fn a_step(&self) -> Option<isize> {
        let mut axes = self.inner.iter().zip(&self.a_inner).rev().filter(|(len, _)| **len > 1);
        let Some((&len, &step)) = axes.next() else { return Some(1) };
        let mut next = step * len as i64;
        for (&len, &stride) in axes {
            if stride != next {
                return None;
            }
            next = stride * len as i64;
        }
        Some(step as isize)
    }

    /// The length of the runs of contiguous elements that A's rows are made of.
    fn a_run(&self) -> usize {
        let mut run = 1;
        for (&len, &stride) in self.inner.iter().zip(&self.a_inner).rev() {
            if len > 1 && stride != run as i64 {
                break;
            }
            run *= len;
        }
        run
    }

    /// Where the elements of A's rows from the `q`-th on lie.
    ///
    /// # Safety
    /// There is room for so many.
    pub(super) unsafe fn a_offsets(&self, q: usize, depth: usize, to: *mut isize) {
        // SAFETY: the caller's promise.
        unsafe { offsets(&Side { lens: &self.inner, strides: &self.a_inner }, q, depth, to) }
    }

    /// Packs `depth` steps of A's rows, from the `q`-th on, into panels of a height.
    ///
    /// # Safety
    /// There is room for the panels and for as many offsets; A's rows, from `a` on, are readable.
    pub(super) unsafe fn pack_a<S: Simd>(
        &self,
        q: usize,
        depth: usize,
        (m, height): (usize, usize),
        a: *const S::T,
        offsets: *mut isize,
        to: *mut S::T,
    ) {
        let apart = height.next_multiple_of(packed::ALIGN) * depth;
        let panels = |first, depth, from, step| Panels {
            depth,
            width: m,
            wide: height,
            align: packed::ALIGN,
            from,
            strides: (step, self.a_row),
            to,
            apart,
            first,
        };
        // SAFETY: the caller's promise.
        unsafe {
            if let Some(step) = self.a_step() {
                return S::pack(&panels(0, depth, a.offset(q as isize * step), step));
            }
            // Runs of contiguous elements: of a sample.
            let run = self.a_run();
            if run >= S::LANES {
                let mut p = 0;
                while p < depth {
                    let length = (run - (q + p) % run).min(depth - p);
                    let index = split(q + p, &self.inner);
                    let at: i64 = index.iter().zip(&self.a_inner).map(|(&i, &s)| i as i64 * s).sum();
                    S::pack(&panels(p, length, a.offset(at as isize), 1));
                    p += length;
                }
                return;
            }
            self.a_offsets(q, depth, offsets);
            for (n, i) in (0..m).step_by(height).enumerate() {
                let rows = height.min(m - i);
                let to = to.add(n * apart);
                for p in 0..depth {
                    let (from, to) =
                        (a.offset(*offsets.add(p) + i as isize * self.a_row), to.add(p * rows.next_multiple_of(packed::ALIGN)));
                    for r in 0..rows {
                        *to.add(r) = *from.offset(r as isize * self.a_row);
                    }
                }
            }
        }
    }

    /// From B's element 0 to position 0 of the memory that it is a window over.
    pub(super) fn origin(&self) -> isize {
        self.bounds.iter().map(|b| -(b.at * (self.b_cols[b.col] / b.steps.1)) as isize).sum()
    }

    /// From there to an image, by its index along the axes that are not bounded.
    pub(super) fn front(&self, inner: usize, col: usize) -> isize {
        let inner = if self.bounds[0].inner > 0 { inner as isize * self.b_inner[0] as isize } else { 0 };
        inner + if self.bounds[0].col > 0 { col as isize * self.b_cols[0] as isize } else { 0 }
    }

    /// True if some element is beyond a bound.
    pub(super) fn reaches_out(&self) -> bool {
        let last = |b: &Bound| b.at + (self.inner[b.inner] as i64 - 1) * b.steps.0 + (self.cols[b.col] as i64 - 1) * b.steps.1;
        self.bounds.iter().any(|b| b.at < 0 || last(b) >= b.len as i64)
    }

    /// True if the inner axes are the longer runs; a copy makes them contiguous.
    fn by_columns(&self, lanes: usize) -> bool {
        let cost = |n: usize, contiguous: bool| (8 + if contiguous { n.div_ceil(lanes) } else { 2 * n }) as f64 / n as f64;
        let last = |lens: &[usize]| lens[lens.len() - 1];
        cost(last(&self.inner), true) < cost(last(&self.cols), self.b_cols[self.cols.len() - 1] == 1)
    }
}

/// Computes a tile of C, unless it is stopped.
///
/// # Safety
/// As for `run_patches`.
pub(super) unsafe fn product<S: Simd>(
    w: &Patches,
    way: Way,
    a: *const S::T,
    b: *const S::T,
    c: *mut S::T,
    tile: &Tile,
    stop: &AtomicBool,
) {
    let (m, n, k) = (tile.rows.len(), tile.cols.len(), size(&w.inner));
    if m == 0 || n == 0 {
        return;
    }
    // SAFETY: the tile lies within C; the rest is the caller's promise.
    unsafe {
        let (a, c) = (a.offset(tile.rows.start as isize * w.a_row), c.add(tile.rows.start * w.ldc + tile.cols.start));
        if k == 0 {
            for i in 0..m {
                std::slice::from_raw_parts_mut(c.add(i * w.ldc), n).fill(S::T::default());
            }
            return;
        }
        match way {
            Way::Staged => staged::product::<S>(w, a, b, c, tile, stop),
            Way::Turned => turned::product::<S>(w, a, b, c, tile, stop),
            Way::Channels => channels::product::<S>(w, a, b, c, tile, stop),
            Way::Packed => by_panels::<S>(w, a, b, c, tile, stop),
            Way::Plain => {
                let a_strides = (w.a_row, w.a_inner[0] as isize);
                let b_strides = (w.b_inner[0] as isize, w.b_cols[0] as isize);
                let b = b.wrapping_offset(tile.cols.start as isize * b_strides.1);
                block::product::<S>(&Product { m, k, n, a_strides, b_strides, ldc: w.ldc }, a, b, c, stop);
            }
        }
    }
}

/// Panel by panel, beside a part of A that is packed as well.
///
/// # Safety
/// As for `product`; `a` and `c` point at the tile.
unsafe fn by_panels<S: Simd>(w: &Patches, a: *const S::T, b: *const S::T, c: *mut S::T, tile: &Tile, stop: &AtomicBool) {
    let (m, n, k) = (tile.rows.len(), tile.cols.len(), size(&w.inner));
    let wide = 2 * S::LANES;
    let most = block::depth::<S>(k).min(k);
    let edge = |b: &Bound| Edge { across: b.inner, along: b.col, at: b.at, steps: b.steps, len: b.len as i64 };
    let edges: SmallVec<[Edge; 3]> = w.bounds.iter().map(edge).collect();
    let inner = Side { lens: &w.inner, strides: &w.b_inner };
    let along = Side { lens: &w.cols, strides: &w.b_cols };
    let (height, a_stride) = packed::height::<S>(m);
    // SAFETY: the scratch memory has room for what is packed; positions within the bounds are readable.
    unsafe {
        let rows_of_a = m.div_ceil(height) * a_stride;
        let words = most + Across::words(most);
        let (panel, tables) = scratch::of::<S::T>(most * (wide + rows_of_a) + S::LANES, words * 8 / size_of::<S::T>());
        let (packed_a, a_offsets) = (panel.add(most * wide), tables.cast::<isize>());
        for q in (0..k).step_by(most) {
            let depth = most.min(k - q);
            let across = Across::new(&inner, q, depth, &edges, a_offsets.add(most).cast());
            w.pack_a::<S>(q, depth, (m, height), a, a_offsets, packed_a);
            for j in (0..n).step_by(wide) {
                if stopped(stop) {
                    return;
                }
                let width = wide.min(n - j);
                let stride = width.next_multiple_of(S::LANES);
                let start = tile.cols.start + j;
                S::lines(&Lines { across, along, start, len: width, edges: &edges, from: b, to: panel, stride });
                for (n, i) in (0..m).step_by(height).enumerate() {
                    let rows = height.min(m - i);
                    S::PACKED[stride / S::LANES - 1][rows - 1](&Packed {
                        depth,
                        a: packed_a.add(n * a_stride * depth),
                        b: panel,
                        offsets: None,
                        c: c.add(i * w.ldc + j),
                        ldc: w.ldc,
                        lanes: width - (stride - S::LANES),
                        add: q > 0,
                        ahead: [(a, 0); 2],
                    });
                }
            }
        }
    }
}

/// The length of the pieces that a sum of `k` terms is cut into.
pub(super) fn depth<S: Simd>(k: usize) -> usize {
    block::depth::<S>(k)
}
