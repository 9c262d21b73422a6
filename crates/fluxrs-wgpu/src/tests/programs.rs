//! Programs of several ops on the device against the CPU: views, folds, products, placement, rows by number, gradients.

use super::parity::{registered, tensor, uniform, values};
use super::recorder::recorder;
use fluxrs::dtype::{DType, Number};
use fluxrs::evaluate::evaluate;
use fluxrs::graph::Tensor;
use fluxrs::ops::Elementwise;
use fluxrs::ops::index::take;
use fluxrs::ops::matmul::matmul;
use fluxrs::ops::place::{concatenate, stack};
use fluxrs::ops::reduce::Reduction;
use fluxrs::tape::{Target, gradient};
use fluxrs::transfer::to_device;

type Program = fn(&[Tensor]) -> Vec<Tensor>;

pub(crate) fn map(name: &str, xs: &[&Tensor]) -> Tensor {
    Elementwise::by_name(name).unwrap().apply(xs).unwrap()
}

pub(crate) fn random(shape: &[usize], seed: u64) -> Tensor {
    let n = shape.iter().product();
    let x: Vec<f32> = uniform(n, seed, -1.5, 1.5).iter().map(|&x| x as f32).collect();
    tensor(&x, shape)
}

/// Runs a program on both devices; every element must agree to `tolerance` of the largest. Its kernels are checked on
/// machines without a driver too.
pub(crate) fn agree(name: &str, program: Program, xs: &[Tensor], tolerance: f64) {
    let recorded: Vec<Tensor> = xs.iter().map(|x| to_device(x, recorder()).unwrap()).collect();
    evaluate(&program(&recorded)).unwrap();
    let Some(session) = registered() else { return };
    let device = session.device;
    let moved: Vec<Tensor> = xs.iter().map(|x| to_device(x, device).unwrap()).collect();
    let got = program(&moved);
    evaluate(&got).unwrap_or_else(|error| panic!("{name}: {error}"));
    for (i, (got, want)) in got.iter().zip(program(xs)).enumerate() {
        assert_eq!((got.shape(), got.dtype()), (want.shape(), want.dtype()), "{name} {i}");
        assert_eq!(got.device(), device, "{name} {i}");
        let (g, w) = (values(got), values(&want));
        let scale = w.iter().fold(1.0f64, |s, x| s.max(x.abs()));
        for (k, (g, w)) in g.iter().zip(&w).enumerate() {
            let near = (g - w).abs() <= tolerance * scale || g.is_nan() && w.is_nan() || g == w;
            assert!(near, "{name}, result {i}, element {k} of {:?}: {g} instead of {w}", want.shape());
        }
    }
}

#[test]
fn views_are_read_in_place() {
    let xs = [random(&[4, 5, 6], 1), random(&[6, 5], 2), random(&[5, 1], 3)];
    agree("transpose", |x| vec![map("exp", &[&x[0].transpose(None).unwrap()])], &xs, 1e-6);
    agree(
        "broadcast",
        |x| {
            vec![
                &x[0].moveaxis(1, 0).unwrap()
                    + &map(
                        "add",
                        &[&x[0].transpose(None).unwrap().reshape(&[5, 4, 6]).unwrap(), &x[2].reshape(&[5, 1, 1]).unwrap()],
                    ),
            ]
        },
        &xs,
        1e-6,
    );
    agree("flip", |x| vec![x[0].flip(Some(&[0, 2])).unwrap() * &x[0], x[1].flip(None).unwrap() + &x[1]], &xs, 1e-6);
    agree("diagonal", |x| vec![x[1].diagonal(1, 0, 1).unwrap() * 2.0, x[0].diagonal(-1, 2, 0).unwrap() * 2.0], &xs, 1e-6);
    agree("reshape", |x| vec![x[0].transpose(Some(&[2, 0, 1])).unwrap().reshape(&[3, 40]).unwrap() + 1.0], &xs, 1e-6);
    agree(
        "casts",
        |x| vec![(&x[0] * 10.0).cast(DType::I32), (&x[0] * 10.0).cast(DType::I64).cast(DType::F32), x[0].to_bool()],
        &xs,
        0.0,
    );
}

#[test]
fn folds_over_any_axes_agree() {
    let shapes: [&[usize]; 8] = [&[3], &[4, 5, 6], &[2, 300], &[300, 2], &[1, 5000], &[40_000], &[3, 20_000], &[2000, 3, 7]];
    for shape in shapes {
        let xs = [random(shape, 3)];
        agree("sum of all", |x| vec![x[0].sum(None, false).unwrap()], &xs, 1e-5);
        agree("sum of the first", |x| vec![x[0].sum(Some(&[0]), false).unwrap()], &xs, 1e-5);
        agree("sum of the last", |x| vec![x[0].sum(Some(&[-1]), true).unwrap()], &xs, 1e-5);
        agree(
            "max and min",
            |x| vec![x[0].reduce(Reduction::Max, None, false).unwrap(), x[0].reduce(Reduction::Min, Some(&[-1]), false).unwrap()],
            &xs,
            0.0,
        );
        agree(
            "any and all",
            |x| {
                let b = x[0].to_bool();
                vec![b.reduce(Reduction::Any, Some(&[0]), false).unwrap(), b.reduce(Reduction::All, None, false).unwrap()]
            },
            &xs,
            0.0,
        );
        agree(
            "variance",
            |x| vec![x[0].var(Some(&[0]), 0.0, false).unwrap(), x[0].std(Some(&[-1]), 0.0, false).unwrap()],
            &xs,
            1e-5,
        );
        agree("softmax", |x| vec![x[0].softmax(-1).unwrap(), x[0].logsoftmax(0).unwrap()], &xs, 1e-5);
        agree("mean of a product", |x| vec![(&map("tanh", &[&x[0]]) * &x[0]).mean(None, false).unwrap()], &xs, 1e-5);
        agree("sum of integers", |x| vec![(&x[0] * 3.0).cast(DType::I32).sum(Some(&[-1]), false).unwrap()], &xs, 0.0);
    }
    let xs = [random(&[3, 4, 5, 6], 3)];
    agree(
        "middle axes",
        |x| {
            vec![
                x[0].sum(Some(&[1, 2]), false).unwrap(),
                x[0].sum(Some(&[0, 3]), false).unwrap(),
                x[0].sum(Some(&[0, 2]), true).unwrap(),
            ]
        },
        &xs,
        1e-5,
    );
    agree("product", |x| vec![x[0].reduce(Reduction::Prod, Some(&[2]), false).unwrap()], &xs, 1e-5);
    agree("transposed", |x| vec![x[0].transpose(None).unwrap().sum(Some(&[0, 1]), false).unwrap()], &xs, 1e-5);
}

#[test]
fn products_agree() {
    let xs = [random(&[17, 33], 1), random(&[33, 9], 2), random(&[9], 3), random(&[2, 1, 4, 5], 4), random(&[3, 5, 6], 5)];
    agree("matrices", |x| vec![matmul(&x[0], &x[1]).unwrap()], &xs, 1e-5);
    agree("transposed", |x| vec![matmul(&x[1].transpose(None).unwrap(), &x[0].transpose(None).unwrap()).unwrap()], &xs, 1e-5);
    agree("dense", |x| vec![map("tanh", &[&(matmul(&x[0], &x[1]).unwrap() + &x[2])])], &xs, 1e-5);
    agree(
        "kept and fused",
        |x| {
            let y = matmul(&x[0], &x[1]).unwrap();
            vec![y.clone(), map("exp", &[&y]), y.sum(Some(&[0]), false).unwrap()]
        },
        &xs,
        1e-5,
    );
    agree("batches", |x| vec![matmul(&x[3], &x[4]).unwrap()], &xs, 1e-5);
    agree("vectors", |x| vec![matmul(&x[1], &x[2]).unwrap(), matmul(&x[2], &x[2]).unwrap()], &xs, 1e-5);
    agree(
        "integers",
        |x| {
            let (a, b) = ((&x[0] * 9.0).cast(DType::I32), (&x[1] * 9.0).cast(DType::I32));
            vec![matmul(&a, &b).unwrap()]
        },
        &xs,
        0.0,
    );
    agree("sliced", |x| vec![matmul(&x[0].flip(Some(&[1])).unwrap(), &x[1].flip(None).unwrap()).unwrap()], &xs, 1e-5);
}

#[test]
fn placement_and_rows_agree() {
    let index = tensor(&[3i64, 0, -1, 2, 2, 0], &[2, 3]);
    let xs = [random(&[4, 5], 1), random(&[4, 2], 2), index];
    agree(
        "concatenate",
        |x| vec![concatenate(&x[..2], 1).unwrap(), concatenate(&[&x[0] + 1.0, &x[0] * 2.0], 0).unwrap()],
        &xs,
        1e-6,
    );
    agree("stack", |x| vec![stack(&[x[0].clone(), &x[0] * 3.0], 1).unwrap()], &xs, 1e-6);
    agree("pad", |x| vec![x[0].pad(&[(1, 2), (0, 3)], Number::Float(7.5)).unwrap()], &xs, 1e-6);
    agree("repeat and tile", |x| vec![x[0].repeat(3, 1).unwrap(), x[1].tile(&[2, 2]).unwrap()], &xs, 1e-6);
    agree("take", |x| vec![take(&x[0], &x[2], 0).unwrap(), take(&x[0], &x[2], 1).unwrap()], &xs, 0.0);
    agree(
        "gradient of take",
        |x| {
            let x0 = Tensor::tracked_identity(&x[0]);
            let y = map("square", &[&take(&x0, &x[2], 0).unwrap()]).sum(None, false).unwrap();
            gradient(&y, None, &[Target::Node(x0)], false).unwrap().into_iter().flatten().collect()
        },
        &xs,
        1e-5,
    );
}

#[test]
fn empty_tensors_are_fine() {
    let xs = [random(&[0, 3], 1), random(&[3, 2], 2), random(&[2, 0], 3)];
    agree("elementwise", |x| vec![map("exp", &[&x[0]])], &xs, 0.0);
    agree(
        "sums",
        |x| vec![x[0].sum(None, false).unwrap(), x[0].sum(Some(&[0]), false).unwrap(), x[0].sum(Some(&[1]), false).unwrap()],
        &xs,
        0.0,
    );
    agree("products", |x| vec![matmul(&x[0], &x[1]).unwrap(), matmul(&x[2], &x[0]).unwrap()], &xs, 0.0);
}

#[test]
fn gradients_of_gradients_agree() {
    let xs = [random(&[5, 4], 1), random(&[4, 3], 2), random(&[3], 3)];
    agree(
        "second order",
        |x| {
            let xs: Vec<Tensor> = x.iter().map(Tensor::tracked_identity).collect();
            let y = map("tanh", &[&(matmul(&xs[0], &xs[1]).unwrap() + &xs[2])]);
            let loss = (&y * &y).mean(None, false).unwrap();
            let targets: Vec<Target> = xs.iter().cloned().map(Target::Node).collect();
            let first: Vec<Tensor> = gradient(&loss, None, &targets, true).unwrap().into_iter().flatten().collect();
            let total = first.iter().map(|g| map("square", &[g]).sum(None, false).unwrap()).reduce(|a, b| a + &b).unwrap();
            let second: Vec<Tensor> = gradient(&total, None, &targets, false).unwrap().into_iter().flatten().collect();
            first.into_iter().chain(second).collect()
        },
        &xs,
        1e-5,
    );
}
