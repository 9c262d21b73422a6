//! Convolutions of sizes beyond vectors, panels and pieces of sums: the reference's bits in every way to compute them, on any number of
//! threads, without memory of the size of the patches.

use fluxrs::ops::conv::{Step, conv, conv_transpose};
use fluxrs::reference::{Array, Reference, Value, computed};
use fluxrs::tape::{Target, gradient};
use fluxrs::{DType, Tensor, evaluate};
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::Mutex;
use std::sync::atomic::{AtomicIsize, Ordering::Relaxed};

struct Counting;

static LIVE: AtomicIsize = AtomicIsize::new(0);
static PEAK: AtomicIsize = AtomicIsize::new(0);
/// What is alive is counted for the whole process.
static ALONE: Mutex<()> = Mutex::new(());

// SAFETY: the system's allocator does the work.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let live = LIVE.fetch_add(layout.size() as isize, Relaxed) + layout.size() as isize;
        PEAK.fetch_max(live, Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size() as isize, Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(ptr, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn data(shape: &[usize], dtype: DType) -> Tensor {
    let n: usize = shape.iter().product();
    let values: Vec<f64> = (0..n).map(|i| ((i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) % 201) as f64 - 100.0).collect();
    let whole = Tensor::from_slice(&values, shape).unwrap().cast(dtype);
    if dtype.is_float() { whole * 0.01 } else { whole }
}

/// Samples, channels in and out, groups; of each spatial axis size, kernel, stride, dilation, margins.
type Case = ([usize; 4], &'static [(usize, usize, usize, usize, (i64, i64))]);

#[rustfmt::skip]
const CASES: &[Case] = &[
    ([2, 20, 40, 1], &[(9, 3, 1, 1, (1, 1)), (33, 3, 1, 1, (1, 1))]),
    ([1, 30, 5, 1], &[(20, 3, 1, 1, (1, 1)), (35, 3, 1, 1, (1, 1))]),
    ([3, 6, 16, 1], &[(12, 5, 1, 1, (0, 0)), (12, 5, 1, 1, (0, 0))]),
    ([2, 3, 20, 1], &[(29, 7, 2, 1, (3, 3)), (31, 7, 2, 1, (3, 3))]),
    ([2, 25, 30, 1], &[(17, 3, 2, 1, (1, 1)), (18, 3, 2, 1, (1, 0))]),
    ([2, 12, 4, 4], &[(17, 3, 3, 2, (2, 1)), (70, 3, 2, 3, (4, 0))]),
    ([2, 20, 20, 20], &[(19, 3, 1, 1, (1, 1)), (37, 3, 1, 1, (1, 1))]),
    ([4, 70, 33, 1], &[(5, 1, 1, 1, (0, 0)), (7, 1, 1, 1, (0, 0))]),
    ([4, 70, 33, 1], &[(5, 1, 2, 1, (0, 0)), (7, 1, 1, 1, (0, 0))]),
    ([2, 3, 40, 1], &[(24, 8, 8, 1, (0, 0)), (24, 8, 8, 1, (1, 3))]),
    ([3, 17, 9, 1], &[(300, 9, 2, 3, (5, 11))]),
    ([2, 5, 9, 1], &[(6, 3, 1, 1, (1, 1)), (5, 2, 2, 1, (0, 1)), (21, 3, 1, 1, (1, 1))]),
    ([1, 4, 6, 1], &[(30, 30, 1, 1, (0, 0)), (33, 31, 1, 1, (2, 0))]),
    ([40, 2, 3, 1], &[(4, 4, 1, 1, (0, 0)), (3, 3, 1, 1, (0, 0))]),
    ([1, 1, 1, 1], &[(40, 3, 1, 1, (-2, -3)), (50, 5, 1, 1, (60, -9))]),
    ([5, 33, 13, 1], &[(7, 3, 1, 1, (1, 1)), (6, 2, 1, 1, (0, 1))]),
    ([2, 64, 30, 1], &[(11, 3, 1, 1, (1, 1)), (37, 3, 1, 1, (1, 1))]),
    ([1, 33, 13, 1], &[(70, 3, 1, 1, (1, 1)), (75, 3, 1, 1, (1, 1))]),
    ([3, 40, 5, 1], &[(300, 5, 2, 3, (4, 4))]),
    ([2, 34, 3, 1], &[(4, 2, 1, 1, (1, 0)), (5, 3, 1, 2, (2, 1)), (6, 3, 2, 1, (1, 1))]),
    ([2, 70, 50, 2], &[(9, 3, 2, 1, (1, 1)), (10, 3, 1, 1, (-1, 2))]),
];

/// The convolution and, of floats, its gradients and the transposed one.
fn results(case: &Case, dtype: DType) -> Vec<Tensor> {
    let ([n, c, k, groups], axes) = *case;
    let sizes: Vec<usize> = axes.iter().map(|a| a.0).collect();
    let kernel: Vec<usize> = axes.iter().map(|a| a.1).collect();
    let steps: Vec<Step> = axes.iter().map(|a| Step { stride: a.2, dilation: a.3, pad: a.4 }).collect();
    let (x, w) = (data(&[&[n, c], &sizes[..]].concat(), dtype), data(&[&[k, c / groups], &kernel[..]].concat(), dtype));
    if !dtype.is_float() {
        return vec![conv(&x, &w, &steps, groups).unwrap()];
    }
    let (x, w) = (Tensor::tracked_identity(&x), Tensor::tracked_identity(&w));
    let y = conv(&x, &w, &steps, groups).unwrap();
    let g = data(y.shape(), dtype);
    let slopes = gradient(&y, Some(&g), &[Target::Node(x), Target::Node(w.clone())], true).unwrap();
    let back = conv_transpose(&g, &w, &steps, groups).unwrap();
    [y, back].into_iter().chain(slopes.into_iter().flatten()).collect()
}

fn read(t: &Tensor) -> Array {
    computed(t).unwrap()
}

#[test]
fn every_way_has_the_bits_of_the_reference() {
    let _alone = ALONE.lock();
    for case in CASES {
        for dtype in [DType::F32, DType::F64, DType::I32] {
            for (i, t) in results(case, dtype).iter().enumerate() {
                let Value::Array(want) = Reference::default().value(t).unwrap() else { panic!("a tensor has elements") };
                assert!(read(t).same(&want), "{case:?}, {dtype}, result {i}");
            }
        }
    }
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    let _alone = ALONE.lock();
    let all = || -> Vec<Vec<u8>> {
        let results = CASES.iter().flat_map(|case| results(case, DType::F32));
        results.map(|t| read(&t).bytes().to_vec()).collect()
    };
    let with = |threads: usize| rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(all);
    let one = with(1);
    assert!(one == with(3));
    assert!(one == all());
}

/// The most that is alive at a time while this runs, beyond what was before.
fn peak(f: impl FnOnce()) -> usize {
    let before = LIVE.load(Relaxed);
    PEAK.store(before, Relaxed);
    f();
    (PEAK.load(Relaxed) - before) as usize
}

#[test]
fn nothing_of_the_size_of_the_patches_is_in_memory() {
    let _alone = ALONE.lock();
    for ([n, c, k, groups], size, r) in [([8, 32, 32, 1], 64, 3), ([4, 8, 8, 1], 128, 7), ([8, 64, 64, 64], 64, 5)] {
        let (xs, ws) = ([n, c, size, size], [k, c / groups, r, r]);
        let (x, w) = (data(&xs, DType::F32), data(&ws, DType::F32));
        evaluate::read(&x).unwrap();
        evaluate::read(&w).unwrap();
        let margin = (r / 2) as i64;
        let steps = [Step { stride: 1, dilation: 1, pad: (margin, margin) }; 2];
        let g = data(&[n, k, size, size], DType::F32);
        evaluate::read(&g).unwrap();
        let (x, w) = (Tensor::tracked_identity(&x), Tensor::tracked_identity(&w));
        let y = conv(&x, &w, &steps, groups).unwrap();
        let slopes = gradient(&y, Some(&g), &[Target::Node(x), Target::Node(w)], false).unwrap();
        let patches = 4 * n * c * r * r * size * size;
        // A result, what it is copied from if more than the convolution makes it, and a workspace for each thread.
        let threads = std::thread::available_parallelism().map_or(1, |n| n.get());
        for (i, t) in std::iter::once(&y).chain(slopes.iter().flatten()).enumerate() {
            let most = 8 * t.size() + (threads + 1) * (1 << 20);
            assert!(most < patches / 2, "the test shows something");
            let peak = peak(|| drop(evaluate::read(t).unwrap()));
            assert!(peak <= most, "{peak} bytes for result {i} of {}, patches of {patches}", 4 * t.size());
        }
    }
}
