//! Products by blocks of C that stay in registers: every sum runs over k in order, one multiply-add after another,
//! and is added to C after each of the equal lengths into which k is cut.
use super::Product;
use super::scratch;
use super::simd::Simd;

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
    pub from: *const T,
    /// Along the inner axis and along columns.
    pub strides: (isize, isize),
    pub to: *mut T,
    pub stride: usize,
}

/// Bytes of a packed panel: it shares the first-level cache, of 32 KiB on most machines, with rows of A.
const PANEL: usize = 24 << 10;

/// Cuts k into equal lengths whose panels fit.
fn depth<S: Simd>(k: usize) -> usize {
    let most = PANEL / (2 * S::LANES * size_of::<S::T>());
    if k <= most { k } else { k.div_ceil(k.div_ceil(most)) }
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
    // SAFETY: as promised; the scratch memory holds the largest panel.
    unsafe {
        let panel = if direct { std::ptr::null_mut() } else { scratch::of::<S::T>(depth * wide, 0).0 };
        let mut q = 0;
        while q < p.k {
            let depth = depth.min(p.k - q);
            let a = a.offset(q as isize * p.a_strides.1);
            for j in (0..p.n).step_by(wide) {
                let width = wide.min(p.n - j);
                let vectors = width.div_ceil(S::LANES);
                let from = b.offset(q as isize * p.b_strides.0 + j as isize * p.b_strides.1);
                let (b, b_stride) = if direct {
                    (from, p.b_strides.0)
                } else {
                    let stride = vectors * S::LANES;
                    S::pack(&Panel { depth, width, from, strides: p.b_strides, to: panel, stride });
                    (panel.cast_const(), stride as isize)
                };
                let kernels = S::KERNELS[vectors - 1];
                // Blocks of equal height, as far as it goes.
                let mut blocks = if p.m <= kernels.len() { 1 } else { p.m.div_ceil(kernels.len()) };
                let mut i = 0;
                while i < p.m {
                    let rows = if blocks == 1 { p.m - i } else { (p.m - i).div_ceil(blocks) };
                    kernels[rows - 1](&Block {
                        depth,
                        a: a.offset(i as isize * p.a_strides.0),
                        a_strides: p.a_strides,
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
