//! How a product is cut into tiles: by its shape alone.
use std::ops::Range;

/// The part of C that one task computes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tile {
    pub rows: Range<usize>,
    pub cols: Range<usize>,
}

/// The tiles of one product, row by row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grid {
    m: usize,
    n: usize,
    /// Rows and columns of a tile; the last ones may be smaller.
    rows: usize,
    cols: usize,
}

/// Multiply-adds below which a tile is not worth handing to another thread: about 5 µs of work.
const WORTH_A_TASK: usize = 1 << 18;
/// Sides of the largest tile. Each task packs what it reads, which is cheap only next to a large area;
/// two packed blocks of this many rows fit into the second-level cache.
const SIDE: usize = 256;
/// Tiles start at multiples of these, so that only the last ones have ragged edges.
const ROW_STEP: usize = 12;
const COL_STEP: usize = 64;

impl Grid {
    pub(super) fn new(m: usize, k: usize, n: usize, size: usize) -> Grid {
        // A float64 costs twice a float32.
        let depth = k.max(1).saturating_mul(size.div_ceil(4));
        let worth = WORTH_A_TASK / depth.min(WORTH_A_TASK);
        let cols = side(n, SIDE.max(worth), COL_STEP);
        let rows = side(m, SIDE.min(m).max(worth / cols.max(1)), ROW_STEP);
        Grid { m, n, rows, cols }
    }

    /// How many tiles there are: 0 if C is empty.
    pub fn len(&self) -> usize {
        if self.m == 0 || self.n == 0 {
            return 0;
        }
        self.m.div_ceil(self.rows) * self.n.div_ceil(self.cols)
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Tile `i` of `len()`.
    pub fn tile(&self, i: usize) -> Tile {
        let across = self.n.div_ceil(self.cols);
        let (r, c) = (i / across * self.rows, i % across * self.cols);
        Tile { rows: r..(r + self.rows).min(self.m), cols: c..(c + self.cols).min(self.n) }
    }
}

/// Cuts `length` into equal parts of about `wanted`, each a multiple of `step`.
fn side(length: usize, wanted: usize, step: usize) -> usize {
    let parts = length.div_ceil(wanted.max(1)).max(1);
    length.div_ceil(parts).next_multiple_of(step).min(length).max(1)
}
