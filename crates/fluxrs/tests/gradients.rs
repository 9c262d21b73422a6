//! First and second derivatives of every op against central differences in float64.

#[path = "ops/check.rs"]
#[allow(dead_code, reason = "shared with the tests of structured ops, which use all of it")]
mod check;

use check::{check_gradients, close, exp, first_order, float64, int64, numbers, second_order, square, values};
use fluxrs::dtype::Number;
use fluxrs::ops::Class;
use fluxrs::ops::apply::select;
use fluxrs::ops::index::{take, take_at};
use fluxrs::ops::matmul::matmul;
use fluxrs::ops::place::{concatenate, stack};
use fluxrs::ops::reduce::Reduction;
use fluxrs::ops::view::Slice;
use fluxrs::tape::{Target, gradient};
use fluxrs::{Elementwise, Tensor};

/// Operands of an entry of the table, from its own domain.
fn operands(e: Elementwise, sizes: &[usize]) -> Vec<Vec<f64>> {
    let salted = |(i, (&domain, &n)): (usize, (&(f64, f64), &usize))| numbers(n, domain, 17 * e as u64 + i as u64);
    e.record().domain.iter().zip(sizes).enumerate().map(salted).collect()
}

/// The op with a truth value where it wants one.
fn call(e: Elementwise, xs: &[Tensor]) -> Tensor {
    match e.record().class {
        Class::Select => {
            let truth = Elementwise::greater.apply(&[&xs[0], &Tensor::number(0.0)]).unwrap();
            select(&truth, &xs[1], &xs[2]).unwrap()
        }
        _ => e.apply(&xs.iter().collect::<Vec<_>>()).unwrap(),
    }
}

#[test]
fn every_entry_of_the_table() {
    for &e in Elementwise::ALL.iter().filter(|e| e.record().differentiable) {
        let record = e.record();
        let shapes: [&[usize]; 3] = [&[6], &[6], &[6]];
        let data = operands(e, &[6, 6, 6]);
        let inputs: Vec<(&[f64], &[usize])> = data.iter().zip(shapes).map(|(d, s)| (d.as_slice(), s)).collect();
        check_gradients(record.name, &inputs, &|xs| call(e, xs));
    }
}

#[test]
fn every_entry_broadcast_and_through_views() {
    let shapes: [&[usize]; 3] = [&[4, 1], &[3], &[2, 1, 1]];
    for &e in Elementwise::ALL.iter().filter(|e| e.record().differentiable) {
        let record = e.record();
        let data = operands(e, &[4, 3, 2]);
        let inputs: Vec<(&[f64], &[usize])> = data.iter().zip(shapes).map(|(d, s)| (d.as_slice(), s)).collect();
        check_gradients(record.name, &inputs, &|xs| {
            // Read backwards and transposed, and used twice.
            let turned: Vec<Tensor> = xs.iter().map(|x| x.flip(None).unwrap()).collect();
            let y = call(e, &turned).transpose(None).unwrap();
            let n = y.shape()[0];
            let rest = y.shape()[1..].iter().map(|&len| Slice { start: 0, step: 1, len });
            let part = y.slice(&std::iter::once(Slice { start: 0, step: 2, len: n.div_ceil(2) }).chain(rest).collect::<Vec<_>>());
            let total = y.sum(None, true).unwrap();
            part * total
        });
    }
}

/// A number has the precision of what it meets, in gradient rules too: all comes out as for an array of that one element.
#[test]
fn a_number_for_each_operand() {
    let entries = Elementwise::ALL.iter().filter(|e| e.record().differentiable && e.record().arity > 1);
    for (&e, k) in entries.flat_map(|e| (0..e.record().arity).map(move |k| (e, k))) {
        if e.record().class == Class::Select && k == 0 {
            continue;
        }
        let data = operands(e, &[5, 5, 5]);
        let rest: Vec<Tensor> = data.iter().map(|d| float64(d, &[5])).collect();
        let with = |number: Tensor| {
            let call = move |xs: &[Tensor]| {
                let mut all = xs.to_vec();
                all[k] = number.clone();
                call(e, &all)
            };
            let (total, first) = first_order(&call, &rest, false);
            let (slopes, second) = second_order(&call, &rest);
            [vec![total, slopes], first, second].concat().iter().flat_map(values).collect::<Vec<f64>>()
        };
        let (as_number, as_array) = (with(Tensor::number(data[k][0])), with(float64(&data[k][..1], &[])));
        assert_eq!(as_number, as_array, "{}, operand {k}", e.record().name);
    }
}

#[test]
fn entries_without_a_gradient_have_none() {
    for &e in Elementwise::ALL.iter().filter(|e| !e.record().differentiable) {
        let xs: Vec<Tensor> = operands(e, &[4, 4, 4]).iter().map(|d| Tensor::tracked_identity(&float64(d, &[4]))).collect();
        let y = call(e, &xs).cast(fluxrs::DType::F64).sum(None, false).unwrap();
        let targets: Vec<Target> = xs.iter().map(|x| Target::Node(x.clone())).collect();
        let grads = gradient(&y, None, &targets, false).unwrap();
        assert!(grads.iter().all(Option::is_none), "{}", e.record().name);
    }
}

/// The gradients of an op's sum at these points.
fn slopes(e: Elementwise, points: &[&[f64]]) -> Vec<Vec<f64>> {
    let xs: Vec<Tensor> = points.iter().map(|p| Tensor::tracked_identity(&float64(p, &[p.len()]))).collect();
    let y = call(e, &xs).sum(None, false).unwrap();
    let targets: Vec<Target> = xs.iter().map(|x| Target::Node(x.clone())).collect();
    gradient(&y, None, &targets, false).unwrap().iter().map(|g| values(g.as_ref().unwrap())).collect()
}

#[test]
fn corners() {
    let powers = slopes(Elementwise::power, &[&[0.0, 0.0, 0.0, -2.0, 0.0], &[0.0, 1.0, 2.0, 3.0, 3.0]]);
    assert_eq!(powers, [[0.0, 1.0, 0.0, 12.0, 0.0], [0.0; 5]]);
    assert_eq!(slopes(Elementwise::hypot, &[&[0.0, 3.0], &[0.0, 4.0]]), [[0.0, 0.6], [0.0, 0.8]]);
    assert_eq!(slopes(Elementwise::maximum, &[&[1.0, 2.0, 3.0], &[1.0, 3.0, 2.0]]), [[0.5, 0.0, 1.0], [0.5, 1.0, 0.0]]);
    assert_eq!(slopes(Elementwise::relu, &[&[-1.0, 0.0, 2.0]]), [[0.0, 0.0, 1.0]]);
    assert_eq!(slopes(Elementwise::abs, &[&[-1.0, 0.0, 2.0]]), [[-1.0, 0.0, 1.0]]);
    let far = [-1e300, -800.0, 800.0, 1e300];
    for e in [Elementwise::sigmoid, Elementwise::tanh, Elementwise::softplus, Elementwise::swish, Elementwise::softsign] {
        let s = &slopes(e, &[&far])[0];
        assert!(s.iter().all(|x| x.is_finite()), "{}: {s:?}", e.record().name);
    }
    let both = slopes(Elementwise::logaddexp, &[&[f64::NEG_INFINITY, 1000.0, 0.0], &[1.0, -1000.0, 0.0]]);
    assert_eq!(both, [[0.0, 1.0, 0.5], [1.0, 0.0, 0.5]]);
    let edge = Elementwise::logaddexp.apply(&[&float64(&[f64::NEG_INFINITY; 1], &[1]), &float64(&[f64::NEG_INFINITY; 1], &[1])]);
    assert_eq!(values(&edge.unwrap()), [f64::NEG_INFINITY]);
}

/// An infinite gradient of what `maximum` makes stays with the operand it belongs to.
#[test]
fn a_branch_not_chosen_has_a_clean_gradient() {
    let x = Tensor::tracked_identity(&float64(&[-1.0, 4.0], &[2]));
    let y = Elementwise::maximum.apply(&[&x, &Tensor::number(0.0)]).unwrap();
    let root = Elementwise::sqrt.apply(&[&y]).unwrap().sum(None, false).unwrap();
    let g = gradient(&root, None, &[Target::Node(x.clone())], false).unwrap();
    assert_eq!(values(g[0].as_ref().unwrap()), [0.0, 0.25]);
}

#[test]
fn reductions() {
    let x = numbers(24, (0.3, 2.0), 1);
    let shape: &[usize] = &[2, 3, 4];
    for kind in [Reduction::Sum, Reduction::Prod, Reduction::Max, Reduction::Min] {
        for axes in [None, Some(&[0][..]), Some(&[1]), Some(&[-1]), Some(&[0, 2]), Some(&[1, 2])] {
            check_gradients(kind.name(), &[(&x, shape)], &|x| exp(x[0].reduce(kind, axes, false).unwrap() * 0.1));
        }
    }
    for axes in [None, Some(&[0][..]), Some(&[1, 2])] {
        check_gradients("mean", &[(&x, shape)], &|x| square(x[0].mean(axes, false).unwrap()));
        check_gradients("var", &[(&x, shape)], &|x| x[0].var(axes, 1.0, false).unwrap());
        check_gradients("std", &[(&x, shape)], &|x| x[0].std(axes, 0.0, true).unwrap());
        check_gradients("logsumexp", &[(&x, shape)], &|x| x[0].logsumexp(axes, false).unwrap());
    }
    for axis in [0, 1, -1] {
        check_gradients("softmax", &[(&x, shape)], &|x| x[0].softmax(axis).unwrap());
        check_gradients("logsoftmax", &[(&x, shape)], &|x| x[0].logsoftmax(axis).unwrap());
    }
    // Zeros are factors like others.
    for zeros in [&[0][..], &[1, 3], &[0, 1, 4]] {
        let mut x = numbers(5, (0.5, 2.0), 2);
        zeros.iter().for_each(|&i| x[i] = 0.0);
        check_gradients("prod with zeros", &[(&x, &[5])], &|x| x[0].reduce(Reduction::Prod, None, false).unwrap());
    }
}

#[test]
fn views_and_places() {
    let x = numbers(12, (-2.0, 2.0), 3);
    let y = numbers(6, (-2.0, 2.0), 4);
    let one = |name: &str, f: &dyn Fn(&Tensor) -> Tensor| check_gradients(name, &[(&x, &[3, 4])], &|x| exp(f(&x[0])));
    one("reshape", &|x| x.transpose(None).unwrap().reshape(&[2, -1]).unwrap());
    one("moveaxis", &|x| x.expand_dims(&[0]).unwrap().moveaxis(0, 2).unwrap());
    one("broadcast_to", &|x| x.expand_dims(&[1]).unwrap().broadcast_to(&[3, 2, 4]).unwrap());
    one("slice", &|x| x.slice(&[Slice { start: 2, step: -2, len: 2 }, Slice { start: 1, step: 2, len: 2 }]));
    one("diagonal", &|x| x.diagonal(1, 0, 1).unwrap());
    one("pad", &|x| x.pad(&[(1, 0), (0, 2)], Number::Float(0.5)).unwrap());
    one("repeat", &|x| x.repeat(2, 1).unwrap());
    one("tile", &|x| x.tile(&[2, 1, 2]).unwrap());
    one("split", &|x| x.split(2, 1).unwrap().remove(1));
    one("stack", &|x| stack(&[x.clone(), x * 2.0], 1).unwrap());
    check_gradients("concatenate", &[(&x, &[3, 4]), (&y, &[3, 2])], &|x| exp(concatenate(x, 1).unwrap()));
    let index = int64(&[2, 0, -1, 2], &[2, 2]);
    one("take", &|x| take(x, &index, 0).unwrap());
    one("take", &|x| take(x, &index, 1).unwrap());
    one("indexing", &|x| take_at(x, &[index.clone(), int64(&[1, 3], &[2])]).unwrap());
}

#[test]
fn products() {
    let shapes: [(&[usize], &[usize]); 8] = [
        (&[3], &[3]),
        (&[2, 3], &[3]),
        (&[3], &[3, 2]),
        (&[2, 3], &[3, 4]),
        (&[2, 2, 3], &[3, 2]),
        (&[2, 1, 2, 3], &[2, 3, 2]),
        (&[4, 1], &[1, 3]),
        (&[3], &[2, 3, 2]),
    ];
    for (a, b) in shapes {
        let data = [a, b].map(|s| numbers(s.iter().product(), (-1.0, 1.0), s.len() as u64));
        check_gradients(&format!("{a:?} @ {b:?}"), &[(&data[0], a), (&data[1], b)], &|x| exp(matmul(&x[0], &x[1]).unwrap()));
        let turned = |x: &Tensor| x.flip(None).unwrap();
        check_gradients("of views", &[(&data[0], a), (&data[1], b)], &|x| matmul(&turned(&x[0]), &turned(&x[1])).unwrap());
    }
    let none: [(&[usize], &[usize], usize); 6] = [
        (&[0], &[0], 1),
        (&[2, 0], &[0], 2),
        (&[0], &[0, 3], 3),
        (&[2, 0], &[0, 1], 2),
        (&[2, 1, 4, 0], &[3, 0, 5], 120),
        (&[0, 2], &[2, 3], 0),
    ];
    for (a, b, size) in none {
        let data = [a, b].map(|s| vec![1.5; s.iter().product()]);
        let of = |x: &[Tensor]| matmul(&x[0], &x[1]).unwrap();
        close("nothing to sum", &values(&of(&[float64(&data[0], a), float64(&data[1], b)])), &vec![0.0; size], 0.0);
        check_gradients(&format!("{a:?} @ {b:?}"), &[(&data[0], a), (&data[1], b)], &of);
    }
}
