//! Gradients, and what a forward evaluation keeps for them.

use super::common::{by, now, values};
use super::{floats, param, slope};
use fluxrs::evaluate::{self, Handle};
use fluxrs::leaf::{self, Leaf};
use fluxrs::ops::index::take;
use fluxrs::ops::matmul::matmul;
use fluxrs::tape::{Target, gradient};
use fluxrs::{Elementwise, Error, Tensor};
use std::sync::Arc;

#[test]
fn a_gradient_outlives_what_it_was_made_of() {
    let (w, v) = (param(&[1.0, 2.0], &[2]), param(&[3.0, 4.0], &[2]));
    let loss = (w.value().unwrap() * v.value().unwrap()).sum(None, false).unwrap();
    leaf::back(&loss, None).unwrap();
    drop(loss);
    leaf::update(&v, &floats(&[1.0, 1.0], &[2])).unwrap();
    leaf::flush().unwrap();
    assert_eq!(values(&w.grad().unwrap()), [3.0, 4.0]);
}

#[test]
fn a_checkpoint_of_one_input_twice() {
    use fluxrs::ops::{Pullback, custom};
    struct Square(Tensor);
    impl Pullback for Square {
        fn name(&self) -> String {
            "square".into()
        }
        fn pull(&self, out: &Tensor, g: &Tensor) -> fluxrs::Result<Vec<Option<Tensor>>> {
            leaf::inputs_are_current(out)?;
            let _tracking = fluxrs::graph::Tracking::enter();
            fluxrs::tape::pullback(&(&self.0 * &self.0), Some(g), &[Target::Node(self.0.clone()), Target::Node(self.0.clone())])
        }
    }
    let w = param(&[3.0], &[1]);
    let checkpoint = || {
        let _scope = fluxrs::graph::Checkpoint::enter();
        let x = w.value().unwrap();
        custom::checkpointed(&(&x * &x), &[x.clone(), x.clone()], Arc::new(Square(x)))
    };
    assert_eq!(values(slope(&checkpoint(), &w).tensor()), [6.0]);
    // It cannot run again once the parameter has changed.
    let y = checkpoint();
    leaf::update(&w, &floats(&[1.0], &[1])).unwrap();
    assert!(matches!(gradient(&y, None, &[Target::Leaf(w.number())], false), Err(Error::Value(_))));
}

#[test]
fn a_gradient_is_let_go_after_the_lock() {
    use fluxrs::ops::{Pullback, custom};
    /// A Python object that makes more graph when its graph goes.
    struct Last;
    impl Drop for Last {
        fn drop(&mut self) {
            let more = Handle::new(floats(&[1.0], &[1]) + 1.0);
            assert!(!evaluate::is_ready(more.tensor()));
        }
    }
    impl Pullback for Last {
        fn name(&self) -> String {
            "last".into()
        }
        fn pull(&self, _: &Tensor, g: &Tensor) -> fluxrs::Result<Vec<Option<Tensor>>> {
            Ok(vec![Some(g.clone())])
        }
    }
    let w = param(&[1.0], &[1]);
    let loss = || custom::custom(&floats(&[2.0], &[1]), &[w.value().unwrap()], Arc::new(Last));
    let back = || {
        let loss = loss();
        leaf::back(&loss, None).unwrap();
        loss
    };
    back();
    w.set_grad(None).unwrap();
    back();
    back();
    w.set_grad(Some(floats(&[0.0], &[1]))).unwrap();
    leaf::forget(&back());
    back();
    leaf::update(&w, &w.grad().unwrap()).unwrap();
    leaf::discard(0);
    back();
    leaf::update(&w, &w.grad().unwrap()).unwrap();
    leaf::flush().unwrap();
    assert_eq!(now(&w), [3.0]);
}

#[test]
fn a_product_over_nothing_derives_from_its_loss() {
    let w = param(&[1.0, 2.0], &[2, 1]);
    let nothing = matmul(&w.value().unwrap(), &floats(&[], &[1, 0])).unwrap();
    let bad = by(Elementwise::add, &[&nothing.sum(None, false).unwrap(), &Tensor::number(f64::NAN)]);
    leaf::update(&w, slope(&bad, &w).tensor()).unwrap();
    assert!(matches!(leaf::flush(), Err(Error::BadLoss(_))));
}

#[test]
fn a_kept_value_goes_with_the_backward_pass_and_is_computed_again_elsewhere() {
    let w = param(&[1.0, 2.0], &[2]);
    let total = (&w.value().unwrap() * w.value().unwrap()).sum(None, false).unwrap();
    let beside = Handle::new(&total * 2.0);
    let loss = Handle::new(by(Elementwise::square, &[&total]));
    // The loss alone is read, with the total kept; then the step uses that up and overwrites what it was made of.
    let index = Tensor::from_slice(&[9i64], &[1]).unwrap();
    let wrong = Handle::new(take(&beside.tensor().reshape(&[1]).unwrap(), &index, 0).unwrap());
    assert!(values(loss.tensor())[0] > 0.9);
    assert!(!evaluate::is_ready(beside.tensor()));
    drop(wrong);
    let dw = slope(loss.tensor(), &w);
    leaf::update(&w, dw.tensor()).unwrap();
    drop(dw);
    leaf::flush().unwrap();
    assert_eq!(values(beside.tensor()), [10.0]);
}

#[test]
fn a_kept_value_out_of_reach_serves_a_second_gradient() {
    let (v, w) = (param(&[1.0, 2.0, 3.0, 4.0], &[2, 2]), param(&[1.0, 2.0, 3.0, 4.0], &[2, 2]));
    let hidden = matmul(&w.value().unwrap(), &floats(&[1.0, 1.0, 1.0, 1.0], &[2, 2])).unwrap();
    let loss = Handle::new((&hidden * v.value().unwrap()).sum(None, false).unwrap());
    assert_eq!(values(loss.tensor()), [58.0]);
    drop(hidden);
    leaf::update(&w, &Tensor::number(1.0)).unwrap();
    leaf::flush().unwrap();
    let (first, second) = (slope(loss.tensor(), &v), slope(loss.tensor(), &v));
    assert_eq!(values(first.tensor()), [3.0, 3.0, 7.0, 7.0]);
    assert_eq!(values(second.tensor()), [3.0, 3.0, 7.0, 7.0]);
}

#[test]
fn one_rule_for_gradients_after_updates() {
    // (whether the loss was read before, the loss of p and x): a gradient that needs no old value can be had after any update.
    type Loss = fn(&Tensor, &Tensor) -> Tensor;
    let cases: [(Loss, bool); 2] = [(|p, x| p * x, true), (|p, _| p * p, false)];
    let updates: [fn(&Arc<Leaf>); 2] = [
        |p| leaf::update(p, &Tensor::number(1.0)).unwrap(),
        |p| leaf::assign(p, &Tensor::from_slice(&[5f32, 5.0], &[2]).unwrap()).unwrap(),
    ];
    for (f, reachable) in cases {
        for update in updates {
            let (p, x) = (param(&[1.0, 2.0], &[2]), floats(&[3.0, 4.0], &[2]));
            let loss = || Handle::new(f(&p.value().unwrap(), &x).sum(None, false).unwrap());
            let (queued, committed) = (loss(), loss());
            let want = if reachable { vec![3.0, 4.0] } else { vec![2.0, 4.0] };
            update(&p);
            leaf::back(queued.tensor(), None).unwrap();
            leaf::flush().unwrap();
            assert_eq!(values(&p.grad().unwrap()), want);
            p.set_grad(None).unwrap();
            match leaf::back(committed.tensor(), None) {
                Ok(_) => assert!(reachable && values(&p.grad().unwrap()) == want),
                Err(error) => {
                    let Error::Value(text) = error else { panic!("{error}") };
                    assert!(!reachable && text.contains("the float32 parameter of shape (2,)"), "{text}");
                    assert!(p.grad().is_none());
                }
            }
        }
    }
}
