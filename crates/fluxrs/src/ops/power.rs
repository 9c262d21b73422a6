//! Powers: products where the exponent is a small whole number, the elementwise `power` elsewhere.

use super::{Elementwise, Op};
use crate::dtype::{DType, Number};
use crate::error::Result;
use crate::graph::Tensor;

/// Exponents up to this size are written as products.
const MOST_FACTORS: i64 = 16;

/// x to the power y.
pub fn power(x: &Tensor, y: &Tensor) -> Result<Tensor> {
    match y.op() {
        Op::Number(n) if !x.is_number() => power_by_number(x, *n),
        _ => Elementwise::power.apply(&[x, y]),
    }
}

/// x, which is no number, to the power n.
pub fn power_by_number(x: &Tensor, n: Number) -> Result<Tensor> {
    let exponent = match n {
        Number::Int(n) => Some(n),
        Number::Float(f) if f.fract() == 0.0 && f.abs() <= MOST_FACTORS as f64 => Some(f as i64),
        _ => None,
    };
    let apply = |op: Elementwise, a: &Tensor| op.apply(&[a]);
    let x = &match n {
        Number::Float(_) => x.cast(x.dtype().to_float()),
        _ if x.dtype() == DType::Bool => x.cast(DType::I64),
        _ => x.clone(),
    };
    match exponent.filter(|n| n.unsigned_abs() <= MOST_FACTORS as u64) {
        // Tracked, so that its gradient is there: 0.
        Some(0) if !x.is_tracked() => Ok(Tensor::filled(x, 1.0)),
        Some(n) if n > 0 => whole_power(x, n),
        // The inverse first: so the slope is infinite at 0.
        Some(n) if n < 0 && x.dtype().is_float() => whole_power(&apply(Elementwise::reciprocal, x)?, -n),
        None if matches!(n, Number::Float(0.5)) => apply(Elementwise::sqrt, x),
        _ => Elementwise::power.apply(&[x, &Tensor::number(n)]),
    }
}

/// By squaring: x⁵ = (x²)² · x.
fn whole_power(x: &Tensor, n: i64) -> Result<Tensor> {
    match n {
        1 => Ok(x.clone()),
        n if n % 2 == 0 => whole_power(&Elementwise::square.apply(&[x])?, n / 2),
        n => Elementwise::multiply.apply(&[&whole_power(x, n - 1)?, x]),
    }
}
