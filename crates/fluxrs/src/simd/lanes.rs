//! Elementwise loops: one scalar expression becomes one vectorised loop for each instruction set.
//!
//! ```ignore
//! struct Exp;
//! impl<T: Real> UnaryBody<T, T> for Exp {
//!     #[inline(always)] // needed: the body must end up inside the loop
//!     fn call<I: Isa>(x: T) -> T { x.exp::<I>() }
//! }
//! let exp: LaneLoop = unary::<Exp, f32, f32>();
//! unsafe { exp(dst, [src, null(), null()], n) };
//! ```
//!
//! `binary::<B, X, Y, U>()` and `ternary::<B, X, Y, Z, U>()` do the same for two and three operands of any types; a cast is a
//! unary body from one type to another. `bool` is one byte, 0 or 1.
//!
//! The loops run over whole blocks of [`BLOCK`] elements, so that the vector code has no scalar remainder; the last block overlaps
//! the one before it, and fewer elements than a block go through a padded one on the stack.

use crate::per_isa;
use crate::simd::isa::{self, Isa, Level, level};

/// One loop of a fused program: `dst[i] = f(src[0][i], src[1][i], src[2][i])` for `i < n`.
///
/// # Safety
/// Pointers are aligned for their elements and valid for `n` of them, and `dst` overlaps no operand. Operands that the
/// loop does not have are not looked at.
pub type LaneLoop = unsafe fn(*mut u8, [*const u8; 3], usize);

/// Elements a vector loop handles at least: a whole number of vectors of every width and type.
pub const BLOCK: usize = 64;

/// A type that may lie in a lane: any bit pattern that the default has must be valid input for a body.
pub trait Lane: Copy + Default + Send + Sync + 'static {
    const FLOAT: bool = false;
}
impl Lane for f32 {
    const FLOAT: bool = true;
}
impl Lane for f64 {
    const FLOAT: bool = true;
}
impl Lane for i32 {}
impl Lane for i64 {}
impl Lane for u32 {}
impl Lane for u64 {}
impl Lane for u8 {}
impl Lane for bool {}

/// A function of one scalar; `call` must be `#[inline(always)]` and branch-free to vectorise.
pub trait UnaryBody<X, U> {
    fn call<I: Isa>(x: X) -> U;
}

/// A function of two scalars; see [`UnaryBody`].
pub trait BinaryBody<X, Y, U> {
    fn call<I: Isa>(x: X, y: Y) -> U;
}

/// A function of three scalars; see [`UnaryBody`].
pub trait TernaryBody<X, Y, Z, U> {
    fn call<I: Isa>(x: X, y: Y, z: Z) -> U;
}

/// Defines the loop of one arity: the body over whole blocks, its copies for each instruction set, and the outer function.
macro_rules! arity {
    ($(#[$doc:meta])* $name:ident, $at:ident, $each:ident, $each_body:ident, $run:ident, $Body:ident, [$($x:ident: $X:ident = $k:literal),*]) => {
        /// # Safety
        /// The machine has the instruction set; all slices have one length, a multiple of the block.
        #[inline(always)]
        unsafe fn $each_body<B: $Body<$($X,)* U>, $($X: Lane,)* U: Lane, I: Isa>(dst: &mut [U], $($x: &[$X]),*) {
            let n = dst.len();
            // SAFETY: `$run` hands over slices of one length, a multiple of the block.
            unsafe {
                std::hint::assert_unchecked(n.is_multiple_of(BLOCK));
                $(std::hint::assert_unchecked($x.len() == n);)*
            }
            for i in 0..n {
                dst[i] = B::call::<I>($($x[i]),*);
            }
        }

        per_isa! { fn $each[B: $Body<$($X,)* U>, $($X: Lane,)* U: Lane](dst: &mut [U], $($x: &[$X]),*) = $each_body }

        /// # Safety
        /// As [`LaneLoop`] says.
        unsafe fn $run<B: $Body<$($X,)* U>, $($X: Lane,)* U: Lane, I: Isa>(dst: *mut u8, src: [*const u8; 3], n: usize) {
            use std::slice::{from_raw_parts, from_raw_parts_mut};
            let (whole, rest) = (n - n % BLOCK, n % BLOCK);
            let dst = dst.cast::<U>();
            $(let $x = src[$k].cast::<$X>();)*
            // SAFETY: the caller's promise, see `LaneLoop`; the instruction set was found on this machine.
            unsafe {
                if whole > 0 {
                    $each::<B, $($X,)* U>(I::LEVEL)(from_raw_parts_mut(dst, whole), $(from_raw_parts($x, whole)),*);
                    if rest > 0 {
                        // The last block, although it begins in what is done: the same results are written there again.
                        let last = n - BLOCK;
                        let dst = from_raw_parts_mut(dst.add(last), BLOCK);
                        $each::<B, $($X,)* U>(I::LEVEL)(dst, $(from_raw_parts($x.add(last), BLOCK)),*);
                    }
                } else if rest > 0 {
                    let mut padded = [U::default(); BLOCK];
                    $(let $x = {
                        let mut block = [$X::default(); BLOCK];
                        block[..rest].copy_from_slice(from_raw_parts($x, rest));
                        block
                    };)*
                    $each::<B, $($X,)* U>(I::LEVEL)(&mut padded, $(&$x),*);
                    from_raw_parts_mut(dst, rest).copy_from_slice(&padded[..rest]);
                }
            }
        }

        $(#[$doc])*
        pub fn $name<B: $Body<$($X,)* U>, $($X: Lane,)* U: Lane>() -> LaneLoop {
            $at::<B, $($X,)* U>(level())
        }

        /// The same for a given level, which must be one that this machine has.
        pub fn $at<B: $Body<$($X,)* U>, $($X: Lane,)* U: Lane>(level: Level) -> LaneLoop {
            match level {
                #[cfg(target_arch = "x86_64")]
                Level::Avx512 => $run::<B, $($X,)* U, isa::Avx512>,
                #[cfg(target_arch = "x86_64")]
                Level::Avx2 => $run::<B, $($X,)* U, isa::Avx2>,
                #[cfg(target_arch = "aarch64")]
                Level::Neon => $run::<B, $($X,)* U, isa::Neon>,
                _ => $run::<B, $($X,)* U, isa::Plain>,
            }
        }
    };
}

arity! {
    /// The loop `dst[i] = B(x[i])` for the machine's instruction set.
    unary, unary_at, unary_each, unary_each_body, unary_run, UnaryBody, [x: X = 0]
}
arity! {
    /// The loop `dst[i] = B(x[i], y[i])` for the machine's instruction set.
    binary, binary_at, binary_each, binary_each_body, binary_run, BinaryBody, [x: X = 0, y: Y = 1]
}
arity! {
    /// The loop `dst[i] = B(x[i], y[i], z[i])` for the machine's instruction set.
    ternary, ternary_at, ternary_each, ternary_each_body, ternary_run, TernaryBody, [x: X = 0, y: Y = 1, z: Z = 2]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::isa::levels;
    use std::ptr::null;

    struct Half;
    impl UnaryBody<f32, f64> for Half {
        #[inline(always)]
        fn call<I: Isa>(x: f32) -> f64 {
            f64::from(x) * 0.5
        }
    }

    struct Less;
    impl BinaryBody<i32, i32, bool> for Less {
        #[inline(always)]
        fn call<I: Isa>(x: i32, y: i32) -> bool {
            x < y
        }
    }

    struct Choose;
    impl TernaryBody<bool, f64, f64, f64> for Choose {
        #[inline(always)]
        fn call<I: Isa>(c: bool, x: f64, y: f64) -> f64 {
            if c { x } else { y }
        }
    }

    fn run<U: Lane>(kernel: LaneLoop, src: [*const u8; 3], n: usize) -> Vec<U> {
        let mut out = vec![U::default(); n];
        // SAFETY: `src` has n elements each.
        unsafe { kernel(out.as_mut_ptr().cast(), src, n) };
        out
    }

    #[test]
    fn every_length_and_level() {
        for level in levels() {
            for n in [0, 1, 7, 63, 64, 65, 200, 256] {
                let x: Vec<f32> = (0..n).map(|i| i as f32).collect();
                let y = run::<f64>(unary_at::<Half, f32, f64>(level), [x.as_ptr().cast(), null(), null()], n);
                assert!((0..n).all(|i| y[i] == i as f64 / 2.0));

                let a: Vec<i32> = (0..n as i32).collect();
                let b: Vec<i32> = (0..n as i32).map(|i| 100 - i).collect();
                let src = [a.as_ptr().cast(), b.as_ptr().cast(), null()];
                let less = run::<bool>(binary_at::<Less, i32, i32, bool>(level), src, n);
                assert!((0..n).all(|i| less[i] == (i < 50)));

                let z = vec![-1.0; n];
                let src = [less.as_ptr().cast(), y.as_ptr().cast(), z.as_ptr().cast()];
                let kernel = ternary_at::<Choose, bool, f64, f64, f64>(level);
                let chosen = run::<f64>(kernel, src, n);
                assert!((0..n).all(|i| chosen[i] == if less[i] { y[i] } else { -1.0 }));
            }
        }
    }
}
