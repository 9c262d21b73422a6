//! Leaves and values in short words, and results compared with the reference.

use fluxrs::evaluate::Handle;
use fluxrs::reference::{Reference, Value, computed};
use fluxrs::{Elementwise, Leaf, Tensor};

pub fn values(t: &Tensor) -> Vec<f64> {
    let a = computed(t).unwrap();
    (0..a.len()).map(|i| a.at(i)).collect()
}

pub fn now(leaf: &Leaf) -> Vec<f64> {
    values(&leaf.value().unwrap())
}

pub fn by(e: Elementwise, xs: &[&Tensor]) -> Tensor {
    e.apply(xs).unwrap()
}

/// All of them in one plan, as the reference has them.
pub fn check(tensors: impl IntoIterator<Item = Tensor>) {
    let held: Vec<Handle> = tensors.into_iter().map(Handle::new).collect();
    let mut reference = Reference::default();
    for t in held.iter().map(Handle::tensor) {
        let Ok(Value::Array(want)) = reference.value(t) else { panic!("{t:?} has no value") };
        assert!(want.same(&computed(t).unwrap()), "{t:?}: {:?}", values(t));
    }
}
