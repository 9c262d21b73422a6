//! Update rules, in the symbols of their sources and made of ordinary ops: so each exists on every device, and the updates of
//! all parameters run as one plan, in place.

use crate::bail;
use crate::error::Result;
use crate::graph::{Handle, Tensor, no_grad};
use crate::leaf::{self, Change, Leaf};
use crate::ops::Elementwise;
use crate::ops::rules::{choose, ratio};
use crate::shape::show;
use smallvec::SmallVec;
use std::sync::Arc;

/// The numbers that a rule may use. δ is a parameter's gradient, t counts the steps from 1.
#[derive(Clone, Copy, Debug)]
pub struct Hyper {
    pub η: f64,
    pub ρ: f64,
    pub β1: f64,
    pub β2: f64,
    pub ε: f64,
    pub decay: f64,
    /// ADAMW: whether `decay` is scaled by η.
    pub couple: bool,
    pub t: f64,
}

/// The change of the parameter, and the new state.
type Step = (Tensor, Vec<Tensor>);

pub struct Rule {
    pub name: &'static str,
    /// The names of the state tensors, zero at the start.
    pub slots: &'static [&'static str],
    decay: Decay,
    step: fn(&Hyper, &Tensor, &Tensor, &[Tensor]) -> Step,
}

/// Where Flux's inverse decay, 1/(1 + decay·(t−1)), comes in.
#[derive(PartialEq)]
enum Decay {
    /// It multiplies η, in which the step is linear.
    Rate,
    /// It multiplies the step, which has no η.
    Step,
    /// Nowhere: the rule has a decay of its own.
    Own,
}

const fn rule(name: &'static str, slots: &'static [&'static str], step: fn(&Hyper, &Tensor, &Tensor, &[Tensor]) -> Step) -> Rule {
    Rule { name, slots, decay: Decay::Rate, step }
}

pub const RULES: &[Rule] = &[
    rule("SGD", &[], sgd),
    rule("Momentum", &["v"], momentum),
    rule("Nesterov", &["v"], nesterov),
    rule("RMSProp", &["a"], rmsprop),
    rule("ADAGrad", &["a"], adagrad),
    Rule { decay: Decay::Step, ..rule("ADADelta", &["a", "u"], adadelta) },
    rule("ADAM", &["m", "v"], adam),
    Rule { decay: Decay::Own, ..rule("ADAMW", &["m", "v"], adamw) },
    rule("AdaMax", &["m", "u"], adamax),
    rule("AMSGrad", &["m", "v", "v̂"], amsgrad),
    rule("NADAM", &["m", "v"], nadam),
    rule("RAdam", &["m", "v"], radam),
    rule("AdaBelief", &["m", "s"], adabelief),
    Rule { decay: Decay::Own, ..rule("Lion", &["m"], lion) },
    Rule { decay: Decay::Own, ..rule("LAMB", &["m", "v"], lamb) },
];

fn sgd(h: &Hyper, _: &Tensor, δ: &Tensor, _: &[Tensor]) -> Step {
    (-h.η * δ, vec![])
}

fn momentum(h: &Hyper, _: &Tensor, δ: &Tensor, s: &[Tensor]) -> Step {
    let v = h.ρ * &s[0] - h.η * δ;
    (v.clone(), vec![v])
}

/// Momentum's step, seen one step ahead.
fn nesterov(h: &Hyper, _: &Tensor, δ: &Tensor, s: &[Tensor]) -> Step {
    let (η, ρ, v) = (h.η, h.ρ, &s[0]);
    (ρ * ρ * v - (1.0 + ρ) * η * δ, vec![ρ * v - η * δ])
}

/// Hinton's lecture 6e, 2012; ε outside the root.
fn rmsprop(h: &Hyper, _: &Tensor, δ: &Tensor, s: &[Tensor]) -> Step {
    let a = h.ρ * &s[0] + (1.0 - h.ρ) * δ.square();
    (-h.η * δ / (a.sqrt() + h.ε), vec![a])
}

/// Duchi, Hazan and Singer, JMLR 12 (2011).
fn adagrad(h: &Hyper, _: &Tensor, δ: &Tensor, s: &[Tensor]) -> Step {
    let a = &s[0] + δ.square();
    (-h.η * δ / (a.sqrt() + h.ε), vec![a])
}

/// arXiv 1212.5701.
fn adadelta(h: &Hyper, _: &Tensor, δ: &Tensor, state: &[Tensor]) -> Step {
    let (ρ, ε, u) = (h.ρ, h.ε, &state[1]);
    let a = ρ * &state[0] + (1.0 - ρ) * δ.square();
    let s = δ * (u + ε).sqrt() / (&a + ε).sqrt();
    let u = ρ * u + (1.0 - ρ) * s.square();
    (-s, vec![a, u])
}

/// Running means of δ and of δ².
fn moments(h: &Hyper, δ: &Tensor, s: &[Tensor]) -> (Tensor, Tensor) {
    let m = h.β1 * &s[0] + (1.0 - h.β1) * δ;
    let v = h.β2 * &s[1] + (1.0 - h.β2) * δ.square();
    (m, v)
}

/// −η · m/(1−β1ᵗ) / (√(v/(1−β2ᵗ)) + ε), with one division an element: what divides all alike is a number.
fn adam_step(h: &Hyper, m: &Tensor, v: &Tensor) -> Tensor {
    let (c1, c2) = (1.0 - h.β1.powf(h.t), 1.0 - h.β2.powf(h.t));
    m * (-h.η / c1) / ((v * (1.0 / c2)).sqrt() + h.ε)
}

/// arXiv 1412.6980v8.
fn adam(h: &Hyper, _: &Tensor, δ: &Tensor, s: &[Tensor]) -> Step {
    let (m, v) = moments(h, δ, s);
    (adam_step(h, &m, &v), vec![m, v])
}

/// arXiv 1711.05101, Algorithm 2; p as it was before.
fn adamw(h: &Hyper, p: &Tensor, δ: &Tensor, s: &[Tensor]) -> Step {
    let (m, v) = moments(h, δ, s);
    let decay = if h.couple { h.η * h.decay } else { h.decay };
    (adam_step(h, &m, &v) - decay * p, vec![m, v])
}

/// ADAM by the ∞-norm: arXiv 1412.6980.
fn adamax(h: &Hyper, _: &Tensor, δ: &Tensor, s: &[Tensor]) -> Step {
    let m = h.β1 * &s[0] + (1.0 - h.β1) * δ;
    let u = (h.β2 * &s[1]).maximum(&δ.abs());
    (-h.η / (1.0 - h.β1.powf(h.t)) * &m / (&u + h.ε), vec![m, u])
}

/// Reddi, Kale and Kumar, ICLR 2018: no correction of the bias.
fn amsgrad(h: &Hyper, _: &Tensor, δ: &Tensor, s: &[Tensor]) -> Step {
    let (m, v) = moments(h, δ, s);
    let v̂ = s[2].maximum(&v);
    (-h.η * &m / (v̂.sqrt() + h.ε), vec![m, v, v̂])
}

/// Dozat, 2015: ADAM, one step ahead.
fn nadam(h: &Hyper, _: &Tensor, δ: &Tensor, s: &[Tensor]) -> Step {
    let (m, v) = moments(h, δ, s);
    let (now, next) = (1.0 - h.β1.powf(h.t), 1.0 - h.β1.powf(h.t + 1.0));
    let ahead = &m * (h.β1 / next) + δ * ((1.0 - h.β1) / now);
    (-h.η * ahead / ((&v * (1.0 / (1.0 - h.β2.powf(h.t)))).sqrt() + h.ε), vec![m, v])
}

/// arXiv 1908.03265, Algorithm 2: ADAM with its rate rectified, and m alone as long as too few steps are known.
fn radam(h: &Hyper, _: &Tensor, δ: &Tensor, s: &[Tensor]) -> Step {
    let (m, v) = moments(h, δ, s);
    let (limit, power) = (2.0 / (1.0 - h.β2) - 1.0, h.β2.powf(h.t));
    let ρ = limit - 2.0 * h.t * power / (1.0 - power);
    let step = if ρ > 4.0 {
        let r = ((ρ - 4.0) * (ρ - 2.0) * limit / ((limit - 4.0) * (limit - 2.0) * ρ)).sqrt();
        adam_step(&Hyper { η: h.η * r, ..*h }, &m, &v)
    } else {
        &m * (-h.η / (1.0 - h.β1.powf(h.t)))
    };
    (step, vec![m, v])
}

/// arXiv 2010.07468: ADAM by how far δ is from what was expected.
fn adabelief(h: &Hyper, _: &Tensor, δ: &Tensor, state: &[Tensor]) -> Step {
    let m = h.β1 * &state[0] + (1.0 - h.β1) * δ;
    let s = h.β2 * &state[1] + (1.0 - h.β2) * (δ - &m).square() + h.ε;
    (adam_step(h, &m, &s), vec![m, s])
}

/// arXiv 2302.06675, Algorithm 2; p as it was before.
fn lion(h: &Hyper, p: &Tensor, δ: &Tensor, s: &[Tensor]) -> Step {
    let c = h.β1 * &s[0] + (1.0 - h.β1) * δ;
    (-h.η * (c.sign() + h.decay * p), vec![h.β2 * &s[0] + (1.0 - h.β2) * δ])
}

/// arXiv 1904.00962, Algorithm 2: ADAMW's step, as long as η times the parameter is; p as it was before.
fn lamb(h: &Hyper, p: &Tensor, δ: &Tensor, s: &[Tensor]) -> Step {
    let (m, v) = moments(h, δ, s);
    let step = adam_step(&Hyper { η: 1.0, ..*h }, &m, &v) - h.decay * p;
    let norm = |x: &Tensor| x.square().sum(None, false).expect("a sum over all axes").sqrt();
    let of_p = norm(p);
    let trust = choose(&of_p.greater_than(0.0), ratio(&of_p, &norm(&step)), 1.0);
    (h.η * step * trust, vec![m, v])
}

pub fn by_name(name: &str) -> Option<&'static Rule> {
    RULES.iter().find(|r| r.name == name)
}

impl Rule {
    /// Queues one step for every parameter with its state; the caller flushes. `grads[i]` is None where the loss did not
    /// reach a parameter: that is stepped with δ = 0.
    pub fn step(&self, h: &Hyper, params: &[Arc<Leaf>], grads: &[Option<Tensor>], state: &[Vec<Arc<Leaf>>]) -> Result<()> {
        let mut h = *h;
        let shrink = 1.0 / (1.0 + h.decay * (h.t - 1.0));
        if self.decay == Decay::Rate {
            h.η *= shrink;
        }
        // Again with newer values, where another thread's step came between.
        while !self.queue(&h, shrink, params, grads, state)? {}
        Ok(())
    }

    /// Queues the changes of all leaves at once, so that no other thread commits a part of a step.
    fn queue(
        &self,
        h: &Hyper,
        shrink: f64,
        params: &[Arc<Leaf>],
        grads: &[Option<Tensor>],
        state: &[Vec<Arc<Leaf>>],
    ) -> Result<bool> {
        let held = |leaves: &[Arc<Leaf>]| leaves.iter().map(|leaf| leaf.held()).collect::<Result<SmallVec<[Handle; 4]>>>();
        let (values, slots) = (held(params)?, state.iter().map(|s| held(s)).collect::<Result<SmallVec<[_; 4]>>>()?);
        let mut changes = SmallVec::new();
        for (i, (leaf, δ)) in params.iter().zip(grads).enumerate() {
            let value = values[i].tensor();
            if let Some(δ) = δ
                && δ.shape() != value.shape()
            {
                let (got, want) = (show(δ.shape()), show(value.shape()));
                bail!(Shape, "{}: a gradient of shape {got} for a parameter of shape {want}", self.name);
            }
            no_grad(|| -> Result<()> {
                let δ = δ.as_ref().map_or_else(|| value.zeros_like(), |δ| δ.cast(value.dtype()));
                let old: SmallVec<[Tensor; 4]> = slots[i].iter().map(|s| s.tensor().clone()).collect();
                let (mut change, new) = (self.step)(h, value, &δ, &old);
                if self.decay == Decay::Step && shrink != 1.0 {
                    change = change * shrink;
                }
                let value = Elementwise::add.apply(&[value, &change])?;
                changes.push(Change { leaf, made_of: values[i].tensor(), value, spends: true });
                let slots = state[i].iter().zip(&slots[i]).zip(new);
                changes.extend(slots.map(|((leaf, old), value)| Change { leaf, made_of: old.tensor(), value, spends: true }));
                Ok(())
            })?;
        }
        Ok(leaf::queue(changes))
    }
}
