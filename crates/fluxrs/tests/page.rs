//! The Optimisers page, end to end in Rust: forward, gradient, update.

use fluxrs::evaluate::{self, COUNTERS, Handle};
use fluxrs::leaf::{self, Leaf};
use fluxrs::ops::matmul::matmul;
use fluxrs::tape::{Target, gradient};
use fluxrs::{Elementwise, Tensor};
use std::sync::Arc;
use std::sync::atomic::Ordering;

fn values(t: &Tensor) -> Vec<f32> {
    let (buffer, map) = evaluate::read(&t.contiguous()).unwrap();
    assert_eq!(map.offset, 0);
    buffer.as_host().unwrap().as_slice::<f32>()[..t.size()].to_vec()
}

fn param(data: &[f32], shape: &[usize]) -> Arc<Leaf> {
    Leaf::of(&Tensor::from_slice(data, shape).unwrap(), true).unwrap()
}

fn loss(w: &Leaf, b: &Leaf, x: &Tensor, y: &Tensor) -> Tensor {
    let predicted = matmul(&w.value().unwrap(), x).unwrap() + b.value().unwrap();
    let error = y - predicted;
    Elementwise::square.apply(&[&error]).unwrap().sum(None, false).unwrap()
}

#[test]
fn the_loop_of_the_page_learns() {
    let w = param(&[0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0], &[2, 5]);
    let b = param(&[0.0, 0.5], &[2]);
    let x = Tensor::from_slice(&[1.0f32, -2.0, 0.5, 3.0, 0.25], &[5]).unwrap();
    let y = Tensor::from_slice(&[1.0f32, -1.0], &[2]).unwrap();
    let first = values(&loss(&w, &b, &x, &y))[0];

    // By hand, in float64.
    let mut wf: Vec<f64> = (1..=10).map(|i| i as f64 / 10.0).collect();
    let mut bf = [0.0, 0.5];
    let (xf, yf) = ([1.0, -2.0, 0.5, 3.0, 0.25], [1.0, -1.0]);
    for _ in 0..20 {
        let l = Handle::new(loss(&w, &b, &x, &y));
        let targets = [Target::Leaf(w.number()), Target::Leaf(b.number())];
        let grads = gradient(l.tensor(), None, &targets, false).unwrap();
        for (leaf, g) in [&w, &b].into_iter().zip(grads) {
            leaf::update(leaf, &(g.unwrap() * -0.01)).unwrap();
        }
        for i in 0..2 {
            let p: f64 = (0..5).map(|j| wf[i * 5 + j] * xf[j]).sum::<f64>() + bf[i];
            let slope = 2.0 * (p - yf[i]);
            (0..5).for_each(|j| wf[i * 5 + j] -= 0.01 * slope * xf[j]);
            bf[i] -= 0.01 * slope;
        }
    }
    let last = values(&loss(&w, &b, &x, &y))[0];
    assert!(last < first / 10.0, "{first} → {last}");
    for (a, b) in values(&w.value().unwrap()).iter().zip(&wf) {
        assert!((*a as f64 - b).abs() < 1e-5, "{a} {b}");
    }
}

#[test]
fn a_second_derivative() {
    let x = param(&[0.5, -1.0, 2.0], &[3]);
    let v = x.value().unwrap();
    let y = (&v * &v * &v).sum(None, false).unwrap();
    let target = [Target::Leaf(x.number())];
    let g = gradient(&y, None, &target, true).unwrap()[0].clone().unwrap();
    assert_eq!(values(&g), [0.75, 3.0, 12.0]);
    let h = gradient(&g.sum(None, false).unwrap(), None, &target, true).unwrap()[0].clone().unwrap();
    assert_eq!(values(&h), [3.0, -6.0, 12.0]);
}

#[test]
fn a_step_is_one_plan_and_replays() {
    let w = param(&[0.1; 12], &[3, 4]);
    let x = Tensor::from_slice(&[0.5f32; 8], &[4, 2]).unwrap();
    let step = || {
        let l = Elementwise::tanh.apply(&[&matmul(&w.value().unwrap(), &x).unwrap()]).unwrap().sum(None, false).unwrap();
        let g = gradient(&l, None, &[Target::Leaf(w.number())], false).unwrap();
        leaf::update(&w, &(g[0].clone().unwrap() * -0.01)).unwrap();
        leaf::flush().unwrap();
    };
    step();
    step();
    let made = COUNTERS.plans_made.load(Ordering::Relaxed);
    let runs = COUNTERS.runs.load(Ordering::Relaxed);
    for _ in 0..100 {
        step();
    }
    assert!(COUNTERS.runs.load(Ordering::Relaxed) - runs >= 100);
    // Other tests make plans of their own at the same time, but not a hundred.
    assert!(COUNTERS.plans_made.load(Ordering::Relaxed) - made < 50);
}

#[test]
fn a_long_chain() {
    let x = param(&[1.0, 2.0], &[2]);
    let mut y = x.value().unwrap();
    for _ in 0..1_000_000 {
        y = y + 1e-3;
    }
    let total = y.sum(None, false).unwrap();
    let g = gradient(&total, None, &[Target::Leaf(x.number())], false).unwrap();
    assert_eq!(values(g[0].as_ref().unwrap()), [1.0, 1.0]);
    assert!((values(&total)[0] - 2003.0).abs() < 20.0);
}
