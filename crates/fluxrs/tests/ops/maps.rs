//! Kernels that read their operands through index maps: the bits are those of contiguous operands, and nothing is copied.

use crate::check::{numbers, values};
use fluxrs::evaluate::{evaluate, explain};
use fluxrs::ops::along::take_along_axis;
use fluxrs::ops::attention::attention;
use fluxrs::ops::index::take;
use fluxrs::ops::pool::{Window, maxpool, meanpool};
use fluxrs::tape::{Target, gradient};
use fluxrs::{DType, Result, Tensor};

type Function = fn(&Tensor, &Tensor) -> Result<Tensor>;

const FUNCTIONS: &[(&str, Function)] = &[
    ("take 0", |x, index| take(x, index, 0)),
    ("take 1", |x, index| take(x, index, 1)),
    ("take 2", |x, index| take(x, index, 2)),
    ("cumsum 0", |x, _| x.cumsum(Some(0))),
    ("cumsum 1", |x, _| x.cumsum(Some(1))),
    ("cumprod 2", |x, _| x.cumprod(Some(2))),
    ("attention", |x, _| attention(x, &x.flip(Some(&[1]))?, &x.flip(Some(&[2]))?, None, true, None)),
    ("maxpool", |x, _| maxpool(x, PAIRS)),
    ("meanpool", |x, _| meanpool(x, PAIRS)),
    ("take_along_axis 0", |x, index| take_along_axis(x, &index.reshape(&[2, 2, 1])?, Some(0))),
    ("take_along_axis 1", |x, index| take_along_axis(x, &index.reshape(&[1, 4, 1])?, Some(1))),
    ("take_along_axis 2", |x, index| take_along_axis(x, &index.reshape(&[2, 1, 2])?.flip(None)?, Some(2))),
];

const PAIRS: Window<'static> = Window { kernel: &[2], stride: &[1], margins: &[(1, 0)] };

fn views(x: &Tensor) -> Result<Vec<Tensor>> {
    Ok(vec![
        x.transpose(None)?,
        x.transpose(Some(&[1, 0, 2]))?,
        x.flip(Some(&[0, 2]))?,
        x.split_at(&[1], 2)?.remove(1),
        x.broadcast_to(&[2, 3, 4])?,
    ])
}

#[test]
fn views_are_read_where_they_lie() {
    let make = |dtype| Tensor::from_slice(&numbers(24, (-2.0, 2.0), 3), &[2, 3, 4]).unwrap().cast(dtype);
    let index = Tensor::from_slice(&[1i64, 0, -1, 1], &[2, 2]).unwrap();
    for dtype in [DType::F32, DType::F64, DType::I32] {
        let x = make(dtype);
        evaluate(&[x.clone(), index.clone()]).unwrap();
        for (v, view) in views(&x).unwrap().iter().enumerate() {
            for (name, f) in FUNCTIONS {
                let what = format!("{name} of view {v} of {dtype}");
                let Ok(got) = f(view, &index) else { continue };
                if dtype.is_float() && !name.starts_with("take_along") {
                    let plan = explain(std::slice::from_ref(&got), false).unwrap();
                    assert!(!plan.contains("copy"), "{what}: {plan}");
                }
                let want = f(&view.contiguous(), &index).unwrap();
                assert_eq!(values(&got), values(&want), "{what}");
            }
        }
    }
}

#[test]
fn gradients_of_views_are_those_of_copies() {
    let x = Tensor::from_slice(&numbers(24, (0.5, 2.0), 5), &[2, 3, 4]).unwrap();
    let index = Tensor::from_slice(&[1i64, 0, -1, 1], &[2, 2]).unwrap();
    for (name, f) in FUNCTIONS {
        let slope = |copied: bool| {
            let x = Tensor::tracked_identity(&x);
            let view = x.transpose(Some(&[1, 0, 2])).unwrap();
            let y = f(&if copied { &view * 1.0 } else { view }, &index).ok()?;
            let total = (&y * &y).sum(None, false).unwrap();
            Some(values(gradient(&total, None, &[Target::Node(x)], false).unwrap()[0].as_ref().unwrap()))
        };
        assert_eq!(slope(false), slope(true), "{name}");
    }
}

#[test]
fn what_comes_again_along_leading_axes() {
    for (rows, mid, inner) in [(1, 1, 1), (7, 1, 3), (5000, 1, 2), (700, 3, 5), (3, 40, 90), (900, 2, 16)] {
        let space = [rows, mid, inner];
        let ones = Tensor::from_slice(&vec![1.0; rows * mid * inner], &space).unwrap();
        for shape in [[1, 1, inner], [1, mid, 1], [1, mid, inner], [rows, 1, inner], [rows, mid, 1]] {
            let x = numbers(shape.iter().product(), (-2.0, 2.0), 3);
            let source = Tensor::from_slice(&x, &shape).unwrap();
            let at = |i: usize, axis: usize| if shape[axis] == 1 { 0 } else { i };
            let place = |i: usize| {
                let (row, m, n) = (i / (mid * inner), i / inner % mid, i % inner);
                (at(row, 0) * shape[1] + at(m, 1)) * shape[2] + at(n, 2)
            };
            let want: Vec<f64> = (0..rows * mid * inner).map(|i| x[place(i)] + 1.0).collect();
            let got = source.broadcast_to(&space).unwrap() + &ones;
            assert_eq!(values(&got), want, "{shape:?} over {space:?}");
        }
    }
}
