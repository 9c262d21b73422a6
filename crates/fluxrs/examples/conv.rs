//! Times convolutions beside matrix products of as many operations: `cargo run --release --example conv [name]`.
//!
//! Prints the best rate of several runs, in thousand million operations a second, of the convolution, of its gradients by the
//! kernel and by the input, and of a product of the sizes that the convolution has for one sample.
use fluxrs::ops::conv::{Step, conv};
use fluxrs::ops::matmul::matmul;
use fluxrs::tape::{Target, gradient};
use fluxrs::{DType, Tensor, evaluate};

/// Name; samples, channels in and out, groups; size, kernel, stride and margin of both axes.
type Case = (&'static str, [usize; 4], [usize; 4]);

const CASES: [Case; 15] = [
    ("resnet", [8, 64, 64, 1], [32, 3, 1, 1]),
    ("resnet late", [8, 256, 256, 1], [8, 3, 1, 1]),
    ("seven", [8, 512, 512, 1], [7, 3, 1, 1]),
    ("lenet 1", [64, 1, 6, 1], [28, 5, 1, 0]),
    ("lenet 2", [64, 6, 16, 1], [12, 5, 1, 0]),
    ("rgb", [32, 3, 64, 1], [32, 3, 1, 1]),
    ("strided", [8, 64, 128, 1], [32, 3, 2, 1]),
    ("stem", [2, 3, 64, 1], [224, 7, 2, 3]),
    ("large", [1, 16, 16, 1], [512, 3, 1, 1]),
    ("one", [8, 64, 256, 1], [32, 1, 1, 0]),
    ("one strided", [8, 64, 256, 1], [32, 1, 2, 0]),
    ("depthwise", [8, 64, 64, 64], [32, 3, 1, 1]),
    ("depthwise strided", [8, 64, 64, 64], [32, 3, 2, 1]),
    ("groups", [8, 64, 64, 8], [32, 3, 1, 1]),
    ("patches", [8, 3, 192, 1], [64, 16, 16, 0]),
];

fn data(shape: &[usize]) -> Tensor {
    let n: usize = shape.iter().product();
    let values: Vec<f32> = (0..n).map(|i| (i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as f32 / 16_777_216.0 - 0.5).collect();
    Tensor::from_slice(&values, shape).unwrap()
}

/// Seconds that this thread has run.
fn clock() -> f64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    text.split_whitespace().next().unwrap().parse::<f64>().unwrap() * 1e-9
}

/// Seconds of an evaluation on one thread.
fn time(f: impl Fn() -> Tensor) -> f64 {
    (0..3).for_each(|_| drop(evaluate::read(&f()).unwrap()));
    let (start, mut count) = (clock(), 0);
    while clock() - start < 0.15 {
        (0..3).for_each(|_| drop(evaluate::read(&f()).unwrap()));
        count += 3;
    }
    (clock() - start) / count as f64
}

fn main() {
    let only = std::env::args().nth(1);
    println!("{:<20} {:>9} {:>9} {:>9} {:>9}", "", "forward", "by kernel", "by input", "product");
    for (name, [n, c, k, groups], [size, kernel, stride, pad]) in CASES {
        if only.as_ref().is_some_and(|only| !name.starts_with(only.as_str())) {
            continue;
        }
        let (x, w) = (data(&[n, c, size, size]), data(&[k, c / groups, kernel, kernel]));
        let steps = [Step { stride, dilation: 1, pad: (pad as i64, pad as i64) }; 2];
        let call = |x: &Tensor, w: &Tensor| conv(x, w, &steps, groups).unwrap();
        let out = call(&x, &w).shape().to_vec();
        let g = data(&out);
        let slope = |by: usize| {
            let (x, w) = (Tensor::tracked_identity(&x), Tensor::tracked_identity(&w));
            let target = Target::Node(if by == 0 { x.clone() } else { w.clone() });
            gradient(&call(&x, &w), Some(&g), &[target], false).unwrap().remove(0).unwrap()
        };
        let (inner, places) = (c / groups * kernel * kernel, out[2] * out[3]);
        let work = 2.0 * (n * k * inner * places) as f64;
        let (a, b) = (data(&[k / groups, inner]), data(&[inner, places]));
        let rates = [
            work / time(|| call(&x, &w)),
            work / time(|| slope(1)),
            work / time(|| slope(0)),
            work / (n * groups) as f64 / time(|| matmul(&a.cast(DType::F32), &b).unwrap()),
        ];
        let rates: Vec<String> = rates.iter().map(|r| format!("{:>9.1}", r * 1e-9)).collect();
        println!("{name:<20} {}", rates.join(" "));
    }
}
