//! Every function of `Real` as a loop, by name.

use fluxrs::simd::isa::{Isa, Level};
use fluxrs::simd::lanes::{BinaryBody, Lane, LaneLoop, UnaryBody, binary_at, unary_at};
use fluxrs::simd::math::Real;
use std::ptr::null;

macro_rules! functions {
    (unary: $($name:ident)*; binary: $($name2:ident)*) => {
        #[allow(non_camel_case_types)]
        mod bodies {
            $(pub struct $name;)*
            $(pub struct $name2;)*
        }
        $(impl<T: Real> UnaryBody<T, T> for bodies::$name {
            #[inline(always)]
            fn call<I: Isa>(x: T) -> T {
                x.$name::<I>()
            }
        })*
        $(impl<T: Real> BinaryBody<T, T, T> for bodies::$name2 {
            #[inline(always)]
            fn call<I: Isa>(x: T, y: T) -> T {
                x.$name2::<I>(y)
            }
        })*

        /// The names of all functions, and how many operands each has.
        pub const NAMES: &[(&str, usize)] = &[$((stringify!($name), 1),)* $((stringify!($name2), 2),)*];

        pub fn kernel<T: Real>(name: &str, level: Level) -> LaneLoop {
            match name {
                $(stringify!($name) => unary_at::<bodies::$name, T, T>(level),)*
                $(stringify!($name2) => binary_at::<bodies::$name2, T, T, T>(level),)*
                _ => panic!("no function {name}"),
            }
        }
    };
}
functions! {
    unary: exp exp2 expm1 log log2 log10 log1p sin cos tan asin acos atan sinh cosh tanh asinh acosh atanh sigmoid softplus
        erf erfc normcdf sqrt cbrt floor ceil trunc round;
    binary: atan2 pow hypot
}

/// The function over whole slices; `y` is looked at only by functions of two numbers.
pub fn apply<T: Real + Lane>(name: &str, level: Level, x: &[T], y: &[T]) -> Vec<T> {
    let mut out = vec![T::of(0.0); x.len()];
    assert!(y.len() == x.len() || y.is_empty());
    // SAFETY: all have one length, and `y` is looked at only where it is there.
    unsafe { kernel::<T>(name, level)(out.as_mut_ptr().cast(), [x.as_ptr().cast(), y.as_ptr().cast(), null()], x.len()) };
    out
}
