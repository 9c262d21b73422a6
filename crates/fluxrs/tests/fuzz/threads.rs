//! Leaves that two threads use: in turn, so that what must come of it is known, and at once.

use crate::acts::{some_param, vector};
use crate::random::Random;
use crate::world::World;
use fluxrs::leaf;
use fluxrs::reference::{self, Array, computed};
use fluxrs::{Error, Tensor};
use std::collections::BTreeSet;
use std::sync::Arc;

fn elsewhere<R: Send>(f: impl FnOnce() -> R + Send) -> R {
    std::thread::scope(|scope| scope.spawn(f).join().expect("the other thread does not panic"))
}

/// Another thread reads a parameter, and so commits what waits for it here; this one hears what came of it.
pub fn read_elsewhere(w: &mut World, r: &mut Random) {
    let Some(p) = some_param(w, r) else { return };
    let leaf = Arc::clone(&w.params[p].leaf);
    let seen =
        elsewhere(|| computed(leaf.held().expect("failures are heard by the owner").tensor()).expect("a leaf has a value"));
    let result = leaf::flush();
    w.settle(result);
    assert!(w.params[p].value.same(&seen), "another thread saw another value of parameter {p}");
}

/// Another thread queues an update, which waits there until it is asked for.
pub fn update_elsewhere(w: &mut World, r: &mut Random) {
    let Some(p) = some_param(w, r) else { return };
    // An update that waits here would be committed there first.
    w.flush();
    let delta = vector(r, &w.params[p].value);
    let value = w.meaning(&delta).map(|d| reference::sum(&w.params[p].value, &d));
    let leaf = Arc::clone(&w.params[p].leaf);
    let (flush, ask) = (r.coin(), r.coin());
    w.say(format!("  another thread updates parameter {p}, flushes: {flush}"));
    elsewhere(|| {
        leaf::update(&leaf, &delta).expect("shapes fit");
        if flush {
            leaf::flush().expect("nothing here can fail");
        }
    });
    w.enqueue(p, value, BTreeSet::new(), false, true);
    let result = if ask { leaf.held().map(drop) } else { elsewhere(|| leaf.held().map(drop)) };
    w.settle(result);
}

/// Another thread takes steps while this one reads and computes: every value is one of those between two steps.
pub fn race(w: &mut World, r: &mut Random) {
    const STEPS: usize = 12;
    let Some(p) = some_param(w, r) else { return };
    w.flush();
    let leaf = Arc::clone(&w.params[p].leaf);
    let delta = vector(r, &w.params[p].value);
    let d = w.meaning(&delta).expect("data has a value");
    let mut values: Vec<Array> = vec![w.params[p].value.clone()];
    for k in 0..STEPS {
        values.push(reference::sum(&values[k], &d));
    }
    w.say(format!("  another thread takes steps with parameter {p}"));
    let reads = r.below(8);
    let found = std::thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..STEPS {
                leaf::update(&leaf, &delta).expect("shapes fit");
                leaf::flush().expect("nothing here can fail");
            }
        });
        let seen = |_| -> Result<Array, Error> {
            let now = leaf.held()?;
            // A result that outlives the step.
            let same = fluxrs::evaluate::Handle::new(
                now.tensor() + &Tensor::full(now.tensor().shape(), 0.0, now.tensor().dtype()).unwrap(),
            );
            drop(now);
            std::thread::yield_now();
            computed(same.tensor())
        };
        (0..reads).map(seen).collect::<Vec<_>>()
    });
    let mut first = 0;
    for seen in found {
        let seen = seen.expect("a node with a handle has a value");
        let at = values[first..].iter().position(|v| (0..v.len()).all(|i| v.at(i) == seen.at(i) || v.at(i).is_nan()));
        first += at.expect("a value was seen that the parameter never had");
    }
    let last = values.pop().expect("one a step");
    w.enqueue(p, Ok(last), BTreeSet::new(), false, true);
    w.settle(leaf.held().map(drop));
}
