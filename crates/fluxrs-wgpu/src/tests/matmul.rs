//! The product template against f64 sums, with odd sizes and batches, rolled and unrolled.

use super::{device, run, words};
use crate::template::{MATMUL, fill};

fn values(n: usize, seed: u32) -> Vec<f32> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(1664525).wrapping_add(1013904223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..n).map(|_| next()).collect()
}

#[test]
fn products_of_all_sizes_are_right() {
    let Some(gpu) = device() else { return };
    let sizes = [(1, 1, 1, 1), (3, 5, 7, 2), (32, 8, 32, 1), (33, 9, 31, 3), (64, 100, 10, 1), (1, 784, 32, 2), (70, 1, 70, 1)];
    for unroll in [false, true] {
        let source = fill(MATMUL, &[], unroll);
        for (m, k, n, batches) in sizes {
            let a = values(batches * m * k, 1);
            let b = values(batches * k * n, 2);
            let groups = [n.div_ceil(32) as u32, m.div_ceil(32) as u32, batches as u32];
            let args = [m as u32, k as u32, n as u32, 0];
            let got = run(gpu, &source, &args, &[&words(&a), &words(&b)], batches * m * n, groups);
            for (i, &bits) in got.iter().enumerate() {
                let (batch, row, col) = (i / (m * n), i / n % m, i % n);
                let at = |j: usize| f64::from(a[(batch * m + row) * k + j]) * f64::from(b[(batch * k + j) * n + col]);
                let want: f64 = (0..k).map(at).sum();
                let error = (f64::from(f32::from_bits(bits)) - want).abs();
                assert!(error < 1e-5 * (k as f64).sqrt(), "{m}x{k}x{n} at {i}: {} {want}", f32::from_bits(bits));
            }
        }
    }
}
