//! NEON, which every 64-bit ARM machine has.
use super::simd::{MOST_LANES, Simd, entries};
use std::arch::aarch64::*;

pub(super) struct NeonF32;
pub(super) struct NeonF64;

macro_rules! neon {
    ($t:ty, $v:ty, $splat:ident, $load:ident, $store:ident, $add:ident, $fma:ident) => {
        type T = $t;
        type V = $v;
        type Mask = usize;
        const LANES: usize = size_of::<$v>() / size_of::<$t>();

        #[inline(always)]
        unsafe fn zero() -> $v {
            // SAFETY: the caller's promise.
            unsafe { $splat(0.0) }
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
        unsafe fn mask(lanes: usize) -> usize {
            lanes
        }
        #[inline(always)]
        unsafe fn load_part(from: *const $t, mask: usize) -> $v {
            if mask == Self::LANES {
                // SAFETY: the caller's promise.
                return unsafe { $load(from) };
            }
            let mut part = [0.0; Self::LANES];
            for (i, x) in part.iter_mut().enumerate().take(mask) {
                // SAFETY: the caller's promise.
                *x = unsafe { *from.add(i) };
            }
            // SAFETY: the caller's promise.
            unsafe { $load(part.as_ptr()) }
        }
        #[inline(always)]
        unsafe fn store_part(to: *mut $t, v: $v, mask: usize) {
            if mask == Self::LANES {
                // SAFETY: the caller's promise.
                return unsafe { $store(to, v) };
            }
            let mut part = [0.0; Self::LANES];
            // SAFETY: the caller's promise.
            unsafe { $store(part.as_mut_ptr(), v) };
            for (i, x) in part.iter().enumerate().take(mask) {
                // SAFETY: the caller's promise.
                unsafe { *to.add(i) = *x };
            }
        }
        #[inline(always)]
        unsafe fn add(x: $v, y: $v) -> $v {
            // SAFETY: the caller's promise.
            unsafe { $add(x, y) }
        }
        #[inline(always)]
        unsafe fn multiply_add(x: $v, y: $v, z: $v) -> $v {
            // SAFETY: the caller's promise.
            unsafe { $fma(z, x, y) }
        }
    };
}

impl Simd for NeonF32 {
    neon!(f32, float32x4_t, vdupq_n_f32, vld1q_f32, vst1q_f32, vaddq_f32, vfmaq_f32);

    #[inline(always)]
    unsafe fn transpose(square: &mut [float32x4_t; MOST_LANES]) {
        // SAFETY: the caller's promise.
        unsafe {
            let x = *square;
            // Interleaves rows 0 with 2 and 1 with 3, then the two results.
            let (a, b) = (vzip1q_f32(x[0], x[2]), vzip2q_f32(x[0], x[2]));
            let (c, d) = (vzip1q_f32(x[1], x[3]), vzip2q_f32(x[1], x[3]));
            square[0] = vzip1q_f32(a, c);
            square[1] = vzip2q_f32(a, c);
            square[2] = vzip1q_f32(b, d);
            square[3] = vzip2q_f32(b, d);
        }
    }

    entries!(; 1 2 3 4 5 6 7 8 9 10 11 12; 1 2 3 4 5 6);
}

impl Simd for NeonF64 {
    neon!(f64, float64x2_t, vdupq_n_f64, vld1q_f64, vst1q_f64, vaddq_f64, vfmaq_f64);

    #[inline(always)]
    unsafe fn transpose(square: &mut [float64x2_t; MOST_LANES]) {
        // SAFETY: the caller's promise.
        unsafe {
            let x = *square;
            square[0] = vzip1q_f64(x[0], x[1]);
            square[1] = vzip2q_f64(x[0], x[1]);
        }
    }

    entries!(; 1 2 3 4 5 6 7 8 9 10 11 12; 1 2 3 4 5 6);
}
