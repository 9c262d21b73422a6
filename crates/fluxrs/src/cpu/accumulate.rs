//! The last instructions of most updates, in place: dst[i] = dst[i] + x[i], or + a product of two or three factors, each of which
//! may be one element for the whole block. Every product is rounded by itself, as the instructions it stands for would be.

use crate::dtype::DType;
use crate::per_isa;
use crate::simd::isa::{Isa, level};
use crate::simd::lanes::LaneLoop;
use crate::simd::math::Num;

/// A loop that adds the product of its operands; the mask has a bit for each that is one element, and `THREE` if there are three.
pub type ProductLoop = unsafe fn(*mut u8, [*const u8; 3], usize, u8);

/// The mask's bit for a third factor.
pub const THREE: u8 = 8;

/// # Safety
/// The machine has the instruction set.
#[expect(clippy::extra_unused_type_parameters, reason = "the set is that of the function it becomes a part of")]
#[inline(always)]
unsafe fn add_body<T: Num, I: Isa>(dst: &mut [T], x: &[T]) {
    for (y, &x) in dst.iter_mut().zip(x) {
        *y = y.add(x);
    }
}

per_isa! { fn add_each[T: Num](dst: &mut [T], x: &[T]) = add_body }

/// # Safety
/// As [`LaneLoop`] says.
unsafe fn add<T: Num>(dst: *mut u8, src: [*const u8; 3], n: usize) {
    // SAFETY: the promise of `LaneLoop`: n elements each, apart from each other; the instruction set was found on this machine.
    unsafe {
        let dst = std::slice::from_raw_parts_mut(dst.cast::<T>(), n);
        add_each::<T>(level())(dst, std::slice::from_raw_parts(src[0].cast(), n));
    }
}

/// # Safety
/// The machine has the instruction set; an operand has one element where the mask has its bit, else as many as `dst`.
#[expect(clippy::extra_unused_type_parameters, reason = "the set is that of the function it becomes a part of")]
#[inline(always)]
unsafe fn product_body<T: Num, const MASK: u8, I: Isa>(dst: &mut [T], x: &[T], y: &[T], z: &[T]) {
    // SAFETY: `product` hands over one element for each bit of the mask, else as many as there are results.
    let at = |v: &[T], bit: u8, i: usize| unsafe { *v.get_unchecked(if MASK & bit != 0 { 0 } else { i }) };
    for (i, d) in dst.iter_mut().enumerate() {
        let mut p = at(x, 1, i).mul(at(y, 2, i));
        if MASK & THREE != 0 {
            p = p.mul(at(z, 4, i));
        }
        *d = d.add(p);
    }
}

per_isa! { fn product_each[T: Num; const MASK: u8](dst: &mut [T], x: &[T], y: &[T], z: &[T]) = product_body }

/// # Safety
/// As [`LaneLoop`] says, but an operand has one element where the mask has its bit.
unsafe fn product<T: Num>(dst: *mut u8, src: [*const u8; 3], n: usize, mask: u8) {
    use std::slice::{from_raw_parts, from_raw_parts_mut};
    // SAFETY: as above, and the mask says which operands are one element.
    unsafe {
        let dst = from_raw_parts_mut(dst.cast::<T>(), n);
        let factor = |k: usize| from_raw_parts(src[k].cast::<T>(), if mask & 1 << k != 0 { 1 } else { n });
        let (x, y) = (factor(0), factor(1));
        let z = if mask & THREE != 0 { factor(2) } else { x };
        macro_rules! pick {
            ($($m:literal)*) => {
                match mask {
                    $($m => product_each::<T, $m>(level())(dst, x, y, z),)*
                    _ => unreachable!("a mask has four bits, and none for a factor that is not there"),
                }
            };
        }
        pick!(0 1 2 3 8 9 10 11 12 13 14 15)
    }
}

/// The loop for weights of this type.
pub fn of(dtype: DType) -> Option<LaneLoop> {
    match dtype {
        DType::F32 => Some(add::<f32>),
        DType::F64 => Some(add::<f64>),
        _ => None,
    }
}

/// The same for products.
pub fn of_product(dtype: DType) -> Option<ProductLoop> {
    match dtype {
        DType::F32 => Some(product::<f32>),
        DType::F64 => Some(product::<f64>),
        _ => None,
    }
}
