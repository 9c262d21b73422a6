//! The vocabulary of gradient rules: Rust's operators on tensors and numbers, and the pieces that several rules share.

use super::Elementwise;
use crate::graph::Tensor;
use std::borrow::Borrow;

/// A tensor or a number as an operand of a gradient rule.
pub(crate) trait Quantity {
    type Held: Borrow<Tensor>;
    fn hold(self) -> Self::Held;
}
impl<'a> Quantity for &'a Tensor {
    type Held = &'a Tensor;
    fn hold(self) -> &'a Tensor {
        self
    }
}
impl Quantity for Tensor {
    type Held = Tensor;
    fn hold(self) -> Tensor {
        self
    }
}
impl Quantity for f64 {
    type Held = Tensor;
    fn hold(self) -> Tensor {
        Tensor::number(self)
    }
}
impl Quantity for i64 {
    type Held = Tensor;
    fn hold(self) -> Tensor {
        Tensor::number(self)
    }
}

/// `where` in gradient rules.
pub(crate) fn choose(c: &Tensor, x: impl Quantity, y: impl Quantity) -> Tensor {
    Elementwise::r#where.of(&[c, x.hold().borrow(), y.hold().borrow()])
}

/// The share of the larger operand `x` in a gradient: all, one half on a tie, NaN beside NaN, else 0, whatever the gradient is.
pub(crate) fn share(g: &Tensor, x: &Tensor, y: &Tensor) -> Tensor {
    let rest = choose(&x.equal(y), g * 0.5, x + y);
    choose(&x.greater(y), g, choose(&x.less(y), 0.0, rest))
}

/// eˣ / (eˣ + eʸ), one half for equal operands, whatever they are.
pub(crate) fn weight(x: &Tensor, y: &Tensor) -> Tensor {
    choose(&x.equal(y), 0.5, (x - y).sigmoid())
}

/// g / (x² + y²), without overflow.
pub(crate) fn over_square(g: &Tensor, x: &Tensor, y: &Tensor) -> Tensor {
    let r = x.hypot(y);
    g / &r / r
}

/// x / r, and 0 where r is 0.
pub(crate) fn ratio(x: &Tensor, r: &Tensor) -> Tensor {
    let zero = r.equal(&Tensor::number(0.0));
    choose(&zero, 0.0, x / choose(&zero, 1.0, r))
}

/// `f(x)`, but where x is 0 this value with gradient 0: there f's slope is not looked at.
pub(crate) fn apart_from_zero(x: &Tensor, value: f64, f: impl Fn(&Tensor) -> Tensor) -> Tensor {
    let zero = x.equal(&Tensor::number(0.0));
    choose(&zero, value, f(&choose(&zero, 1.0, x)))
}

/// 1 − x² to the last digit. At ±1, where its factors' slopes would be 0 · ∞, it is differentiated as the square that it is.
pub(crate) fn beside_one(x: &Tensor) -> Tensor {
    let edge = x.abs().equal(&Tensor::number(1.0));
    choose(&edge, 1.0 - x.square(), (1.0 - x) * (x + 1.0))
}

/// y·x^(y−1), and 0 where y is 0, whatever x is; its slope by y is right there too.
pub(crate) fn power_slope(x: &Tensor, y: &Tensor) -> Tensor {
    let flat = y.equal(&Tensor::number(0.0)).logical_and(&x.reciprocal().isinf());
    y * choose(&flat, 1.0, x).power(&(y - 1.0))
}

/// log x for positive x, else 0: the slope of x^y by y where x^y is 0 for all y near by.
pub(crate) fn safe_log(x: &Tensor) -> Tensor {
    let positive = x.greater_than(0.0);
    choose(&positive, choose(&positive, x, 1.0).log(), 0.0)
}

/// σ(x)·(1 + x·σ(−x)): 1 far out, and 0 on the other side.
pub(crate) fn swish_slope(x: &Tensor) -> Tensor {
    let x = x.maximum(&Tensor::number(-1e38)).minimum_with(1e38);
    x.sigmoid() * (&x * (-&x).sigmoid() + 1.0)
}

/// √(2π).
pub(crate) const ROOT_OF_TAU: f64 = 2.5066282746310002;

/// `below` for x ≤ −bound, `above` for x ≥ bound, else `inside`, also for NaN.
pub(crate) fn within(x: &Tensor, bound: f64, below: impl Quantity, above: impl Quantity, inside: &Tensor) -> Tensor {
    let inside = choose(&x.less_equal(&Tensor::number(-bound)), below, inside);
    choose(&x.greater_equal(&Tensor::number(bound)), above, &inside)
}

/// t + x·σ(x)·(1 − t²) with t = tanh softplus x. Far out tanh is 1 and its slope nothing: so t stands in e^−|x|, and 1 − t²
/// in two sigmoids.
pub(crate) fn mish_slope(x: &Tensor) -> Tensor {
    let x = x.maximum(&Tensor::number(-1e38)).minimum_with(1e38);
    let right = x.greater_than(0.0);
    let e = choose(&right, -&x, &x).exp();
    let n = &e * (&e + 2.0);
    let below = 2.0 * e.square() / (1.0 + 2.0 * &e + 2.0 * e.square());
    let t = choose(&right, 1.0 - below, &n / (&n + 2.0));
    let twice = x.softplus() * 2.0;
    t + &x * x.sigmoid() * (twice.sigmoid() * (-twice).sigmoid() * 4.0)
}

/// x / y where x is negative, else 0 with gradient 0.
pub(crate) fn below_zero(x: &Tensor, y: &Tensor) -> Tensor {
    let zero = Tensor::number(0.0);
    choose(&x.greater_equal(&zero), 0.0, x / y)
}

/// The slope of celu by y: e^u − 1 − u·e^u with u = x/y < 0, else 0.
pub(crate) fn celu_slope(x: &Tensor, y: &Tensor) -> Tensor {
    let u = below_zero(x, y).maximum(&Tensor::number(-1e38));
    u.expm1() - &u * u.exp()
}

macro_rules! operators {
    ($($Trait:ident $method:ident $op:ident),*) => {$(
        operators!(@pair $Trait $method $op, &Tensor, &Tensor);
        operators!(@pair $Trait $method $op, Tensor, &Tensor);
        operators!(@pair $Trait $method $op, &Tensor, Tensor);
        operators!(@pair $Trait $method $op, Tensor, Tensor);
        operators!(@pair $Trait $method $op, &Tensor, f64);
        operators!(@pair $Trait $method $op, Tensor, f64);
        operators!(@pair $Trait $method $op, &Tensor, i64);
        operators!(@pair $Trait $method $op, Tensor, i64);
        operators!(@pair $Trait $method $op, f64, &Tensor);
        operators!(@pair $Trait $method $op, f64, Tensor);
    )*};
    (@pair $Trait:ident $method:ident $op:ident, $A:ty, $B:ty) => {
        /// For expressions whose shapes and types are known to fit; `apply` is the fallible way.
        impl std::ops::$Trait<$B> for $A {
            type Output = Tensor;
            fn $method(self, other: $B) -> Tensor {
                Elementwise::$op.of(&[self.hold().borrow(), other.hold().borrow()])
            }
        }
    };
}
operators!(Add add add, Sub sub subtract, Mul mul multiply, Div div divide);

impl std::ops::Neg for &Tensor {
    type Output = Tensor;
    fn neg(self) -> Tensor {
        self.negative()
    }
}
impl std::ops::Neg for Tensor {
    type Output = Tensor;
    fn neg(self) -> Tensor {
        self.negative()
    }
}
