//! The Optimisers page's step without Python: W is 2 × 5; forward, gradient, update.
//!
//! Prints nanoseconds, medians of rounds: a step's whole time, and the part of it that builds the graph. `benchmarks/split.py` sets
//! them beside the same step called from Python.

use fluxrs::evaluate::Handle;
use fluxrs::leaf::{self, Leaf};
use fluxrs::ops::matmul::matmul;
use fluxrs::tape::{Target, gradient};
use fluxrs::{Elementwise, Result, Tensor};
use std::sync::Arc;
use std::time::{Duration, Instant};

const ROUNDS: usize = 31;
const STEPS: u32 = 5000;

struct Page {
    w: Arc<Leaf>,
    b: Arc<Leaf>,
    x: Tensor,
    y: Tensor,
}

impl Page {
    fn new() -> Result<Page> {
        let param = |data: &[f32], shape: &[usize]| Leaf::of(&Tensor::from_slice(data, shape)?, true);
        Ok(Page {
            w: param(&[0.1; 10], &[2, 5])?,
            b: param(&[0.5; 2], &[2])?,
            x: Tensor::from_slice(&[0.2f32, 0.4, 0.6, 0.8, 1.0], &[5])?,
            y: Tensor::from_slice(&[0.3f32, 0.7], &[2])?,
        })
    }

    /// Everything of a step but its evaluation, which queueing the update leaves to the next use of a parameter.
    fn build(&self) -> Result<Vec<Tensor>> {
        let predicted = matmul(&self.w.value()?, &self.x)? + self.b.value()?;
        let loss = Handle::new(Elementwise::square.apply(&[&(&self.y - predicted)])?.sum(None, false)?);
        let targets = [Target::Leaf(self.w.number()), Target::Leaf(self.b.number())];
        let grads = gradient(loss.tensor(), None, &targets, false)?;
        Ok(grads.into_iter().flatten().map(|g| g * -0.01).collect())
    }

    fn step(&self) -> Result<Duration> {
        let begun = Instant::now();
        let deltas = self.build()?;
        let built = begun.elapsed();
        for (leaf, delta) in [&self.w, &self.b].into_iter().zip(&deltas) {
            leaf::update(leaf, delta)?;
        }
        drop(deltas);
        leaf::flush()?;
        Ok(built)
    }
}

fn median(mut rounds: Vec<f64>) -> f64 {
    rounds.sort_by(f64::total_cmp);
    rounds[rounds.len() / 2]
}

fn main() -> Result<()> {
    let page = Page::new()?;
    for _ in 0..STEPS {
        page.step()?;
    }
    let (mut whole, mut built) = (vec![], vec![]);
    for _ in 0..ROUNDS {
        let begun = Instant::now();
        let mut building = Duration::ZERO;
        for _ in 0..STEPS {
            building += page.step()?;
        }
        whole.push(begun.elapsed().as_nanos() as f64 / f64::from(STEPS));
        built.push(building.as_nanos() as f64 / f64::from(STEPS));
    }
    println!("step {:.0}\ngraph {:.0}", median(whole), median(built));
    Ok(())
}
