//! Signals end the making of a plan, and of the gradients in it, as they end its run.

use fluxrs::evaluate::{self, Handle};
use fluxrs::leaf::Leaf;
use fluxrs::stop::set_interrupt_check;
use fluxrs::tape::{Target, gradient};
use fluxrs::{DType, Elementwise, Error, Result, Tensor, transfer, work};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

static STOP: AtomicBool = AtomicBool::new(false);

/// Runs with the signal at hand, or without; returns the result and the steps of all passes.
fn steps<R>(stop: bool, run: impl FnOnce() -> R) -> (R, u64) {
    STOP.store(stop, Ordering::Relaxed);
    let before = work::steps();
    let result = run();
    (result, work::steps() - before)
}

fn chain(p: &Arc<Leaf>, n: usize) -> Tensor {
    let y = (0..n).fold(p.value().unwrap(), |y, _| Elementwise::sin.apply(&[&y]).unwrap());
    y.sum(None, false).unwrap()
}

fn read(x: &Handle) -> Result<f32> {
    Ok(transfer::to_host(x.tensor())?.as_slice::<f32>()[0])
}

#[test]
fn a_signal_ends_planning() {
    set_interrupt_check(|| STOP.load(Ordering::Relaxed));
    let p = Leaf::of(&Tensor::full(&[2], 0.5, DType::F32).unwrap(), true).unwrap();
    let forward = || Handle::new(chain(&p, 500_000));
    let backward = || {
        let targets = [Target::Leaf(p.number())];
        Handle::new(gradient(&chain(&p, 150_000), None, &targets, false).unwrap().remove(0).unwrap())
    };
    let cases: [(&str, &dyn Fn() -> Handle); 2] = [("forward", &forward), ("backward", &backward)];
    for (what, make) in cases {
        let x = make();
        let (stopped, some) = steps(true, || read(&x));
        assert_eq!(stopped, Err(Error::Interrupted), "{what}");
        let (first, all) = steps(false, || read(&x));
        assert!(some < all * 3 / 4, "{what}: stopped after {some} steps of {all}");
        let again = make();
        assert_eq!(first, steps(false, || read(&again)).0, "{what}");
    }
    STOP.store(false, Ordering::Relaxed);
    evaluate::evaluate_pending().unwrap();
}
