//! Updates, and the losses that guard them.

use super::common::{by, now, values};
use super::{floats, param, slope};
use fluxrs::evaluate::{self, Handle};
use fluxrs::leaf;
use fluxrs::ops::index::take;
use fluxrs::ops::matmul::matmul;
use fluxrs::ops::view::Slice;
use fluxrs::{Elementwise, Error, Tensor};

#[test]
fn the_loss_of_a_gradient_is_there_when_the_update_asks_for_it() {
    let (w, v) = (param(&[1.0, 2.0], &[2]), param(&[3.0, 4.0], &[2]));
    let loss = (w.value().unwrap() * v.value().unwrap()).sum(None, false).unwrap();
    let (dw, dv) = (slope(&loss, &w), slope(&loss, &v));
    drop(loss);
    leaf::update(&w, dw.tensor()).unwrap();
    leaf::flush().unwrap();
    leaf::update(&v, dv.tensor()).unwrap();
    leaf::flush().unwrap();
    assert_eq!((now(&w), now(&v)), (vec![4.0, 6.0], vec![4.0, 6.0]));
}

#[test]
fn a_loss_is_watched_without_what_lies_beside_it() {
    let w = param(&[1.0, 0.0], &[2]);
    let all = || w.value().unwrap() + floats(&[0.0, f32::INFINITY], &[2]);
    let part = |start: usize| all().slice(&[Slice { start, step: 1, len: 1 }]);
    leaf::update(&w, slope(&part(0), &w).tensor()).unwrap();
    leaf::flush().unwrap();
    assert_eq!(now(&w), [2.0, 0.0]);
    leaf::update(&w, slope(&part(1), &w).tensor()).unwrap();
    assert!(matches!(leaf::flush(), Err(Error::BadLoss(_))));
    leaf::back(&part(1), None).unwrap();
    leaf::update(&w, &w.grad().unwrap()).unwrap();
    assert!(matches!(leaf::flush(), Err(Error::BadLoss(_))));
    assert!(w.grad().is_none());
    assert_eq!(now(&w), [2.0, 0.0]);
}

#[test]
fn the_traps_of_updates_in_place() {
    let w = param(&[1.0, 2.0, 3.0, 4.0], &[2, 2]);
    let transposed = w.value().unwrap().transpose(None).unwrap();
    leaf::update(&w, &transposed).unwrap();
    drop(transposed);
    assert_eq!(now(&w), [2.0, 5.0, 5.0, 8.0]);

    let b = param(&[1.0, 2.0, 3.0], &[3]);
    leaf::update(&b, &b.value().unwrap().flip(None).unwrap()).unwrap();
    assert_eq!(now(&b), [4.0, 4.0, 4.0]);

    let v = param(&[1.0, 2.0, 3.0], &[3]);
    let index = Tensor::from_slice(&[2i64, 0, 0], &[3]).unwrap();
    leaf::update(&v, &take(&v.value().unwrap(), &index, 0).unwrap()).unwrap();
    assert_eq!(now(&v), [4.0, 3.0, 4.0]);

    // dx = dy·W is read after W's update is queued.
    let w = param(&[1.0, 2.0, 3.0, 4.0], &[2, 2]);
    let x = param(&[1.0, 1.0], &[1, 2]);
    let y = matmul(&x.value().unwrap(), &w.value().unwrap()).unwrap();
    let loss = y.sum(None, false).unwrap();
    let (dw, dx) = (slope(&loss, &w), slope(&loss, &x));
    leaf::update(&w, dw.tensor()).unwrap();
    leaf::flush().unwrap();
    assert_eq!(values(dx.tensor()), [3.0, 7.0]);
    assert_eq!(now(&w), [2.0, 3.0, 4.0, 5.0]);

    // Two parameters that are each other's next value.
    let (a, b) = (param(&[1.0, 2.0], &[2]), param(&[10.0, 20.0], &[2]));
    let (old_a, old_b) = (a.value().unwrap(), b.value().unwrap());
    leaf::assign(&a, &old_b).unwrap();
    leaf::assign(&b, &old_a).unwrap();
    drop((old_a, old_b));
    leaf::flush().unwrap();
    assert_eq!((now(&a), now(&b)), (vec![10.0, 20.0], vec![1.0, 2.0]));
}

#[test]
fn a_bad_loss_leaves_the_gradient_of_the_good_one() {
    let w = param(&[1.0, -1.0], &[2]);
    let good = w.value().unwrap().sum(None, false).unwrap();
    leaf::back(&good, None).unwrap();
    let bad = by(Elementwise::log, &[&w.value().unwrap()]).sum(None, false).unwrap();
    leaf::back(&bad, None).unwrap();
    let g = Handle::new(w.grad().unwrap());
    leaf::update(&w, &(g.tensor() * -0.1)).unwrap();
    assert!(matches!(leaf::flush(), Err(Error::BadLoss(_))));
    assert_eq!(now(&w), [1.0, -1.0]);
    assert_eq!(values(&w.grad().unwrap()), [1.0, 1.0]);
}

#[test]
fn a_failed_update_gives_the_gradient_back() {
    let attempt = || {
        let w = param(&[1.0, 2.0], &[2]);
        leaf::back(&w.value().unwrap().sum(None, false).unwrap(), None).unwrap();
        leaf::update(&w, &w.grad().unwrap()).unwrap();
        fluxrs::buffer::faults::fail_after(1);
        let result = leaf::flush();
        fluxrs::buffer::faults::fail_after(0);
        Some((w, result.err()?))
    };
    // An evaluation of another test's thread may take the update along, before this one fails.
    let (w, error) = (0..100).find_map(|_| attempt()).expect("an update fails where memory does");
    assert!(matches!(error, Error::Memory(_)));
    assert_eq!((now(&w), values(&w.grad().unwrap())), (vec![1.0, 2.0], vec![1.0, 1.0]));
    assert!(!evaluate::is_ready(&Handle::new(w.value().unwrap() + 1.0).tensor().clone()));
}

#[test]
fn a_loss_on_the_way_to_something_else_is_kept_when_its_parameter_goes() {
    let (w, x) = (param(&[1.0, 2.0], &[1, 2]), floats(&[3.0, 4.0], &[2, 1]));
    let loss = matmul(&w.value().unwrap(), &x).unwrap().reshape(&[1]).unwrap();
    let beside = Handle::new(by(Elementwise::tanh, &[&loss]));
    leaf::update(&w, &floats(&[1.0, 1.0], &[1, 2])).unwrap();
    // The slope needs nothing of w, but the loss does, and a step made of the slope asks for it.
    let dw = slope(&loss, &w);
    drop(loss);
    leaf::flush().unwrap();
    leaf::update(&w, dw.tensor()).unwrap();
    leaf::flush().unwrap();
    assert_eq!(now(&w), [5.0, 7.0]);
    drop(beside);
}

#[test]
fn a_gradient_goes_back_to_what_it_was_before_a_bad_loss_though_a_parameter_has_changed_since() {
    let (v, w) = (param(&[2.0, 3.0], &[2]), param(&[1.0, 2.0], &[2]));
    let loss = |factor: f64| (v.value().unwrap() * w.value().unwrap() * factor).sum(None, false).unwrap();
    leaf::back(&loss(1.0), None).unwrap();
    leaf::back(&loss(f64::INFINITY), None).unwrap();
    leaf::update(&v, &Tensor::number(1.0)).unwrap();
    leaf::flush().unwrap();
    leaf::update(&w, &w.grad().unwrap()).unwrap();
    assert!(matches!(leaf::flush(), Err(Error::BadLoss(_))));
    assert_eq!(values(&w.grad().unwrap()), [2.0, 3.0]);
    assert_eq!((now(&v), now(&w)), (vec![3.0, 4.0], vec![1.0, 2.0]));
}
