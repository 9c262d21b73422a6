//! The last instruction of most updates, in place: dst[i] = dst[i] + x[i].

use super::isa::{Isa, level};
use super::lanes::Loop;
use super::math::Num;
use crate::dtype::DType;
use crate::per_isa;

#[expect(clippy::extra_unused_type_parameters, reason = "the set is that of the function it becomes a part of")]
#[inline(always)]
unsafe fn add_body<T: Num, I: Isa>(dst: &mut [T], x: &[T]) {
    for (y, &x) in dst.iter_mut().zip(x) {
        *y = y.add(x);
    }
}

per_isa! { fn add_each[T: Num](dst: &mut [T], x: &[T]) = add_body }

unsafe fn add<T: Num>(dst: *mut u8, src: [*const u8; 3], n: usize) {
    // SAFETY: the promise of `Loop`: n elements each, apart from each other; the instruction set was found on this machine.
    unsafe {
        let dst = std::slice::from_raw_parts_mut(dst.cast::<T>(), n);
        add_each::<T>(level())(dst, std::slice::from_raw_parts(src[0].cast(), n));
    }
}

/// The loop for weights of this type.
pub fn of(dtype: DType) -> Option<Loop> {
    match dtype {
        DType::F32 => Some(add::<f32>),
        DType::F64 => Some(add::<f64>),
        _ => None,
    }
}
