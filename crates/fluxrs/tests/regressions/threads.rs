//! Several threads at one graph.

use super::common::{by, now, values};
use super::{floats, param, slope};
use fluxrs::evaluate::Handle;
use fluxrs::leaf::{self, Leaf};
use fluxrs::{Elementwise, Error, Tensor};
use std::sync::Arc;

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

/// 2,000 steps, each of which adds one.
fn learn(w: &Arc<Leaf>) {
    for _ in 0..2000 {
        leaf::update(w, &Tensor::full(&[64], 1.0, fluxrs::DType::F32).unwrap()).unwrap();
        leaf::flush().unwrap();
    }
}

#[test]
fn threads_that_read_while_another_learns() {
    let w = param(&[0.0; 64], &[64]);
    std::thread::scope(|s| {
        let learner = s.spawn(|| learn(&w));
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
        let learner = s.spawn(|| learn(&w));
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
