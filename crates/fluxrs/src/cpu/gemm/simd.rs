//! The vectors that the kernels are written in, with one implementation per type and instruction set.
//!
//! A kernel's body is generic and always inlined; its entry here is compiled for the instruction set.
use super::block::{MicroKernel, Panels};
use super::image::Copying;
use super::lines::Lines;
use super::pack::Columns;
use super::packed::PackedKernel;
use super::skinny::Task;
use super::turned::Turn;

/// The lanes of the longest vector.
pub(super) const MOST_LANES: usize = 16;

/// The vectors of one type on one instruction set.
///
/// # Safety
/// Of every function: the machine has the instruction set, and pointers are good for what is read and written there.
#[expect(clippy::missing_safety_doc, reason = "one promise for all, above")]
pub(super) trait Simd: Sized + 'static {
    type T: Copy + Default + 'static;
    type V: Copy;
    /// The first lanes of a vector.
    type Mask: Copy;
    const LANES: usize;

    unsafe fn zero() -> Self::V;
    unsafe fn splat(x: Self::T) -> Self::V;
    unsafe fn load(from: *const Self::T) -> Self::V;
    unsafe fn store(to: *mut Self::T, v: Self::V);
    unsafe fn mask(lanes: usize) -> Self::Mask;
    /// Zero beyond the mask, where nothing is read.
    unsafe fn load_part(from: *const Self::T, mask: Self::Mask) -> Self::V;
    unsafe fn store_part(to: *mut Self::T, v: Self::V, mask: Self::Mask);
    unsafe fn add(x: Self::V, y: Self::V) -> Self::V;
    /// Has the machine fetch what is at an address, which need not be readable: soon, or into the second-level cache.
    #[inline(always)]
    unsafe fn prefetch<const SOON: bool>(_: *const Self::T) {}
    /// `x·y + z`, rounded once where the machine can.
    unsafe fn multiply_add(x: Self::V, y: Self::V, z: Self::V) -> Self::V;
    /// Transposes the square of the first `LANES` vectors.
    unsafe fn transpose(square: &mut [Self::V; MOST_LANES]);

    /// Reads a square of `LANES` columns, each contiguous and where an offset says, as vectors of its rows.
    #[inline(always)]
    unsafe fn load_columns(from: *const Self::T, offsets: &[isize; MOST_LANES], square: &mut [Self::V; MOST_LANES]) {
        for (v, &offset) in square.iter_mut().zip(offsets).take(Self::LANES) {
            // SAFETY: the caller's promise.
            *v = unsafe { Self::load(from.offset(offset)) };
        }
        // SAFETY: likewise.
        unsafe { Self::transpose(square) }
    }

    /// The kernels for blocks of one, two, three and four vectors; in each, one for every number of rows from 1,
    /// up to as many accumulators as the registers hold.
    const KERNELS: [&'static [MicroKernel<Self::T>]; 4];
    /// 32 of them, not 16.
    const MANY_REGISTERS: bool = Self::KERNELS[1].len() > 8;
    unsafe fn block<const R: usize, const W: usize>(block: &super::block::Block<Self::T>);
    /// The kernels of one and two vectors whose operands are both packed.
    const PACKED: [&'static [PackedKernel<Self::T>]; 2];
    unsafe fn packed<const R: usize, const W: usize>(block: &super::packed::Packed<Self::T>);
    unsafe fn pack(panels: &Panels<Self::T>);
    unsafe fn squares(columns: &Columns<Self::T>);
    unsafe fn lines(lines: &Lines<'_, Self::T>);
    unsafe fn image(copy: &Copying<'_, Self::T>);
    unsafe fn turn(turn: &Turn<Self::T>);
    unsafe fn dots(task: &Task<Self::T>);
    unsafe fn strips(task: &Task<Self::T>, sums: *mut Self::T);
}

/// The entries of an implementation: `entries!(#[target_feature(…)]; rows of one or two vectors; of three or four)`.
macro_rules! entries {
    ($($feature:meta)?; $($r:literal)*; $($h:literal)*) => {
        const KERNELS: [&'static [$crate::cpu::gemm::block::MicroKernel<Self::T>]; 4] = [
            &[$(Self::block::<$r, 1>),*],
            &[$(Self::block::<$r, 2>),*],
            &[$(Self::block::<$h, 3>),*],
            &[$(Self::block::<$h, 4>),*],
        ];

        $(#[$feature])?
        unsafe fn block<const R: usize, const W: usize>(
            block: &$crate::cpu::gemm::block::Block<Self::T>,
        ) {
            // SAFETY: the caller's promise.
            unsafe { $crate::cpu::gemm::block::block::<Self, R, W>(block) }
        }

        const PACKED: [&'static [$crate::cpu::gemm::packed::PackedKernel<Self::T>]; 2] =
            [&[$(Self::packed::<$r, 1>),*], &[$(Self::packed::<$r, 2>),*]];

        $(#[$feature])?
        unsafe fn packed<const R: usize, const W: usize>(block: &$crate::cpu::gemm::packed::Packed<Self::T>) {
            // SAFETY: the caller's promise.
            unsafe { $crate::cpu::gemm::packed::packed::<Self, R, W>(block) }
        }

        $(#[$feature])?
        unsafe fn pack(panels: &$crate::cpu::gemm::block::Panels<Self::T>) {
            // SAFETY: the caller's promise.
            unsafe { $crate::cpu::gemm::pack::pack::<Self>(panels) }
        }

        $(#[$feature])?
        unsafe fn squares(columns: &$crate::cpu::gemm::pack::Columns<Self::T>) {
            // SAFETY: the caller's promise.
            unsafe { $crate::cpu::gemm::pack::squares::<Self>(columns) }
        }

        $(#[$feature])?
        unsafe fn lines(lines: &$crate::cpu::gemm::lines::Lines<'_, Self::T>) {
            // SAFETY: the caller's promise.
            unsafe { $crate::cpu::gemm::lines::lines::<Self>(lines) }
        }

        $(#[$feature])?
        unsafe fn image(copy: &$crate::cpu::gemm::image::Copying<'_, Self::T>) {
            // SAFETY: the caller's promise.
            unsafe { $crate::cpu::gemm::image::copy::<Self>(copy) }
        }

        $(#[$feature])?
        unsafe fn turn(turn: &$crate::cpu::gemm::turned::Turn<Self::T>) {
            // SAFETY: the caller's promise.
            unsafe { $crate::cpu::gemm::turned::turn::<Self>(turn) }
        }

        $(#[$feature])?
        unsafe fn dots(task: &$crate::cpu::gemm::skinny::Task<Self::T>) {
            // SAFETY: the caller's promise.
            unsafe { $crate::cpu::gemm::skinny::dots::<Self>(task) }
        }

        $(#[$feature])?
        unsafe fn strips(task: &$crate::cpu::gemm::skinny::Task<Self::T>, sums: *mut Self::T) {
            // SAFETY: the caller's promise.
            unsafe { $crate::cpu::gemm::strips::strips::<Self>(task, sums) }
        }
    };
}
pub(super) use entries;
