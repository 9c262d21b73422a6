//! Kernels: what is fused, and what memory they write.

use super::common::{by, check, now, values};
use super::{floats, param};
use fluxrs::evaluate::Handle;
use fluxrs::leaf;
use fluxrs::ops::index::take;
use fluxrs::ops::matmul::matmul;
use fluxrs::ops::reduce::Reduction;
use fluxrs::reference::computed;
use fluxrs::tape::{Target, gradient};
use fluxrs::{Elementwise, Error, Tensor};

#[test]
fn operands_of_a_column_fold_outlive_the_block() {
    let x = floats(&[1.0, -2.0, 3.0, 4.0], &[2, 2]);
    let b = by(Elementwise::greater, &[&x, &Tensor::number(-5.0)]);
    let t = by(Elementwise::tanh, &[&b]);
    let all = t.reduce(Reduction::All, Some(&[0]), false).unwrap();
    check([all, t, by(Elementwise::cos, &[&b]), b]);
}

#[test]
fn operands_of_a_long_row_fold_outlive_the_block() {
    let x = Tensor::from_slice(&(0..9000).collect::<Vec<i32>>(), &[1800, 5]).unwrap();
    let y = &x * &x;
    let g = by(Elementwise::sigmoid, &[&y]);
    check([y.sum(None, false).unwrap(), y, g]);
}

#[test]
fn a_constant_that_is_held_and_broadcast_beside_a_product() {
    let y = matmul(&floats(&[1.0; 36], &[3, 3, 4]), &floats(&[1.0, 2.0, 3.0, 4.0], &[4, 1])).unwrap();
    let ground = Tensor::full(&[3, 1, 1], 0.5, fluxrs::DType::F32).unwrap();
    check([by(Elementwise::add, &[&y, &ground]), ground]);
}

#[test]
fn rows_of_length_zero() {
    let x = floats(&[], &[3, 0, 2]);
    let total = x.sum(Some(&[1]), true).unwrap();
    check([x.softmax(1).unwrap(), x.mean(Some(&[1]), true).unwrap(), by(Elementwise::add, &[&x, &total]), total]);
    let flat = x.broadcast_to(&[2, 3, 0, 2]).unwrap().flip(Some(&[0])).unwrap();
    check([flat.sum(Some(&[0, 1]), false).unwrap(), flat.contiguous()]);
}

#[test]
fn an_error_of_something_held_is_its_own() {
    let x = floats(&[1.0, 2.0], &[2]);
    let y = Handle::new(by(Elementwise::exp, &[&x]));
    let wrong = take(y.tensor(), &Tensor::from_slice(&[7i64], &[1]).unwrap(), 0).unwrap();
    let wrong = Handle::new(wrong);
    assert_eq!(values(y.tensor()).len(), 2);
    assert!(matches!(computed(wrong.tensor()), Err(Error::Index(_))));
    // Nor does it keep a parameter from its update.
    let w = param(&[1.0, 2.0], &[2]);
    let index = Tensor::from_slice(&[9i64], &[1]).unwrap();
    let of_w = Handle::new(take(&w.value().unwrap(), &index, 0).unwrap());
    leaf::update(&w, &floats(&[1.0, 1.0], &[2])).unwrap();
    leaf::flush().unwrap();
    assert_eq!(now(&w), [2.0, 3.0]);
    assert!(matches!(computed(of_w.tensor()), Err(Error::Index(_))));
}

#[test]
fn a_result_out_of_reach_hinders_nobody() {
    let w = param(&[1.0, 2.0], &[2]);
    let loss = (&w.value().unwrap() * w.value().unwrap()).sum(None, false).unwrap();
    leaf::update(&w, &floats(&[1.0, 1.0], &[2])).unwrap();
    leaf::flush().unwrap();
    let dead = gradient(&loss, None, &[Target::Leaf(w.number())], false);
    assert!(matches!(dead, Err(Error::Value(_))) && matches!(computed(&loss), Err(Error::Value(_))));
    assert!(leaf::back(&loss, None).is_err() && w.grad().is_none());
    leaf::update(&w, &floats(&[1.0, 1.0], &[2])).unwrap();
    leaf::flush().unwrap();
    assert_eq!(now(&w), [3.0, 4.0]);
}

#[test]
fn products_are_added_in_place_as_they_are_written() {
    // Rows long enough for blocks of their own, where a factor is one element for the whole row; short ones; and one row.
    for (rows, columns) in [(3, 300), (2, 5000), (1, 256), (5, 7), (40, 257)] {
        let value =
            |seed: usize, n: usize| -> Vec<f32> { (0..n).map(|i| ((i * 7919 + seed) % 1009) as f32 / 311.0 - 1.3).collect() };
        let (w, a, b) = (value(1, rows * columns), value(2, rows), value(3, columns));
        let (column, row) = (floats(&a, &[rows, 1]), floats(&b, &[columns]));
        let full = floats(&value(4, rows * columns), &[rows, columns]);
        let (s, f) = (0.37f32, value(4, rows * columns));
        let at = |i: usize| (a[i / columns], b[i % columns], f[i]);
        type Expected<'a> = Box<dyn Fn(usize) -> f32 + 'a>;
        let cases: Vec<(Tensor, Expected<'_>)> = vec![
            (&column * &row, Box::new(|i| at(i).0 * at(i).1)),
            ((&column * &row) * 0.37, Box::new(|i| at(i).0 * at(i).1 * s)),
            (0.37 * (&row * &column), Box::new(|i| at(i).0 * at(i).1 * s)),
            (&full * 0.37, Box::new(|i| at(i).2 * s)),
            ((&full * &column) * &row, Box::new(|i| at(i).2 * at(i).0 * at(i).1)),
            (&column * (&full * &row), Box::new(|i| at(i).2 * at(i).1 * at(i).0)),
        ];
        for (k, (delta, expected)) in cases.iter().enumerate() {
            let p = param(&w, &[rows, columns]);
            leaf::update(&p, delta).unwrap();
            let now = now(&p);
            for i in 0..rows * columns {
                assert_eq!(now[i] as f32, w[i] + expected(i), "case {k} of {rows} × {columns}, element {i}");
            }
        }
    }
}
