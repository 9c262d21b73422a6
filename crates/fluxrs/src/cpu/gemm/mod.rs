//! Matrix products: one product is cut into tiles by its shape alone, and any thread may compute any tile.
//!
//! The bits of a result never depend on which thread runs a tile, or on how many there are. A caller asks for the [`Grid`], hands out its tiles, and
//! may run its epilogue on a tile as soon as that tile is finished.
use crate::simd::isa::{Level, level};
use std::ops::Range;
use std::sync::atomic::AtomicBool;

mod block;
mod channels;
mod grid;
mod image;
mod lines;
#[cfg(target_arch = "aarch64")]
mod neon;
mod pack;
mod packed;
mod plain;
mod scratch;
mod shared;
mod simd;
mod skinny;
mod staged;
mod strips;
mod turned;
mod window;
#[cfg(target_arch = "x86_64")]
mod x86;

pub use grid::{Grid, Tile};
use plain::Plain;
pub use shared::{Piece, Register, Shared};
use simd::Simd;
pub use window::{Patches, Way};

/// One product C = A·B: C is row-major with row stride `ldc`; A (m×k) and B (k×n) have any strides in elements,
/// also 0 (broadcast) and negative.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Product {
    pub m: usize,
    pub k: usize,
    pub n: usize,
    /// Strides of A along rows (m) and along the inner axis (k).
    pub a_strides: (isize, isize),
    /// Strides of B along the inner axis (k) and along columns (n).
    pub b_strides: (isize, isize),
    pub ldc: usize,
}

impl Product {
    /// The tiles of this product, for elements of type `T`.
    pub fn grid<T: Element>(&self) -> Grid {
        Grid::new(self.m, self.k, self.n, size_of::<T>())
    }
}

mod sealed {
    pub trait Sealed {}
}

/// A type that products are made for: `f32`, `f64`, `i32`, `i64`.
pub trait Element: sealed::Sealed + Copy + Send + Sync + 'static {
    #[doc(hidden)]
    unsafe fn tile(level: Level, p: &Product, a: *const Self, b: *const Self, c: *mut Self, tile: &Tile, stop: &AtomicBool);
    #[doc(hidden)]
    unsafe fn patches(
        level: Level,
        w: (&Patches, Way),
        a: *const Self,
        b: *const Self,
        c: *mut Self,
        tile: &Tile,
        stop: &AtomicBool,
    );
    #[doc(hidden)]
    fn order(level: Level, k: usize) -> Order;
    #[doc(hidden)]
    unsafe fn pack(level: Level, s: &Shared, piece: &Piece, task: usize, a: *const Self, b: *const Self, to: *mut Self);
    #[doc(hidden)]
    unsafe fn multiply(level: Level, s: &Shared, piece: &Piece, tile: &Tile, a: *const Self, panels: *const Self, c: *mut Self);
    #[doc(hidden)]
    fn register(level: Level) -> Register;
}

/// The order of a sum in a product by a window: pieces of `depth` terms, each a multiply-add after another from zero on, are added up.
#[derive(Clone, Copy, Debug)]
pub struct Order {
    pub depth: usize,
    /// True if a multiply-add rounds once.
    pub fused: bool,
}

/// The order of a sum of `k` terms.
pub fn order<T: Element>(k: usize) -> Order {
    T::order(level(), k)
}

/// Computes one tile of a product by a window, overwriting whatever is there. Once `stop` is set it may return before that is done.
///
/// # Safety
/// As for [`run`]; the way and the tile are the product's own; `b` is where B's element 0 would be, and every element within the bounds is readable.
pub unsafe fn run_patches<T: Element>(
    w: &Patches,
    way: Way,
    a: *const T,
    b: *const T,
    c: *mut T,
    tile: &Tile,
    stop: &AtomicBool,
) {
    // SAFETY: the caller's promise.
    unsafe { T::patches(level(), (w, way), a, b, c, tile, stop) }
}

/// Packs a task's part of a piece of a large product.
///
/// # Safety
/// As for [`run`]; `to` has room for a piece, and nothing but the piece's tasks uses it.
pub unsafe fn pack<T: Element>(s: &Shared, piece: &Piece, task: usize, a: *const T, b: *const T, to: *mut T) {
    // SAFETY: the caller's promise.
    unsafe { T::pack(s.level, s, piece, task, a, b, to) }
}

/// Computes a tile of a piece of a large product, all of which is packed in `panels`.
///
/// # Safety
/// As for [`run`].
pub unsafe fn multiply<T: Element>(s: &Shared, piece: &Piece, tile: &Tile, a: *const T, panels: *const T, c: *mut T) {
    // SAFETY: the caller's promise.
    unsafe { T::multiply(s.level, s, piece, tile, a, panels, c) }
}

/// Computes one tile of C, overwriting whatever is there. Once `stop` is set it may return before that is done.
///
/// # Safety
/// `a` and `b` point at the elements (0, 0) of A and B, every element reached through the strides is readable, and
/// `c` points at the element (0, 0) of C, whose elements within `tile` no other thread touches during the call. C overlaps
/// neither A nor B.
pub unsafe fn run<T: Element>(p: &Product, a: *const T, b: *const T, c: *mut T, tile: &Tile, stop: &AtomicBool) {
    // SAFETY: the caller's promise.
    unsafe { run_at(level(), p, a, b, c, tile, stop) }
}

/// [`run`] on an instruction set other than the best.
///
/// # Safety
/// As for [`run`]; the machine has the instruction set.
pub unsafe fn run_at<T: Element>(level: Level, p: &Product, a: *const T, b: *const T, c: *mut T, tile: &Tile, stop: &AtomicBool) {
    debug_assert!(tile.rows.end <= p.m && tile.cols.end <= p.n);
    // SAFETY: the caller's promise.
    unsafe { T::tile(level, p, a, b, c, tile, stop) }
}

/// A tile as a product of its own: the sub-matrices it reads and writes.
///
/// # Safety
/// As for [`run`].
unsafe fn narrow<T>(p: &Product, a: *const T, b: *const T, c: *mut T, tile: &Tile) -> (Product, *const T, *const T, *mut T) {
    let Range { start: i, end: i_end } = tile.rows;
    let Range { start: j, end: j_end } = tile.cols;
    let product = Product { m: i_end - i, n: j_end - j, ..*p };
    // SAFETY: the tile lies within the product.
    unsafe { (product, a.offset(i as isize * p.a_strides.0), b.offset(j as isize * p.b_strides.1), c.add(i * p.ldc + j)) }
}

/// Computes a tile on one instruction set.
///
/// # Safety
/// As for [`run`], and the machine has the instruction set.
unsafe fn tile_on<S: Simd>(p: &Product, a: *const S::T, b: *const S::T, c: *mut S::T, tile: &Tile, stop: &AtomicBool) {
    if tile.rows.is_empty() || tile.cols.is_empty() {
        return;
    }
    let skinny = skinny::suits::<S>(p).then_some(p.m <= p.n);
    // SAFETY: the caller's promise; the tile lies within C.
    unsafe {
        let (p, a, b, c) = narrow(p, a, b, c, tile);
        if p.k == 0 {
            for i in 0..p.m {
                std::slice::from_raw_parts_mut(c.add(i * p.ldc), p.n).fill(S::T::default());
            }
        } else if let Some(rows) = skinny {
            skinny::product::<S>(&p, rows, a, b, c, stop);
        } else {
            block::product::<S>(&p, a, b, c, stop);
        }
    }
}

macro_rules! on_level {
    ($level:ident, $t:ident, $avx512:ty, $avx2:ty, $neon:ty, $f:ident::$g:ident($($arg:expr),*)) => {
        match $level {
            #[cfg(target_arch = "x86_64")]
            Level::Avx512 => $f::$g::<$avx512>($($arg),*),
            #[cfg(target_arch = "x86_64")]
            Level::Avx2 => $f::$g::<$avx2>($($arg),*),
            #[cfg(target_arch = "aarch64")]
            Level::Neon => $f::$g::<$neon>($($arg),*),
            _ => $f::$g::<Plain<$t>>($($arg),*),
        }
    };
}

macro_rules! element {
    ($($t:ident: $avx512:ty, $avx2:ty, $neon:ty;)*) => { $(
        impl sealed::Sealed for $t {}
        impl Element for $t {
            unsafe fn tile(level: Level, p: &Product, a: *const $t, b: *const $t, c: *mut $t, tile: &Tile, stop: &AtomicBool) {
                // SAFETY: the caller's promise, of which the level is a part.
                unsafe { on_level!(level, $t, $avx512, $avx2, $neon, self::tile_on(p, a, b, c, tile, stop)) }
            }

            unsafe fn patches(level: Level, w: (&Patches, Way), a: *const $t, b: *const $t, c: *mut $t, tile: &Tile, stop: &AtomicBool) {
                // SAFETY: likewise.
                unsafe { on_level!(level, $t, $avx512, $avx2, $neon, window::product(w.0, w.1, a, b, c, tile, stop)) }
            }

            fn order(level: Level, k: usize) -> Order {
                let depth = on_level!(level, $t, $avx512, $avx2, $neon, window::depth(k));
                Order { depth, fused: level != Level::Plain }
            }

            unsafe fn pack(level: Level, s: &Shared, piece: &Piece, task: usize, a: *const $t, b: *const $t, to: *mut $t) {
                // SAFETY: likewise.
                unsafe { on_level!(level, $t, $avx512, $avx2, $neon, shared::pack(s, piece, task, a, b, to)) }
            }

            unsafe fn multiply(level: Level, s: &Shared, piece: &Piece, tile: &Tile, a: *const $t, panels: *const $t, c: *mut $t) {
                // SAFETY: likewise.
                unsafe { on_level!(level, $t, $avx512, $avx2, $neon, shared::multiply(s, piece, tile, a, panels, c)) }
            }

            fn register(level: Level) -> Register {
                on_level!(level, $t, $avx512, $avx2, $neon, shared::register())
            }
        }
    )* };
}
element! {
    f32: x86::Avx512F32, x86::Avx2F32, neon::NeonF32;
    f64: x86::Avx512F64, x86::Avx2F64, neon::NeonF64;
    i32: Plain<i32>, Plain<i32>, Plain<i32>;
    i64: Plain<i64>, Plain<i64>, Plain<i64>;
}

/// The most rows of a float32 product whose other operand is read where it lies, if its rows are contiguous.
pub fn rows_unpacked() -> usize {
    let level = level();
    on_level!(level, f32, x86::Avx512F32, x86::Avx2F32, neon::NeonF32, block::rows_unpacked())
}
