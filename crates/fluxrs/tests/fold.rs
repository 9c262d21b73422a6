//! Reductions: their tree, spelled out naively, gives the same bits for every length and way of cutting.

use fluxrs::cpu::fold::{self, CHUNK, Fold};
use fluxrs::dtype::DType;
use fluxrs::ops::reduce::Reduction;
use fluxrs::simd::lanes::Lane;

/// The tree of the file's head, without a thought for speed.
fn tree<T: Lane>(x: &[T], lanes: usize, join: impl Fn(T, T) -> T + Copy) -> T {
    let chunk = |part: &[T]| {
        let mut sums: Vec<Option<T>> = vec![None; lanes];
        let both = |a: Option<T>, b: Option<T>| match (a, b) {
            (Some(a), Some(b)) => Some(join(a, b)),
            (a, b) => a.or(b),
        };
        let whole = part.len() - part.len() % lanes;
        for (i, &x) in part.iter().enumerate() {
            let lane = if i < whole || whole == 0 { i % lanes } else { i + lanes - part.len() };
            sums[lane] = both(sums[lane], Some(x));
        }
        while sums.len() > 1 {
            let upper = sums.split_off(sums.len() / 2);
            sums = sums.into_iter().zip(upper).map(|(a, b)| both(a, b)).collect();
        }
        sums[0].unwrap()
    };
    let mut parts: Vec<T> = x.chunks(CHUNK).map(chunk).collect();
    while parts.len() > 1 {
        parts = parts.chunks(2).map(|pair| pair.iter().copied().reduce(join).unwrap()).collect();
    }
    parts[0]
}

fn row<T: Lane>(fold: &Fold, x: &[T]) -> T {
    rows(fold, x, 1, x.len())[0]
}

fn rows<T: Lane>(fold: &Fold, x: &[T], rows: usize, cols: usize) -> Vec<T> {
    let mut out = vec![T::default(); rows];
    // SAFETY: there are so many rows, and room for their results.
    unsafe { (fold.rows)(x.as_ptr().cast(), rows, cols, out.as_mut_ptr().cast()) };
    out
}

fn noise(n: usize) -> Vec<f64> {
    let mut state = 1u64;
    (0..n)
        .map(|_| {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (state >> 40) as f64 / 1000.0 - 8000.0
        })
        .collect()
}

const LENGTHS: [usize; 22] = [1, 2, 3, 4, 5, 7, 8, 9, 10, 16, 31, 33, 63, 64, 65, 100, 1000, 2047, 2048, 2049, 13000, 70000];

fn check<T: Lane + PartialEq + std::fmt::Debug>(kind: Reduction, dtype: DType, x: &[T], join: impl Fn(T, T) -> T + Copy) {
    let fold = fold::of(kind, dtype).unwrap();
    let lanes = if size_of::<T>() == 8 { 32 } else { 64 };
    for n in LENGTHS {
        let want = tree(&x[..n], lanes, join);
        assert_eq!(row(&fold, &x[..n]), want, "{kind:?} of {n}");

        let mut parts: Vec<T> = x[..n].chunks(CHUNK).map(|part| row(&fold, part)).collect();
        // SAFETY: they are all there.
        unsafe { fold.combine_all(parts.as_mut_ptr().cast(), parts.len(), 1, 1) };
        assert_eq!(parts[0], want, "combined {kind:?} of {n}");

        let count = (x.len() / n).min(9);
        let want: Vec<T> = x.chunks_exact(n).take(count).map(|part| row(&fold, part)).collect();
        assert_eq!(rows(&fold, &x[..n * count], count, n), want, "rows of {n}");
    }
    let (a, b) = x[..200].split_at(100);
    let mut acc = a.to_vec();
    // SAFETY: both have 100 elements.
    unsafe { (fold.combine)(acc.as_mut_ptr().cast(), b.as_ptr().cast(), 100) };
    assert!((0..100).all(|i| acc[i] == join(a[i], b[i])));
}

#[test]
fn sums_and_products_have_one_tree() {
    let x = noise(70_000);
    let single: Vec<f32> = x.iter().map(|&x| x as f32).collect();
    let near_one: Vec<f32> = single.iter().map(|x| 1.0 + x * 1e-9).collect();
    let long: Vec<i64> = x.iter().map(|&x| (x * 1e12) as i64 | 1).collect();
    let short: Vec<i32> = long.iter().map(|&x| x as i32 | 1).collect();
    check(Reduction::Sum, DType::F32, &single, |x, y| x + y);
    check(Reduction::Sum, DType::F64, &x, |x, y| x + y);
    check(Reduction::Sum, DType::I32, &short, i32::wrapping_add);
    check(Reduction::Prod, DType::F32, &near_one, |x, y| x * y);
    check(Reduction::Prod, DType::I32, &short, i32::wrapping_mul);
    check(Reduction::Prod, DType::I64, &long, i64::wrapping_mul);
}

#[test]
fn extremes() {
    let x = noise(70_000);
    let words: Vec<i32> = x.iter().map(|&x| (x * 1e5) as i32).collect();
    check(Reduction::Max, DType::F64, &x, f64::max);
    check(Reduction::Min, DType::I32, &words, i32::min);
    let [max, min] = [Reduction::Max, Reduction::Min].map(|kind| fold::of(kind, DType::F32).unwrap());
    for n in [3, 70, 5000] {
        let mut x = vec![-1f32; n];
        assert_eq!((row(&max, &x), row(&min, &x)), (-1.0, -1.0));
        x[n / 2] = f32::NAN;
        assert!(row(&max, &x).is_nan() && row(&min, &x).is_nan());
        assert_eq!(row(&max, &vec![f32::NEG_INFINITY; n]), f32::NEG_INFINITY);
    }
}

#[test]
fn truth_values() {
    let [any, all] = [Reduction::Any, Reduction::All].map(|kind| fold::of(kind, DType::Bool).unwrap());
    for n in LENGTHS {
        let mut x = vec![false; n];
        assert!(!row(&any, &x) && !row(&all, &x));
        x[n - 1] = true;
        assert_eq!((row(&any, &x), row(&all, &x)), (true, n == 1));
        assert!(row(&all, &vec![true; n]));
        assert_eq!(rows(&any, &x, n, 1), x);
    }
}

#[test]
fn edges_of_a_sum() {
    let sum = fold::of(Reduction::Sum, DType::F32).unwrap();
    assert_eq!(row::<f32>(&sum, &[]).to_bits(), 0);
    assert_eq!(rows::<f32>(&sum, &[], 2, 0), [0.0, 0.0]);
    // A sequential sum of a million tenths is off by 1 %.
    let million = row(&sum, &vec![0.1f32; 1_000_000]);
    assert!((million - 100_000.0).abs() < 0.1, "{million}");
}
