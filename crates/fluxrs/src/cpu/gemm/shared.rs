//! Large products: all threads pack a piece of both operands, and then all multiply what is packed. So each element is packed once,
//! however many threads there are. Sums are those of `block`, bit for bit.
use super::block::{self, Block, Panels};
use super::grid::{self, Grid, Tile};
use super::packed::{self, CHUNK, LINE, Packed};
use super::simd::Simd;
use super::{Element, Product};
use crate::simd::isa::{Level, level};
use std::ops::Range;

/// Fewer multiply-adds, rows or columns than these are not worth packing both operands.
const WORK: usize = if cfg!(miri) { 1 << 13 } else { 1 << 22 };
const ROWS: usize = 32;
const COLUMNS: usize = 48;
/// Rows and columns of a piece at most, and elements of it when packed, unless one length of sums needs more.
const SIDE: usize = 4096;
const ROOM: usize = 2 << 20;
/// Bytes of a piece that stays in the second-level cache: where one length of sums fits, no more lengths are packed than do. Others go
/// through C more seldom instead.
const NEAR: usize = 1 << 20;
/// With fewer columns than these a matrix with contiguous rows is read where it lies: packing it would be much of the work.
const DIRECT: usize = 512;
/// Panels of contiguous columns that a task packs; of contiguous rows it packs a few, as long as possible.
const PANELS: usize = 4;
const STEPS: usize = 32;
const LONG: usize = 1024;

/// The sizes of an instruction set's panels.
#[derive(Clone, Copy, Debug)]
pub struct Register {
    pub lanes: usize,
    /// Rows and columns of the block of C that stays in registers.
    pub rows: usize,
    pub columns: usize,
}

/// The part of a product that is packed at a time: a region of C, and a part of its sums.
#[derive(Clone, Debug)]
pub struct Piece {
    pub rows: Range<usize>,
    pub cols: Range<usize>,
    pub inner: Range<usize>,
}

/// A large product, and how it is cut.
#[derive(Clone, Copy, Debug)]
pub struct Shared {
    product: Product,
    pub(super) level: Level,
    depth: usize,
    /// Rows of a panel of A, and from one step of it to the next; 0 if A is not packed.
    height: usize,
    stride: usize,
    register: Register,
    /// Steps of sums in a piece.
    steps: usize,
}

impl Shared {
    /// None for a product that is better computed tile by tile.
    pub fn new<T: Element>(p: &Product) -> Option<Shared> {
        Shared::at::<T>(level(), p)
    }

    /// The same on an instruction set that the machine has.
    pub fn at<T: Element>(level: Level, p: &Product) -> Option<Shared> {
        let work = p.m.saturating_mul(p.n).saturating_mul(p.k).saturating_mul(size_of::<T>() / 4);
        if work < WORK || p.m < ROWS || p.n < COLUMNS {
            return None;
        }
        let register = T::register(level);
        // Panels of nearly equal height.
        let height = p.m.div_ceil(p.m.div_ceil(register.rows));
        let direct = p.a_strides.1 == 1 && p.n < DIRECT;
        let stride = if direct { 0 } else { height.next_multiple_of(packed::ALIGN) };
        let mut shared = Shared { product: *p, level, depth: T::order(level, p.k).depth, height, stride, register, steps: 0 };
        let each = shared.depth * shared.across(p.m.min(SIDE), p.n.min(SIDE));
        let room = if each <= NEAR / size_of::<T>() { NEAR / size_of::<T>() } else { ROOM };
        shared.steps = (shared.depth * (room / each).max(1)).min(p.k);
        Some(shared)
    }

    /// Elements of memory that a packed piece takes.
    pub fn room(&self) -> usize {
        self.steps * self.across(self.product.m.min(SIDE), self.product.n.min(SIDE))
    }

    /// Elements of a packed step.
    fn across(&self, rows: usize, cols: usize) -> usize {
        self.packed_rows(rows) + cols.next_multiple_of(self.register.lanes)
    }

    fn packed_rows(&self, rows: usize) -> usize {
        rows.div_ceil(self.height) * self.stride
    }

    /// The pieces, in the order in which they are to be computed.
    pub fn pieces(&self) -> impl Iterator<Item = Piece> {
        let (p, steps) = (self.product, self.steps);
        let part = move |start: usize, most: usize, all: usize| start..(start + most).min(all);
        let side = SIDE / self.height * self.height;
        (0..p.n).step_by(SIDE).flat_map(move |j| {
            (0..p.m).step_by(side).flat_map(move |i| {
                let piece = move |q| Piece { rows: part(i, side, p.m), cols: part(j, SIDE, p.n), inner: part(q, steps, p.k) };
                (0..p.k).step_by(steps).map(piece)
            })
        })
    }

    /// True if a piece is the last of its sums.
    pub fn is_last(&self, piece: &Piece) -> bool {
        piece.inner.end == self.product.k
    }

    /// The tasks that pack a piece.
    pub fn packings(&self, piece: &Piece) -> usize {
        self.parts(piece).flat_map(|part| self.operands(&part)).map(|operand| operand.tasks()).sum()
    }

    /// The lengths of sums in a piece.
    fn parts(&self, piece: &Piece) -> impl Iterator<Item = Piece> {
        let Piece { rows, cols, inner } = piece.clone();
        let depth = self.depth;
        inner.clone().step_by(depth).map(move |q| Piece {
            rows: rows.clone(),
            cols: cols.clone(),
            inner: q..(q + depth).min(inner.end),
        })
    }

    /// Both operands of a length of sums.
    fn operands(&self, part: &Piece) -> [Operand; 2] {
        let (p, depth) = (&self.product, part.inner.len());
        let a = Operand {
            depth,
            width: if self.stride == 0 { 0 } else { part.rows.len() },
            wide: self.height,
            stride: self.stride,
            align: packed::ALIGN,
            strides: (p.a_strides.1, p.a_strides.0),
        };
        let columns = self.register.columns;
        let b = Operand {
            depth,
            width: part.cols.len(),
            wide: columns,
            stride: columns,
            align: self.register.lanes,
            strides: p.b_strides,
        };
        [a, b]
    }

    /// Where a length of a piece's sums is packed: A's panels, and B's.
    fn places(&self, piece: &Piece, part: &Piece) -> [usize; 2] {
        let at = (part.inner.start - piece.inner.start) * self.across(piece.rows.len(), piece.cols.len());
        [at, at + self.packed_rows(piece.rows.len()) * part.inner.len()]
    }

    /// True if every tile has whole rows of C.
    pub fn whole_rows(&self) -> bool {
        self.product.n <= grid::WHOLE
    }

    /// The tiles that are computed of it.
    pub fn grid(&self, piece: &Piece) -> Grid {
        Grid::of_piece(piece.rows.len(), self.product.k, piece.cols.len(), self.height, self.register.columns)
    }
}

/// An operand of a piece: B, or A transposed.
struct Operand {
    depth: usize,
    width: usize,
    /// Columns of a panel, and from one of its rows to the next.
    wide: usize,
    stride: usize,
    align: usize,
    /// In memory, along the inner axis and along columns.
    strides: (isize, isize),
}

impl Operand {
    /// Columns and steps that a task packs.
    fn of_task(&self) -> (usize, usize) {
        if self.strides.1 == 1 { (LONG / self.wide * self.wide, STEPS) } else { (PANELS * self.wide, self.depth) }
    }

    fn tasks(&self) -> usize {
        let (columns, steps) = self.of_task();
        self.width.div_ceil(columns) * self.depth.div_ceil(steps)
    }

    /// What a task packs, of the operand at `from` into panels at `to`.
    fn panels<T>(&self, task: usize, from: *const T, to: *mut T) -> Panels<T> {
        let (columns, steps) = self.of_task();
        let across = self.width.div_ceil(columns);
        let (j, p) = (task % across * columns, task / across * steps);
        Panels {
            depth: steps.min(self.depth - p),
            width: columns.min(self.width - j),
            wide: self.wide,
            align: self.align,
            from: from.wrapping_offset(p as isize * self.strides.0 + j as isize * self.strides.1),
            strides: self.strides,
            to: to.wrapping_add(j / self.wide * self.stride * self.depth),
            apart: self.stride * self.depth,
            first: p,
        }
    }
}

/// Packs a task's part of a piece.
///
/// # Safety
/// `a` and `b` are as for `run`; `to` has room for a piece, and nothing else uses it.
pub(super) unsafe fn pack<S: Simd>(s: &Shared, piece: &Piece, task: usize, a: *const S::T, b: *const S::T, to: *mut S::T) {
    let p = &s.product;
    let mut task = task;
    for part in s.parts(piece) {
        let q = part.inner.start as isize;
        let from = [
            a.wrapping_offset(part.rows.start as isize * p.a_strides.0 + q * p.a_strides.1),
            b.wrapping_offset(q * p.b_strides.0 + part.cols.start as isize * p.b_strides.1),
        ];
        for ((operand, from), at) in s.operands(&part).iter().zip(from).zip(s.places(piece, &part)) {
            if task < operand.tasks() {
                // SAFETY: the caller's promise.
                return unsafe { S::pack(&operand.panels(task, from, to.wrapping_add(at))) };
            }
            task -= operand.tasks();
        }
    }
}

/// Computes a tile of a piece that is packed.
///
/// # Safety
/// The piece's tasks are done, on the same instruction set; `a` and `c` are as for `run`.
pub(super) unsafe fn multiply<S: Simd>(
    s: &Shared,
    piece: &Piece,
    tile: &Tile,
    a: *const S::T,
    panels: *const S::T,
    c: *mut S::T,
) {
    let (p, wide) = (&s.product, s.register.columns);
    let (rows, cols) = (piece.rows.start + tile.rows.start, piece.cols.start + tile.cols.start);
    // SAFETY: the caller's promise.
    unsafe {
        let c = c.add(rows * p.ldc + cols);
        for part in s.parts(piece) {
            let (depth, add) = (part.inner.len(), part.inner.start > 0);
            let [at_a, at_b] = s.places(piece, &part);
            let b = panels.add(at_b + tile.cols.start * depth);
            let columns = (0..tile.cols.len()).step_by(wide).map(|j| (j, wide.min(tile.cols.len() - j)));
            if s.stride == 0 {
                let a = a.offset(rows as isize * p.a_strides.0 + part.inner.start as isize);
                for (j, width) in columns {
                    let vectors = width.div_ceil(S::LANES);
                    let first = Block {
                        depth,
                        a,
                        a_strides: p.a_strides,
                        b: b.add(j * depth),
                        b_stride: (vectors * S::LANES) as isize,
                        offsets: None,
                        c: c.add(j),
                        ldc: p.ldc,
                        lanes: width - (vectors - 1) * S::LANES,
                        padded: true,
                        add,
                    };
                    block::rows::<S>(tile.rows.len(), &first, vectors);
                }
            } else {
                let a = panels.add(at_a + tile.rows.start / s.height * s.stride * depth);
                for (j, width) in columns {
                    let (b, c) = (b.add(j * depth), c.add(j));
                    panel::<S>(
                        s,
                        &Panel {
                            depth,
                            rows: tile.rows.len(),
                            width,
                            a,
                            b,
                            c,
                            first: j == 0,
                            last: j + wide >= tile.cols.len(),
                            add,
                        },
                    );
                }
            }
        }
    }
}

/// A tile's rows of A, packed, by a panel of B.
struct Panel<T> {
    depth: usize,
    rows: usize,
    width: usize,
    a: *const T,
    b: *const T,
    c: *mut T,
    /// True of the tile's first panel, and of its last.
    first: bool,
    last: bool,
    add: bool,
}

/// While a panel is used the next is fetched, and beside the first the panels of A.
///
/// # Safety
/// As for `multiply`.
unsafe fn panel<S: Simd>(s: &Shared, p: &Panel<S::T>) {
    let (depth, wide, line) = (p.depth, s.register.columns, LINE / size_of::<S::T>());
    let (vectors, chunks, of_a) = (p.width.div_ceil(S::LANES), depth.div_ceil(CHUNK), s.stride * depth);
    let lines = (wide * depth / line).div_ceil(p.rows.div_ceil(s.height));
    for (n, i) in (0..p.rows).step_by(s.height).enumerate() {
        let rows = s.height.min(p.rows - i);
        let next_b = p.b.wrapping_add(wide * depth + n * lines * line);
        let next_a = p.a.wrapping_add((n + 1) * of_a);
        // SAFETY: the caller's promise.
        unsafe {
            S::PACKED[vectors - 1][rows - 1](&Packed {
                depth,
                a: p.a.add(n * of_a),
                b: p.b,
                offsets: None,
                c: p.c.add(i * s.product.ldc),
                ldc: s.product.ldc,
                lanes: p.width - (vectors - 1) * S::LANES,
                add: p.add,
                ahead: [
                    (next_b, if p.last { 0 } else { lines.div_ceil(chunks) }),
                    (next_a, if p.first { (of_a / line).div_ceil(chunks) } else { 0 }),
                ],
            });
        }
    }
}

pub(super) fn register<S: Simd>() -> Register {
    Register { lanes: S::LANES, rows: S::KERNELS[1].len(), columns: 2 * S::LANES }
}
