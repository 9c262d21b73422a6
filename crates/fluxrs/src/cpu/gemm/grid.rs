//! The tiles of a product: they depend on its shape alone.
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

/// Multiply-adds worth handing to another thread: about 5 µs of work.
const TASK: usize = 1 << 19;
/// Tiles that are enough, even for machines with many cores.
const ENOUGH: usize = 32;
/// Sides of the largest tile, unless it has little work. The rows of A that a kernel needs at a time stay in the
/// second-level cache; a tile packs what it reads, which is cheap only next to a large area.
const ROWS: usize = 256;
const COLS: usize = 256;
/// Panels of B beside a tile of a packed piece, unless these are all columns.
const PANELS: usize = 4;
pub(super) const WHOLE: usize = 256;
/// Sides of the smallest tile.
const FEWEST_ROWS: usize = 24;
const FEWEST_COLS: usize = 128;
/// Smaller tiles than this spend much on packing: they are made only for the first few threads.
const AREA: usize = 256 * 128;
const FEW: usize = 8;
/// Tiles start at multiples of these, so that only the last ones have ragged edges.
pub(super) const ROW_STEP: usize = 12;
pub(super) const COL_STEP: usize = 32;

impl Grid {
    pub(super) fn new(m: usize, k: usize, n: usize, size: usize) -> Grid {
        // A float64 costs twice a float32.
        let depth = k.max(1).saturating_mul(size.div_ceil(4));
        let wanted = (m.saturating_mul(n).saturating_mul(depth) / TASK).min(ENOUGH);
        if wanted <= 1 {
            return Grid { m, n, rows: m.max(1), cols: n.max(1) };
        }
        // Enough work for a task in a side that is as long as that takes.
        let worth = |across: usize| TASK / depth.saturating_mul(across).min(TASK);
        let mut across = n.div_ceil(COLS.max(worth(m.min(ROWS))));
        let mut down = m.div_ceil(ROWS.max(worth(n.div_ceil(across))));
        while across * down < wanted {
            let (rows, cols) = (m / down, n / across);
            let (by_rows, by_cols) = (rows >= 2 * FEWEST_ROWS, cols >= 2 * FEWEST_COLS);
            if across * down >= FEW && rows * cols < 2 * AREA {
                break;
            } else if by_cols && (cols >= rows || !by_rows) {
                across *= 2;
            } else if by_rows {
                down *= 2;
            } else {
                break;
            }
        }
        Grid { m, n, rows: side(m, down, ROW_STEP), cols: side(n, across, COL_STEP) }
    }

    /// The tiles of one of `batch` products by windows. A tile packs all it reads of the window, so tiles are as high as C, unless
    /// there are too few of them; their part of C stays in the second-level cache. Tiles start at multiples of `step` rows and columns.
    pub(super) fn of_window(m: usize, k: usize, n: usize, batch: usize, size: usize, step: (usize, usize)) -> Grid {
        let depth = k.max(1).saturating_mul(size.div_ceil(4));
        let work = m.saturating_mul(n).saturating_mul(depth).saturating_mul(batch);
        let wanted = (work / TASK).clamp(1, ENOUGH).div_ceil(batch.max(1));
        let most = (2 * AREA * 4 / size / m.max(1)).max(FEWEST_COLS);
        let across = wanted.min(n / FEWEST_COLS).max(n.div_ceil(most)).max(1);
        let down = wanted.div_ceil(across).min(m / (2 * step.0)).max(1);
        Grid { m, n, rows: side(m.max(1), down, step.0), cols: side(n.max(1), across, step.1) }
    }

    /// The tiles of a packed piece, of whole panels. The rows of A beside a tile stay in the second-level cache; tiles beside each other,
    /// which a thread often takes one after another, read the same.
    pub(super) fn of_piece(m: usize, k: usize, n: usize, height: usize, width: usize) -> Grid {
        let cols = if n <= WHOLE { n } else { PANELS * width };
        let mut rows = ROWS;
        while rows > FEWEST_ROWS * 2 && m.div_ceil(rows) * n.div_ceil(cols) < ENOUGH && rows * cols * k >= 2 * TASK {
            rows /= 2;
        }
        Grid { m, n, rows: side(m, m.div_ceil(rows), height), cols: side(n, n.div_ceil(cols), width) }
    }

    /// The number of tiles: 0 if C is empty.
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

/// Cuts `length` into equal parts, each a multiple of `step`.
fn side(length: usize, parts: usize, step: usize) -> usize {
    length.div_ceil(parts).next_multiple_of(step).min(length)
}
