//! Vectors as small arrays: integers everywhere, and floats on machines without an implementation of their own.
use super::simd::{MOST_LANES, Simd, entries};

const LANES: usize = 4;

pub(super) struct Plain<T>(std::marker::PhantomData<T>);

macro_rules! plain {
    ($($t:ty, $add:expr, $multiply_add:expr;)*) => { $(
        impl Simd for Plain<$t> {
            type T = $t;
            type V = [$t; LANES];
            type Mask = usize;
            const LANES: usize = LANES;

            #[inline(always)]
            unsafe fn zero() -> Self::V {
                [<$t>::default(); LANES]
            }
            #[inline(always)]
            unsafe fn splat(x: $t) -> Self::V {
                [x; LANES]
            }
            #[inline(always)]
            unsafe fn load(from: *const $t) -> Self::V {
                // SAFETY: the caller's promise.
                unsafe { from.cast::<Self::V>().read_unaligned() }
            }
            #[inline(always)]
            unsafe fn store(to: *mut $t, v: Self::V) {
                // SAFETY: the caller's promise.
                unsafe { to.cast::<Self::V>().write_unaligned(v) }
            }
            #[inline(always)]
            unsafe fn mask(lanes: usize) -> usize {
                lanes
            }
            #[inline(always)]
            unsafe fn load_part(from: *const $t, mask: usize) -> Self::V {
                if mask == LANES {
                    // SAFETY: the caller's promise.
                    return unsafe { Self::load(from) };
                }
                let mut v = [<$t>::default(); LANES];
                for (i, x) in v.iter_mut().enumerate().take(mask) {
                    // SAFETY: the caller's promise.
                    *x = unsafe { *from.add(i) };
                }
                v
            }
            #[inline(always)]
            unsafe fn store_part(to: *mut $t, v: Self::V, mask: usize) {
                if mask == LANES {
                    // SAFETY: the caller's promise.
                    return unsafe { Self::store(to, v) };
                }
                for (i, x) in v.iter().enumerate().take(mask) {
                    // SAFETY: the caller's promise.
                    unsafe { *to.add(i) = *x };
                }
            }
            #[inline(always)]
            unsafe fn add(x: Self::V, y: Self::V) -> Self::V {
                let mut sum = x;
                for i in 0..LANES {
                    sum[i] = $add(x[i], y[i]);
                }
                sum
            }
            #[inline(always)]
            unsafe fn multiply_add(x: Self::V, y: Self::V, z: Self::V) -> Self::V {
                let mut sum = z;
                for i in 0..LANES {
                    sum[i] = $multiply_add(x[i], y[i], z[i]);
                }
                sum
            }
            #[inline(always)]
            unsafe fn transpose(square: &mut [Self::V; MOST_LANES]) {
                for i in 0..LANES {
                    for j in 0..i {
                        let x = square[i][j];
                        square[i][j] = square[j][i];
                        square[j][i] = x;
                    }
                }
            }

            entries!(; 1 2 3 4 5 6; 1 2 3);
        }
    )* };
}

plain! {
    f32, |x: f32, y| x + y, |x: f32, y, z| x * y + z;
    f64, |x: f64, y| x + y, |x: f64, y, z| x * y + z;
    i32, i32::wrapping_add, |x: i32, y, z| x.wrapping_mul(y).wrapping_add(z);
    i64, i64::wrapping_add, |x: i64, y, z| x.wrapping_mul(y).wrapping_add(z);
}
