//! The state of a program, beside the reference's of it.

use crate::random::Random;
use fluxrs::evaluate::{self, Handle};
use fluxrs::leaf::{self, Leaf};
use fluxrs::reference::{self, Array, Reference, Value};
use fluxrs::{DType, Error, Result, Tensor};
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

/// A tensor that the program holds.
pub struct Var {
    pub id: usize,
    /// The seed of the act that made it.
    made_by: u64,
    pub handle: Handle,
    pub expected: Result<Array>,
    /// The losses that it derives from, by number.
    pub guards: BTreeSet<usize>,
    /// The versions of leaves in its history.
    pub versions: BTreeSet<(usize, usize)>,
    /// True if it was derived from a version of a leaf that was overwritten before: then it may be out of reach.
    pub stale: bool,
    /// The variables that it was made of.
    pub made_of: Vec<usize>,
}

impl Var {
    pub fn tensor(&self) -> &Tensor {
        self.handle.tensor()
    }
}

pub struct Param {
    pub leaf: Arc<Leaf>,
    pub value: Array,
    pub version: usize,
    pub grad: Option<Array>,
    /// Gradients as they were before each `back`, with the losses that it derives from.
    pub before: Vec<(BTreeSet<usize>, Option<Array>)>,
    pub grad_guards: BTreeSet<usize>,
    pub grad_stale: bool,
    pub grad_broken: bool,
}

/// A parameter's gradient before an update zeroed it: total, history, guards, stale, broken.
type SavedGrad = (Option<Array>, Vec<(BTreeSet<usize>, Option<Array>)>, BTreeSet<usize>, bool, bool);

/// An update that waits.
pub struct Waiting {
    pub param: usize,
    pub value: Result<Array>,
    pub guards: BTreeSet<usize>,
    pub stale: bool,
    /// None if it is an assignment, which leaves the gradient.
    grad: Option<SavedGrad>,
}

/// The errors that the program asked for.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Fault {
    None,
    Memory,
    Interrupt,
}

pub struct World {
    pub vars: Vec<Var>,
    pub params: Vec<Param>,
    pub queue: Vec<Waiting>,
    /// True for each loss that is finite.
    pub losses: Vec<bool>,
    /// Losses that have no value.
    pub broken: BTreeSet<usize>,
    loss_of: HashMap<u64, usize>,
    pub reference: Reference,
    pub fault: Fault,
    pub log: Vec<String>,
    /// The seed of the act under way.
    pub act: u64,
    next: usize,
}

/// Traces of where a new variable comes from.
#[derive(Default, Clone)]
pub struct Origin {
    pub guards: BTreeSet<usize>,
    pub versions: BTreeSet<(usize, usize)>,
    pub stale: bool,
    pub made_of: Vec<usize>,
}

impl Origin {
    pub fn of(vars: &[&Var]) -> Origin {
        let mut out = Origin::default();
        for v in vars {
            out.guards.extend(&v.guards);
            out.versions.extend(&v.versions);
            out.stale |= v.stale;
            out.made_of.push(v.id);
        }
        out
    }
}

pub fn is_overwritten(e: &Error) -> bool {
    matches!(e, Error::Value(text) if text.contains("overwritten"))
}

/// An index out of range or a singular matrix.
pub fn is_of_values(e: &Error) -> bool {
    matches!(e, Error::Index(_)) || matches!(e, Error::Value(text) if text.contains("singular"))
}

impl World {
    pub fn new() -> World {
        World {
            vars: vec![],
            params: vec![],
            queue: vec![],
            losses: vec![],
            broken: BTreeSet::new(),
            loss_of: HashMap::new(),
            reference: Reference::default(),
            fault: Fault::None,
            log: vec![],
            act: 0,
            next: 0,
        }
    }

    pub fn say(&mut self, text: impl Into<String>) {
        self.log.push(text.into());
    }

    /// The meaning of a tensor, computed before any plan has run for it.
    pub fn meaning(&mut self, t: &Tensor) -> Result<Array> {
        match self.reference.value(t)? {
            Value::Array(a) => Ok(a),
            number => Ok(number.array(t.dtype())),
        }
    }

    pub fn add(&mut self, t: Tensor, origin: Origin) -> usize {
        let expected = self.meaning(&t);
        let id = self.next;
        self.next += 1;
        self.say(format!("  → v{id} = {t:?} from {:?}{}", origin.made_of, if expected.is_err() { " (an error)" } else { "" }));
        let Origin { guards, versions, stale, made_of } = origin;
        self.vars.push(Var { id, made_by: self.act, handle: Handle::new(t), expected, guards, versions, stale, made_of });
        self.vars.len() - 1
    }

    /// The number of the loss that this node is.
    pub fn loss_number(&mut self, node: u64, finite: bool) -> usize {
        let losses = &mut self.losses;
        *self.loss_of.entry(node).or_insert_with(|| {
            losses.push(finite);
            losses.len() - 1
        })
    }

    /// A random variable's place.
    pub fn any(&self, r: &mut Random) -> Option<usize> {
        (!self.vars.is_empty()).then(|| r.below(self.vars.len()))
    }

    /// One that satisfies a condition, if a few tries find one.
    pub fn find(&self, r: &mut Random, wanted: impl Fn(&Var) -> bool) -> Option<usize> {
        (0..12).filter_map(|_| self.any(r)).find(|&i| wanted(&self.vars[i]))
    }

    fn excused(&self, e: &Error) -> bool {
        match self.fault {
            Fault::None => false,
            Fault::Memory => matches!(e, Error::Memory(_)),
            Fault::Interrupt => matches!(e, Error::Interrupted),
        }
    }

    /// Reads a variable and compares.
    pub fn read(&mut self, i: usize) {
        let was_ready = evaluate::is_ready(self.vars[i].tensor());
        let got = reference::computed(self.vars[i].tensor());
        self.compare(i, got);
        if !was_ready && evaluate::is_ready(self.vars[i].tensor()) {
            self.dependents_are_there(i);
        }
    }

    fn compare(&self, i: usize, got: Result<Array>) {
        let v = &self.vars[i];
        match (&v.expected, got) {
            (_, Err(e)) if self.excused(&e) => {}
            (Ok(want), Ok(got)) => {
                assert!(want.same(&got), "v{} = {:?} differs from the reference at {}", v.id, v.tensor(), difference(want, &got))
            }
            (Err(_), Err(e)) if is_of_values(&e) => {}
            (_, Err(e)) if v.stale && is_overwritten(&e) => {}
            (Err(want), Ok(_)) => panic!("v{} = {:?} has a value where an error was expected: {want}", v.id, v.tensor()),
            (want, Err(e)) => panic!("v{} = {:?}: {e} (expected {:?})", v.id, v.tensor(), want.as_ref().map(|a| &a.shape)),
        }
    }

    /// A tensor with a handle that depends on what has just been computed has been computed with it.
    fn dependents_are_there(&self, i: usize) {
        if self.fault != Fault::None || self.vars.iter().any(|v| v.expected.is_err() || v.stale) {
            return;
        }
        // A product over nothing does not depend on its operands.
        if self.vars[i].tensor().size() == 0 {
            return;
        }
        let id = self.vars[i].id;
        for v in self.vars.iter().filter(|v| v.made_of.contains(&id)) {
            assert!(evaluate::is_ready(v.tensor()), "v{} depends on v{id}, which was computed, and was left out", v.id);
        }
    }

    /// The present value of a parameter as a tensor; what waits for it is committed.
    pub fn value_of(&mut self, p: usize) -> Option<Tensor> {
        let waits = self.queue.iter().any(|w| w.param == p);
        let result = self.params[p].leaf.value();
        let out = result.as_ref().ok().cloned();
        match waits {
            true => self.settle(result.map(|_| ())),
            false => assert!(result.is_ok(), "a parameter that nothing waits for must have a value"),
        }
        out
    }

    pub fn flush(&mut self) {
        let result = leaf::flush();
        self.settle(result);
    }

    /// The effect of a flush, compared with the effect it had to have.
    pub fn settle(&mut self, result: Result<()>) {
        let queue = std::mem::take(&mut self.queue);
        self.say(format!("  flush of {} updates: {result:?}", queue.len()));
        let broken = queue.iter().any(|w| w.value.is_err() || !w.guards.is_disjoint(&self.broken));
        let stale = queue.iter().any(|w| w.stale);
        let bad: BTreeSet<usize> = queue.iter().flat_map(|w| &w.guards).copied().filter(|&l| !self.losses[l]).collect();
        match &result {
            Ok(()) => assert!(queue.is_empty() || !broken && bad.is_empty(), "an update went through that had to fail: {bad:?}"),
            Err(e) if self.excused(e) => {}
            Err(e) if broken && is_of_values(e) => {}
            Err(Error::BadLoss(_)) if !bad.is_empty() => {}
            Err(e) if stale && is_overwritten(e) => {}
            Err(e) => panic!("an update failed: {e}"),
        }
        let committed = result.is_ok();
        for w in queue {
            let p = &mut self.params[w.param];
            if committed {
                p.value = w.value.expect("checked above");
                p.version += 1;
                continue;
            }
            // The gradient is as it was before the update, but for what a bad loss put there.
            if p.grad.is_none()
                && let Some((grad, before, guards, stale, broken)) = w.grad
            {
                (p.grad, p.before, p.grad_guards, p.grad_stale, p.grad_broken) = (grad, before, guards, stale, broken);
            }
            if matches!(result, Err(Error::BadLoss(_)))
                && let Some(first) = p.before.iter().position(|(losses, _)| !losses.is_disjoint(&bad))
            {
                p.grad = p.before[first].1.clone();
                p.before.truncate(first);
            }
        }
        self.check_params();
    }

    pub fn enqueue(&mut self, p: usize, value: Result<Array>, guards: BTreeSet<usize>, stale: bool, spends: bool) {
        let param = &mut self.params[p];
        let take = || {
            (
                param.grad.take(),
                std::mem::take(&mut param.before),
                std::mem::take(&mut param.grad_guards),
                std::mem::take(&mut param.grad_stale),
                std::mem::take(&mut param.grad_broken),
            )
        };
        let grad = spends.then(take);
        self.queue.push(Waiting { param: p, value, guards, stale, grad });
    }

    /// Every parameter is what the updates so far make it.
    pub fn check_params(&self) {
        for (i, p) in self.params.iter().enumerate() {
            let now = reference::computed(&p.leaf.peek()).expect("a leaf's value is in memory");
            assert!(p.value.same(&now), "parameter {i} differs from the reference at {}", difference(&p.value, &now));
        }
    }

    /// Everything held, compared.
    pub fn check_all(&mut self, r: &mut Random) {
        // By what does not change when other acts are left out.
        let mut order: Vec<usize> = (0..self.vars.len()).collect();
        let salt = r.word();
        order.sort_by_key(|&i| Random::new(self.vars[i].made_by ^ salt).word());
        order.into_iter().for_each(|i| self.read(i));
        self.check_params();
        self.check_grads();
    }

    pub fn check_grads(&self) {
        for (i, p) in self.params.iter().enumerate() {
            let Some(now) = p.leaf.grad() else {
                assert!(p.grad.is_none(), "the gradient of parameter {i} is gone");
                continue;
            };
            let Some(want) = &p.grad else { panic!("parameter {i} has a gradient that no call made") };
            match reference::computed(&now) {
                Ok(now) => assert!(want.same(&now), "the gradient of parameter {i} differs at {}", difference(want, &now)),
                Err(e) if self.excused(&e) || p.grad_stale && is_overwritten(&e) => {}
                Err(e) if p.grad_broken && is_of_values(&e) => {}
                Err(e) => panic!("the gradient of parameter {i}: {e}"),
            }
        }
    }
}

fn difference(want: &Array, got: &Array) -> String {
    if want.shape != got.shape || want.dtype != got.dtype {
        return format!("{} {:?} for {} {:?}", got.dtype, got.shape, want.dtype, want.shape);
    }
    let nan = |x: f64, y: f64| x.is_nan() && y.is_nan();
    let wrong: Vec<usize> =
        (0..want.len()).filter(|&i| want.at(i).to_bits() != got.at(i).to_bits() && !nan(want.at(i), got.at(i))).collect();
    let show = |i: &usize| format!("[{i}] {} for {}", got.at(*i), want.at(*i));
    format!("{} of {} elements: {}", wrong.len(), want.len(), wrong.iter().take(6).map(show).collect::<Vec<_>>().join(", "))
}

/// Elements of every kind, some of them awkward.
pub fn elements(r: &mut Random, n: usize, dtype: DType, wild: bool) -> Vec<f64> {
    let nice = [0.0, 1.0, -1.0, 0.5, 2.0, -2.0, 3.0];
    let odd = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -0.0, 1e30, 1e-30];
    (0..n)
        .map(|_| match dtype {
            DType::Bool => r.below(2) as f64,
            DType::I32 | DType::I64 => r.range(-4, 7) as f64,
            _ if wild && r.once_in(12) => *r.pick(&odd),
            _ if r.once_in(3) => *r.pick(&nice),
            _ => (r.unit() * 3.0) as f32 as f64,
        })
        .collect()
}

/// A tensor that has its elements.
pub fn data(values: &[f64], shape: &[usize], dtype: DType) -> Tensor {
    match dtype {
        DType::Bool => Tensor::from_slice(&values.iter().map(|&x| (x != 0.0) as u8).collect::<Vec<_>>(), shape),
        DType::I32 => Tensor::from_slice(&values.iter().map(|&x| x as i32).collect::<Vec<_>>(), shape),
        DType::I64 => Tensor::from_slice(&values.iter().map(|&x| x as i64).collect::<Vec<_>>(), shape),
        DType::F32 => Tensor::from_slice(&values.iter().map(|&x| x as f32).collect::<Vec<_>>(), shape),
        DType::F64 => Tensor::from_slice(values, shape),
    }
    .expect("memory for a test")
}
