//! Programs that the fuzzer found wrong, or that show what it looks for, one test each.

use fluxrs::evaluate::{self, Handle};
use fluxrs::leaf::{self, Leaf};
use fluxrs::ops::index::take;
use fluxrs::ops::matmul::matmul;
use fluxrs::ops::reduce::Kind;
use fluxrs::ops::view::Slice;
use fluxrs::reference::{Reference, Value, computed};
use fluxrs::tape::{Target, gradient};
use fluxrs::{Elementwise, Error, Tensor};
use std::sync::Arc;

fn floats(values: &[f32], shape: &[usize]) -> Tensor {
    Tensor::from_slice(values, shape).unwrap()
}

fn param(values: &[f32], shape: &[usize]) -> Arc<Leaf> {
    Leaf::of(&floats(values, shape), true).unwrap()
}

fn values(t: &Tensor) -> Vec<f64> {
    let a = computed(t).unwrap();
    (0..a.len()).map(|i| a.at(i)).collect()
}

fn now(leaf: &Leaf) -> Vec<f64> {
    values(&leaf.value().unwrap())
}

fn by(e: Elementwise, xs: &[&Tensor]) -> Tensor {
    e.apply(xs).unwrap()
}

/// All of them at once, as the reference has them.
fn check(tensors: &[Tensor]) {
    let mut reference = Reference::default();
    let held: Vec<Handle> = tensors.iter().cloned().map(Handle::new).collect();
    for t in held.iter().map(Handle::tensor) {
        let Ok(Value::Array(want)) = reference.value(t) else { panic!("{t:?} has no value") };
        let got = computed(t).unwrap();
        assert!(want.same(&got), "{t:?}: {:?}", values(t));
    }
}

/// The gradient of `y` by a leaf, held.
fn slope(y: &Tensor, leaf: &Leaf) -> Handle {
    let g = gradient(y, None, &[Target::Leaf(leaf.number())], false).unwrap();
    Handle::new(g[0].clone().unwrap())
}

#[test]
fn operands_of_a_column_fold_outlive_the_block() {
    let x = floats(&[1.0, -2.0, 3.0, 4.0], &[2, 2]);
    let b = by(Elementwise::greater, &[&x, &Tensor::number(-5.0)]);
    let t = by(Elementwise::tanh, &[&b]);
    let all = t.reduce(Kind::All, Some(&[0]), false).unwrap();
    check(&[all, t, by(Elementwise::cos, &[&b]), b]);
}

#[test]
fn operands_of_a_long_row_fold_outlive_the_block() {
    let x = Tensor::from_slice(&(0..9000).collect::<Vec<i32>>(), &[1800, 5]).unwrap();
    let y = &x * &x;
    let g = by(Elementwise::sigmoid, &[&y]);
    check(&[y.sum(None, false).unwrap(), y, g]);
}

#[test]
fn a_constant_that_is_held_and_broadcast_beside_a_product() {
    let y = matmul(&floats(&[1.0; 36], &[3, 3, 4]), &floats(&[1.0, 2.0, 3.0, 4.0], &[4, 1])).unwrap();
    let ground = Tensor::full(&[3, 1, 1], 0.5, fluxrs::DType::F32).unwrap();
    check(&[by(Elementwise::add, &[&y, &ground]), ground]);
}

#[test]
fn rows_of_length_zero() {
    let x = floats(&[], &[3, 0, 2]);
    let total = x.sum(Some(&[1]), true).unwrap();
    check(&[x.softmax(1).unwrap(), x.mean(Some(&[1]), true).unwrap(), by(Elementwise::add, &[&x, &total]), total]);
    let flat = x.broadcast_to(&[2, 3, 0, 2]).unwrap().flip(Some(&[0])).unwrap();
    check(&[flat.sum(Some(&[0, 1]), false).unwrap(), flat.contiguous()]);
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
fn a_failed_update_gives_the_gradient_back() {
    let w = param(&[1.0, 2.0], &[2]);
    leaf::back(&w.value().unwrap().sum(None, false).unwrap(), None).unwrap();
    leaf::update(&w, &w.grad().unwrap()).unwrap();
    fluxrs::buffer::faults::fail_after(1);
    assert!(matches!(leaf::flush(), Err(Error::Memory(_))));
    fluxrs::buffer::faults::fail_after(0);
    assert_eq!((now(&w), values(&w.grad().unwrap())), (vec![1.0, 2.0], vec![1.0, 1.0]));
    assert!(!evaluate::is_ready(&Handle::new(w.value().unwrap() + 1.0).tensor().clone()));
}

#[test]
fn another_threads_results_outlive_an_update() {
    let w = param(&[1.0, 2.0], &[2]);
    let y = Handle::new(w.value().unwrap() * 10.0);
    std::thread::scope(|s| {
        s.spawn(|| {
            leaf::update(&w, &floats(&[1.0, 1.0], &[2])).unwrap();
            leaf::flush().unwrap();
        });
    });
    assert_eq!((values(y.tensor()), now(&w)), (vec![10.0, 20.0], vec![2.0, 3.0]));
}

#[test]
fn another_thread_commits_what_waits_and_its_owner_hears_of_failure() {
    let w = param(&[1.0, -1.0], &[2]);
    let bad = by(Elementwise::log, &[&w.value().unwrap()]).sum(None, false).unwrap();
    leaf::update(&w, slope(&bad, &w).tensor()).unwrap();
    std::thread::scope(|s| {
        s.spawn(|| assert_eq!(now(&w), [1.0, -1.0]));
    });
    assert!(matches!(leaf::flush(), Err(Error::BadLoss(_))));
    leaf::update(&w, &floats(&[1.0, 1.0], &[2])).unwrap();
    std::thread::scope(|s| {
        s.spawn(|| assert_eq!(now(&w), [2.0, 0.0]));
    });
    leaf::flush().unwrap();
}

#[test]
fn threads_that_read_while_another_learns() {
    let w = param(&[0.0; 64], &[64]);
    std::thread::scope(|s| {
        let learner = s.spawn(|| {
            for _ in 0..2000 {
                leaf::update(&w, &Tensor::full(&[64], 1.0, fluxrs::DType::F32).unwrap()).unwrap();
                leaf::flush().unwrap();
            }
        });
        while !learner.is_finished() {
            let seen = values(w.held().unwrap().tensor());
            assert!(seen.iter().all(|&x| x == seen[0]), "half a step was seen");
        }
    });
    assert_eq!(now(&w), [2000.0; 64]);
}

#[test]
fn results_made_while_another_thread_learns_outlive_its_steps() {
    let w = param(&[0.0; 64], &[64]);
    std::thread::scope(|s| {
        let learner = s.spawn(|| {
            for _ in 0..2000 {
                leaf::update(&w, &Tensor::full(&[64], 1.0, fluxrs::DType::F32).unwrap()).unwrap();
                leaf::flush().unwrap();
            }
        });
        while !learner.is_finished() {
            let now = w.held().unwrap();
            let twice = Handle::new(now.tensor() * 2.0);
            drop(now);
            std::thread::yield_now();
            let seen = values(twice.tensor());
            assert!(seen.iter().all(|&x| x == seen[0]), "half a step was seen");
        }
    });
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
fn two_threads_accumulate_into_one_gradient() {
    let w = param(&[1.0], &[1]);
    std::thread::scope(|s| {
        for _ in 0..2 {
            s.spawn(|| {
                (0..500).for_each(|_| {
                    leaf::back(&w.value().unwrap().sum(None, false).unwrap(), None).unwrap();
                })
            });
        }
    });
    assert_eq!(values(&w.grad().unwrap()), [1000.0]);
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
fn two_threads_update_one_parameter() {
    let w = param(&[0.0; 8], &[8]);
    let one = floats(&[1.0; 8], &[8]);
    std::thread::scope(|s| {
        for _ in 0..2 {
            s.spawn(|| {
                for _ in 0..500 {
                    leaf::update(&w, &one).unwrap();
                    leaf::flush().unwrap();
                }
            });
        }
    });
    assert_eq!(now(&w), [1000.0; 8]);
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
