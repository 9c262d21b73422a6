//! Products by blocks of C that stay in registers: every sum runs over k in order, one multiply-add after another,
//! and is added to C after each of the equal lengths into which k is cut.
use super::Product;
use super::scratch;
use super::simd::{MOST_LANES, Simd};

/// What a kernel computes: `rows × vectors` of C, from as many rows of A and a panel of B.
pub(super) struct Block<T> {
    pub depth: usize,
    pub a: *const T,
    /// Along rows and along the inner axis.
    pub a_strides: (isize, isize),
    pub b: *const T,
    /// From one row of the panel to the next; within a row it is contiguous.
    pub b_stride: isize,
    pub c: *mut T,
    pub ldc: usize,
    /// The columns within the last vector, at least 1.
    pub lanes: usize,
    /// Adds to C instead of overwriting it.
    pub add: bool,
}

pub(super) type Kernel<T> = unsafe fn(&Block<T>);

/// # Safety
/// The matrices are as large as the block says.
#[inline(always)]
pub(super) unsafe fn block<S: Simd, const R: usize, const W: usize>(block: &Block<S::T>) {
    let Block { depth, mut a, a_strides, mut b, b_stride, c, ldc, lanes, add } = *block;
    // SAFETY: pointers stay within what the block describes; they are moved past it, but not read there.
    unsafe {
        let mask = S::mask(lanes);
        let mut sums = [[S::zero(); W]; R];
        for _ in 0..depth {
            let mut row = [S::zero(); W];
            for (j, v) in row.iter_mut().enumerate() {
                let from = b.add(j * S::LANES);
                *v = if j + 1 == W { S::load_part(from, mask) } else { S::load(from) };
            }
            for (i, sums) in sums.iter_mut().enumerate() {
                let x = S::splat(*a.wrapping_offset(i as isize * a_strides.0));
                for j in 0..W {
                    sums[j] = S::multiply_add(x, row[j], sums[j]);
                }
            }
            a = a.wrapping_offset(a_strides.1);
            b = b.wrapping_offset(b_stride);
        }
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

/// Rows of B to be packed: `depth × width`, into rows of `stride`, a whole number of vectors.
pub(super) struct Panel<T> {
    pub depth: usize,
    pub width: usize,
    pub wide: usize,
    pub from: *const T,
    /// Along the inner axis and along columns.
    pub strides: (isize, isize),
    pub to: *mut T,
    pub stride: usize,
}

/// Bytes of a packed panel: it shares the first-level cache, of 32 KiB on most machines, with rows of A.
const PANEL: usize = 24 << 10;

/// Panels packed at a time.
const GROUP: usize = 4;

/// Cuts k into equal lengths whose panels fit.
fn depth<S: Simd>(k: usize) -> usize {
    let most = PANEL / (2 * S::LANES * size_of::<S::T>());
    if k <= most { k } else { k.div_ceil(k.div_ceil(most)).next_multiple_of(MOST_LANES) }
}

/// Rows of A that lie a power of two apart compete for the same places in the cache: copied, they are an odd number of
/// cache lines apart. It pays if they are read for several panels.
fn copied_stride<S: Simd>(p: &Product, depth: usize, wide: usize) -> Option<usize> {
    let apart = p.a_strides.0.unsigned_abs() * size_of::<S::T>();
    let line = 64 / size_of::<S::T>();
    (apart > 0 && apart.is_multiple_of(2048) && p.n > 3 * wide).then(|| (depth.div_ceil(line) | 1) * line)
}

/// Computes C, or a tile of it: the order of a sum depends on k alone.
///
/// # Safety
/// The machine has the instruction set; the matrices are as the product says, C overlaps neither operand.
pub(super) unsafe fn product<S: Simd>(p: &Product, a: *const S::T, b: *const S::T, c: *mut S::T) {
    let rows_at_most = S::KERNELS[1].len();
    let half = S::KERNELS[3].len();
    // Few rows leave registers for more columns.
    let wide = if p.m <= half { 4 * S::LANES } else { 2 * S::LANES };
    let depth = depth::<S>(p.k);
    // A panel read once, or by few blocks, is not worth packing if its rows are contiguous.
    let direct = p.b_strides.1 == 1 && p.m <= 2 * rows_at_most;
    let copied = if direct { None } else { copied_stride::<S>(p, depth, wide) };
    // SAFETY: as promised; the scratch memory holds what is packed.
    unsafe {
        let of_b = if direct { 0 } else { depth * p.n.next_multiple_of(wide).min(GROUP * wide) };
        let (panel, copy) = scratch::of::<S::T>(of_b, copied.map_or(0, |stride| stride * p.m));
        let mut q = 0;
        while q < p.k {
            let depth = depth.min(p.k - q);
            let a = a.offset(q as isize * p.a_strides.1);
            let (a, a_strides) = match copied {
                Some(stride) => {
                    let (depth, width, strides) = (p.m, depth, p.a_strides);
                    S::copy(&Panel { depth, width, wide: width, from: a, strides, to: copy, stride });
                    (copy.cast_const(), (stride as isize, 1))
                }
                None => (a, p.a_strides),
            };
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
                        S::pack(&Panel { depth, width, wide, from, strides: p.b_strides, to: panel, stride: 0 });
                    }
                    (panel.add(j % group * depth).cast_const(), (vectors * S::LANES) as isize)
                };
                let kernels = S::KERNELS[vectors - 1];
                // Blocks of equal height, as far as it goes.
                let mut blocks = if p.m <= kernels.len() { 1 } else { p.m.div_ceil(kernels.len()) };
                let mut i = 0;
                while i < p.m {
                    let rows = if blocks == 1 { p.m - i } else { (p.m - i).div_ceil(blocks) };
                    kernels[rows - 1](&Block {
                        depth,
                        a: a.offset(i as isize * a_strides.0),
                        a_strides,
                        b,
                        b_stride,
                        c: c.add(i * p.ldc + j),
                        ldc: p.ldc,
                        lanes: width - (vectors - 1) * S::LANES,
                        add: q > 0,
                    });
                    i += rows;
                    blocks -= 1;
                }
            }
            q += depth;
        }
    }
}
