//! Matrix products: one product is cut into tiles by its shape alone, and any thread may compute any tile.
//!
//! The bits of a result never depend on which thread runs a tile, or on how many there are. A caller asks for the [`Grid`], hands out its tiles, and
//! may run its epilogue on a tile as soon as that tile is finished.
use std::ops::Range;

mod grid;

pub use grid::{Grid, Tile};

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
    unsafe fn tile(p: &Product, a: *const Self, b: *const Self, c: *mut Self, tile: &Tile);
}

/// Computes one tile of C, overwriting whatever is there.
///
/// # Safety
/// `a` and `b` point at the elements (0, 0) of A and B, every element reached through the strides is readable, and
/// `c` points at the element (0, 0) of C, whose elements within `tile` nobody else touches meanwhile. C overlaps
/// neither A nor B.
pub unsafe fn run<T: Element>(p: &Product, a: *const T, b: *const T, c: *mut T, tile: &Tile) {
    debug_assert!(tile.rows.end <= p.m && tile.cols.end <= p.n);
    // SAFETY: the caller's promise.
    unsafe { T::tile(p, a, b, c, tile) }
}

/// A tile as a product of its own: the sub-matrices it reads and writes.
///
/// # Safety
/// As for [`run`].
unsafe fn narrow<T>(
    p: &Product,
    a: *const T,
    b: *const T,
    c: *mut T,
    tile: &Tile,
) -> (Product, *const T, *const T, *mut T) {
    let Range {
        start: i,
        end: i_end,
    } = tile.rows;
    let Range {
        start: j,
        end: j_end,
    } = tile.cols;
    let product = Product {
        m: i_end - i,
        n: j_end - j,
        ..*p
    };
    // SAFETY: the tile lies within the product.
    unsafe {
        (
            product,
            a.offset(i as isize * p.a_strides.0),
            b.offset(j as isize * p.b_strides.1),
            c.add(i * p.ldc + j),
        )
    }
}

macro_rules! float {
    ($($t:ty),*) => { $(
        impl sealed::Sealed for $t {}
        impl Element for $t {
            unsafe fn tile(p: &Product, a: *const $t, b: *const $t, c: *mut $t, tile: &Tile) {
                if tile.rows.is_empty() || tile.cols.is_empty() {
                    return;
                }
                // SAFETY: the caller's promise.
                unsafe {
                    let (p, a, b, c) = narrow(p, a, b, c, tile);
                    ::gemm::gemm(
                        p.m, p.n, p.k,
                        c, 1, p.ldc as isize, false,
                        a, p.a_strides.1, p.a_strides.0,
                        b, p.b_strides.1, p.b_strides.0,
                        0.0, 1.0, false, false, false, ::gemm::Parallelism::None,
                    );
                }
            }
        }
    )* };
}
float!(f32, f64);

macro_rules! integer {
    ($($t:ty),*) => { $(
        impl sealed::Sealed for $t {}
        impl Element for $t {
            unsafe fn tile(p: &Product, a: *const $t, b: *const $t, c: *mut $t, tile: &Tile) {
                for i in tile.rows.clone() {
                    for j in tile.cols.clone() {
                        let mut sum: $t = 0;
                        // SAFETY: the caller's promise.
                        unsafe {
                            for q in 0..p.k as isize {
                                let x = *a.offset(i as isize * p.a_strides.0 + q * p.a_strides.1);
                                let y = *b.offset(q * p.b_strides.0 + j as isize * p.b_strides.1);
                                sum = sum.wrapping_add(x.wrapping_mul(y));
                            }
                            *c.add(i * p.ldc + j) = sum;
                        }
                    }
                }
            }
        }
    )* };
}
integer!(i32, i64);
