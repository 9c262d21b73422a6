//! The functions of a real number as methods, `x.exp::<I>()`: what the op table's CPU expressions are written in.

use super::float::Float;
use super::{erf, exp, hyperbolic, inverse, log, power, trig32, trig64};
use crate::simd::isa::Isa;

/// The functions whose algorithm depends on the precision.
pub trait Precise: Float {
    fn sin_of<I: Isa>(self) -> Self;
    fn cos_of<I: Isa>(self) -> Self;
    fn tan_of<I: Isa>(self) -> Self;
    fn erf_of<I: Isa>(self) -> Self;
    fn erfc_of<I: Isa>(self) -> Self;
    fn normcdf_of<I: Isa>(self) -> Self;
    fn pow_of<I: Isa>(self, y: Self) -> Self;
    fn cbrt_of<I: Isa>(self) -> Self;
    fn hypot_of<I: Isa>(self, y: Self) -> Self;
}

macro_rules! precise {
    ($t:ty { $($name:ident($($arg:ident),*) = $f:expr;)* }) => {
        impl Precise for $t {$(
            #[inline(always)]
            fn $name<I: Isa>(self, $($arg: Self),*) -> Self {
                $f(self, $($arg),*)
            }
        )*}
    };
}
precise!(f32 {
    sin_of() = trig32::sin::<I>;
    cos_of() = trig32::cos::<I>;
    tan_of() = trig32::tan::<I>;
    erf_of() = erf::erf_f32::<I>;
    erfc_of() = erf::erfc_f32::<I>;
    normcdf_of() = erf::normcdf_f32::<I>;
    pow_of(y) = power::pow_f32::<I>;
    cbrt_of() = power::cbrt_f32::<I>;
    hypot_of(y) = power::hypot_f32::<I>;
});
precise!(f64 {
    sin_of() = trig64::sin::<I>;
    cos_of() = trig64::cos::<I>;
    tan_of() = trig64::tan::<I>;
    erf_of() = erf::erf_f64::<I>;
    erfc_of() = erf::erfc_f64::<I>;
    normcdf_of() = erf::normcdf_f64::<I>;
    pow_of(y) = power::pow_f64::<I>;
    cbrt_of() = power::cbrt_f64::<I>;
    hypot_of(y) = power::hypot_f64::<I>;
});

macro_rules! real {
    ($($(#[$doc:meta])* $name:ident($x:ident $(, $arg:ident)*) = $f:expr;)*) => {
        /// A real number in a tensor, `f32` or `f64`, with its functions: branch-free, so that a loop over them vectorises, and
        /// within 4 units in the last place over the whole range.
        pub trait Real: Precise {$(
            $(#[$doc])*
            fn $name<I: Isa>(self, $($arg: Self),*) -> Self;
        )*

            #[inline(always)]
            fn isnan(self) -> Self::Truth {
                self.differs(self)
            }

            #[inline(always)]
            fn isfinite(self) -> Self::Truth {
                self.abs().less(Self::INFINITY)
            }

            #[inline(always)]
            fn isinf(self) -> Self::Truth {
                self.abs().equals(Self::INFINITY)
            }
        }

        impl<T: Precise> Real for T {$(
            #[inline(always)]
            fn $name<I: Isa>(self, $($arg: Self),*) -> Self {
                let $x = self;
                $f
            }
        )*}
    };
}
real! {
    exp(x) = exp::exp::<T, I>(x);
    exp2(x) = exp::exp2::<T, I>(x);
    expm1(x) = exp::expm1::<T, I>(x);
    log(x) = log::log::<T, I>(x);
    log2(x) = log::log2::<T, I>(x);
    log10(x) = log::log10::<T, I>(x);
    log1p(x) = log::log1p::<T, I>(x);
    sin(x) = x.sin_of::<I>();
    cos(x) = x.cos_of::<I>();
    tan(x) = x.tan_of::<I>();
    asin(x) = inverse::asin::<T, I>(x);
    acos(x) = inverse::acos::<T, I>(x);
    atan(x) = inverse::atan::<T, I>(x);
    /// The angle of the point (x, self).
    atan2(y, x) = inverse::atan2::<T, I>(y, x);
    sinh(x) = hyperbolic::sinh::<T, I>(x);
    cosh(x) = hyperbolic::cosh::<T, I>(x);
    tanh(x) = hyperbolic::tanh::<T, I>(x);
    asinh(x) = hyperbolic::asinh::<T, I>(x);
    acosh(x) = hyperbolic::acosh::<T, I>(x);
    atanh(x) = hyperbolic::atanh::<T, I>(x);
    /// 1 / (1 + e⁻ˣ).
    sigmoid(x) = hyperbolic::sigmoid::<T, I>(x);
    /// log(1 + eˣ).
    softplus(x) = hyperbolic::softplus::<T, I>(x);
    erf(x) = x.erf_of::<I>();
    erfc(x) = x.erfc_of::<I>();
    /// The distribution function of the normal distribution.
    normcdf(x) = x.normcdf_of::<I>();
    /// self to the power y; a negative base only to integral powers.
    pow(x, y) = x.pow_of::<I>(y);
    sqrt(x) = x.root();
    cbrt(x) = x.cbrt_of::<I>();
    hypot(x, y) = x.hypot_of::<I>(y);
    floor(x) = x.down::<I>();
    ceil(x) = -(-x).down::<I>();
    trunc(x) = x.abs().down::<I>().signed(x);
    /// To the nearest integer, halves to the even one.
    round(x) = x.rint::<I>();
}
