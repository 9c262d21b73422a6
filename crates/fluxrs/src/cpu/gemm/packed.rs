//! Blocks of C that stay in registers while both operands are read from packed panels.
use super::block::write;
use super::simd::Simd;

/// One call of a kernel: a panel of A by a panel of B.
pub(super) struct Packed<T> {
    pub depth: usize,
    pub a: *const T,
    pub b: *const T,
    /// Where the rows of B's panel begin, if they do not lie one behind another.
    pub offsets: Option<*const isize>,
    pub c: *mut T,
    pub ldc: usize,
    /// The columns within the last vector, at least 1.
    pub lanes: usize,
    /// Adds to C instead of overwriting it.
    pub add: bool,
    /// What is needed after this block, and how many lines of it are to be fetched with each chunk of steps.
    pub ahead: [(*const T, usize); 2],
}

pub(super) type PackedKernel<T> = unsafe fn(&Packed<T>);

/// Steps of a panel of A are so many elements, or a multiple: whole vectors would be more to read.
pub(super) const ALIGN: usize = 4;
/// Bytes of a line of the cache.
pub(super) const LINE: usize = 64;
/// Steps from one fetch to the next: all at once would keep the machine from reading what is to be multiplied.
pub(super) const CHUNK: usize = 8;

/// The height of panels that `m` rows of A are packed into, nearly equal ones, and from one step of a panel to the next.
pub(super) fn height<S: Simd>(m: usize) -> (usize, usize) {
    let height = m.div_ceil(m.div_ceil(S::PACKED[1].len()));
    (height, height.next_multiple_of(ALIGN))
}

/// # Safety
/// The matrices are as large as the block says.
#[inline(always)]
pub(super) unsafe fn packed<S: Simd, const R: usize, const W: usize>(block: &Packed<S::T>) {
    // SAFETY: the caller's promise.
    unsafe {
        let sums = if block.offsets.is_some() { sums::<S, R, W, true>(block) } else { sums::<S, R, W, false>(block) };
        write::<S, R, W>(&sums, block.c, block.ldc, block.lanes, block.add);
    }
}

/// # Safety
/// As for `packed`.
#[inline(always)]
unsafe fn sums<S: Simd, const R: usize, const W: usize, const TABLE: bool>(block: &Packed<S::T>) -> [[S::V; W]; R] {
    let Packed { mut depth, mut a, mut b, c, ldc, mut ahead, .. } = *block;
    let mut offsets = block.offsets.unwrap_or(std::ptr::null());
    let line = LINE / size_of::<S::T>();
    // SAFETY: the caller's promise.
    unsafe {
        let mut sums = [[S::zero(); W]; R];
        let (mut row, mut rows) = (c, R);
        while depth > 0 {
            if rows > 0 {
                for j in 0..W {
                    S::prefetch::<true>(row.wrapping_add(j * S::LANES));
                }
                (row, rows) = (row.wrapping_add(ldc), rows - 1);
            }
            for (from, lines) in &mut ahead {
                for _ in 0..*lines {
                    S::prefetch::<false>(*from);
                    *from = from.wrapping_add(line);
                }
            }
            let steps = depth.min(CHUNK);
            for _ in 0..steps {
                let mut row = [S::zero(); W];
                let b_row = if TABLE { b.offset(*offsets) } else { b };
                for (j, v) in row.iter_mut().enumerate() {
                    *v = S::load(b_row.add(j * S::LANES));
                }
                for (i, sums) in sums.iter_mut().enumerate() {
                    let x = S::splat(*a.add(i));
                    for j in 0..W {
                        sums[j] = S::multiply_add(x, row[j], sums[j]);
                    }
                }
                a = a.add(R.next_multiple_of(ALIGN));
                if TABLE { offsets = offsets.add(1) } else { b = b.add(W * S::LANES) }
            }
            depth -= steps;
        }
        sums
    }
}
