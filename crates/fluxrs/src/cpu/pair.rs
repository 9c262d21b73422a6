//! Two arithmetic instructions as one loop, (x ∘ y) • z or z • (x ∘ y): the first result stays in a register of the machine instead
//! of going through memory. Each is rounded by itself, as the two loops would.

use crate::dtype::DType;
use crate::ops::Elementwise;
use crate::simd::isa::Isa;
use crate::simd::lanes::{self, LaneLoop, TernaryBody};
use crate::simd::math::Float;

/// An operation that a pair may be made of.
trait Arithmetic {
    fn of<T: Float>(x: T, y: T) -> T;
}

macro_rules! arithmetic {
    ($($name:ident: $op:tt),*) => { $(
        struct $name;
        impl Arithmetic for $name {
            #[inline(always)]
            fn of<T: Float>(x: T, y: T) -> T {
                x $op y
            }
        }
    )* };
}
arithmetic!(Add: +, Subtract: -, Multiply: *, Divide: /);

/// `Outer(Inner(x, y), z)`.
struct Left<Outer, Inner>(Outer, Inner);
/// `Outer(z, Inner(x, y))`.
struct Right<Outer, Inner>(Outer, Inner);

impl<T: Float, O: Arithmetic, N: Arithmetic> TernaryBody<T, T, T, T> for Left<O, N> {
    #[inline(always)]
    fn call<I: Isa>(x: T, y: T, z: T) -> T {
        O::of(N::of(x, y), z)
    }
}

impl<T: Float, O: Arithmetic, N: Arithmetic> TernaryBody<T, T, T, T> for Right<O, N> {
    #[inline(always)]
    fn call<I: Isa>(x: T, y: T, z: T) -> T {
        O::of(z, N::of(x, y))
    }
}

/// The loop of `outer` whose left (or right) operand is what `inner` gives, if there is one. Its operands are those of
/// `inner` and the other one of `outer`.
pub fn of(outer: Elementwise, inner: Elementwise, left: bool, dtype: DType) -> Option<LaneLoop> {
    match dtype {
        DType::F32 => of_type::<f32>(outer, inner, left),
        DType::F64 => of_type::<f64>(outer, inner, left),
        _ => None,
    }
}

fn of_type<T: Float>(outer: Elementwise, inner: Elementwise, left: bool) -> Option<LaneLoop> {
    match outer {
        Elementwise::add => with::<T, Add>(inner, left),
        Elementwise::subtract => with::<T, Subtract>(inner, left),
        Elementwise::multiply => with::<T, Multiply>(inner, left),
        Elementwise::divide => with::<T, Divide>(inner, left),
        _ => None,
    }
}

fn with<T: Float, O: Arithmetic>(inner: Elementwise, left: bool) -> Option<LaneLoop> {
    fn on<T: Float, O: Arithmetic, N: Arithmetic>(left: bool) -> LaneLoop {
        if left { lanes::ternary::<Left<O, N>, T, T, T, T>() } else { lanes::ternary::<Right<O, N>, T, T, T, T>() }
    }
    Some(match inner {
        Elementwise::add => on::<T, O, Add>(left),
        Elementwise::subtract => on::<T, O, Subtract>(left),
        Elementwise::multiply => on::<T, O, Multiply>(left),
        Elementwise::divide => on::<T, O, Divide>(left),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ptr::null;

    /// Each pair gives the bits of its two loops.
    #[test]
    fn pairs_are_their_two_loops() {
        const OPS: [Elementwise; 4] = [Elementwise::add, Elementwise::subtract, Elementwise::multiply, Elementwise::divide];
        let value = |i: usize, k: usize| [0.1, -3.7, 1e30, 0.0, -0.0, f32::INFINITY, 1e-40][(i * k) % 7] + (i as f32) * 0.37;
        let [x, y, z]: [Vec<f32>; 3] = [1, 2, 3].map(|k| (0..200).map(|i| value(i, k)).collect());
        let run = |kernel: LaneLoop, src: [&[f32]; 3]| {
            let mut out = vec![0f32; 200];
            // SAFETY: all operands have as many elements as the result.
            unsafe { kernel(out.as_mut_ptr().cast(), src.map(|s| if s.is_empty() { null() } else { s.as_ptr().cast() }), 200) };
            out
        };
        for (outer, inner) in OPS.iter().flat_map(|&o| OPS.map(|i| (o, i))) {
            let kernel = |op: Elementwise| op.kernel(DType::F32).expect("arithmetic has a loop");
            let first = run(kernel(inner), [&x, &y, &[]]);
            for left in [true, false] {
                let two = run(kernel(outer), if left { [&first, &z, &[]] } else { [&z, &first, &[]] });
                let one = run(of(outer, inner, left, DType::F32).expect("arithmetic has pairs"), [&x, &y, &z]);
                let same = |a: &f32, b: &f32| a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan());
                assert!(one.iter().zip(&two).all(|(a, b)| same(a, b)), "{outer:?} of {inner:?}, {left}");
            }
        }
        assert!(of(Elementwise::maximum, Elementwise::add, true, DType::F32).is_none());
    }
}
