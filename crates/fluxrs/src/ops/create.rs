//! Constants: a number in every element, and tensors made from host data.

use super::shader::{Arg, Pass, Shader, Spec, template};
use super::{Op, Operand, OperandMut, Place, Structured};
use crate::bail;
use crate::buffer::{Buffer, HostBuffer};
use crate::device::Device;
use crate::dtype::{DType, Element, Number};
use crate::error::Result;
use crate::graph::Tensor;
use crate::shape::{self, Map};
use smallvec::smallvec;
use std::sync::Arc;

/// `srcs[0]` + i · `srcs[1]` for i = 0, 1, …; computed in float64 or int64, whichever the numbers are. With `ends` the last element
/// is `srcs[2]` itself.
struct Iota {
    ends: bool,
}

impl Structured for Iota {
    fn name(&self) -> &'static str {
        if self.ends { "linspace" } else { "arange" }
    }

    fn gradient(&self, _: usize, _: &[Tensor], _: &Tensor, _: &Tensor) -> Option<Tensor> {
        None
    }

    fn cpu(&self, srcs: &[Operand<'_>], mut out: OperandMut<'_>) -> Result<()> {
        let float = |k: usize, i: usize| match srcs[k].dtype {
            DType::F64 => srcs[k].as_slice::<f64>()[i],
            _ => srcs[k].as_int() as f64,
        };
        let (start, step) = (float(0, 0), float(1, 0));
        let real = |i: usize| start + i as f64 * step;
        let ints = [0, 1].map(|k| (srcs[k].dtype == DType::I64).then(|| srcs[k].as_int()));
        let whole = |i: usize| match ints {
            [Some(start), Some(step)] => start.wrapping_add(step.wrapping_mul(i as i64)),
            _ => real(i) as i64,
        };
        let poll = out.poll;
        let last = self.ends.then(|| float(2, 0));
        macro_rules! write {
            ($T:ty, $value:expr) => {{
                let out = out.as_mut_slice::<$T>();
                poll.fill(out, 1, |start, part| {
                    part.iter_mut().enumerate().for_each(|(i, o)| *o = $value(start + i) as $T);
                    Ok(())
                })?;
                if let (Some(o), Some(last)) = (out.last_mut(), last) {
                    *o = last as $T;
                }
            }};
        }
        match out.dtype {
            DType::F32 => write!(f32, real),
            DType::F64 => write!(f64, real),
            DType::I32 => write!(i32, whole),
            DType::I64 => write!(i64, whole),
            DType::Bool => write!(u8, |i| real(i) != 0.0),
        }
        Ok(())
    }

    fn cost(&self, _: &[&[usize]], out: &[usize]) -> usize {
        shape::size(out)
    }

    fn shader(&self, srcs: &[Spec<'_>], out: Spec<'_>) -> Result<Shader, String> {
        let whole = srcs[..2].iter().all(|number| number.dtype == DType::I64);
        if out.dtype == DType::Bool || !out.dtype.is_float() && !whole {
            return Err(format!(" of {} from fractions", out.dtype));
        }
        let value = match out.dtype {
            DType::I64 => "fx_wide_add(first, fx_wide_mul(i32(i), step))",
            _ => "first + out_type(i) * step",
        };
        let code = format!("fn value(i: u32, first: out_type, step: out_type) -> out_type {{\n    return {value};\n}}\n");
        let last = if self.ends { 2 } else { 0 };
        let pass = Pass::threads(template!("iota"), out.size(), 256).sizes([("ends", self.ends as usize)]).code(code);
        let number = |operand| Arg::Number(operand, out.dtype);
        let pass = pass.number("first", number(0)).number("step", number(1)).number("last", number(last));
        let shader = Shader::from(pass.result("out"));
        Ok(if out.dtype == DType::I64 { shader.raising() } else { shader })
    }
}

/// The same constant or random numbers made on another device; None if `x` is not made of numbers alone.
pub fn made_on(x: &Tensor, device: Device) -> Option<Tensor> {
    let op = match x.op() {
        Op::Fill => Op::Fill,
        Op::Structured(s) => Op::Structured(s.clone()),
        _ => return None,
    };
    let srcs = x.0.srcs.get(&crate::graph::lock()).clone();
    let alone = srcs.iter().all(Tensor::is_number);
    alone.then(|| Tensor::guarded(op, srcs, x.shape().into(), x.dtype(), device, x.0.guards.clone()))
}

/// start, start + step, … up to `stop`, without it.
pub fn arange(start: Number, stop: Number, step: Number, dtype: DType) -> Result<Tensor> {
    let n = match (start, stop, step) {
        (_, _, s) if s.as_f64() == 0.0 || s.as_f64().is_nan() => bail!(Value, "arange: step must be a number other than 0"),
        (Number::Int(a), Number::Int(b), Number::Int(s)) => {
            let (a, b, s) = (a as i128, b as i128, s as i128);
            let span = if s > 0 { b - a } else { a - b };
            ((span.max(0) + s.abs() - 1) / s.abs()).min(usize::MAX as i128) as usize
        }
        _ => match ((stop.as_f64() - start.as_f64()) / step.as_f64()).ceil() {
            n if n.is_finite() => n as usize,
            _ => bail!(
                Value,
                "arange: no finite number of steps of {} goes from {} to {}",
                step.as_f64(),
                start.as_f64(),
                stop.as_f64()
            ),
        },
    };
    if let Number::Huge(_) = start {
        start.check("arange", dtype)?;
    }
    if let (Number::Int(a), Number::Int(s)) = (start, step)
        && n > 0
    {
        let last = a as i128 + (n as i128 - 1) * s as i128;
        for end in [start, i64::try_from(last).map_or(Number::Huge(last as f64), Number::Int)] {
            end.check("arange", dtype)?;
        }
    }
    let srcs = smallvec![Tensor::number(start), Tensor::number(step)];
    Tensor::node(Op::Structured(Arc::new(Iota { ends: false })), srcs, smallvec![n], dtype)
}

/// `n` numbers from `start` to `stop` at equal distances; `stop` is the last, or without `endpoint` would be the next.
pub fn linspace(start: f64, stop: f64, n: usize, endpoint: bool, dtype: DType) -> Result<Tensor> {
    let parts = if endpoint { n.saturating_sub(1).max(1) } else { n.max(1) };
    let step = (stop - start) / parts as f64;
    let srcs = smallvec![Tensor::number(start), Tensor::number(step), Tensor::number(stop)];
    Tensor::node(Op::Structured(Arc::new(Iota { ends: endpoint && n > 1 })), srcs, smallvec![n], dtype)
}

/// Ones on the k-th diagonal of an (n, m) matrix, zeros elsewhere.
pub fn eye(n: usize, m: usize, k: isize, dtype: DType) -> Result<Tensor> {
    shape::check("eye", &[n, m])?;
    let one = Number::Float(1.0);
    let k = k.clamp(-(n as isize), m as isize);
    let len = (n as isize - (-k).max(0)).min(m as isize - k.max(0)).max(0) as usize;
    Ok(diagonal_matrix(&Tensor::full(&[len], one, dtype)?, n, m, k))
}

/// A vector on the k-th diagonal of an (n, m) matrix, which it must fit; the shape is possible.
pub(super) fn diagonal_matrix(x: &Tensor, n: usize, m: usize, k: isize) -> Tensor {
    let shape = [n, m];
    let offset = if x.size() == 0 { 0 } else { (-k).max(0) as i64 * m as i64 + k.max(0) as i64 };
    if shape::size(&shape) == 0 {
        return x.filled_in(0.0, &shape);
    }
    Place::one(x, Map { offset, strides: smallvec![m as i64 + 1] }, &shape)
}

/// The matrix (n, m) of j − i ≤ k, over its rows i and columns j.
fn lower(n: usize, m: usize, k: isize) -> Tensor {
    let count = |n: usize| arange(0i64.into(), (n as i64).into(), 1i64.into(), DType::I64).expect("a step of 1");
    let (rows, columns) = (count(n) + k as i64, count(m));
    columns.reshape_to(&[1, m]).less_equal(&rows.reshape_to(&[n, 1]))
}

/// The part on and below the k-th diagonal of the last two axes, zeros above.
pub fn tril(x: &Tensor, k: isize) -> Result<Tensor> {
    triangle("tril", x, k, true)
}

/// The part on and above the k-th diagonal of the last two axes, zeros below.
pub fn triu(x: &Tensor, k: isize) -> Result<Tensor> {
    triangle("triu", x, k.saturating_sub(1), false)
}

fn triangle(op: &str, x: &Tensor, k: isize, below: bool) -> Result<Tensor> {
    let &[.., n, m] = x.shape() else { bail!(Shape, "{op}: a matrix is needed, got shape {}", shape::show(x.shape())) };
    let k = k.clamp(-(n as isize), m as isize);
    let (mask, zero) = (lower(n, m, k), Tensor::number(0i64));
    if below { super::apply::select(&mask, x, &zero) } else { super::apply::select(&mask, &zero, x) }
}

impl Tensor {
    /// This number in every element of a possible shape.
    pub(crate) fn fill(&self, shape: &[usize], dtype: DType) -> Tensor {
        debug_assert!(self.is_number());
        Tensor::within(Op::Fill, smallvec![self.clone()], shape::Shape::from_slice(shape), dtype)
    }

    /// This number as an array of no axes, on a device.
    pub(crate) fn fill_on(&self, device: Device, dtype: DType) -> Tensor {
        Tensor::on(device, Op::Fill, smallvec![self.clone()], shape::Shape::new(), dtype)
    }

    pub fn full(shape: &[usize], value: impl Into<Number>, dtype: DType) -> Result<Tensor> {
        shape::check("full", shape)?;
        Ok(Tensor::number(value).fill(shape, dtype))
    }

    pub(crate) fn zeros_like(&self) -> Tensor {
        Tensor::filled(self, 0.0)
    }

    pub fn filled(like: &Tensor, value: f64) -> Tensor {
        like.filled_in(value, like.shape())
    }

    /// This value in a possible shape, in place of something made of `self`: it derives from the same losses.
    pub(super) fn filled_in(&self, value: f64, shape: &[usize]) -> Tensor {
        let srcs = smallvec![Tensor::number(value)];
        Tensor::guarded(Op::Fill, srcs, shape.into(), self.dtype(), self.device(), self.0.guards.clone())
    }

    /// A copy of host data.
    pub fn from_slice<T: Element>(data: &[T], shape: &[usize]) -> Result<Tensor> {
        shape::check("tensor", shape)?;
        debug_assert_eq!(data.len(), shape::size(shape));
        let buffer = Buffer::Host(Arc::new(HostBuffer::from_slice(data)?));
        Ok(Tensor::from_buffer(buffer, shape, T::DTYPE, Device::CPU))
    }
}
