//! Elementwise ops: what the table's entries mean.

use crate::dtype::DType;
use crate::graph::Tensor;
use crate::simd::isa::{Avx2, Isa};
use crate::simd::lanes::{self, BinaryBody, LaneLoop, TernaryBody, UnaryBody};
use crate::simd::math::{Num, Real};
use crate::simd::trace::{self, Bits, Id, Recorded, Step, Traced, Truth};
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};

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
    (test $cpu:expr, $x:ident) => { loops!(@unary [T: Real<Truth = bool>] T => bool, [F32 f32, F64 f64] $cpu, $x) };
    (compare $cpu:expr, $x:ident $y:ident) => { loops!(@binary [T: Num<Truth = bool>] T => bool, [F32 f32, F64 f64, I32 i32, I64 i64] $cpu, $x $y) };
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
    (@unary [T: $bound:path] T => $U:ident, [$($D:ident $E:ident),*] $cpu:expr, $x:ident) => {{
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
    (@binary [T: $bound:path] T => $U:ident, [$($D:ident $E:ident),*] $cpu:expr, $x:ident $y:ident) => {{
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

/// The steps of one op's expression over the operands' dtype, and the number of the last; see [`crate::simd::trace`].
macro_rules! traces {
    (num $cpu:expr, $($x:ident)+) => {{ fn body<T: Num, I: Isa>($($x: T),+) -> T { $cpu } traces!(@call $($x)+) }};
    (compare $cpu:expr, $($x:ident)+) => {{ fn body<T: Num, I: Isa>($($x: T),+) -> T::Truth { $cpu } traces!(@call $($x)+) }};
    (test $cpu:expr, $x:ident) => {{ fn body<T: Real, I: Isa>($x: T) -> T::Truth { $cpu } traces!(@call $x) }};
    (logic $cpu:expr, $($x:ident)+) => {
        |_: DType, s: [Id; 3]| {
            let mut operands = s.into_iter();
            $(let $x = Truth(operands.next()?);)+
            let _ = operands;
            Some($cpu.id())
        }
    };
    // A truth and two values: the table has one such op, whose name says what it does.
    (select $cpu:expr, $($x:ident)+) => {{
        fn body<F: Bits>([x, y, z]: [Id; 3]) -> Id {
            Traced::<F>::choose(Truth(x), Traced::Value(y), Traced::Value(z)).id()
        }
        |dtype: DType, s: [Id; 3]| match dtype {
            DType::F32 => Some(body::<f32>(s)),
            DType::F64 => Some(body::<f64>(s)),
            _ => None,
        }
    }};
    ($real:ident $cpu:expr, $($x:ident)+) => {{ fn body<T: Real, I: Isa>($($x: T),+) -> T { $cpu } traces!(@call $($x)+) }};
    (@call $($x:ident)+) => {
        |dtype: DType, s: [Id; 3]| {
            let mut operands = s.into_iter();
            $(let $x = operands.next()?;)+
            let _ = operands;
            match dtype {
                DType::F32 => Some(body::<Traced<f32>, Avx2>($(Traced::Value($x)),+).id()),
                DType::F64 => Some(body::<Traced<f64>, Avx2>($(Traced::Value($x)),+).id()),
                _ => None,
            }
        }
    };
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

            /// Adds what the loop computes to `steps`, for operands that are steps already, and gives the number of the result: if its
            /// expression is free of branches and the instruction sets that have fused multiply-add have all of it.
            #[allow(clippy::extra_unused_type_parameters, reason = "not every op asks for the instruction set")]
            pub fn trace(self, dtype: DType, operands: [Id; 3], steps: &mut Vec<Step>) -> Option<Id> {
                let body: fn(DType, [Id; 3]) -> Option<Id> = match self {
                    $(Elementwise::$name => traces!($class $cpu, $x $($rest)*),)*
                };
                trace::record(steps, || body(dtype, operands)).flatten()
            }

            /// True if `trace` gives an answer for this dtype, as found out once.
            pub fn has_steps(self, dtype: DType) -> bool {
                static FOUND: [[AtomicU8; 5]; Elementwise::ALL.len()] = [const { [const { AtomicU8::new(0) }; 5] }; Elementwise::ALL.len()];
                let found = &FOUND[self as usize][dtype as usize];
                if found.load(Relaxed) == 0 {
                    let mut steps = vec![Step::Load(0), Step::Load(1), Step::Load(2)];
                    let has = self.trace(dtype, [0, 1, 2], &mut steps).is_some();
                    found.store(if has { 2 } else { 1 }, Relaxed);
                }
                found.load(Relaxed) == 2
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
}
