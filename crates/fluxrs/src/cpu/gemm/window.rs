//! A product whose B is a window over memory: patches of an image. What a panel needs of it is read while it is packed, so that nothing
//! of B's size is ever in memory. Every sum runs over the inner axes in order, cut into the lengths that [`order`] says: its bits depend
//! on nothing else.
use super::block::{self, Block, Panels};
use super::lines::{Across, Edge, Lines, Side};
use super::scratch;
use super::simd::Simd;
use super::{Product, Tile};
use crate::shape::Bound;
use crate::shape::{Shape, Strides, size};
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

impl Patches {
    /// As a plain product, if there is nothing to it.
    fn plain(&self, tile: &Tile) -> Option<Product> {
        let ([_], [_]) = (&self.inner[..], &self.cols[..]) else { return None };
        self.bounds.is_empty().then(|| Product {
            m: tile.rows.len(),
            k: self.inner[0],
            n: tile.cols.len(),
            a_strides: (self.a_row, self.a_inner[0] as isize),
            b_strides: (self.b_inner[0] as isize, self.b_cols[0] as isize),
            ldc: self.ldc,
        })
    }

    /// The one stride of A's rows, if they have one.
    fn a_step(&self) -> Option<isize> {
        let joined = (1..self.inner.len()).all(|k| self.a_inner[k - 1] == self.a_inner[k] * self.inner[k] as i64);
        joined.then(|| self.a_inner[self.inner.len() - 1] as isize)
    }

    /// True if a panel is better gathered column by column: elements lie closer along the inner axes.
    fn by_columns(&self, lanes: usize) -> bool {
        let cost = |lens: &[usize], strides: &[i64]| {
            let n = lens[lens.len() - 1];
            let each = if strides[strides.len() - 1] == 1 { n.div_ceil(lanes) } else { 2 * n };
            (8 + each) as f64 / n.max(1) as f64
        };
        cost(&self.inner, &self.b_inner) + 0.5 < cost(&self.cols, &self.b_cols)
    }
}

/// Computes a tile of C, unless it is stopped.
///
/// # Safety
/// As for `run`; `b` points at B's element 0, which need not exist.
pub(super) unsafe fn product<S: Simd>(w: &Patches, a: *const S::T, b: *const S::T, c: *mut S::T, tile: &Tile, stop: &AtomicBool) {
    let (m, n, k) = (tile.rows.len(), tile.cols.len(), size(&w.inner));
    // SAFETY: the tile lies within C.
    let (a, c) = unsafe { (a.offset(tile.rows.start as isize * w.a_row), c.add(tile.rows.start * w.ldc + tile.cols.start)) };
    if m == 0 || n == 0 {
        return;
    }
    if k == 0 {
        for i in 0..m {
            // SAFETY: likewise.
            unsafe { std::slice::from_raw_parts_mut(c.add(i * w.ldc), n) }.fill(S::T::default());
        }
        return;
    }
    if let Some(p) = w.plain(tile) {
        let b = b.wrapping_offset(tile.cols.start as isize * p.b_strides.1);
        // SAFETY: the caller's promise.
        return unsafe { block::product::<S>(&p, a, b, c, stop) };
    }
    // Few rows leave registers for more columns.
    let wide = if m <= S::KERNELS[3].len() { 4 * S::LANES } else { 2 * S::LANES };
    let most = block::depth::<S>(k);
    let by_columns = w.by_columns(S::LANES);
    let a_step = w.a_step();
    let line = most.next_multiple_of(S::LANES);
    let edge = |b: &Bound| match by_columns {
        true => Edge { across: b.col, along: b.inner, at: b.at, steps: (b.steps.1, b.steps.0), len: b.len as i64 },
        false => Edge { across: b.inner, along: b.col, at: b.at, steps: b.steps, len: b.len as i64 },
    };
    let edges: SmallVec<[Edge; 3]> = w.bounds.iter().map(edge).collect();
    let inner = Side { lens: &w.inner, strides: &w.b_inner };
    let cols = Side { lens: &w.cols, strides: &w.b_cols };
    let a_rows = Side { lens: &[m], strides: &[w.a_row as i64] };
    let a_inner = Side { lens: &w.inner, strides: &w.a_inner };
    let (panel_size, stage_size, a_size) =
        (most * wide, if by_columns { wide * line } else { 0 }, if a_step.is_some() { 0 } else { m * line });
    let tables = Across::words(most.max(wide).max(m)) * 8 / size_of::<S::T>();
    // SAFETY: the scratch memory has room for what is packed; positions within the bounds are readable.
    unsafe {
        let (memory, tables) = scratch::of::<S::T>(panel_size + stage_size + a_size + S::LANES, tables);
        let (panel, stage, a_room) = (memory, memory.add(panel_size), memory.add(panel_size + stage_size));
        for q in (0..k).step_by(most) {
            let depth = most.min(k - q);
            let (a, a_strides) = match a_step {
                Some(step) => (a.offset(q as isize * step), (w.a_row, step)),
                None => {
                    let across = Across::new(&a_rows, 0, m, &[], tables.cast());
                    S::lines(&Lines {
                        across,
                        along: a_inner,
                        start: q,
                        len: depth,
                        edges: &[],
                        from: a,
                        to: a_room,
                        stride: line,
                    });
                    (a_room.cast_const(), (line as isize, 1))
                }
            };
            for j in (0..n).step_by(wide) {
                if stopped(stop) {
                    return;
                }
                let width = wide.min(n - j);
                let stride = width.next_multiple_of(S::LANES);
                let first = tile.cols.start + j;
                if by_columns {
                    let across = Across::new(&cols, first, width, &edges, tables.cast());
                    S::lines(&Lines {
                        across,
                        along: inner,
                        start: q,
                        len: depth,
                        edges: &edges,
                        from: b,
                        to: stage,
                        stride: line,
                    });
                    S::pack(&Panels { depth, width, wide, from: stage, strides: (1, line as isize), to: panel });
                } else {
                    let across = Across::new(&inner, q, depth, &edges, tables.cast());
                    S::lines(&Lines { across, along: cols, start: first, len: width, edges: &edges, from: b, to: panel, stride });
                }
                block::rows::<S>(
                    m,
                    &Block {
                        depth,
                        a,
                        a_strides,
                        b: panel,
                        b_stride: stride as isize,
                        c: c.add(j),
                        ldc: w.ldc,
                        lanes: width - (stride - S::LANES),
                        padded: true,
                        add: q > 0,
                    },
                    stride / S::LANES,
                );
            }
        }
    }
}

/// The length of the pieces that a sum of `k` terms is cut into.
pub(super) fn depth<S: Simd>(k: usize) -> usize {
    block::depth::<S>(k)
}
