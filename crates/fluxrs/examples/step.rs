//! Times the page's step and a small dense network's, without Python: `cargo run --release --example step`.

use fluxrs::leaf::{self, Leaf};
use fluxrs::ops::matmul::matmul;
use fluxrs::tape::{Target, gradient};
use fluxrs::{Elementwise, Tensor};
use std::sync::Arc;
use std::time::Instant;

/// The allocator of the Python module.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn random(shape: &[usize]) -> Tensor {
    let n = shape.iter().product::<usize>();
    let data: Vec<f32> = (0..n).map(|i| ((i * 7919 % 1000) as f32 / 1000.0 - 0.5) * 0.1).collect();
    Tensor::from_slice(&data, shape).unwrap()
}

fn param(shape: &[usize]) -> Arc<Leaf> {
    Leaf::of(&random(shape), true).unwrap()
}

/// Only the case named on the command line, if one is.
fn time(name: &str, mut step: impl FnMut()) {
    if std::env::args().nth(1).is_some_and(|wanted| wanted != name) {
        return;
    }
    for _ in 0..1000 {
        step();
    }
    let mut best = f64::INFINITY;
    for _ in 0..7 {
        let start = Instant::now();
        for _ in 0..2000 {
            step();
        }
        best = best.min(start.elapsed().as_secs_f64() / 2000.0);
    }
    println!("{name}: {:.2} µs", best * 1e6);
}

fn main() {
    let (w, b, x, y) = (param(&[2, 5]), param(&[2]), random(&[5]), random(&[2]));
    time("page", || {
        let p = matmul(&w.value().unwrap(), &x).unwrap() + b.value().unwrap();
        let l = Elementwise::square.apply(&[&(&y - p)]).unwrap().sum(None, false).unwrap();
        let targets = [Target::Leaf(w.number()), Target::Leaf(b.number())];
        let g = gradient(&l, None, &targets, false).unwrap();
        for (p, g) in [&w, &b].into_iter().zip(g) {
            leaf::update(p, &(-0.01 * g.unwrap())).unwrap();
        }
        leaf::flush().unwrap();
    });
    let ps = [param(&[32, 784]), param(&[32]), param(&[10, 32]), param(&[10])];
    let (x, y) = (random(&[784]), random(&[10]));
    time("784-32-10", || {
        let v: Vec<Tensor> = ps.iter().map(|p| p.value().unwrap()).collect();
        let h = matmul(&x, &v[0].transpose(None).unwrap()).unwrap() + &v[1];
        let h = Elementwise::sigmoid.apply(&[&h]).unwrap();
        let o = (matmul(&h, &v[2].transpose(None).unwrap()).unwrap() + &v[3]).softmax(-1).unwrap();
        let l = Elementwise::square.apply(&[&(&y - o)]).unwrap().mean(None, false).unwrap();
        let targets: Vec<Target> = ps.iter().map(|p| Target::Leaf(p.number())).collect();
        let g = gradient(&l, None, &targets, false).unwrap();
        for (p, g) in ps.iter().zip(g) {
            leaf::update(p, &(-0.01 * g.unwrap())).unwrap();
        }
        leaf::flush().unwrap();
    });
}
