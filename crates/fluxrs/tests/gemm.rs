//! Products against the plain sum in float64: every stride pattern, odd shapes, nothing left of what C held before.
use fluxrs::cpu::gemm::{self, Element, Product, Shared, run, run_at};
use fluxrs::simd::isa::{Level, level, levels};
use fluxrs::stop::NEVER;
use proptest::prelude::*;
use std::fmt::Debug;

/// A type that the tests make values of, and compare.
trait Value: Element + Debug + PartialEq {
    const POISON: Self;
    /// Relative to the sum of the products' sizes.
    const EPSILON: f64;
    fn make(bits: u64) -> Self;
    fn wide(self) -> f64;
    fn same_bits(self, other: Self) -> bool;
}

macro_rules! value {
    ($($t:ty, $poison:expr, $epsilon:expr, $scale:expr;)*) => { $(
        impl Value for $t {
            const POISON: $t = $poison;
            const EPSILON: f64 = $epsilon;
            fn make(bits: u64) -> $t { ((bits >> 40) as i64 % 2001 - 1000) as $t * $scale }
            fn wide(self) -> f64 { self as f64 }
            fn same_bits(self, other: $t) -> bool { self.to_ne_bytes() == other.to_ne_bytes() }
        }
    )* };
}
value! {
    f32, f32::NAN, 6e-8, 1e-3;
    f64, f64::NAN, 1.2e-16, 1e-3;
    i32, i32::MIN, 0.0, 1;
    i64, i64::MIN, 0.0, 1;
}

/// The layout of an operand in memory.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Layout {
    Rows,
    Columns,
    PaddedRows,
    PaddedColumns,
    Spaced,
    ReversedRows,
    ReversedColumns,
    RowRepeated,
    ColumnRepeated,
    OneElement,
}
use Layout::*;
const LAYOUTS: [Layout; 10] =
    [Rows, Columns, PaddedRows, PaddedColumns, Spaced, ReversedRows, ReversedColumns, RowRepeated, ColumnRepeated, OneElement];

/// A matrix in some layout, in memory of exactly the size that it needs, so that a sanitizer sees a stray read.
struct Matrix<T> {
    memory: Vec<T>,
    origin: usize,
    strides: (isize, isize),
}

impl<T: Value> Matrix<T> {
    fn new(rows: usize, columns: usize, layout: Layout, seed: u64) -> Matrix<T> {
        let (r, c) = (rows as isize, columns as isize);
        let strides = match layout {
            Rows => (c, 1),
            Columns => (1, r),
            PaddedRows => (c + 3, 1),
            PaddedColumns => (1, r + 5),
            Spaced => (2 * c + 1, 2),
            ReversedRows => (-c, 1),
            ReversedColumns => (c, -1),
            RowRepeated => (0, 1),
            ColumnRepeated => (1, 0),
            OneElement => (0, 0),
        };
        let reach = |length: isize, stride: isize| (length - 1).max(0) * stride;
        let (down, right) = (reach(r, strides.0), reach(c, strides.1));
        let origin = (-down.min(0) - right.min(0)) as usize;
        let size = if rows * columns == 0 { 0 } else { (down.abs() + right.abs()) as usize + 1 };
        let mut state = seed | 1;
        let memory = (0..size)
            .map(|_| {
                state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                T::make(state)
            })
            .collect();
        Matrix { memory, origin, strides }
    }

    fn pointer(&self) -> *const T {
        self.memory.as_ptr().wrapping_add(self.origin)
    }

    fn at(&self, i: usize, j: usize) -> T {
        self.memory[(self.origin as isize + i as isize * self.strides.0 + j as isize * self.strides.1) as usize]
    }
}

/// The product in poisoned memory, its tiles in reverse order; what lies between rows must stay as it was.
fn multiply<T: Value>(level: Level, m: usize, k: usize, n: usize, a: &Matrix<T>, b: &Matrix<T>, gap: usize) -> Vec<T> {
    let ldc = n + gap;
    let mut c = vec![T::POISON; m * ldc];
    let product = Product { m, k, n, a_strides: a.strides, b_strides: b.strides, ldc };
    let grid = product.grid::<T>();
    for i in (0..grid.len()).rev() {
        // SAFETY: the matrices have the sizes and strides of the product.
        unsafe { run_at(level, &product, a.pointer(), b.pointer(), c.as_mut_ptr(), &grid.tile(i), &NEVER) };
    }
    if m > 0 {
        for row in c.chunks(ldc.max(1)) {
            assert!(row[n..].iter().all(|x| x.same_bits(T::POISON)), "wrote past a row");
        }
    }
    (0..m * n).map(|x| c[x / n * ldc + x % n]).collect()
}

fn check<T: Value>(m: usize, k: usize, n: usize, a: &Matrix<T>, b: &Matrix<T>, gap: usize) {
    for level in levels() {
        let c = multiply(level, m, k, n, a, b, gap);
        for i in 0..m {
            for j in 0..n {
                let (mut sum, mut size) = (0.0, 0.0);
                for p in 0..k {
                    let term = a.at(i, p).wide() * b.at(p, j).wide();
                    sum += term;
                    size += term.abs();
                }
                let (got, bound) = (c[i * n + j].wide(), T::EPSILON * size * (k + 2) as f64);
                assert!((got - sum).abs() <= bound, "{m}x{k}x{n} at ({i}, {j}): {got}, not {sum}");
            }
        }
    }
}

fn check_layouts<T: Value>(m: usize, k: usize, n: usize) {
    for (x, &la) in LAYOUTS.iter().enumerate() {
        for (y, &lb) in LAYOUTS.iter().enumerate() {
            let a = Matrix::<T>::new(m, k, la, 11 + x as u64);
            let b = Matrix::<T>::new(k, n, lb, 77 + y as u64);
            check(m, k, n, &a, &b, (x + y) % 3);
        }
    }
}

#[test]
fn every_layout() {
    for (m, k, n) in [(1, 1, 1), (2, 5, 5), (1, 37, 19), (21, 50, 1), (7, 3, 35), (13, 33, 18), (25, 70, 67)] {
        check_layouts::<f32>(m, k, n);
        check_layouts::<f64>(m, k, n);
        check_layouts::<i32>(m, k, n);
        check_layouts::<i64>(m, k, n);
    }
}

#[test]
fn empty() {
    for (m, k, n) in [(0, 3, 4), (3, 0, 4), (3, 4, 0), (0, 0, 0), (1, 0, 1), (1, 0, 40), (40, 0, 1), (50, 0, 70)] {
        let a = Matrix::<f32>::new(m, k, Rows, 1);
        let b = Matrix::<f32>::new(k, n, Rows, 2);
        let c = multiply(level(), m, k, n, &a, &b, 1);
        assert!(c.len() == m * n && c.iter().all(|x| x.to_bits() == 0), "{m}x{k}x{n}");
    }
}

#[test]
fn around_every_block_size() {
    let sides = [1, 2, 3, 5, 6, 7, 8, 11, 12, 13, 15, 16, 17, 24, 25, 31, 32, 33, 48, 63, 64, 65, 97];
    for &m in &sides {
        for &n in &sides {
            let k = 1 + (m * 7 + n * 3) % 41;
            let (la, lb) = (LAYOUTS[m % 2], LAYOUTS[(m / 2 + n) % 2]);
            check(m, k, n, &Matrix::<f32>::new(m, k, la, 5), &Matrix::new(k, n, lb, 6), 0);
            check(m, k, n, &Matrix::<f64>::new(m, k, la, 5), &Matrix::new(k, n, lb, 6), 0);
        }
    }
}

#[test]
fn long_sums_and_several_tiles() {
    let shapes = [(1, 1000, 700), (700, 1000, 1), (2, 2000, 3), (300, 290, 280), (530, 260, 40), (40, 520, 530)];
    for (m, k, n) in shapes {
        for (la, lb) in [(Rows, Rows), (Rows, Columns), (Columns, Rows), (Spaced, ReversedColumns)] {
            check(m, k, n, &Matrix::<f32>::new(m, k, la, 3), &Matrix::new(k, n, lb, 4), 0);
            check(m, k, n, &Matrix::<f64>::new(m, k, la, 3), &Matrix::new(k, n, lb, 4), 0);
        }
    }
}

/// The same values give the same bits however they lie in memory.
#[test]
fn bits_do_not_depend_on_layout() {
    fn copy<T: Value>(rows: usize, columns: usize, from: &Matrix<T>, layout: Layout) -> Matrix<T> {
        let mut to = Matrix::new(rows, columns, layout, 0);
        for i in 0..rows {
            for j in 0..columns {
                let at = to.origin as isize + i as isize * to.strides.0 + j as isize * to.strides.1;
                to.memory[at as usize] = from.at(i, j);
            }
        }
        to
    }
    fn bits<T: Value>(level: Level, m: usize, k: usize, n: usize) {
        let (a, b) = (Matrix::<T>::new(m, k, Rows, 8), Matrix::<T>::new(k, n, Rows, 9));
        let want = multiply(level, m, k, n, &a, &b, 0);
        for la in [Rows, Columns, PaddedRows, Spaced, ReversedRows, ReversedColumns] {
            for lb in [Rows, Columns, PaddedColumns, Spaced, ReversedRows, ReversedColumns] {
                let got = multiply(level, m, k, n, &copy(m, k, &a, la), &copy(k, n, &b, lb), 0);
                let same = want.iter().zip(&got).all(|(x, y)| x.same_bits(*y));
                assert!(same, "{m}x{k}x{n} with A {la:?} and B {lb:?}");
            }
        }
    }
    let shapes = [
        (1, 784, 32),
        (32, 784, 1),
        (1, 45, 37),
        (37, 45, 1),
        (1, 99, 1),
        (2, 70, 40),
        (40, 70, 2),
        (3, 100, 50),
        (10, 32, 32),
        (17, 300, 33),
        (64, 784, 32),
        (270, 40, 300),
    ];
    for (m, k, n) in shapes {
        for level in levels() {
            bits::<f32>(level, m, k, n);
            bits::<f64>(level, m, k, n);
        }
    }
}

/// A large product in its pieces, whose tasks may come in any order; what lies between rows must stay as it was.
fn in_pieces<T: Value>(level: Level, p: &Product, a: &Matrix<T>, b: &Matrix<T>) -> Option<Vec<T>> {
    let shared = Shared::at::<T>(level, p)?;
    let (mut c, mut panels) = (vec![T::POISON; p.m * p.ldc], vec![T::POISON; shared.room()]);
    for piece in shared.pieces() {
        let grid = shared.grid(&piece);
        // SAFETY: the matrices have the sizes and strides of the product, and the panels have room for a piece.
        unsafe {
            for task in (0..shared.packings(&piece)).rev() {
                gemm::pack(&shared, &piece, task, a.pointer(), b.pointer(), panels.as_mut_ptr());
            }
            for i in (0..grid.len()).rev() {
                gemm::multiply(&shared, &piece, &grid.tile(i), a.pointer(), panels.as_ptr(), c.as_mut_ptr());
            }
        }
    }
    let gaps = c.chunks(p.ldc).all(|row| row[p.n..].iter().all(|x| x.same_bits(T::POISON)));
    assert!(gaps, "wrote past a row");
    Some((0..p.m * p.n).map(|x| c[x / p.n * p.ldc + x % p.n]).collect())
}

/// In pieces a product has the bits that it has tile by tile.
#[test]
fn large_products() {
    fn same<T: Value>(level: Level, (m, k, n): (usize, usize, usize), la: Layout, lb: Layout) -> bool {
        let (a, b) = (Matrix::<T>::new(m, k, la, 31), Matrix::<T>::new(k, n, lb, 32));
        let p = Product { m, k, n, a_strides: a.strides, b_strides: b.strides, ldc: n + 2 };
        let Some(got) = in_pieces(level, &p, &a, &b) else { return false };
        let want = multiply(level, m, k, n, &a, &b, 2);
        let differs = (0..m * n).find(|&i| !want[i].same_bits(got[i]));
        assert_eq!(differs, None, "{m}x{k}x{n} on {level:?} with A {la:?} and B {lb:?}");
        true
    }
    let shapes =
        [(64, 1031, 64), (257, 130, 131), (97, 401, 113), (33, 2600, 49), (145, 385, 81), (4131, 20, 52), (40, 27, 4133)];
    for shape in shapes {
        for level in levels() {
            for (la, lb) in [(Rows, Rows), (Rows, Columns), (Columns, Rows), (Columns, PaddedColumns), (Spaced, ReversedColumns)]
            {
                assert!(same::<f32>(level, shape, la, lb), "{shape:?} is large");
                assert!(same::<f64>(level, shape, la, lb), "{shape:?} is large");
            }
        }
    }
    assert!(same::<i32>(level(), (64, 1031, 64), Rows, Rows) && same::<i64>(level(), (257, 130, 131), Columns, Rows));
    for small in [(64, 784, 32), (4, 100_000, 100), (200, 200, 100), (100_000, 100, 8)] {
        assert!(!same::<f32>(level(), small, Rows, Rows), "{small:?} is small");
    }
}

/// NaN and infinities come through, also against zeros, and only where they belong.
#[test]
fn special_values() {
    for (m, k, n) in [(1, 20, 40), (40, 20, 1), (3, 5, 4), (14, 40, 70), (70, 300, 40)] {
        for special in [f32::NAN, f32::INFINITY] {
            let (row, inner, column) = (m / 2, k / 3, n / 2);
            let mut a = Matrix::<f32>::new(m, k, Rows, 1);
            let mut b = Matrix::<f32>::new(k, n, Rows, 2);
            a.memory[row * k + inner] = special;
            b.memory[inner * n + column] = 0.0;
            let c = multiply(level(), m, k, n, &a, &b, 0);
            for (x, value) in c.iter().enumerate() {
                let (i, j) = (x / n, x % n);
                if i != row {
                    assert!(value.is_finite(), "({i}, {j}) is {value}");
                } else if j == column || special.is_nan() {
                    assert!(value.is_nan(), "({i}, {j}) is {value}");
                } else {
                    assert!(!value.is_finite(), "({i}, {j}) is {value}");
                }
            }
        }
    }
}

#[test]
fn integers_wrap() {
    let (a, b) = ([i32::MAX, 2], [3, i32::MAX]);
    let mut c = [0];
    let product = Product { m: 1, k: 2, n: 1, a_strides: (2, 1), b_strides: (1, 1), ldc: 1 };
    // SAFETY: two elements on each side.
    unsafe { run(&product, a.as_ptr(), b.as_ptr(), c.as_mut_ptr(), &product.grid::<i32>().tile(0), &NEVER) };
    assert_eq!(c[0], i32::MAX.wrapping_mul(3).wrapping_add(i32::MAX.wrapping_mul(2)));
}

/// The tiles cover C once.
#[test]
fn grids_cover() {
    for (m, k, n) in [(1, 784, 32), (1, 9000, 5000), (5000, 9000, 1), (513, 64, 1030), (12544, 25, 16), (3, 1, 100000)] {
        let product = Product { m, k, n, a_strides: (0, 0), b_strides: (0, 0), ldc: n };
        let grid = product.grid::<f32>();
        let mut seen = vec![0u8; m * n];
        for tile in (0..grid.len()).map(|i| grid.tile(i)) {
            for i in tile.rows {
                seen[i * n..][tile.cols.clone()].iter_mut().for_each(|x| *x += 1);
            }
        }
        assert!(seen.iter().all(|&x| x == 1), "{m}x{k}x{n}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn any_shape(
        (m, k, n) in (1usize..80, 0usize..120, 1usize..140),
        la in 0..LAYOUTS.len(),
        lb in 0..LAYOUTS.len(),
        gap in 0usize..4,
    ) {
        let (la, lb) = (LAYOUTS[la], LAYOUTS[lb]);
        check(m, k, n, &Matrix::<f32>::new(m, k, la, 21), &Matrix::new(k, n, lb, 22), gap);
        check(m, k, n, &Matrix::<f64>::new(m, k, la, 21), &Matrix::new(k, n, lb, 22), gap);
        check(m, k, n, &Matrix::<i64>::new(m, k, la, 21), &Matrix::new(k, n, lb, 22), gap);
    }
}
