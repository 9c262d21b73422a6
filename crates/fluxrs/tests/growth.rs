//! Work and memory grow with the graph, not with its square: each case is run at n and at 2n, and the steps of all passes and the
//! bytes asked of the allocator may at most double.

#[path = "common/allocator.rs"]
mod allocator;

use allocator::{ASKED, LIVE};
use fluxrs::cpu::kept_workspace;
use fluxrs::evaluate::{self, Handle};
use fluxrs::graph::{self, Checkpoint, Tracking};
use fluxrs::leaf::{self, Leaf};
use fluxrs::ops::custom::checkpointed;
use fluxrs::ops::{Pullback, place};
use fluxrs::tape::{self, Target, gradient, gradient_again};
use fluxrs::{DType, Elementwise, Result, Tensor, work};
use std::sync::{Arc, Mutex};

/// The counters belong to the process: one test at a time.
static ONE: Mutex<()> = Mutex::new(());

fn full(shape: &[usize], value: f64) -> Tensor {
    Tensor::full(shape, value, DType::F32).unwrap()
}

fn param(n: usize) -> Arc<Leaf> {
    Leaf::of(&full(&[n], 0.5), true).unwrap()
}

fn value(p: &Arc<Leaf>) -> Tensor {
    p.value().unwrap()
}

fn sum(x: &Tensor) -> Tensor {
    x.sum(None, false).unwrap()
}

fn tanh(x: &Tensor) -> Tensor {
    Elementwise::tanh.apply(&[x]).unwrap()
}

fn total(xs: impl Iterator<Item = Tensor>) -> Tensor {
    xs.reduce(|a, b| a + b).unwrap()
}

fn read(x: &Handle) {
    evaluate::read(x.tensor()).unwrap();
}

fn gradients(y: &Tensor, params: &[Arc<Leaf>]) -> Vec<Tensor> {
    let targets: Vec<Target> = params.iter().map(|p| Target::Leaf(p.number())).collect();
    gradient(y, None, &targets, false).unwrap().into_iter().map(Option::unwrap).collect()
}

fn descend(params: &[Arc<Leaf>], grads: &[Tensor]) {
    params.iter().zip(grads).for_each(|(p, g)| leaf::update(p, &(g * -0.01)).unwrap());
    leaf::flush().unwrap();
}

/// x · p, made again in the backward pass.
struct Again {
    x: Tensor,
    p: Arc<Leaf>,
}

impl Again {
    fn run(&self) -> Tensor {
        &self.x * value(&self.p)
    }
}

impl Pullback for Again {
    fn name(&self) -> String {
        "checkpoint".into()
    }

    fn pull(&self, out: &Tensor, g: &Tensor) -> Result<Vec<Option<Tensor>>> {
        let again = {
            let _tracking = Tracking::enter();
            self.run()
        };
        gradient_again(out, &again, g)
    }
}

fn checkpoints(n: usize) {
    let params: Vec<_> = (0..n).map(|_| param(2)).collect();
    let mut y = full(&[2], 1.0);
    for p in &params {
        let since = graph::next_id();
        let again = Again { x: y, p: p.clone() };
        let plain = {
            let _scope = Checkpoint::enter();
            again.run()
        };
        y = checkpointed(&plain, &tape::inputs(&plain, since), Arc::new(again));
    }
    leaf::back(&sum(&y), None).unwrap();
    params.iter().for_each(|p| leaf::update(p, &(p.grad().unwrap() * -0.1)).unwrap());
    leaf::flush().unwrap();
}

fn parameters(n: usize) {
    let params: Vec<_> = (0..n).map(|_| param(2)).collect();
    for _ in 0..2 {
        let loss = total(params.iter().map(|p| sum(&tanh(&value(p)))));
        descend(&params, &gradients(&loss, &params));
    }
}

fn discarded(n: usize) {
    let params: Vec<_> = (0..n).map(|_| param(2)).collect();
    let first = leaf::position();
    params.iter().for_each(|p| leaf::update(p, &Tensor::number(1.0)).unwrap());
    leaf::discard(first + n / 2);
    leaf::flush().unwrap();
}

fn backs(n: usize) {
    let p = param(2);
    let losses: Vec<_> = (0..n).map(|i| Handle::new(sum(&(value(&p) * i as f64)))).collect();
    for loss in &losses {
        leaf::back(loss.tensor(), None).unwrap();
    }
    leaf::update(&p, &(p.grad().unwrap() * -0.1)).unwrap();
    leaf::flush().unwrap();
}

fn added_gradients(n: usize) {
    let p = param(2);
    let params = [p.clone()];
    let losses: Vec<_> = (0..n).map(|i| Handle::new(sum(&(value(&p) * i as f64)))).collect();
    let all = total(losses.iter().map(|loss| gradients(loss.tensor(), &params).remove(0)));
    descend(&params, &[all]);
}

fn gradients_of_known_losses(n: usize) {
    let p = param(2);
    let params = [p.clone()];
    let losses: Vec<_> = (0..n).map(|i| Handle::new(sum(&(value(&p) * i as f64)))).collect();
    evaluate::evaluate_pending().unwrap();
    let grads: Vec<_> = losses.iter().map(|loss| Handle::new(gradients(loss.tensor(), &params).remove(0))).collect();
    descend(&params, &[grads[0].tensor() + grads[n - 1].tensor()]);
    drop(grads);
}

fn views(n: usize) {
    let p = Leaf::of(&full(&[n, 64], 0.5), true).unwrap();
    let params = [p.clone()];
    // Each row, each second row once more, and one row again and again.
    let rows = (0..n).chain((0..n).step_by(2)).chain((0..n).map(|_| 1));
    let loss = sum(&total(rows.map(|i| tanh(&value(&p).row(i)))));
    descend(&params, &gradients(&loss, &params));
}

fn readers(n: usize) {
    let p = param(2);
    let params = [p.clone()];
    let h = tanh(&value(&p));
    let loss = total((0..n).map(|i| sum(&(&h * i as f64))));
    descend(&params, &gradients(&loss, &params));
}

fn operands(n: usize) {
    let params: Vec<_> = (0..n).map(|_| param(2)).collect();
    let values: Vec<_> = params.iter().map(value).collect();
    let loss = sum(&tanh(&place::concatenate(&values, 0).unwrap()));
    descend(&params, &gradients(&loss, &params));
}

fn results(n: usize) {
    let p = param(2);
    let held: Vec<_> = (0..n).map(|i| Handle::new(value(&p) * i as f64)).collect();
    evaluate::evaluate_pending().unwrap();
    drop(held);
}

fn chain(n: usize) {
    let p = param(2);
    let params = [p.clone()];
    let y = (0..n).fold(value(&p), |y, _| tanh(&y));
    descend(&params, &gradients(&sum(&y), &params));
}

fn read_one_by_one(n: usize) {
    let p = param(2);
    let held: Vec<_> = (0..n).map(|i| Handle::new(sum(&tanh(&(value(&p) * i as f64))))).collect();
    held.iter().for_each(read);
}

fn batches_read_by_steps(n: usize) {
    let params = [param(2)];
    let x = full(&[2], 0.5);
    let batches: Vec<_> = (0..n).map(|i| Handle::new(tanh(&(&x * i as f64)))).collect();
    for batch in &batches {
        let loss = Handle::new(sum(&(value(&params[0]) * batch.tensor())));
        descend(&params, &gradients(loss.tensor(), &params));
    }
}

fn rows_of_a_jacobian(n: usize) {
    let p = param(2);
    let params = [p.clone()];
    let y = tanh(&value(&p));
    let rows: Vec<_> = (0..n).map(|i| gradients(&(&y.row(i % 2) * 2.0), &params).remove(0)).collect();
    read(&Handle::new(place::stack(&rows, 0).unwrap()));
}

fn a_total_that_is_not_read(n: usize) {
    let params = [param(2)];
    let mut all = Handle::new(full(&[], 0.0));
    for _ in 0..n {
        let loss = Handle::new(sum(&(value(&params[0]) * 2.0)));
        descend(&params, &gradients(loss.tensor(), &params));
        all = Handle::new(all.tensor() + loss.tensor());
    }
    read(&all);
}

fn shapes(n: usize) {
    for i in 0..n {
        read(&Handle::new(tanh(&full(&[1 + i % (n + 1)], 0.5))));
    }
}

type Case = (&'static str, fn(usize), usize);

const CASES: &[Case] = &[
    ("checkpoints with a parameter each", checkpoints, 1000),
    ("a step of parameters", parameters, 1000),
    ("updates taken back", discarded, 1000),
    ("calls of back", backs, 1000),
    ("gradients that are added up", added_gradients, 1000),
    ("gradients of losses that are known", gradients_of_known_losses, 500),
    ("views of one base", views, 500),
    ("readers of one result", readers, 1000),
    ("operands of one op", operands, 1000),
    ("results of one evaluation", results, 2000),
    ("a chain of ops", chain, 5000),
    ("results read one by one", read_one_by_one, 500),
    ("batches read by steps", batches_read_by_steps, 500),
    ("a total that is not read", a_total_that_is_not_read, 500),
    ("rows of a jacobian", rows_of_a_jacobian, 500),
];

/// Steps and bytes that a case takes.
fn cost(case: fn(usize), n: usize) -> [f64; 2] {
    let before = (work::steps(), ASKED.get());
    case(n);
    [(work::steps() - before.0) as f64, (ASKED.get() - before.1) as f64]
}

#[test]
fn work_and_memory_are_linear() {
    let _alone = ONE.lock().unwrap_or_else(|e| e.into_inner());
    let mut wrong = Vec::new();
    for &(name, case, n) in CASES {
        // A buffer that is allocated once and grows by doubling is not counted.
        case(2 * n + 1);
        let (small, large) = (cost(case, n), cost(case, 2 * n));
        for (what, small, large) in [("steps", small[0], large[0]), ("bytes", small[1], large[1])] {
            if large > 2.3 * small {
                wrong.push(format!("{name}: {small} {what} for {n}, {large} for {}", 2 * n));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_is_kept_for_graphs_that_come_again_is_bounded_by_bytes() {
    let _alone = ONE.lock().unwrap_or_else(|e| e.into_inner());
    shapes(10);
    let (kept, live) = (evaluate::cached_bytes() as isize, LIVE.get());
    let (mut largest, mut i) = (0, 0);
    while i < 600 {
        i += 1;
        let x = full(&[1, 1 + i % 40], 0.5);
        let y = (0..100 + i).fold(x, |y, k| if k % 9 == 0 { y.sum(Some(&[1]), true).unwrap() + 1.0 } else { tanh(&y) });
        read(&Handle::new(y));
        largest = largest.max(evaluate::cached_bytes());
    }
    let (kept, live) = (evaluate::cached_bytes() as isize - kept, LIVE.get() - live);
    assert!(largest <= (256 + 4) << 20, "{largest} bytes at the most");
    assert!(largest > 20 << 20, "{largest} bytes are too few to show anything");
    assert!((kept - live).abs() < kept / 5, "{kept} bytes by count, {live} in fact");
}

#[test]
fn a_large_workspace_is_given_back() {
    let _alone = ONE.lock().unwrap_or_else(|e| e.into_inner());
    let run = |n: usize| {
        let sorted = tanh(&full(&[n], 0.5)).sort(Some(0)).unwrap();
        read(&Handle::new(sum(&sorted)));
        kept_workspace()
    };
    assert!(run(20 << 20) < 80 << 20, "one large sort needs more, once");
    // Of a plan that comes again it is kept, until many small ones have run.
    run(20 << 20);
    assert!(run(20 << 20) >= 80 << 20);
    (0..70).for_each(|_| shapes(1));
    assert!(kept_workspace() < 8 << 20, "{} bytes", kept_workspace());
}
