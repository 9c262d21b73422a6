//! How a call of an elementwise op becomes a node: dtypes, shapes and devices of its operands.

use super::Op;
use super::elementwise::{Class, Elementwise, Record};
use crate::bail;
use crate::device::Device;
use crate::dtype::{DType, Number};
use crate::error::Result;
use crate::graph::{Node, Srcs, Tensor};
use crate::shape::{self, Shape};
use smallvec::smallvec;
use std::borrow::{Borrow, Cow};

impl Elementwise {
    /// The op on tensors of any broadcastable shapes, with types as the class says.
    pub fn apply(self, xs: &[&Tensor]) -> Result<Tensor> {
        let record = self.record();
        debug_assert_eq!(xs.len(), record.arity);
        if let Some(node) = self.apply_alike(record.class, xs) {
            return Ok(node);
        }
        let values = record.class.values(xs);
        let common = match record.class {
            Class::Num | Class::Compare | Class::Select => common_with_numbers(record, values)?,
            _ => common_dtype(values),
        };
        if self == Elementwise::power
            && !common.is_float()
            && let Op::Number(Number::Int(n @ ..0)) = xs[1].op()
        {
            bail!(Value, "power: an integer has no power {n} among integers; convert with astype('float32') first");
        }
        match record.class {
            Class::Round if !common.is_float() => return Ok(xs[0].clone()),
            Class::Num if common == DType::Bool => return self.apply_to_bools(xs),
            _ => {}
        }
        let mut shape = Shape::from_slice(xs[0].shape());
        for x in &xs[1..] {
            shape = shape::broadcast(record.name, &shape, x.shape())?;
        }
        check_devices(record.name, xs)?;
        let all_numbers = values.iter().all(|x| x.is_number());
        let srcs: Srcs = xs
            .iter()
            .enumerate()
            .map(|(i, &x)| {
                let dtype = record.class.operand(i, common);
                match x.is_number() {
                    // The type of an operand is read off the others; with numbers alone there is none to read.
                    true if all_numbers || dtype == DType::Bool => x.fill(&[], dtype),
                    true => x.clone(),
                    false if dtype == DType::Bool => x.to_bool(),
                    false => x.cast(dtype),
                }
            })
            .collect();
        Tensor::node(Op::Map(self), srcs, shape, record.class.types(common).1)
    }

    /// The common case, with nothing to convert: floats of one type, shape and device, and numbers.
    fn apply_alike(self, class: Class, xs: &[&Tensor]) -> Option<Tensor> {
        let first = &xs.iter().find(|x| !x.is_number())?.0;
        if !first.dtype.is_float() || matches!(class, Class::Logic | Class::Select) {
            return None;
        }
        let alike = |x: &Node| x.dtype == first.dtype && x.device == first.device && x.shape == first.shape;
        if !xs.iter().all(|x| x.is_number() || alike(&x.0)) {
            return None;
        }
        let srcs: Srcs = match *xs {
            [x] => smallvec![x.clone()],
            [x, y] => smallvec![x.clone(), y.clone()],
            _ => xs.iter().map(|&x| x.clone()).collect(),
        };
        Some(Tensor::within(Op::Map(self), srcs, Shape::from_slice(&first.shape), class.types(first.dtype).1))
    }

    /// The operands for a gradient rule: there a number meets other numbers, and has the type of the operands all the same.
    pub(super) fn typed<'a>(self, srcs: &'a [Tensor], device: Device) -> Cow<'a, [Tensor]> {
        if !srcs.iter().any(Tensor::is_number) {
            return Cow::Borrowed(srcs);
        }
        let dtype = strong_dtype(self.record().class.values(srcs)).expect("one operand is an array");
        let array = |x: &Tensor| match x.is_number() {
            true => x.fill_on(device, dtype),
            false => x.clone(),
        };
        Cow::Owned(srcs.iter().map(array).collect())
    }

    /// As `apply`, for gradient rules: their operands fit by construction.
    pub(crate) fn of(self, xs: &[&Tensor]) -> Tensor {
        self.apply(xs).unwrap_or_else(|e| panic!("a gradient rule misuses an op: {e}"))
    }

    /// NumPy's arithmetic of truth values: + is or, * is and.
    fn apply_to_bools(self, xs: &[&Tensor]) -> Result<Tensor> {
        match self {
            Elementwise::add | Elementwise::maximum => Elementwise::logical_or.apply(xs),
            Elementwise::multiply | Elementwise::minimum => Elementwise::logical_and.apply(xs),
            Elementwise::abs | Elementwise::square | Elementwise::relu => Ok(xs[0].clone()),
            Elementwise::subtract | Elementwise::negative | Elementwise::sign => bail!(
                Type,
                "{}: not defined for bool tensors; use logical_xor or logical_not, or astype(int)",
                self.record().name
            ),
            _ => {
                let wide: Vec<Tensor> = xs.iter().map(|x| x.cast(DType::I64)).collect();
                self.apply(&wide.iter().collect::<Vec<_>>())
            }
        }
    }
}

/// The dtype that the arrays among several operands promote to; None if all are numbers.
pub fn strong_dtype<T: Borrow<Tensor>>(xs: &[T]) -> Option<DType> {
    xs.iter().map(T::borrow).filter(|x| !x.is_number()).map(Tensor::dtype).reduce(DType::promote)
}

/// The dtype that several operands promote to; Python numbers are weak.
pub fn common_dtype(xs: &[&Tensor]) -> DType {
    let strong = strong_dtype(xs);
    let weak = xs.iter().filter(|x| x.is_number()).map(|x| x.dtype()).max_by_key(|d| *d as u8);
    match (strong, weak) {
        (Some(s), Some(w)) => s.promote_weak(w),
        (Some(s), None) => s,
        (None, Some(DType::F64)) => DType::F32,
        (None, w) => w.unwrap_or(DType::F32),
    }
}

/// As `common_dtype`, for ops whose operands have that type: an integer that it does not hold is compared in a wider one, and
/// else an error.
fn common_with_numbers(record: &Record, xs: &[&Tensor]) -> Result<DType> {
    let common = common_dtype(xs);
    let Some(strong) = strong_dtype(xs) else { return Ok(common) };
    for x in xs {
        if let Op::Number(n) = x.op() {
            // Beside whole numbers an enormous one counts as such.
            let dtype = if matches!(n, Number::Huge(_)) { strong.promote_weak(DType::I64) } else { common };
            match record.class {
                Class::Compare if !n.fits(dtype) => return Ok(common.promote(DType::I64)),
                _ => n.check(record.name, dtype)?,
            }
        }
    }
    Ok(common)
}

pub(crate) fn check_devices(op: &str, xs: &[&Tensor]) -> Result<()> {
    let mut devices = xs.iter().filter(|x| !x.is_number()).map(|x| x.device());
    if let Some(first) = devices.next()
        && let Some(other) = devices.find(|&d| d != first)
    {
        bail!(Device, "{op}: operands live on {first} and {other}; move one with gpu(x) or cpu(x)");
    }
    Ok(())
}

/// `where` with NumPy's rules.
pub fn select(c: &Tensor, x: &Tensor, y: &Tensor) -> Result<Tensor> {
    Elementwise::r#where.apply(&[c, x, y])
}

impl Tensor {
    pub(crate) fn greater_than(&self, number: f64) -> Tensor {
        self.greater(&Tensor::number(number))
    }

    pub(crate) fn minimum_with(&self, number: f64) -> Tensor {
        self.minimum(&Tensor::number(number))
    }

    pub fn try_sub(&self, other: &Tensor) -> Result<Tensor> {
        Elementwise::subtract.apply(&[self, other])
    }

    /// The elements in another type; the tensor itself if it has that type already.
    pub fn cast(&self, dtype: DType) -> Tensor {
        if self.is_number() {
            return self.fill(&[], dtype);
        }
        if self.dtype() == dtype {
            return self.clone();
        }
        if dtype == DType::Bool {
            return self.to_bool();
        }
        Tensor::within(Op::Cast, smallvec![self.clone()], Shape::from_slice(self.shape()), dtype)
    }

    /// The tensor itself; a Python number as an array of the type that numbers make.
    pub(crate) fn as_array(&self) -> Tensor {
        if self.is_number() { self.fill(&[], common_dtype(&[self])) } else { self.clone() }
    }

    /// The same elements computed anew, in memory of their own.
    pub(crate) fn copied(&self) -> Tensor {
        match self.is_number() {
            true => self.fill(&[], self.dtype()),
            false => Tensor::within(Op::Cast, smallvec![self.clone()], self.shape().into(), self.dtype()),
        }
    }

    /// True where an element differs from 0.
    pub fn to_bool(&self) -> Tensor {
        match self.dtype() {
            DType::Bool if !self.is_number() => self.clone(),
            _ if self.is_number() => self.fill(&[], DType::Bool),
            _ => self.not_equal(&Tensor::number(0i64)),
        }
    }
}
