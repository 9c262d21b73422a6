//! Times matrix products: `cargo run --release --example gemm [threads]`.
//!
//! Prints the median rate of each shape on one thread and on several, in thousand million operations a second. Figures
//! compare only within one run on an idle machine.
use fluxrs::cpu::gemm::{Element, Product, run};
use rayon::prelude::*;
use std::hint::black_box;
use std::time::Instant;

/// m, k, n, and whether A or B is stored transposed.
const SHAPES: [(usize, usize, usize, bool, bool); 22] = [
    (512, 512, 512, false, false),
    (2048, 2048, 2048, false, false),
    (64, 784, 32, false, true),
    (64, 32, 784, false, false),
    (32, 64, 784, true, false),
    (256, 1024, 1024, false, true),
    (256, 1024, 1024, false, false),
    (1024, 256, 1024, true, false),
    (1, 784, 32, false, true),
    (1, 784, 32, false, false),
    (1, 32, 784, false, false),
    (32, 784, 1, false, false),
    (784, 32, 1, true, false),
    (1, 1024, 1024, false, true),
    (4, 1024, 1024, false, true),
    (16, 1024, 1024, false, true),
    (12544, 25, 16, false, false),
    (64, 1, 64, false, false),
    (2, 5, 5, false, false),
    (10, 32, 32, false, false),
    (10, 32, 32, false, true),
    (64, 64, 64, false, false),
];

/// Elements whose addresses may go to several threads, which write different tiles.
#[derive(Clone, Copy)]
struct Memory<T>(*mut T);
// SAFETY: as said.
unsafe impl<T> Sync for Memory<T> {}

/// Seconds of one product: the median of several measurements.
fn time<T: Element + Default>(p: &Product, one: T, parallel: bool) -> f64 {
    let (a, b) = (vec![one; p.m * p.k], vec![one; p.k * p.n]);
    let mut c = vec![T::default(); p.m * p.n];
    let (a, b, c) = (Memory(a.as_ptr().cast_mut()), Memory(b.as_ptr().cast_mut()), Memory(c.as_mut_ptr()));
    let grid = p.grid::<T>();
    let product = || {
        let (a, b, c) = black_box((&a, &b, &c));
        // SAFETY: the memory is as large as the shape says, and lives until the end.
        let tile = |i: usize| unsafe { run(p, a.0.cast_const(), b.0.cast_const(), c.0, &grid.tile(i), &fluxrs::stop::NEVER) };
        if parallel && grid.len() > 1 {
            (0..grid.len()).into_par_iter().with_max_len(1).for_each(tile);
        } else {
            (0..grid.len()).for_each(tile);
        }
    };
    product();
    let work = (2 * p.m * p.k * p.n) as f64;
    let repeats = (1e7 / (work + 5e3)).ceil() as usize;
    let mut times: Vec<f64> = (0..15)
        .map(|_| {
            let start = Instant::now();
            (0..repeats).for_each(|_| product());
            start.elapsed().as_secs_f64() / repeats as f64
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

fn main() {
    let threads = std::env::args().nth(1).and_then(|x| x.parse().ok()).unwrap_or(0);
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
    println!("{:<20} {:>5} {:>20} {:>20}", "", "", "float32", "float64");
    println!("{:<20} {:>5} {:>20} {:>20}", "m x k x n", "tiles", "1 thread / several", "1 thread / several");
    for (m, k, n, at, bt) in SHAPES {
        let strides = |rows: usize, columns: usize, transposed: bool| {
            if transposed { (1, rows as isize) } else { (columns as isize, 1) }
        };
        let p = Product { m, k, n, a_strides: strides(m, k, at), b_strides: strides(k, n, bt), ldc: n };
        let rate = |seconds: f64| (2 * m * k * n) as f64 / seconds * 1e-9;
        let name = format!("{m} x {k} x {n}{}{}", if at { " A'" } else { "" }, if bt { " B'" } else { "" });
        let single = (rate(time(&p, 1f32, false)), rate(time(&p, 1f64, false)));
        let several = pool.install(|| (rate(time(&p, 1f32, true)), rate(time(&p, 1f64, true))));
        println!(
            "{name:<20} {:>5} {:>9.1} / {:>8.1} {:>9.1} / {:>8.1}",
            p.grid::<f32>().len(),
            single.0,
            several.0,
            single.1,
            several.1
        );
    }
}
