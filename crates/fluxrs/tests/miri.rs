//! A little of everything, small enough for Miri: `tools/sanitize.sh miri`. Miri sees undefined behaviour, uninitialised memory and
//! races that happen to do no harm; values are compared with the reference.

// Update rules are written in the symbols of their papers.
#![allow(confusable_idents)]

#[path = "common/check.rs"]
mod common;

use common::{by, now, values};
use fluxrs::buffer::Buffer;
use fluxrs::evaluate::{self, Handle};
use fluxrs::leaf::{self, Leaf};
use fluxrs::ops::along::take_along_axis;
use fluxrs::ops::attention::attention;
use fluxrs::ops::conv::{Step, conv, conv_transpose};
use fluxrs::ops::index::{nonzero, take, take_at};
use fluxrs::ops::linalg::{det, inverse, solve};
use fluxrs::ops::place::{concatenate, stack};
use fluxrs::ops::pool::{Window, maxpool, meanpool};
use fluxrs::ops::random::{Replay, Stream, bernoulli, permutation, rand, randint, randn};
use fluxrs::ops::view::Slice;
use fluxrs::ops::{Pullback, custom, einsum::einsum, matmul::matmul};
use fluxrs::optim::{Hyper, by_name};
use fluxrs::reference::computed;
use fluxrs::tape::{Target, gradient, pullback};
use fluxrs::{DType, Elementwise, Error, Result, Tensor, pool};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, mpsc};

/// Elements of every type: small, of both signs, none twice in a row.
fn data(shape: &[usize], dtype: DType) -> Tensor {
    let n: usize = shape.iter().product();
    let of = |i: usize| ((i * 7 + 3) % 11) as f32 - 5.0;
    Tensor::from_slice(&(0..n).map(of).collect::<Vec<f32>>(), shape).unwrap().cast(dtype)
}

fn floats(shape: &[usize]) -> Tensor {
    data(shape, DType::F32)
}

fn param(shape: &[usize]) -> Arc<Leaf> {
    Leaf::of(&floats(shape), true).unwrap()
}

fn square(x: &Tensor) -> Tensor {
    (x * x).sum(None, false).unwrap()
}

/// Every one of them, but in Miri, which takes its time, only number i, over and over.
fn some<const N: usize>(i: usize, all: [DType; N]) -> impl Iterator<Item = DType> {
    all.into_iter().enumerate().filter(move |&(k, _)| !cfg!(miri) || k == i % N).map(|(_, dtype)| dtype)
}

fn check(tensors: Vec<Result<Tensor>>) {
    common::check(tensors.into_iter().map(Result::unwrap));
}

#[test]
fn loops_in_every_mode() {
    const TYPES: [DType; 5] = [DType::F32, DType::F64, DType::I32, DType::I64, DType::Bool];
    for (i, shape) in [&[][..], &[70], &[2, 0, 3], &[3, 5], &[2, 70]].into_iter().enumerate() {
        for dtype in some(i, TYPES) {
            let x = data(shape, dtype);
            let all = |x: &Tensor| x.sum(None, false);
            let y = by(Elementwise::add, &[&x, &Tensor::number(2)]);
            let mut made = vec![all(&x), all(&y), Ok(by(Elementwise::greater, &[&y, &x])), Ok(y.cast(DType::F64)), Ok(y.clone())];
            for axis in 0..shape.len() as isize {
                made.push(y.sum(Some(&[axis]), true));
                made.push(Ok(&y + &y.sum(Some(&[axis]), true).unwrap()));
                made.push(y.flip(Some(&[axis])).map(|flipped| flipped + 1));
            }
            made.push(y.transpose(None).map(|t| t.contiguous()));
            check(made);
        }
    }
}

#[test]
fn products_of_every_way() {
    // A few rows, a few columns, blocks with ragged edges, a large one, a batch, nothing to add up; with an epilogue and a fold behind it.
    let sizes = [(1, 40, 3), (5, 9, 2), (13, 4, 17), (33, 6, 49), (2, 0, 3)];
    for (i, (m, k, n)) in sizes.into_iter().enumerate() {
        for dtype in some(i, [DType::F32, DType::F64, DType::I32, DType::I64]) {
            let (a, b) = (data(&[m, k], dtype), data(&[k, n], dtype));
            let y = matmul(&a, &b).unwrap();
            let z = by(Elementwise::maximum, &[&(&y + data(&[n], dtype)), &Tensor::number(0)]);
            let turned = matmul(&a, &data(&[n, k], dtype).transpose(None).unwrap());
            let other = matmul(&data(&[k, m], dtype).transpose(None).unwrap(), &b);
            check(vec![turned, other, z.sum(Some(&[0]), false), Ok(z), Ok(y)]);
        }
    }
    let batch = floats(&[2, 3, 4]);
    check(vec![
        matmul(&batch, &floats(&[4, 2])),
        matmul(&batch, &floats(&[2, 4, 3])),
        einsum("bij,bkj->ik", &[batch.clone(), batch]),
    ]);
}

const PAIRS: Window<'static> = Window { kernel: &[2, 2], stride: &[1, 2], margins: &[(1, 0), (0, 1)] };

#[test]
fn convolutions_of_every_way() {
    let step = |stride, dilation, margin| Step { stride, dilation, pad: (margin, margin) };
    let one = |x: &[usize], w: &[usize], steps: &[Step], groups: usize| {
        let x = Tensor::tracked_identity(&floats(x));
        let w = Tensor::tracked_identity(&floats(w));
        let y = conv(&x, &w, steps, groups).unwrap();
        let slopes = gradient(&y, Some(&y), &[Target::Node(x), Target::Node(w.clone())], true).unwrap();
        let back = conv_transpose(&y, &w, steps, groups);
        check([Ok(y), back].into_iter().chain(slopes.into_iter().flatten().map(Ok)).collect());
    };
    // Few rows, which read the image where it lies; many, which pack patches; strides, dilation and groups; several channels.
    one(&[2, 1, 4, 5], &[2, 1, 3, 2], &[step(1, 1, 1), step(1, 1, 0)], 1);
    one(&[1, 2, 3, 3], &[14, 2, 2, 2], &[step(1, 1, 1), step(1, 1, 0)], 1);
    one(&[1, 2, 7], &[2, 1, 2], &[step(2, 2, 1)], 2);
    one(&[2, 9, 3, 4], &[3, 9, 2, 2], &[step(1, 1, 1), step(1, 1, 0)], 1);
}

#[test]
fn structured_ops() {
    let _stream = Replay::enter(Stream { seed: 7, counter: u64::MAX - 2 });
    let index = |values: &[i64], shape: &[usize]| Tensor::from_slice(values, shape).unwrap();
    let x = floats(&[4, 5]);
    let diagonal = &floats(&[3, 3]) * 0.1 + Tensor::from_slice(&[4f32, 0., 0., 0., 4., 0., 0., 0., 4.], &[3, 3]).unwrap();
    check(vec![
        take(&x, &index(&[2, 0, -1, 2], &[2, 2]), 0),
        take(&x, &index(&[2, 0, -1], &[3]), 1),
        take_at(&x, &[index(&[0, 3], &[2]), index(&[1, -1], &[2])]),
        x.argsort(Some(1)).and_then(|order| take_along_axis(&x, &order, Some(1))),
        x.argmax(Some(0), false),
        attention(&x, &floats(&[3, 5]), &floats(&[3, 2]), None, true, None),
        maxpool(&x, PAIRS),
        meanpool(&x, PAIRS),
        x.cumprod(None),
        x.cumsum(Some(0)),
        x.sort(Some(0)),
        x.softmax(1),
        concatenate(&[x.clone(), floats(&[2, 5])], 0),
        stack(&[x.clone(), x.clone()], 1),
        Ok(x.slice(&[Slice { start: 3, step: -2, len: 2 }, Slice { start: 1, step: 2, len: 2 }]) * 2.0),
        inverse(&diagonal),
        det(&diagonal),
        solve(&diagonal, &floats(&[3, 2])),
        rand(&[7], DType::F32),
        randn(&[7], DType::F64),
        randint(-3, 9, &[19], DType::I32),
        bernoulli(&Tensor::number(0.5), &[5]),
        permutation(9),
    ]);
    assert_eq!(values(&nonzero(&by(Elementwise::greater, &[&x, &Tensor::number(3)])).unwrap()[0]), [0.0, 0.0, 2.0, 3.0]);
    assert!(matches!(computed(&take(&x, &index(&[9], &[1]), 0).unwrap()), Err(Error::Index(_))));
}

#[test]
fn handles_claims_and_drops() {
    let mut x = floats(&[2]);
    let first = Handle::new(&x + 1.0);
    for _ in 0..12 {
        x = x + 1.0;
    }
    let views: Vec<Handle> = (0..3).map(|_| Handle::new(x.reshape(&[2, 1]).unwrap())).collect();
    let again = views.clone();
    drop(views);
    assert!(!evaluate::is_ready(again[0].tensor()));
    assert_eq!(values(&x)[0], values(first.tensor())[0] + 11.0);
    drop(x);
    // A chain that nobody evaluates, dropped by a thread that ends.
    let mut chain = again[0].tensor() * 2.0;
    for _ in 0..60 {
        chain = chain + 1.0;
    }
    std::thread::spawn(move || drop(chain)).join().unwrap();
}

#[test]
fn updates_in_place() {
    let w = param(&[3, 4]);
    let before = now(&w);
    let one = floats(&[3, 4]);
    for step in 0..3 {
        let held = (step == 1).then(|| w.held().unwrap());
        leaf::update(&w, &(&one * 0.5)).unwrap();
        leaf::update(&w, &(floats(&[3, 1]) * &one)).unwrap();
        leaf::flush().unwrap();
        drop(held);
    }
    let turned = w.value().unwrap().reshape(&[4, 3]).unwrap().transpose(None).unwrap();
    leaf::update(&w, &turned).unwrap();
    drop(turned);
    assert_eq!(now(&w).len(), before.len());
    leaf::assign(&w, &floats(&[3, 4])).unwrap();
    leaf::discard(0);
    leaf::assign(&w, &floats(&[3, 4])).unwrap();
    assert_eq!(now(&w), before);
}

#[test]
fn gradients_deferred_and_nested() {
    let (w, b) = (param(&[3, 2]), param(&[2]));
    let x = floats(&[4, 3]);
    let hyper = Hyper { η: 0.125, ρ: 0.5, β1: 0.5, β2: 0.5, ε: 1e-8, decay: 0.0, couple: false, t: 1.0 };
    let rule = by_name("Momentum").unwrap();
    let params = [w.clone(), b.clone()];
    let zeros = |of: &Arc<Leaf>| Leaf::of(&Tensor::filled(&of.value().unwrap(), 0.0), false).unwrap();
    let state: Vec<Vec<Arc<Leaf>>> = params.iter().map(|p| rule.slots.iter().map(|_| zeros(p)).collect()).collect();
    let mut losses = vec![];
    for _ in 0..2 {
        let hidden = by(Elementwise::tanh, &[&(matmul(&x, &w.value().unwrap()).unwrap() + b.value().unwrap())]);
        let loss = Handle::new(square(&hidden));
        leaf::back(loss.tensor(), None).unwrap();
        let grads: Vec<Option<Tensor>> = params.iter().map(|p| p.grad()).collect();
        rule.step(&hyper, &params, &grads, &state).unwrap();
        leaf::flush().unwrap();
        losses.push(values(loss.tensor())[0]);
    }
    assert!(losses[1] < losses[0], "{losses:?}");
    let y = square(&w.value().unwrap());
    let first = gradient(&y, None, &[Target::Leaf(w.number())], true).unwrap()[0].clone().unwrap();
    let second = gradient(&square(&first), None, &[Target::Leaf(w.number())], false).unwrap()[0].clone().unwrap();
    check(vec![Ok(first), Ok(second)]);
    leaf::back(&by(Elementwise::log, &[&(w.value().unwrap() * 0.0)]).sum(None, false).unwrap(), None).unwrap();
    leaf::update(&w, &w.grad().unwrap()).unwrap();
    assert!(matches!(leaf::flush(), Err(Error::BadLoss(_))));
}

#[test]
fn a_checkpoint() {
    struct Again(Tensor);
    impl Pullback for Again {
        fn name(&self) -> String {
            "again".into()
        }
        fn pull(&self, _: &Tensor, g: &Tensor) -> Result<Vec<Option<Tensor>>> {
            let _tracking = fluxrs::graph::Tracking::enter();
            pullback(&(&self.0 * &self.0), Some(g), &[Target::Node(self.0.clone())])
        }
    }
    let w = param(&[3]);
    let y = {
        let _scope = fluxrs::graph::Checkpoint::enter();
        let x = w.value().unwrap();
        custom::checkpointed(&(&x * &x), std::slice::from_ref(&x), Arc::new(Again(x.clone())))
    };
    leaf::back(&y.sum(None, false).unwrap(), None).unwrap();
    assert_eq!(values(&w.grad().unwrap()), values(&(floats(&[3]) * 2.0)));
}

/// With two threads or more: what Miri's machine has is said by `-Zmiri-num-cpus`.
#[test]
fn the_pool_shares_kernels() {
    let _stay = pool::enter();
    let seen: Vec<AtomicUsize> = (0..50).map(|_| AtomicUsize::new(0)).collect();
    let mut cells = vec![0; 20];
    for k in 0..5 {
        pool::each(50, |i| {
            seen[i].fetch_add(1, Relaxed);
            Ok(())
        })
        .unwrap();
        pool::each_chunk(&mut cells, 3, |_, part| {
            assert!(part.iter().all(|&x| x == k));
            part.iter_mut().for_each(|x| *x += 1);
            Ok(())
        })
        .unwrap();
    }
    assert!(seen.iter().all(|s| s.load(Relaxed) == 5));
    let bad = pool::each(9, |i| if i > 2 { Err(Error::Value(i.to_string())) } else { Ok(()) });
    assert!(matches!(bad, Err(Error::Value(text)) if text == "3"));
}

#[test]
fn loops_on_several_threads() {
    for shape in [&[1100][..], &[11, 100], &[2, 550], &[550, 2]] {
        let x = floats(shape);
        let axes = 0..shape.len() as isize;
        let sums: Vec<Result<Tensor>> = axes.map(|axis| (&x * &x).sum(Some(&[axis]), false)).collect();
        check(sums.into_iter().chain([Ok(by(Elementwise::negative, &[&x]) * 3.0)]).collect());
    }
}

#[test]
fn readers_beside_a_trainer() {
    const STEPS: usize = 8;
    let w = param(&[6]);
    let first = now(&w)[0];
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !done.load(Relaxed) {
                    let twice = Handle::new(w.held().unwrap().tensor() * 2.0);
                    let steps = values(twice.tensor())[0] / 2.0 - first;
                    assert!((0.0..=STEPS as f64).contains(&steps));
                }
            });
        }
        for _ in 0..STEPS {
            leaf::back(&w.value().unwrap().sum(None, false).unwrap(), None).unwrap();
            leaf::update(&w, &w.grad().unwrap()).unwrap();
            leaf::flush().unwrap();
        }
        done.store(true, Relaxed);
    });
    assert_eq!(now(&w)[0], first + STEPS as f64);
}

/// A buffer goes to another thread, which reads it and lets go of it: an update may be written over it as soon as that is seen.
#[test]
fn a_buffer_that_another_thread_reads() {
    let w = param(&[6]);
    let (send, receive) = mpsc::channel::<Buffer>();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            for buffer in receive {
                assert!(buffer.as_host().unwrap().as_slice::<f32>().iter().all(|x| x.is_finite()));
            }
        });
        for _ in 0..8 {
            send.send(evaluate::read(&w.value().unwrap()).unwrap().0).unwrap();
            for _ in 0..2 {
                std::thread::yield_now();
                leaf::update(&w, &floats(&[6])).unwrap();
                leaf::flush().unwrap();
            }
        }
        drop(send);
    });
}
