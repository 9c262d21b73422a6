//! Elementwise ops: what the table's entries mean, and how a call becomes a node.

use super::Op;
use crate::bail;
use crate::device::Device;
use crate::dtype::{DType, Number};
use crate::error::Result;
use crate::graph::{Node, Srcs, Tensor};
use crate::shape::{self, Shape};
use crate::simd::isa::Isa;
use crate::simd::lanes::{self, BinaryBody, LaneLoop, TernaryBody, UnaryBody};
use crate::simd::math::{Num, Real};
use smallvec::smallvec;
use std::borrow::{Borrow, Cow};

/// Which types an op takes, and what it gives.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Class {
    /// Numbers to their common type.
    Num,
    /// Floats; integers are taken as float32.
    Real,
    /// Floats; integers are given back as they are.
    Round,
    /// Two numbers to bool.
    Compare,
    /// A float to bool.
    Test,
    /// Truth values.
    Logic,
    /// A truth value and two numbers to their common type.
    Select,
}

impl Class {
    /// The types of the operands and of the result, given the type that the operands promote to.
    pub fn types(self, common: DType) -> (DType, DType) {
        match self {
            Class::Num | Class::Round | Class::Select => (common, common),
            Class::Real => (common.to_float(), common.to_float()),
            Class::Compare if common == DType::Bool => (DType::I32, DType::Bool),
            Class::Compare => (common, DType::Bool),
            Class::Test => (common.to_float(), DType::Bool),
            Class::Logic => (DType::Bool, DType::Bool),
        }
    }

    /// The type of operand `n`: a condition is a truth value.
    pub fn operand(self, n: usize, common: DType) -> DType {
        if self == Class::Select && n == 0 { DType::Bool } else { self.types(common).0 }
    }

    /// The operands that promote to a common type: all but a condition.
    pub fn values<T>(self, operands: &[T]) -> &[T] {
        &operands[usize::from(self == Class::Select)..]
    }
}

/// Everything that the table says of an op, as data.
pub struct Record {
    pub name: &'static str,
    pub doc: &'static str,
    pub arity: usize,
    pub class: Class,
    pub wgsl: &'static str,
    /// The same for int64, where the result may not fit the 32 bits that a GPU has for it.
    pub wide: Option<&'static str>,
    pub operands: &'static [&'static str],
    /// True if a gradient exists.
    pub differentiable: bool,
    /// Largest error in units of the last place, for floats.
    pub ulp: u32,
    /// Where tests draw each operand from.
    pub domain: &'static [(f64, f64)],
}

macro_rules! optional {
    () => {
        None
    };
    ($x:literal) => {
        Some($x)
    };
}

macro_rules! class {
    (num) => {
        Class::Num
    };
    (real) => {
        Class::Real
    };
    (round) => {
        Class::Round
    };
    (compare) => {
        Class::Compare
    };
    (test) => {
        Class::Test
    };
    (logic) => {
        Class::Logic
    };
    (select) => {
        Class::Select
    };
}

/// The bodies of one op's loops, and the loop for the operands' dtype.
macro_rules! loops {
    (num $cpu:expr, $x:ident) => { loops!(@unary [T: Num] T => T, [F32 f32, F64 f64, I32 i32, I64 i64] $cpu, $x) };
    (num $cpu:expr, $x:ident $y:ident) => { loops!(@binary [T: Num] T => T, [F32 f32, F64 f64, I32 i32, I64 i64] $cpu, $x $y) };
    (real $cpu:expr, $x:ident) => { loops!(@unary [T: Real] T => T, [F32 f32, F64 f64] $cpu, $x) };
    (real $cpu:expr, $x:ident $y:ident) => { loops!(@binary [T: Real] T => T, [F32 f32, F64 f64] $cpu, $x $y) };
    (round $cpu:expr, $x:ident) => { loops!(@unary [T: Real] T => T, [F32 f32, F64 f64] $cpu, $x) };
    (test $cpu:expr, $x:ident) => { loops!(@unary [T: Real] T => bool, [F32 f32, F64 f64] $cpu, $x) };
    (compare $cpu:expr, $x:ident $y:ident) => { loops!(@binary [T: Num] T => bool, [F32 f32, F64 f64, I32 i32, I64 i64] $cpu, $x $y) };
    (logic $cpu:expr, $x:ident) => {{
        struct Body;
        impl UnaryBody<bool, bool> for Body {
            #[inline(always)]
            fn call<I: Isa>($x: bool) -> bool { $cpu }
        }
        |dtype| (dtype == DType::Bool).then(|| lanes::unary::<Body, bool, bool>())
    }};
    (logic $cpu:expr, $x:ident $y:ident) => {{
        struct Body;
        impl BinaryBody<bool, bool, bool> for Body {
            #[inline(always)]
            fn call<I: Isa>($x: bool, $y: bool) -> bool { $cpu }
        }
        |dtype| (dtype == DType::Bool).then(|| lanes::binary::<Body, bool, bool, bool>())
    }};
    (select $cpu:expr, $x:ident $y:ident $z:ident) => {{
        struct Body;
        impl<T: lanes::Lane> TernaryBody<bool, T, T, T> for Body {
            #[inline(always)]
            fn call<I: Isa>($x: bool, $y: T, $z: T) -> T { $cpu }
        }
        |dtype| Some(match dtype {
            DType::Bool => lanes::ternary::<Body, bool, bool, bool, bool>(),
            DType::I32 => lanes::ternary::<Body, bool, i32, i32, i32>(),
            DType::I64 => lanes::ternary::<Body, bool, i64, i64, i64>(),
            DType::F32 => lanes::ternary::<Body, bool, f32, f32, f32>(),
            DType::F64 => lanes::ternary::<Body, bool, f64, f64, f64>(),
        })
    }};
    (@unary [T: $bound:ident] T => $U:ident, [$($D:ident $E:ident),*] $cpu:expr, $x:ident) => {{
        struct Body;
        impl<T: $bound> UnaryBody<T, loops!(@result $U T)> for Body {
            #[inline(always)]
            fn call<I: Isa>($x: T) -> loops!(@result $U T) { $cpu }
        }
        |dtype| match dtype {
            $(DType::$D => Some(lanes::unary::<Body, $E, loops!(@result $U $E)>()),)*
            _ => None,
        }
    }};
    (@binary [T: $bound:ident] T => $U:ident, [$($D:ident $E:ident),*] $cpu:expr, $x:ident $y:ident) => {{
        struct Body;
        impl<T: $bound> BinaryBody<T, T, loops!(@result $U T)> for Body {
            #[inline(always)]
            fn call<I: Isa>($x: T, $y: T) -> loops!(@result $U T) { $cpu }
        }
        |dtype| match dtype {
            $(DType::$D => Some(lanes::binary::<Body, $E, $E, loops!(@result $U $E)>()),)*
            _ => None,
        }
    }};
    (@result T $E:ident) => { $E };
    (@result bool $E:ident) => { bool };
}

/// The gradient towards operand `$i`, from the list of the table.
macro_rules! gradients {
    (none) => {
        |_: usize, _: &[Tensor], _: &Tensor, _: &Tensor| -> Option<Tensor> { None }
    };
    ([$dx:expr], $g:ident $out:ident $x:ident) => {
        |_: usize, srcs: &[Tensor], $out: &Tensor, $g: &Tensor| -> Option<Tensor> {
            let $x = &srcs[0];
            let _ = ($x, $out);
            Some($dx)
        }
    };
    ([$dx:expr, $dy:expr], $g:ident $out:ident $x:ident $y:ident) => {
        |i: usize, srcs: &[Tensor], $out: &Tensor, $g: &Tensor| -> Option<Tensor> {
            let ($x, $y) = (&srcs[0], &srcs[1]);
            let _ = ($x, $y, $out);
            Some(if i == 0 { $dx } else { $dy })
        }
    };
    ([none, $dy:expr, $dz:expr], $g:ident $out:ident $x:ident $y:ident $z:ident) => {
        |i: usize, srcs: &[Tensor], _: &Tensor, $g: &Tensor| -> Option<Tensor> {
            let $x = &srcs[0];
            match i {
                0 => None,
                1 => Some($dy),
                _ => Some($dz),
            }
        }
    };
    (none, $($rest:ident)*) => {
        gradients!(none)
    };
}

macro_rules! define {
    ($(#[doc = $doc:literal] $name:ident($x:ident $(, $rest:ident)*): $class:ident {
        cpu: $cpu:expr, wgsl: $wgsl:literal, $(wide: $wide:literal,)? grad($g:ident, $out:ident): $grad:tt, ulp: $ulp:literal, domain: $domain:expr
    })*) => {
        /// An elementwise op: an entry of the table.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        #[allow(non_camel_case_types)]
        #[repr(u16)]
        pub enum Elementwise { $(#[doc = $doc] $name),* }

        impl Elementwise {
            pub const ALL: &'static [Elementwise] = &[$(Elementwise::$name),*];

            pub fn record(self) -> &'static Record {
                static RECORDS: &[Record] = &[$(Record {
                    name: plain_name(stringify!($name)),
                    doc: $doc.trim_ascii(),
                    arity: [stringify!($x) $(, stringify!($rest))*].len(),
                    class: class!($class),
                    wgsl: $wgsl,
                    wide: optional!($($wide)?),
                    operands: &[stringify!($x) $(, stringify!($rest))*],
                    differentiable: stringify!($grad).len() > "none".len(),
                    ulp: $ulp,
                    domain: &$domain,
                }),*];
                &RECORDS[self as usize]
            }

            /// The vectorised loop over operands of this dtype (for `where`, that of the values).
            pub fn kernel(self, dtype: DType) -> Option<LaneLoop> {
                match self {
                    $(Elementwise::$name => {
                        let pick: fn(DType) -> Option<LaneLoop> = loops!($class $cpu, $x $($rest)*);
                        pick(dtype)
                    })*
                }
            }

            pub(crate) fn gradient(self, i: usize, srcs: &[Tensor], out: &Tensor, g: &Tensor) -> Option<Tensor> {
                let srcs = &self.typed(srcs, out.device())[..];
                match self {
                    $(Elementwise::$name => {
                        let rule = gradients!($grad, $g $out $x $($rest)*);
                        rule(i, srcs, out, g)
                    })*
                }
            }
        }

        /// The ops as methods for gradient rules, whose shapes and types fit by construction.
        #[allow(dead_code)]
        impl Tensor {
            $(#[doc = $doc] pub(crate) fn $name(&self $(, $rest: &Tensor)*) -> Tensor {
                Elementwise::$name.of(&[self $(, $rest)*])
            })*
        }
    };
}

elementwise_table!(define);

/// `where` is a keyword in Rust but not in the table's readers.
const fn plain_name(name: &'static str) -> &'static str {
    match name.as_bytes() {
        [b'r', b'#', ..] => name.split_at(2).1,
        _ => name,
    }
}

impl Elementwise {
    pub fn by_name(name: &str) -> Option<Elementwise> {
        Elementwise::ALL.iter().copied().find(|e| e.record().name == name)
    }

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
    fn typed<'a>(self, srcs: &'a [Tensor], device: Device) -> Cow<'a, [Tensor]> {
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
