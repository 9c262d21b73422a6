//! Instruction sets: which one this machine has, and one generic body compiled for each.
//!
//! A kernel is written once, as a generic `#[inline(always)]` function whose last type parameter is the instruction set:
//!
//! ```ignore
//! #[inline(always)]
//! unsafe fn scale_body<T: Real, I: Isa>(y: &mut [T], x: &[T], k: T) { /* a plain loop */ }
//!
//! per_isa! {
//!     /// y = k·x.
//!     pub fn scale[T: Real](y: &mut [T], x: &[T], k: T) = scale_body
//! }
//!
//! let kernel = scale::<f32>(level()); // unsafe fn(&mut [f32], &[f32], f32)
//! ```
//!
//! The macro compiles the body behind `#[target_feature]` for every instruction set of the architecture, and the function it
//! defines picks one. Slices as parameters matter: they tell the compiler that nothing aliases. Elementwise loops
//! (`unary`, `binary`, `ternary` in [`crate::simd::lanes`]) are made with it already.

use std::sync::OnceLock;

/// An instruction set as a type, so that a body can ask what is cheap where it is compiled.
pub trait Isa: Copy + Send + Sync + 'static {
    /// True if `mul_add` is one instruction; without it the call goes to a slow library routine.
    const FMA: bool;
    /// The same instruction set as a value.
    const LEVEL: Level;
}

/// AVX-512 F, BW, CD, DQ and VL.
#[derive(Clone, Copy, Debug)]
pub struct Avx512;
/// AVX2 with FMA.
#[derive(Clone, Copy, Debug)]
pub struct Avx2;
/// The instructions of every 64-bit ARM processor.
#[derive(Clone, Copy, Debug)]
pub struct Neon;
/// The architecture's baseline, without fused multiply-add.
#[derive(Clone, Copy, Debug)]
pub struct Plain;

/// An instruction set as a value, the better the greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    Plain,
    Neon,
    Avx2,
    Avx512,
}

macro_rules! isa {
    ($($name:ident: $fma:literal),*) => {$(
        impl Isa for $name {
            const FMA: bool = $fma;
            const LEVEL: Level = Level::$name;
        }
    )*};
}
isa!(Avx512: true, Avx2: true, Neon: true, Plain: false);

/// The best instruction set of this machine, found once; `FLUXRS_ISA=plain|avx2` lowers it.
pub fn level() -> Level {
    static LEVEL: OnceLock<Level> = OnceLock::new();
    *LEVEL.get_or_init(|| {
        let best = detect();
        let wanted = match std::env::var("FLUXRS_ISA").as_deref() {
            Ok("plain") => Level::Plain,
            Ok("avx2") => Level::Avx2,
            _ => best,
        };
        wanted.min(best)
    })
}

/// Every level that this machine can run, worst first.
pub fn levels() -> Vec<Level> {
    let known: &[Level] =
        if cfg!(target_arch = "aarch64") { &[Level::Plain, Level::Neon] } else { &[Level::Plain, Level::Avx2, Level::Avx512] };
    let best = detect();
    known.iter().copied().filter(|&level| level <= best).collect()
}

#[cfg(target_arch = "x86_64")]
fn detect() -> Level {
    let avx2 = is_x86_feature_detected!("avx2")
        && is_x86_feature_detected!("fma")
        && is_x86_feature_detected!("bmi1")
        && is_x86_feature_detected!("bmi2");
    let avx512 = is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512cd")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("avx512vl");
    match (avx2, avx512) {
        (true, true) => Level::Avx512,
        (true, false) => Level::Avx2,
        _ => Level::Plain,
    }
}

#[cfg(target_arch = "aarch64")]
fn detect() -> Level {
    Level::Neon
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn detect() -> Level {
    Level::Plain
}

/// Compiles one generic body for every instruction set; see the head of `isa.rs`.
///
/// A constant may follow the types: `[T: Real; const N: usize]`. The generated function takes a [`Level`], which must be one that the machine has, and gives a function pointer.
#[macro_export]
macro_rules! per_isa {
    ($(#[$meta:meta])* $vis:vis fn $name:ident[$($g:ident: $bound:path),* $(,)? $(; const $c:ident: $number:ty)?]($($arg:ident: $ty:ty),* $(,)?) = $body:ident) => {
        $(#[$meta])*
        #[inline]
        $vis fn $name<$($g: $bound,)* $(const $c: $number)?>(level: $crate::simd::isa::Level) -> unsafe fn($($ty),*) {
            use $crate::simd::isa;

            /// # Safety
            /// That of the body; the machine has the instruction set. The same holds for the others.
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512bw,avx512cd,avx512dq,avx512vl,avx2,fma,bmi1,bmi2")]
            unsafe fn avx512<$($g: $bound,)* $(const $c: $number)?>($($arg: $ty),*) {
                // SAFETY: the caller's promise, of which the instruction set is a part.
                unsafe { $body::<$($g,)* $($c,)? isa::Avx512>($($arg),*) }
            }

            /// # Safety
            /// As above.
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma,bmi1,bmi2")]
            unsafe fn avx2<$($g: $bound,)* $(const $c: $number)?>($($arg: $ty),*) {
                // SAFETY: the caller's promise, of which the instruction set is a part.
                unsafe { $body::<$($g,)* $($c,)? isa::Avx2>($($arg),*) }
            }

            /// # Safety
            /// As above.
            #[cfg(target_arch = "aarch64")]
            unsafe fn neon<$($g: $bound,)* $(const $c: $number)?>($($arg: $ty),*) {
                // SAFETY: the caller's promise, of which the instruction set is a part.
                unsafe { $body::<$($g,)* $($c,)? isa::Neon>($($arg),*) }
            }

            /// # Safety
            /// As above.
            unsafe fn plain<$($g: $bound,)* $(const $c: $number)?>($($arg: $ty),*) {
                // SAFETY: the caller's promise, of which the instruction set is a part.
                unsafe { $body::<$($g,)* $($c,)? isa::Plain>($($arg),*) }
            }

            match level {
                #[cfg(target_arch = "x86_64")]
                isa::Level::Avx512 => avx512::<$($g,)* $($c)?>,
                #[cfg(target_arch = "x86_64")]
                isa::Level::Avx2 => avx2::<$($g,)* $($c)?>,
                #[cfg(target_arch = "aarch64")]
                isa::Level::Neon => neon::<$($g,)* $($c)?>,
                _ => plain::<$($g,)* $($c)?>,
            }
        }
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_level_is_one_that_the_machine_has() {
        assert!(levels().contains(&level()));
        assert_eq!(levels()[0], Level::Plain);
    }
}
