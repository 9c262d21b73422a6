//! The arithmetic of every number type, with NumPy's meaning: integers wrap and never panic, NaN wins in minimum and maximum.

use super::real::Real;
use crate::simd::isa::Isa;
use crate::simd::lanes::Lane;
use std::ops::{BitAnd, BitOr, BitXor, Not};

/// A number in a tensor: `f32`, `f64`, `i32` or `i64`.
pub trait Num: Lane + PartialOrd + std::fmt::Debug {
    /// What a comparison gives.
    type Truth: Copy
        + BitAnd<Output = Self::Truth>
        + BitOr<Output = Self::Truth>
        + BitXor<Output = Self::Truth>
        + Not<Output = Self::Truth>;

    /// A constant; integers truncate it.
    fn of(x: f64) -> Self;
    fn add(self, y: Self) -> Self;
    fn sub(self, y: Self) -> Self;
    fn mul(self, y: Self) -> Self;
    fn neg(self) -> Self;
    fn abs(self) -> Self;
    /// ⌊x / y⌋; integers give 0 for y = 0.
    fn floor_divide(self, y: Self) -> Self;
    /// x − y·⌊x / y⌋, with the sign of y; integers give 0 for y = 0.
    fn remainder(self, y: Self) -> Self;
    /// self to the power y; of integers to a negative power the whole part of that: 0, unless self is 1 or −1.
    fn power<I: Isa>(self, y: Self) -> Self;

    fn equals(self, y: Self) -> Self::Truth;
    fn differs(self, y: Self) -> Self::Truth;
    fn less(self, y: Self) -> Self::Truth;
    fn at_most(self, y: Self) -> Self::Truth;
    /// x where the condition holds, else y.
    fn choose(c: Self::Truth, x: Self, y: Self) -> Self;

    /// −1, 0 or 1; NaN stays NaN.
    #[inline(always)]
    fn sign(self) -> Self {
        let zero = Self::of(0.0);
        let rest = Self::choose(self.equals(zero), zero, self);
        let below = Self::choose(self.less(zero), Self::of(-1.0), rest);
        Self::choose(zero.less(self), Self::of(1.0), below)
    }

    /// The greater of the two, NaN if either is.
    #[inline(always)]
    fn maximum(self, y: Self) -> Self {
        let bound = Self::choose(y.less(self), self, y);
        Self::choose(self.differs(self), self, bound)
    }

    /// The smaller of the two, NaN if either is.
    #[inline(always)]
    fn minimum(self, y: Self) -> Self {
        let bound = Self::choose(self.less(y), self, y);
        Self::choose(self.differs(self), self, bound)
    }
}

/// The comparisons of a type that is compared as it is.
macro_rules! comparisons {
    () => {
        type Truth = bool;
        #[inline(always)]
        fn equals(self, y: Self) -> bool {
            self == y
        }
        #[inline(always)]
        fn differs(self, y: Self) -> bool {
            self != y
        }
        #[inline(always)]
        fn less(self, y: Self) -> bool {
            self < y
        }
        #[inline(always)]
        fn at_most(self, y: Self) -> bool {
            self <= y
        }
        #[inline(always)]
        fn choose(c: bool, x: Self, y: Self) -> Self {
            if c { x } else { y }
        }
    };
}

macro_rules! integers {
    ($($t:ty),*) => {$(
        impl Num for $t {
            comparisons!();

            #[inline(always)]
            fn of(x: f64) -> Self {
                x as $t
            }
            #[inline(always)]
            fn add(self, y: Self) -> Self {
                self.wrapping_add(y)
            }
            #[inline(always)]
            fn sub(self, y: Self) -> Self {
                self.wrapping_sub(y)
            }
            #[inline(always)]
            fn mul(self, y: Self) -> Self {
                self.wrapping_mul(y)
            }
            #[inline(always)]
            fn neg(self) -> Self {
                self.wrapping_neg()
            }
            #[inline(always)]
            fn abs(self) -> Self {
                self.wrapping_abs()
            }
            #[inline(always)]
            fn floor_divide(self, y: Self) -> Self {
                if y == 0 {
                    return 0;
                }
                let q = self.wrapping_div(y);
                q - <$t>::from(self.wrapping_rem(y) != 0 && (self < 0) != (y < 0))
            }
            #[inline(always)]
            fn remainder(self, y: Self) -> Self {
                if y == 0 {
                    return 0;
                }
                let r = self.wrapping_rem(y);
                if r != 0 && (r < 0) != (y < 0) { r + y } else { r }
            }
            #[inline(always)]
            fn power<I: Isa>(self, y: Self) -> Self {
                if y < 0 {
                    let odd = if y & 1 == 1 { self } else { 1 };
                    return if self == 1 || self == -1 { odd } else { 0 };
                }
                let (mut base, mut left, mut out): ($t, $t, $t) = (self, y, 1);
                while left != 0 {
                    if left & 1 == 1 {
                        out = out.wrapping_mul(base);
                    }
                    base = base.wrapping_mul(base);
                    left >>= 1;
                }
                out
            }
        }
    )*};
}
integers!(i32, i64);

macro_rules! floats {
    ($($t:ty),*) => {$(
        impl Num for $t {
            comparisons!();

            #[inline(always)]
            fn of(x: f64) -> Self {
                x as $t
            }
            #[inline(always)]
            fn add(self, y: Self) -> Self {
                self + y
            }
            #[inline(always)]
            fn sub(self, y: Self) -> Self {
                self - y
            }
            #[inline(always)]
            fn mul(self, y: Self) -> Self {
                self * y
            }
            #[inline(always)]
            fn neg(self) -> Self {
                -self
            }
            #[inline(always)]
            fn abs(self) -> Self {
                <$t>::abs(self)
            }
            // Both go through the exact remainder: ⌊x / y⌋ of a rounded quotient can be off by one.
            #[inline(always)]
            fn floor_divide(self, y: Self) -> Self {
                if y == 0.0 {
                    return self / y;
                }
                let r = self % y;
                let q = (self - r) / y;
                let q = if r != 0.0 && (r < 0.0) != (y < 0.0) { q - 1.0 } else { q };
                let down = q.floor();
                if q == 0.0 {
                    <$t>::copysign(0.0, self / y)
                } else if q - down > 0.5 {
                    down + 1.0
                } else {
                    down
                }
            }
            #[inline(always)]
            fn remainder(self, y: Self) -> Self {
                let r = self % y;
                if r == 0.0 {
                    <$t>::copysign(0.0, y)
                } else if (r < 0.0) != (y < 0.0) {
                    r + y
                } else {
                    r
                }
            }
            #[inline(always)]
            fn power<I: Isa>(self, y: Self) -> Self {
                self.pow::<I>(y)
            }
        }
    )*};
}
floats!(f32, f64);

/// Conversion between any two element types: towards zero and saturating from float to integer, wrapping between integers,
/// and to `bool` by being different from zero.
pub trait Cast<U>: Lane {
    fn cast(self) -> U;
}

macro_rules! casts {
    ($($t:ty => [$($u:ty),*]),*) => {$($(
        impl Cast<$u> for $t {
            #[inline(always)]
            fn cast(self) -> $u {
                self as $u
            }
        }
    )*)*};
}
casts!(
    f32 => [f32, f64, i32, i64], f64 => [f32, f64, i32, i64], i32 => [f32, f64, i32, i64], i64 => [f32, f64, i32, i64],
    bool => [i32, i64]
);

macro_rules! bool_casts {
    ($($t:ty),*) => {$(
        impl Cast<bool> for $t {
            #[inline(always)]
            fn cast(self) -> bool {
                self != (0 as $t)
            }
        }
    )*};
}
bool_casts!(f32, f64, i32, i64);

impl Cast<bool> for bool {
    #[inline(always)]
    fn cast(self) -> bool {
        self
    }
}
impl Cast<f32> for bool {
    #[inline(always)]
    fn cast(self) -> f32 {
        f32::from(self)
    }
}
impl Cast<f64> for bool {
    #[inline(always)]
    fn cast(self) -> f64 {
        f64::from(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_follow_numpy() {
        let cases = [(7, 3, 2, 1), (-7, 3, -3, 2), (7, -3, -3, -2), (-7, -3, 2, -1), (6, -3, -2, 0)];
        for (x, y, q, r) in cases {
            assert_eq!((x.floor_divide(y), x.remainder(y)), (q, r));
            let (x, y) = (f64::from(x), f64::from(y));
            assert_eq!((x.floor_divide(y), x.remainder(y)), (f64::from(q), f64::from(r)));
        }
        assert_eq!((5.floor_divide(0), 5.remainder(0)), (0, 0));
        assert_eq!(i32::MIN.floor_divide(-1), i32::MIN);
        assert_eq!(i64::MIN.remainder(-1), 0);
        assert_eq!(i32::MAX.add(1), i32::MIN);
        assert_eq!(Num::abs(i32::MIN), i32::MIN);
    }

    #[test]
    fn floats_follow_numpy() {
        let inf = f32::INFINITY;
        assert_eq!(1f32.floor_divide(0.0), inf);
        assert!(1f32.remainder(0.0).is_nan());
        assert_eq!(1f32.remainder(inf), 1.0);
        assert_eq!((-1f32).remainder(inf), inf);
        assert_eq!(1f32.floor_divide(0.1), 9.0);
        let bounds = |x: f32, y: f32| (Num::minimum(x, y), Num::maximum(x, y));
        assert_eq!(bounds(3.0, 2.0), (2.0, 3.0));
        for (low, high) in [bounds(2.0, f32::NAN), bounds(f32::NAN, 2.0)] {
            assert!(low.is_nan() && high.is_nan());
        }
        assert_eq!([-2f32, 0.0, 5.0].map(Num::sign), [-1.0, 0.0, 1.0]);
        assert!(f64::NAN.sign().is_nan());
    }

    #[test]
    fn casts_saturate_and_truncate() {
        let x: i32 = (-2.7f32).cast();
        let y: i32 = 1e30f64.cast();
        let z: i32 = ((1i64 << 32) + 5).cast();
        let t: bool = f64::NAN.cast();
        let f: f32 = true.cast();
        assert_eq!((x, y, z, t, f), (-2, i32::MAX, 5, true, 1.0));
    }
}
