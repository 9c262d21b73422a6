//! One model in several threads: trainers and readers at once, counted loops, no error at all, right values.

// Update rules are written in the symbols of their papers.
#![allow(confusable_idents)]

use fluxrs::evaluate::Handle;
use fluxrs::leaf::{self, Leaf};
use fluxrs::optim::{Hyper, Rule, by_name};
use fluxrs::reference::computed;
use fluxrs::{Result, Tensor, no_grad};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier};

const HYPER: Hyper = Hyper { η: 0.125, ρ: 0.5, β1: 0.5, β2: 0.5, ε: 1e-8, decay: 0.0, couple: false, t: 1.0 };

fn param(values: &[f32]) -> Arc<Leaf> {
    Leaf::of(&Tensor::from_slice(values, &[values.len()]).unwrap(), true).unwrap()
}

fn values(t: &Tensor) -> Result<Vec<f64>> {
    let a = computed(t)?;
    Ok((0..a.len()).map(|i| a.at(i)).collect())
}

/// A rule with its parameters and their state.
struct Optimiser {
    rule: &'static Rule,
    params: Vec<Arc<Leaf>>,
    state: Vec<Vec<Arc<Leaf>>>,
}

impl Optimiser {
    fn new(name: &str, params: &[Arc<Leaf>]) -> Optimiser {
        let rule = by_name(name).unwrap();
        let zeros = |of: &Arc<Leaf>| Leaf::of(&Tensor::filled(&of.value().unwrap(), 0.0), false).unwrap();
        let state = params.iter().map(|of| rule.slots.iter().map(|_| zeros(of)).collect()).collect();
        Optimiser { rule, params: params.to_vec(), state }
    }

    fn step(&self) -> Result<()> {
        let held: Vec<Option<Handle>> = self.params.iter().map(|p| p.held_grad()).collect();
        let grads: Vec<Option<Tensor>> = held.iter().map(|g| g.as_ref().map(|g| g.tensor().clone())).collect();
        self.rule.step(&HYPER, &self.params, &grads, &self.state)?;
        drop(held);
        leaf::flush()
    }
}

/// Runs `train` in a thread each, and `read` in others until those are done.
fn beside(trainers: usize, readers: usize, train: impl Fn() -> Result<()> + Sync, read: impl Fn() -> Result<()> + Sync) {
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let reading: Vec<_> = (0..readers)
            .map(|_| {
                scope.spawn(|| -> Result<()> {
                    while !done.load(Ordering::Relaxed) {
                        read()?;
                    }
                    Ok(())
                })
            })
            .collect();
        let training: Vec<_> = (0..trainers).map(|_| scope.spawn(&train)).collect();
        let trained: Vec<_> = training.into_iter().map(|t| t.join()).collect();
        done.store(true, Ordering::Relaxed);
        for result in trained.into_iter().chain(reading.into_iter().map(|t| t.join())) {
            result.expect("no panic").expect("no error");
        }
    });
}

#[test]
fn readers_beside_a_trainer() {
    for name in ["SGD", "Momentum", "ADAM"] {
        let (w, b) = (param(&[1.0; 8]), param(&[0.5; 8]));
        let opt = Optimiser::new(name, &[w.clone(), b.clone()]);
        let train = || {
            for _ in 0..1000 {
                let (w, b) = (w.held()?, b.held()?);
                let d = w.tensor() * b.tensor() - 3.0;
                let loss = Handle::new((&d * &d).sum(None, false)?);
                leaf::back(loss.tensor(), None)?;
                drop((w, b));
                opt.step()?;
            }
            Ok(())
        };
        let read = || {
            let now = w.held()?;
            let twice = Handle::new((now.tensor() * 2.0).sum(None, false)?);
            drop(now);
            assert_eq!(values(twice.tensor())?.len(), 1);
            Ok(())
        };
        beside(1, 2, train, read);
        let (w, b) = (values(&w.value().unwrap()).unwrap(), values(&b.value().unwrap()).unwrap());
        assert!(w.iter().zip(&b).all(|(w, b)| (w * b - 3.0).abs() < 0.2), "{name}: {w:?} {b:?}");
    }
}

#[test]
fn trainers_of_one_model_beside_readers() {
    // Every step subtracts the same from every element, whichever thread takes it and whatever else is under way.
    const STEPS: usize = 300;
    let (w, b) = (param(&[0.0; 8]), param(&[0.0; 8]));
    let train = || {
        for k in 0..STEPS {
            let (w_now, b_now) = (w.held()?, b.held()?);
            let loss = Handle::new((w_now.tensor() * 2.0 + b_now.tensor() * b_now.tensor()).sum(None, false)?);
            drop((w_now, b_now));
            if k % 3 == 0 {
                // The operands of a loss are as they were for its gradient, too.
                values(loss.tensor())?;
            }
            leaf::back(loss.tensor(), None)?;
            leaf::update(&w, &Tensor::number(-0.5))?;
            if k % 2 == 0 {
                std::thread::yield_now();
            }
            leaf::update(&b, &Tensor::number(0.25))?;
            leaf::flush()?;
        }
        Ok(())
    };
    let read = || {
        let (w, b) = (w.held()?, b.held()?);
        let y = Handle::new(w.tensor() * b.tensor());
        let square = Handle::new((w.tensor() * w.tensor()).sum(None, false)?);
        drop((w, b));
        let first = values(y.tensor())?;
        assert!(first.iter().all(|x| *x == first[0]), "{first:?}");
        leaf::back(square.tensor(), None)?;
        Ok(())
    };
    beside(4, 4, train, read);
    let of = |leaf: &Leaf| values(&leaf.value().unwrap()).unwrap();
    assert_eq!((of(&w), of(&b)), (vec![-0.5 * 4.0 * STEPS as f64; 8], vec![0.25 * 4.0 * STEPS as f64; 8]));
}

#[test]
fn optimisers_of_one_model_in_several_threads() {
    for name in ["SGD", "ADAM"] {
        let (w, b) = (param(&[1.0; 8]), param(&[0.5; 8]));
        let opt = Optimiser::new(name, &[w.clone(), b.clone()]);
        let train = || {
            for _ in 0..300 {
                let (w, b) = (w.held()?, b.held()?);
                let d = (w.tensor() * b.tensor() - 3.0) * 0.125;
                let loss = Handle::new((&d * &d).sum(None, false)?);
                drop((w, b));
                leaf::back(loss.tensor(), None)?;
                opt.step()?;
            }
            Ok(())
        };
        let read = || values(Handle::new(w.held()?.tensor() * 2.0).tensor()).map(drop);
        beside(4, 2, train, read);
        let of = |leaf: &Leaf| values(&leaf.value().unwrap()).unwrap();
        let off = of(&w).iter().zip(of(&b)).map(|(w, b)| (w * b - 3.0).abs()).fold(0.0, f64::max);
        assert!(off < 1.0, "{name}: {off}");
    }
}

#[test]
fn a_queued_update_is_made_of_what_there_was_when_it_was_queued() {
    let elsewhere = |f: &(dyn Fn() -> Result<()> + Sync)| {
        std::thread::scope(|scope| scope.spawn(f).join().expect("no panic").expect("no error"));
    };
    let (p, q) = (param(&[1.0, 2.0]), param(&[3.0, 4.0]));
    // Made of another thread's result, so that only that one has used the parameter.
    let result = Handle::new(q.value().unwrap() * 10.0);
    let (go, done) = (Barrier::new(2), Barrier::new(2));
    std::thread::scope(|scope| {
        let (p, go, done) = (&p, &go, &done);
        scope.spawn(move || {
            leaf::update(p, &no_grad(|| result.tensor() + 1.0)).unwrap();
            drop(result);
            go.wait();
            done.wait();
            assert_eq!(values(&p.value().unwrap()).unwrap(), [32.0, 43.0]);
        });
        go.wait();
        leaf::update(&q, &Tensor::number(1.0)).unwrap();
        leaf::flush().unwrap();
        done.wait();
    });
    elsewhere(&|| leaf::update(&p, &no_grad(|| q.value().unwrap() * 10.0)));
    elsewhere(&|| leaf::update(&q, &Tensor::number(1.0)).and_then(|()| leaf::flush()));
    assert_eq!(values(&p.value().unwrap()).unwrap(), [72.0, 93.0]);
    assert_eq!(values(&q.value().unwrap()).unwrap(), [5.0, 6.0]);
}

#[test]
fn updates_of_a_thread_that_has_ended_go_with_their_leaves_and_fail_where_they_are_needed() {
    let ended = |f: &(dyn Fn() -> Result<()> + Sync)| {
        std::thread::scope(|scope| scope.spawn(f).join().expect("no panic").expect("no error"));
    };
    let (p, q) = (param(&[1.0, 2.0]), param(&[3.0]));
    let gone = [Arc::downgrade(&p), Arc::downgrade(&q)];
    ended(&|| leaf::update(&p, &Tensor::number(1.0)).and_then(|()| leaf::update(&q, &Tensor::number(1.0))));
    drop(p);
    assert_eq!(values(&q.value().unwrap()).unwrap(), [4.0]);
    ended(&|| leaf::update(&q, &Tensor::number(1.0)));
    drop(q);
    assert!(gone.iter().all(|leaf| leaf.upgrade().is_none()));

    let p = param(&[1.0, 2.0]);
    ended(&|| {
        let loss = Handle::new((p.value()? / &Tensor::from_slice(&[0.0f32, 1.0], &[2])?).sum(None, false)?);
        leaf::back(loss.tensor(), None)?;
        leaf::update(&p, &p.grad().expect("a gradient"))
    });
    assert!(matches!(p.value(), Err(fluxrs::Error::BadLoss(_))));
    assert_eq!(values(&p.value().unwrap()).unwrap(), [1.0, 2.0]);
}
