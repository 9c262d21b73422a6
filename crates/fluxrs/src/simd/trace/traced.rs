//! The number type whose operations are steps.

use super::{Binary, Id, Relation, Round, STEPS, Step, fail, push};
use crate::simd::isa::Isa;
use crate::simd::lanes::Lane;
use crate::simd::math::{Float, Num, Precise};
use std::ops::{Add, BitAnd, BitOr, BitXor, Div, Mul, Neg, Not, Sub};

/// A float as bits.
pub trait Bits: Float {
    const MANTISSA: u8;
    const BIAS: u64;
    const SIGN: u64;
    fn bits(self) -> u64;
}

impl Bits for f32 {
    const MANTISSA: u8 = 23;
    const BIAS: u64 = 127;
    const SIGN: u64 = 1 << 31;
    fn bits(self) -> u64 {
        u64::from(self.to_bits())
    }
}

impl Bits for f64 {
    const MANTISSA: u8 = 52;
    const BIAS: u64 = 1023;
    const SIGN: u64 = 1 << 63;
    fn bits(self) -> u64 {
        self.to_bits()
    }
}

/// A number of a type that is not computed.
#[derive(Clone, Copy, Debug)]
pub enum Traced<F> {
    Number(F),
    Value(Id),
}

/// The truth of a comparison of such numbers.
#[derive(Clone, Copy, Debug, Default)]
pub struct Truth(pub Id);

/// What a traced body gives.
pub trait Recorded {
    fn id(self) -> Id;
}

impl<F: Bits> Recorded for Traced<F> {
    fn id(self) -> Id {
        match self {
            Traced::Number(x) => push(Step::Number(x.bits())),
            Traced::Value(id) => id,
        }
    }
}

impl Recorded for Truth {
    fn id(self) -> Id {
        self.0
    }
}

impl BitAnd for Truth {
    type Output = Truth;
    fn bitand(self, y: Truth) -> Truth {
        Truth(push(Step::Both(self.0, y.0)))
    }
}

impl BitOr for Truth {
    type Output = Truth;
    fn bitor(self, y: Truth) -> Truth {
        Truth(push(Step::Either(self.0, y.0)))
    }
}

impl BitXor for Truth {
    type Output = Truth;
    fn bitxor(self, y: Truth) -> Truth {
        Truth(push(Step::Differ(self.0, y.0)))
    }
}

impl Not for Truth {
    type Output = Truth;
    fn not(self) -> Truth {
        fail()
    }
}

impl<F: Bits> Traced<F> {
    fn with(self, op: Binary, y: Self) -> Self {
        Traced::Value(push(Step::Binary(op, self.id(), y.id())))
    }

    fn bits_with(self, op: Binary, bits: u64) -> Self {
        Traced::Value(push(Step::Binary(op, self.id(), push(Step::Number(bits)))))
    }

    fn up(self) -> Self {
        Traced::Value(push(Step::Up(F::MANTISSA, self.id())))
    }

    fn compare(self, relation: Relation, y: Self) -> Truth {
        Truth(push(Step::Compare(relation, self.id(), y.id())))
    }
}

impl<F: Bits> Default for Traced<F> {
    fn default() -> Self {
        Traced::Number(F::default())
    }
}

impl<F: Bits> Lane for Traced<F> {}

// A body that asks branches on the answer.
impl<F: Bits> PartialEq for Traced<F> {
    fn eq(&self, _: &Self) -> bool {
        fail()
    }
}

impl<F: Bits> PartialOrd for Traced<F> {
    fn partial_cmp(&self, _: &Self) -> Option<std::cmp::Ordering> {
        fail()
    }
}

macro_rules! operators {
    ($($Op:ident $f:ident $step:ident $plain:tt;)*) => { $(
        impl<F: Bits> $Op for Traced<F> {
            type Output = Self;
            fn $f(self, y: Self) -> Self {
                match (self, y) {
                    (Traced::Number(x), Traced::Number(y)) => Traced::Number(x $plain y),
                    (x, y) => x.with(Binary::$step, y),
                }
            }
        }
    )* };
}
operators! { Add add Add +; Sub sub Subtract -; Mul mul Multiply *; Div div Divide /; }

impl<F: Bits> Neg for Traced<F> {
    type Output = Self;
    fn neg(self) -> Self {
        match self {
            Traced::Number(x) => Traced::Number(-x),
            x => x.bits_with(Binary::Xor, F::SIGN),
        }
    }
}

impl<F: Bits> Num for Traced<F> {
    type Truth = Truth;

    fn of(x: f64) -> Self {
        Traced::Number(F::of(x))
    }
    fn add(self, y: Self) -> Self {
        self + y
    }
    fn sub(self, y: Self) -> Self {
        self - y
    }
    fn mul(self, y: Self) -> Self {
        self * y
    }
    fn neg(self) -> Self {
        -self
    }
    fn abs(self) -> Self {
        self.bits_with(Binary::And, F::SIGN - 1)
    }
    fn floor_divide(self, _: Self) -> Self {
        fail()
    }
    fn remainder(self, _: Self) -> Self {
        fail()
    }
    fn power<I: Isa>(self, _: Self) -> Self {
        fail()
    }
    fn equals(self, y: Self) -> Truth {
        self.compare(Relation::Equal, y)
    }
    fn differs(self, y: Self) -> Truth {
        self.compare(Relation::NotEqual, y)
    }
    fn less(self, y: Self) -> Truth {
        self.compare(Relation::Less, y)
    }
    fn at_most(self, y: Self) -> Truth {
        self.compare(Relation::AtMost, y)
    }

    fn choose(c: Truth, x: Self, y: Self) -> Self {
        let (x, y) = (x.id(), y.id());
        let asked = STEPS.with_borrow(|steps| steps.get(c.0 as usize).copied());
        Traced::Value(push(match asked {
            Some(Step::Compare(Relation::Less, a, b)) if (a, b) == (x, y) => Step::Binary(Binary::Least, x, y),
            Some(Step::Compare(Relation::Less, a, b)) if (a, b) == (y, x) => Step::Binary(Binary::Greatest, x, y),
            _ => Step::Choose(c.0, x, y),
        }))
    }
}

impl<F: Bits> Float for Traced<F> {
    type Coefficient = F::Coefficient;

    const INFINITY: Self = Traced::Number(F::INFINITY);
    const NAN: Self = Traced::Number(F::NAN);
    const MAX: Self = Traced::Number(F::MAX);
    const MAGIC: Self = Traced::Number(F::MAGIC);
    const TINY: Self = Traced::Number(F::TINY);
    const BIG: Self = Traced::Number(F::BIG);
    const LN2: [Self; 2] = both(F::LN2);
    const LOG10_2: [Self; 2] = both(F::LOG10_2);
    const PI: [Self; 2] = both(F::PI);
    const PI_2: [Self; 2] = both(F::PI_2);
    const PI_4: [Self; 2] = both(F::PI_4);
    const EXP: [Self; 2] = both(F::EXP);
    const EXP2: [Self; 2] = both(F::EXP2);
    const SINH: Self = Traced::Number(F::SINH);
    const TANH: Self = Traced::Number(F::TANH);
    const EXP_Q: &'static [F::Coefficient] = F::EXP_Q;
    const ASIN_P: &'static [F::Coefficient] = F::ASIN_P;
    const ATAN_P: &'static [F::Coefficient] = F::ATAN_P;
    const LOG_P: &'static [F::Coefficient] = F::LOG_P;

    fn coefficient(c: F::Coefficient) -> Self {
        Traced::Number(F::coefficient(c))
    }
    fn fma<I: Isa>(self, y: Self, z: Self) -> Self {
        Traced::Value(push(Step::Fused(self.id(), y.id(), z.id())))
    }
    fn root(self) -> Self {
        Traced::Value(push(Step::Root(self.id())))
    }
    fn signed(self, of: Self) -> Self {
        self.abs().with(Binary::Or, of.bits_with(Binary::And, F::SIGN))
    }
    fn rint<I: Isa>(self) -> Self {
        Traced::Value(push(Step::Round(Round::Nearest, self.id())))
    }
    fn down<I: Isa>(self) -> Self {
        Traced::Value(push(Step::Round(Round::Down, self.id())))
    }
    fn power_of_two(k: Self) -> Self {
        k.up().bits_with(Binary::AddBits, F::BIAS << F::MANTISSA)
    }
    fn powers_of_two(k: Self) -> [Self; 2] {
        let n = k.with(Binary::SubtractBits, Self::MAGIC).bits_with(Binary::AddBits, 4 * F::BIAS);
        let half = Traced::Value(push(Step::Down(1, n.id())));
        [half, n.with(Binary::SubtractBits, half)].map(|n| n.bits_with(Binary::SubtractBits, F::BIAS).up())
    }
    fn mantissa_exponent(self) -> (Self, Self) {
        fail()
    }
    fn log_tail<I: Isa>(_: Self) -> Self {
        fail()
    }
    fn exact_product<I: Isa>(self, _: Self) -> (Self, Self) {
        fail()
    }
}

const fn both<F: Bits>([x, y]: [F; 2]) -> [Traced<F>; 2] {
    [Traced::Number(x), Traced::Number(y)]
}

macro_rules! without_steps {
    ($($name:ident($($arg:ident),*))*) => {
        impl<F: Bits> Precise for Traced<F> { $(
            fn $name<I: Isa>(self $(, $arg: Self)*) -> Self {
                $(let _ = $arg;)*
                fail()
            }
        )* }
    };
}
without_steps! { sin_of() cos_of() tan_of() erf_of() erfc_of() normcdf_of() pow_of(y) cbrt_of() hypot_of(y) }
