//! The steps of a record's expression, written down instead of computed: [`Traced`] is a number type whose operations say what they are.
//!
//! `body::<Traced<f32>, Avx2>(x)` of a branch-free generic body leaves exactly the operations that `body::<f32, Avx2>` computes, so what
//! is made of them (see `cpu/jit`) has the same bits. A body that branches on a value, or looks at its bits in a way that has no step,
//! cannot be written down.

mod traced;

pub use traced::{Bits, Recorded, Traced, Truth};

use std::cell::{Cell, RefCell};

/// The number of a step, and of the value that it makes.
pub type Id = u16;

/// One operation on a vector of elements.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Step {
    /// The elements of a place in memory, one after the other.
    Load(u16),
    /// One element in memory, for all.
    Single(u16),
    /// Truth values in memory.
    Truths(u16),
    /// A number by its bits.
    Number(u64),
    Binary(Binary, Id, Id),
    /// Shifted towards the higher bits by so many.
    Up(u8, Id),
    /// Likewise towards the lower ones.
    Down(u8, Id),
    Root(Id),
    /// To a whole number: the nearest, or not above.
    Round(Round, Id),
    /// x·y + z.
    Fused(Id, Id, Id),
    Compare(Relation, Id, Id),
    /// y where x is true, else z.
    Choose(Id, Id, Id),
    Both(Id, Id),
    Either(Id, Id),
    Differ(Id, Id),
    /// The value goes to a place in memory.
    Store(u16, Id),
    /// A truth value likewise.
    StoreTruths(u16, Id),
}

/// The value of each is its opcode.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Binary {
    And = 0x54,
    Or = 0x56,
    Xor = 0x57,
    Add = 0x58,
    Multiply = 0x59,
    Subtract = 0x5c,
    /// x where x < y, else y.
    Least = 0x5d,
    Divide = 0x5e,
    /// x where x > y, else y.
    Greatest = 0x5f,
    AddBits = 0xfe,
    SubtractBits = 0xfa,
}

/// The value of each is the instruction's.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Round {
    Nearest = 8,
    Down = 9,
}

/// The value of each is the instruction's.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Relation {
    Equal = 0,
    NotEqual = 4,
    Less = 0x11,
    AtMost = 0x12,
}

impl Step {
    /// The values that it reads.
    pub fn reads(self) -> impl Iterator<Item = Id> {
        let (list, n) = match self {
            Step::Load(_) | Step::Single(_) | Step::Truths(_) | Step::Number(_) => ([0; 3], 0),
            Step::Up(_, x) | Step::Down(_, x) | Step::Root(x) | Step::Round(_, x) => ([x, 0, 0], 1),
            Step::Store(_, x) | Step::StoreTruths(_, x) => ([x, 0, 0], 1),
            Step::Binary(_, x, y) | Step::Compare(_, x, y) => ([x, y, 0], 2),
            Step::Both(x, y) | Step::Either(x, y) | Step::Differ(x, y) => ([x, y, 0], 2),
            Step::Fused(x, y, z) | Step::Choose(x, y, z) => ([x, y, z], 3),
        };
        list.into_iter().take(n)
    }

    /// The same step with other operands, in memory and among the values.
    pub fn renamed(self, id: impl Fn(Id) -> Id, operand: impl Fn(u16) -> u16) -> Step {
        match self {
            Step::Load(k) => Step::Load(operand(k)),
            Step::Single(k) => Step::Single(operand(k)),
            Step::Truths(k) => Step::Truths(operand(k)),
            Step::Number(bits) => Step::Number(bits),
            Step::Binary(op, x, y) => Step::Binary(op, id(x), id(y)),
            Step::Up(by, x) => Step::Up(by, id(x)),
            Step::Down(by, x) => Step::Down(by, id(x)),
            Step::Root(x) => Step::Root(id(x)),
            Step::Round(round, x) => Step::Round(round, id(x)),
            Step::Fused(x, y, z) => Step::Fused(id(x), id(y), id(z)),
            Step::Compare(relation, x, y) => Step::Compare(relation, id(x), id(y)),
            Step::Choose(x, y, z) => Step::Choose(id(x), id(y), id(z)),
            Step::Both(x, y) => Step::Both(id(x), id(y)),
            Step::Either(x, y) => Step::Either(id(x), id(y)),
            Step::Differ(x, y) => Step::Differ(id(x), id(y)),
            Step::Store(k, x) => Step::Store(operand(k), id(x)),
            Step::StoreTruths(k, x) => Step::StoreTruths(operand(k), id(x)),
        }
    }

    /// True if its value is one truth for each element.
    pub fn is_truth(self) -> bool {
        matches!(self, Step::Truths(_) | Step::Compare(..) | Step::Both(..) | Step::Either(..) | Step::Differ(..))
    }
}

thread_local! {
    static STEPS: RefCell<Vec<Step>> = const { RefCell::new(Vec::new()) };
    static FAILED: Cell<bool> = const { Cell::new(false) };
}

/// The number of a step: of the one that is there already, if it was a short while ago.
fn push(step: Step) -> Id {
    const WHILE: usize = 32;
    STEPS.with_borrow_mut(|steps| {
        let from = if matches!(step, Step::Number(_)) { 0 } else { steps.len().saturating_sub(WHILE) };
        let known = steps[from..].iter().position(|s| *s == step).map(|at| from + at);
        known.unwrap_or_else(|| {
            steps.push(step);
            steps.len() - 1
        }) as Id
    })
}

/// Runs `f`, whose traced numbers add to `steps`. None, and nothing added, if it does what has no step.
pub fn record<R>(steps: &mut Vec<Step>, f: impl FnOnce() -> R) -> Option<R> {
    let before = steps.len();
    FAILED.set(false);
    STEPS.with_borrow_mut(|own| std::mem::swap(own, steps));
    let result = f();
    STEPS.with_borrow_mut(|own| std::mem::swap(own, steps));
    if FAILED.get() || steps.len() > Id::MAX as usize {
        steps.truncate(before);
        return None;
    }
    Some(result)
}

fn fail<T: Default>() -> T {
    FAILED.set(true);
    T::default()
}
