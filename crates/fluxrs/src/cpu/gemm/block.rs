//! Products by blocks of C that stay in registers: every sum runs over k in order, one multiply-add after another,
//! and is added to C after each of the equal lengths into which k is cut.
use super::Product;
use super::scratch;
use super::simd::{MOST_LANES, Simd};
use crate::stop::stopped;
use std::sync::atomic::AtomicBool;

/// One call of a kernel: `rows × vectors` of C, from as many rows of A and a panel of B.
pub(super) struct Block<T> {
    pub depth: usize,
    pub a: *const T,
    /// Along rows and along the inner axis.
    pub a_strides: (isize, isize),
    pub b: *const T,
    /// From one row of the panel to the next; within a row it is contiguous.
    pub b_stride: isize,
    /// Where the elements of A's rows lie and where the rows of the panel begin, if they are not equally far apart.
    pub offsets: Option<(*const isize, *const isize)>,
    pub c: *mut T,
    pub ldc: usize,
    /// The columns within the last vector, at least 1.
    pub lanes: usize,
    /// Rows of B may be read as whole vectors.
    pub padded: bool,
    /// Adds to C instead of overwriting it.
    pub add: bool,
}

pub(super) type MicroKernel<T> = unsafe fn(&Block<T>);

/// # Safety
/// The matrices are as large as the block says.
#[inline(always)]
pub(super) unsafe fn block<S: Simd, const R: usize, const W: usize>(block: &Block<S::T>) {
    // SAFETY: the caller's promise.
    unsafe {
        // A mask takes a register that the sums need on some machines.
        let sums = match (block.offsets, block.padded) {
            (None, true) => sums::<S, R, W, false, false>(block),
            (None, false) => sums::<S, R, W, true, false>(block),
            (Some(_), _) => sums::<S, R, W, false, true>(block),
        };
        write::<S, R, W>(&sums, block.c, block.ldc, block.lanes, block.add);
    }
}

/// Writes the sums of a block into C, or adds them to what is there; the last vector of a row has so many lanes.
///
/// # Safety
/// C has R rows, `ldc` apart, of that many elements.
#[inline(always)]
pub(super) unsafe fn write<S: Simd, const R: usize, const W: usize>(
    sums: &[[S::V; W]; R],
    c: *mut S::T,
    ldc: usize,
    lanes: usize,
    add: bool,
) {
    // SAFETY: the caller's promise.
    unsafe {
        let mask = S::mask(lanes);
        for (i, sums) in sums.iter().enumerate() {
            for (j, &sum) in sums.iter().enumerate() {
                let to = c.add(i * ldc + j * S::LANES);
                if j + 1 == W {
                    let sum = if add { S::add(S::load_part(to, mask), sum) } else { sum };
                    S::store_part(to, sum, mask);
                } else {
                    S::store(to, if add { S::add(S::load(to), sum) } else { sum });
                }
            }
        }
    }
}

/// The sums of a block; `PART` if the last vector of a row of B is read no further than its lanes, `TABLE` if rows begin at offsets.
///
/// # Safety
/// As for `block`.
#[inline(always)]
unsafe fn sums<S: Simd, const R: usize, const W: usize, const PART: bool, const TABLE: bool>(
    block: &Block<S::T>,
) -> [[S::V; W]; R] {
    let Block { depth, a: mut a_next, a_strides, b: mut b_next, b_stride, lanes, .. } = *block;
    let (of_a, of_b) = block.offsets.unwrap_or((std::ptr::null(), std::ptr::null()));
    // SAFETY: pointers stay within what the block describes; they are moved past it, but not read there.
    unsafe {
        let mask = S::mask(lanes);
        let mut sums = [[S::zero(); W]; R];
        for p in 0..depth {
            let (a, b) =
                if TABLE { (a_next.wrapping_offset(*of_a.add(p)), b_next.offset(*of_b.add(p))) } else { (a_next, b_next) };
            let mut row = [S::zero(); W];
            for (j, v) in row.iter_mut().enumerate() {
                let from = b.add(j * S::LANES);
                *v = if PART && j + 1 == W { S::load_part(from, mask) } else { S::load(from) };
            }
            for (i, sums) in sums.iter_mut().enumerate() {
                let x = S::splat(*a.wrapping_offset(i as isize * a_strides.0));
                for j in 0..W {
                    sums[j] = S::multiply_add(x, row[j], sums[j]);
                }
            }
            if !TABLE {
                a_next = a_next.wrapping_offset(a_strides.1);
                b_next = b_next.wrapping_offset(b_stride);
            }
        }
        sums
    }
}

/// A part of B to be packed, `depth × width`, into panels of `wide` columns. Rows of a panel are whole vectors; the last panel
/// has as many as its columns need.
#[derive(Clone, Copy)]
pub(super) struct Panels<T> {
    pub depth: usize,
    pub width: usize,
    pub wide: usize,
    /// Rows of a panel are multiples of this.
    pub align: usize,
    pub from: *const T,
    /// Along the inner axis and along columns.
    pub strides: (isize, isize),
    /// The first panel, and from one to the next.
    pub to: *mut T,
    pub apart: usize,
    /// The row of the panels that is to be the part's first.
    pub first: usize,
}

/// Bytes of a packed panel: it shares the first-level cache, of 32 KiB on most machines, with rows of A.
const PANEL: usize = 24 << 10;

/// Panels packed at a time: longer pieces of rows are fetched ahead.
const GROUP: usize = 4;

/// Cuts k into equal lengths whose panels fit.
pub(super) fn depth<S: Simd>(k: usize) -> usize {
    let most = PANEL / (2 * S::LANES * size_of::<S::T>());
    if k <= most { k } else { k.div_ceil(k.div_ceil(most)).next_multiple_of(MOST_LANES) }
}

/// A panel of so many vectors beside `m` rows of A, in blocks of equal height as far as it goes; `first` says where the first begins.
///
/// # Safety
/// The machine has the instruction set; the matrices are as large as the block says.
pub(super) unsafe fn rows<S: Simd>(m: usize, first: &Block<S::T>, vectors: usize) {
    let kernels = S::KERNELS[vectors - 1];
    let mut blocks = if m <= kernels.len() { 1 } else { m.div_ceil(kernels.len()) };
    let mut i = 0;
    while i < m {
        let rows = if blocks == 1 { m - i } else { (m - i).div_ceil(blocks) };
        // SAFETY: the caller's promise.
        unsafe {
            let (a, c) = (first.a.offset(i as isize * first.a_strides.0), first.c.add(i * first.ldc));
            kernels[rows - 1](&Block { a, c, ..*first });
        }
        i += rows;
        blocks -= 1;
    }
}

/// The most rows that a panel is not worth packing for: it is read by few blocks.
pub(super) fn rows_unpacked<S: Simd>() -> usize {
    2 * S::KERNELS[1].len()
}

/// Computes C, or a tile of it, unless it is stopped: the order of a sum depends on k alone.
///
/// # Safety
/// The machine has the instruction set; the matrices are as the product says, C overlaps neither operand.
pub(super) unsafe fn product<S: Simd>(p: &Product, a: *const S::T, b: *const S::T, c: *mut S::T, stop: &AtomicBool) {
    let half = S::KERNELS[3].len();
    // Few rows leave registers for more columns.
    let wide = if p.m <= half { 4 * S::LANES } else { 2 * S::LANES };
    let depth = depth::<S>(p.k);
    let direct = p.b_strides.1 == 1 && p.m <= rows_unpacked::<S>();
    // SAFETY: as promised; the scratch memory holds what is packed.
    unsafe {
        let packed = if direct { 0 } else { depth * p.n.next_multiple_of(wide).min(GROUP * wide) };
        let panels = scratch::of::<S::T>(packed, 0).0;
        let mut q = 0;
        while q < p.k && !(q > 0 && stopped(stop)) {
            let depth = depth.min(p.k - q);
            let a = a.offset(q as isize * p.a_strides.1);
            for j in (0..p.n).step_by(wide) {
                let width = wide.min(p.n - j);
                let vectors = width.div_ceil(S::LANES);
                let (b, b_stride) = if direct {
                    (b.offset(q as isize * p.b_strides.0).add(j), p.b_strides.0)
                } else {
                    let group = GROUP * wide;
                    if j % group == 0 {
                        let from = b.offset(q as isize * p.b_strides.0 + j as isize * p.b_strides.1);
                        let width = group.min(p.n - j);
                        S::pack(&Panels {
                            depth,
                            width,
                            wide,
                            align: S::LANES,
                            from,
                            strides: p.b_strides,
                            to: panels,
                            apart: wide * depth,
                            first: 0,
                        });
                    }
                    (panels.add(j % group * depth).cast_const(), (vectors * S::LANES) as isize)
                };
                let first = Block {
                    depth,
                    a,
                    a_strides: p.a_strides,
                    b,
                    b_stride,
                    offsets: None,
                    c: c.add(j),
                    ldc: p.ldc,
                    lanes: width - (vectors - 1) * S::LANES,
                    padded: !direct || width == vectors * S::LANES,
                    add: q > 0,
                };
                rows::<S>(p.m, &first, vectors);
            }
            q += depth;
        }
    }
}
