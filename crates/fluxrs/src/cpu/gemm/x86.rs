//! AVX-512 and AVX2 with FMA.
use super::simd::{MOST_LANES, Simd, entries};
use std::arch::x86_64::*;

pub(super) struct Avx512F32;
pub(super) struct Avx512F64;
pub(super) struct Avx2F32;
pub(super) struct Avx2F64;

/// The methods of one instruction each.
macro_rules! instructions {
    ($t:ty, $v:ty, $zero:ident, $splat:ident, $load:ident, $store:ident, $add:ident, $fma:ident) => {
        type T = $t;
        type V = $v;
        const LANES: usize = size_of::<$v>() / size_of::<$t>();

        #[inline(always)]
        unsafe fn zero() -> $v {
            // SAFETY: the caller's promise.
            unsafe { $zero() }
        }
        #[inline(always)]
        unsafe fn splat(x: $t) -> $v {
            // SAFETY: the caller's promise.
            unsafe { $splat(x) }
        }
        #[inline(always)]
        unsafe fn load(from: *const $t) -> $v {
            // SAFETY: the caller's promise.
            unsafe { $load(from) }
        }
        #[inline(always)]
        unsafe fn store(to: *mut $t, v: $v) {
            // SAFETY: the caller's promise.
            unsafe { $store(to, v) }
        }
        #[inline(always)]
        unsafe fn prefetch<const SOON: bool>(from: *const $t) {
            // SAFETY: it reads nothing.
            unsafe { if SOON { _mm_prefetch::<_MM_HINT_T0>(from.cast()) } else { _mm_prefetch::<_MM_HINT_T1>(from.cast()) } }
        }
        #[inline(always)]
        unsafe fn add(x: $v, y: $v) -> $v {
            // SAFETY: the caller's promise.
            unsafe { $add(x, y) }
        }
        #[inline(always)]
        unsafe fn multiply_add(x: $v, y: $v, z: $v) -> $v {
            // SAFETY: the caller's promise.
            unsafe { $fma(x, y, z) }
        }
    };
}

/// The AVX-512 way with parts of vectors: mask registers.
macro_rules! mask_register {
    ($mask:ty, $load:ident, $store:ident) => {
        type Mask = $mask;

        #[inline(always)]
        unsafe fn mask(lanes: usize) -> $mask {
            ((1u32 << lanes) - 1) as $mask
        }
        #[inline(always)]
        unsafe fn load_part(from: *const Self::T, mask: $mask) -> Self::V {
            // SAFETY: the caller's promise.
            unsafe { $load(mask, from) }
        }
        #[inline(always)]
        unsafe fn store_part(to: *mut Self::T, v: Self::V, mask: $mask) {
            // SAFETY: the caller's promise.
            unsafe { $store(to, mask, v) }
        }
    };
}

/// The AVX2 way: a vector whose first lanes have their sign set, and the number of them. Masked stores are very slow
/// on some machines, so whole vectors avoid them.
macro_rules! mask_vector {
    ($int:ty, $load:ident, $store:ident) => {
        type Mask = (__m256i, usize);

        #[inline(always)]
        unsafe fn mask(lanes: usize) -> Self::Mask {
            const LANES: usize = 32 / size_of::<$int>();
            static SIGNS: [$int; 2 * LANES] = {
                let mut signs = [0; 2 * LANES];
                let mut i = 0;
                while i < LANES {
                    signs[i] = -1;
                    i += 1;
                }
                signs
            };
            debug_assert!(lanes <= LANES);
            // SAFETY: the caller has the instruction set; `LANES` signs are there from any of the first `LANES` on.
            (unsafe { _mm256_loadu_si256(SIGNS.as_ptr().add(LANES - lanes).cast()) }, lanes)
        }
        #[inline(always)]
        unsafe fn load_part(from: *const Self::T, mask: Self::Mask) -> Self::V {
            // SAFETY: the caller's promise.
            unsafe { $load(from, mask.0) }
        }
        #[inline(always)]
        unsafe fn store_part(to: *mut Self::T, v: Self::V, mask: Self::Mask) {
            // SAFETY: the caller's promise.
            unsafe { if mask.1 == Self::LANES { Self::store(to, v) } else { $store(to, mask.0, v) } }
        }
    };
}

impl Simd for Avx512F32 {
    instructions!(
        f32,
        __m512,
        _mm512_setzero_ps,
        _mm512_set1_ps,
        _mm512_loadu_ps,
        _mm512_storeu_ps,
        _mm512_add_ps,
        _mm512_fmadd_ps
    );
    mask_register!(__mmask16, _mm512_maskz_loadu_ps, _mm512_mask_storeu_ps);

    #[inline(always)]
    unsafe fn transpose(square: &mut [__m512; MOST_LANES]) {
        // Four rounds that interleave the vectors of the first half with those of the second.
        // SAFETY: the caller's promise.
        unsafe {
            let low = _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
            let high = _mm512_add_epi32(low, _mm512_set1_epi32(8));
            for _ in 0..4 {
                let x = *square;
                for i in 0..8 {
                    square[2 * i] = _mm512_permutex2var_ps(x[i], low, x[i + 8]);
                    square[2 * i + 1] = _mm512_permutex2var_ps(x[i], high, x[i + 8]);
                }
            }
        }
    }

    #[inline(always)]
    unsafe fn load_columns(from: *const f32, offsets: &[isize; MOST_LANES], square: &mut [__m512; MOST_LANES]) {
        // Every fourth column, four of each, comes into the quarters of a vector while it is loaded: that leaves half
        // of the shuffles.
        // SAFETY: the caller's promise.
        unsafe {
            for q in 0..4 {
                let mut x = [_mm512_setzero_ps(); 4];
                for (i, x) in x.iter_mut().enumerate() {
                    for quarter in 0..4 {
                        let part = _mm_loadu_ps(from.offset(offsets[4 * quarter + i] + 4 * q as isize));
                        *x = _mm512_mask_broadcast_f32x4(*x, 0xf << (4 * quarter), part);
                    }
                }
                let (a, b) = (_mm512_unpacklo_ps(x[0], x[1]), _mm512_unpackhi_ps(x[0], x[1]));
                let (c, d) = (_mm512_unpacklo_ps(x[2], x[3]), _mm512_unpackhi_ps(x[2], x[3]));
                square[4 * q] = _mm512_shuffle_ps::<0x44>(a, c);
                square[4 * q + 1] = _mm512_shuffle_ps::<0xee>(a, c);
                square[4 * q + 2] = _mm512_shuffle_ps::<0x44>(b, d);
                square[4 * q + 3] = _mm512_shuffle_ps::<0xee>(b, d);
            }
        }
    }

    entries!(target_feature(enable = "avx512f"); 1 2 3 4 5 6 7 8 9 10 11 12; 1 2 3 4 5 6);
}

impl Simd for Avx512F64 {
    instructions!(
        f64,
        __m512d,
        _mm512_setzero_pd,
        _mm512_set1_pd,
        _mm512_loadu_pd,
        _mm512_storeu_pd,
        _mm512_add_pd,
        _mm512_fmadd_pd
    );
    mask_register!(__mmask8, _mm512_maskz_loadu_pd, _mm512_mask_storeu_pd);

    #[inline(always)]
    unsafe fn transpose(square: &mut [__m512d; MOST_LANES]) {
        // SAFETY: the caller's promise.
        unsafe {
            let low = _mm512_setr_epi64(0, 8, 1, 9, 2, 10, 3, 11);
            let high = _mm512_add_epi64(low, _mm512_set1_epi64(4));
            for _ in 0..3 {
                let x = *square;
                for i in 0..4 {
                    square[2 * i] = _mm512_permutex2var_pd(x[i], low, x[i + 4]);
                    square[2 * i + 1] = _mm512_permutex2var_pd(x[i], high, x[i + 4]);
                }
            }
        }
    }

    #[inline(always)]
    unsafe fn load_columns(from: *const f64, offsets: &[isize; MOST_LANES], square: &mut [__m512d; MOST_LANES]) {
        // SAFETY: the caller's promise.
        unsafe {
            for q in 0..4 {
                let mut x = [_mm512_setzero_ps(); 2];
                for (i, x) in x.iter_mut().enumerate() {
                    for quarter in 0..4 {
                        let part = from.offset(offsets[2 * quarter + i] + 2 * q as isize);
                        *x = _mm512_mask_broadcast_f32x4(*x, 0xf << (4 * quarter), _mm_loadu_ps(part.cast()));
                    }
                }
                let x = [_mm512_castps_pd(x[0]), _mm512_castps_pd(x[1])];
                square[2 * q] = _mm512_unpacklo_pd(x[0], x[1]);
                square[2 * q + 1] = _mm512_unpackhi_pd(x[0], x[1]);
            }
        }
    }

    entries!(target_feature(enable = "avx512f"); 1 2 3 4 5 6 7 8 9 10 11 12; 1 2 3 4 5 6);
}

impl Simd for Avx2F32 {
    instructions!(
        f32,
        __m256,
        _mm256_setzero_ps,
        _mm256_set1_ps,
        _mm256_loadu_ps,
        _mm256_storeu_ps,
        _mm256_add_ps,
        _mm256_fmadd_ps
    );
    mask_vector!(i32, _mm256_maskload_ps, _mm256_maskstore_ps);

    #[inline(always)]
    unsafe fn transpose(square: &mut [__m256; MOST_LANES]) {
        // SAFETY: the caller's promise.
        unsafe {
            let x = *square;
            let mut y = x;
            // Pairs of rows 2i, 2i + 1, then fours; last the halves of the vectors change places.
            for i in 0..4 {
                y[2 * i] = _mm256_unpacklo_ps(x[2 * i], x[2 * i + 1]);
                y[2 * i + 1] = _mm256_unpackhi_ps(x[2 * i], x[2 * i + 1]);
            }
            let mut z = y;
            for i in [0, 4] {
                z[i] = _mm256_shuffle_ps::<0x44>(y[i], y[i + 2]);
                z[i + 1] = _mm256_shuffle_ps::<0xee>(y[i], y[i + 2]);
                z[i + 2] = _mm256_shuffle_ps::<0x44>(y[i + 1], y[i + 3]);
                z[i + 3] = _mm256_shuffle_ps::<0xee>(y[i + 1], y[i + 3]);
            }
            for i in 0..4 {
                square[i] = _mm256_permute2f128_ps::<0x20>(z[i], z[i + 4]);
                square[i + 4] = _mm256_permute2f128_ps::<0x31>(z[i], z[i + 4]);
            }
        }
    }

    #[inline(always)]
    unsafe fn load_columns(from: *const f32, offsets: &[isize; MOST_LANES], square: &mut [__m256; MOST_LANES]) {
        // SAFETY: the caller's promise.
        unsafe {
            for q in 0..2 {
                let mut x = [_mm256_setzero_ps(); 4];
                for (i, x) in x.iter_mut().enumerate() {
                    let part = |column: usize| from.offset(offsets[column] + 4 * q as isize);
                    let low = _mm256_castps128_ps256(_mm_loadu_ps(part(i)));
                    *x = _mm256_insertf128_ps::<1>(low, _mm_loadu_ps(part(i + 4)));
                }
                let (a, b) = (_mm256_unpacklo_ps(x[0], x[1]), _mm256_unpackhi_ps(x[0], x[1]));
                let (c, d) = (_mm256_unpacklo_ps(x[2], x[3]), _mm256_unpackhi_ps(x[2], x[3]));
                square[4 * q] = _mm256_shuffle_ps::<0x44>(a, c);
                square[4 * q + 1] = _mm256_shuffle_ps::<0xee>(a, c);
                square[4 * q + 2] = _mm256_shuffle_ps::<0x44>(b, d);
                square[4 * q + 3] = _mm256_shuffle_ps::<0xee>(b, d);
            }
        }
    }

    entries!(target_feature(enable = "avx2,fma"); 1 2 3 4 5 6; 1 2 3);
}

impl Simd for Avx2F64 {
    instructions!(
        f64,
        __m256d,
        _mm256_setzero_pd,
        _mm256_set1_pd,
        _mm256_loadu_pd,
        _mm256_storeu_pd,
        _mm256_add_pd,
        _mm256_fmadd_pd
    );
    mask_vector!(i64, _mm256_maskload_pd, _mm256_maskstore_pd);

    #[inline(always)]
    unsafe fn transpose(square: &mut [__m256d; MOST_LANES]) {
        // SAFETY: the caller's promise.
        unsafe {
            let x = *square;
            let (a, b) = (_mm256_unpacklo_pd(x[0], x[1]), _mm256_unpackhi_pd(x[0], x[1]));
            let (c, d) = (_mm256_unpacklo_pd(x[2], x[3]), _mm256_unpackhi_pd(x[2], x[3]));
            square[0] = _mm256_permute2f128_pd::<0x20>(a, c);
            square[1] = _mm256_permute2f128_pd::<0x20>(b, d);
            square[2] = _mm256_permute2f128_pd::<0x31>(a, c);
            square[3] = _mm256_permute2f128_pd::<0x31>(b, d);
        }
    }

    entries!(target_feature(enable = "avx2,fma"); 1 2 3 4 5 6; 1 2 3);
}
