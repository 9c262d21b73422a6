//! The tests of ops share this: numbers in and out, and gradients checked against central differences.

use fluxrs::evaluate;
use fluxrs::tape::{Target, gradient};
use fluxrs::{DType, Elementwise, Tensor};

/// The elements as float64.
pub fn values(t: &Tensor) -> Vec<f64> {
    let wide = t.cast(DType::F64).contiguous();
    let (buffer, map) = evaluate::read(&wide).unwrap();
    let at = map.offset as usize;
    buffer.as_host().unwrap().as_slice::<f64>()[at..at + t.size()].to_vec()
}

pub fn float64(data: &[f64], shape: &[usize]) -> Tensor {
    Tensor::from_slice(data, shape).unwrap()
}

pub fn float32(data: &[f32], shape: &[usize]) -> Tensor {
    Tensor::from_slice(data, shape).unwrap()
}

pub fn int64(data: &[i64], shape: &[usize]) -> Tensor {
    Tensor::from_slice(data, shape).unwrap()
}

/// Numbers between `low` and `high`, the same every time, none of them near another or near an integer.
pub fn numbers(n: usize, (low, high): (f64, f64), salt: u64) -> Vec<f64> {
    let mut state = salt.wrapping_mul(0x9e3779b97f4a7c15) | 1;
    (0..n)
        .map(|_| {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            let x = low + (high - low) * ((state >> 11) as f64 / (1u64 << 53) as f64);
            let off = x - x.round();
            if off.abs() < 1e-3 { x + 2e-3 } else { x }
        })
        .collect()
}

#[track_caller]
pub fn close(what: &str, got: &[f64], want: &[f64], tolerance: f64) {
    assert_eq!(got.len(), want.len(), "{what}: {got:?} {want:?}");
    for (i, (g, w)) in got.iter().zip(want).enumerate() {
        let same = (g.is_nan() && w.is_nan()) || g == w || (g - w).abs() <= tolerance * (1.0 + w.abs());
        assert!(same, "{what}, element {i}: got {g}, want {w}\n got {got:?}\nwant {want:?}");
    }
}

pub type Function<'a> = &'a dyn Fn(&[Tensor]) -> Tensor;

fn dot(x: &Tensor, weights: &[f64]) -> Tensor {
    let w = float64(weights, x.shape());
    (x * w).sum(None, false).unwrap()
}

/// Σ w·f(x), and its gradients by each input.
pub fn first_order(f: Function, xs: &[Tensor], nest: bool) -> (Tensor, Vec<Tensor>) {
    let tracked: Vec<Tensor> = xs.iter().map(Tensor::tracked_identity).collect();
    let y = f(&tracked);
    let total = dot(&y, &numbers(y.size(), (0.5, 1.5), 7));
    let targets: Vec<Target> = tracked.iter().map(|t| Target::Node(t.clone())).collect();
    let grads = gradient(&total, None, &targets, nest).unwrap();
    let grads = grads.into_iter().zip(xs).map(|(g, x)| g.unwrap_or_else(|| x * 0.0)).collect();
    (total, grads)
}

/// Σ v·∂f, and its gradients by each input.
pub fn second_order(f: Function, xs: &[Tensor]) -> (Tensor, Vec<Tensor>) {
    let combine = |xs: &[Tensor]| {
        let (_, grads) = first_order(f, xs, true);
        let parts = grads.iter().enumerate().map(|(i, g)| dot(g, &numbers(g.size(), (-1.0, 1.0), 11 + i as u64)));
        parts.reduce(|a, b| a + b).unwrap()
    };
    let tracked: Vec<Tensor> = xs.iter().map(Tensor::tracked_identity).collect();
    let total = combine(&tracked);
    let targets: Vec<Target> = tracked.iter().map(|t| Target::Node(t.clone())).collect();
    let grads = gradient(&total, None, &targets, false).unwrap();
    (total, grads.into_iter().zip(xs).map(|(g, x)| g.unwrap_or_else(|| x * 0.0)).collect())
}

fn differences(value: &dyn Fn(&[Tensor]) -> f64, data: &[Vec<f64>], shapes: &[&[usize]], k: usize) -> Vec<f64> {
    let tensors = |data: &[Vec<f64>]| -> Vec<Tensor> { data.iter().zip(shapes).map(|(d, s)| float64(d, s)).collect() };
    (0..data[k].len())
        .map(|i| {
            let h = 6e-6 * data[k][i].abs().max(1.0);
            let mut moved = data.to_vec();
            moved[k][i] = data[k][i] + h;
            let above = value(&tensors(&moved));
            moved[k][i] = data[k][i] - h;
            (above - value(&tensors(&moved))) / (2.0 * h)
        })
        .collect()
}

/// First and second derivatives of `f` at these float64 inputs against central differences.
#[track_caller]
pub fn check_gradients(name: &str, inputs: &[(&[f64], &[usize])], f: Function) {
    let xs: Vec<Tensor> = inputs.iter().map(|(d, s)| float64(d, s)).collect();
    let data: Vec<Vec<f64>> = inputs.iter().map(|(d, _)| d.to_vec()).collect();
    let shapes: Vec<&[usize]> = inputs.iter().map(|(_, s)| *s).collect();
    let (_, grads) = first_order(f, &xs, false);
    let (_, seconds) = second_order(f, &xs);
    for k in 0..xs.len() {
        let first = differences(&|xs| values(&first_order(f, xs, false).0)[0], &data, &shapes, k);
        close(&format!("{name}, gradient {k}"), &values(&grads[k]), &first, 1e-6);
        let second = differences(&|xs| values(&second_order(f, xs).0)[0], &data, &shapes, k);
        close(&format!("{name}, second gradient {k}"), &values(&seconds[k]), &second, 1e-5);
    }
}

pub fn square(x: Tensor) -> Tensor {
    Elementwise::square.apply(&[&x]).unwrap()
}

pub fn exp(x: Tensor) -> Tensor {
    Elementwise::exp.apply(&[&x]).unwrap()
}
