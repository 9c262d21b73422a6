//! Element types and how they combine.

use crate::bail;
use crate::error::Result;
use std::fmt;

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u8)]
pub enum DType {
    Bool,
    I32,
    I64,
    F32,
    F64,
}

impl DType {
    pub const ALL: [DType; 5] = [DType::Bool, DType::I32, DType::I64, DType::F32, DType::F64];

    pub fn bytes(self) -> usize {
        match self {
            DType::Bool => 1,
            DType::I32 | DType::F32 => 4,
            DType::I64 | DType::F64 => 8,
        }
    }

    pub fn is_float(self) -> bool {
        matches!(self, DType::F32 | DType::F64)
    }

    pub fn is_int(self) -> bool {
        matches!(self, DType::I32 | DType::I64)
    }

    pub fn name(self) -> &'static str {
        match self {
            DType::Bool => "bool",
            DType::I32 => "int32",
            DType::I64 => "int64",
            DType::F32 => "float32",
            DType::F64 => "float64",
        }
    }

    /// The float type a function such as `exp` computes in when it is given this type.
    pub fn to_float(self) -> DType {
        if self.is_float() { self } else { DType::F32 }
    }

    /// The type of the result of an operation on two arrays: NumPy's, but a float array
    /// met by an int or bool array keeps its own type.
    pub fn promote(self, other: DType) -> DType {
        match (self.is_float(), other.is_float()) {
            (true, false) => self,
            (false, true) => other,
            _ => self.max_by_width(other),
        }
    }

    /// The type of an array met by a Python number of kind `weak`.
    pub fn promote_weak(self, weak: DType) -> DType {
        match (self, weak) {
            (DType::Bool, DType::I64) => DType::I64,
            (DType::Bool | DType::I32 | DType::I64, DType::F64) => DType::F32,
            _ => self,
        }
    }

    fn max_by_width(self, other: DType) -> DType {
        if (self as u8) >= (other as u8) { self } else { other }
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A Rust type that is the memory form of a [`DType`]; bool is one byte, 0 or 1.
pub trait Element: Copy + Send + Sync + Default + PartialEq + fmt::Debug + 'static {
    const DTYPE: DType;
}

impl Element for u8 {
    const DTYPE: DType = DType::Bool;
}
impl Element for i32 {
    const DTYPE: DType = DType::I32;
}
impl Element for i64 {
    const DTYPE: DType = DType::I64;
}
impl Element for f32 {
    const DTYPE: DType = DType::F32;
}
impl Element for f64 {
    const DTYPE: DType = DType::F64;
}

/// Runs the body with `$T` bound to the element type of a [`DType`].
#[macro_export]
macro_rules! with_element {
    ($dtype:expr, $T:ident => $body:expr) => {
        match $dtype {
            $crate::dtype::DType::Bool => {
                type $T = u8;
                $body
            }
            $crate::dtype::DType::I32 => {
                type $T = i32;
                $body
            }
            $crate::dtype::DType::I64 => {
                type $T = i64;
                $body
            }
            $crate::dtype::DType::F32 => {
                type $T = f32;
                $body
            }
            $crate::dtype::DType::F64 => {
                type $T = f64;
                $body
            }
        }
    };
}

/// A number that is data: 8 bytes and a kind. Python's bool, int and float.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Number {
    Bool(bool),
    Int(i64),
    Float(f64),
    /// An integer beyond 64 bits: for floats only.
    Huge(f64),
}

impl Number {
    pub fn dtype(self) -> DType {
        match self {
            Number::Bool(_) => DType::Bool,
            Number::Int(_) => DType::I64,
            Number::Float(_) | Number::Huge(_) => DType::F64,
        }
    }

    pub fn as_f64(self) -> f64 {
        match self {
            Number::Bool(b) => b as u8 as f64,
            Number::Int(i) => i as f64,
            Number::Float(x) | Number::Huge(x) => x,
        }
    }

    pub fn as_i64(self) -> i64 {
        match self {
            Number::Bool(b) => b as i64,
            Number::Int(i) => i,
            Number::Float(x) | Number::Huge(x) => x as i64,
        }
    }

    /// As an integer, if it is a whole number that a float tells from its neighbours.
    pub fn whole(self) -> Number {
        match self {
            Number::Float(x) if x.fract() == 0.0 && x.abs() < (1u64 << 53) as f64 => Number::Int(x as i64),
            Number::Bool(b) => Number::Int(b as i64),
            other => other,
        }
    }

    /// True if an element of `dtype` holds it, if it is an integer; the others are converted, as arrays are.
    pub fn fits(self, dtype: DType) -> bool {
        match self {
            Number::Int(i) => dtype != DType::I32 || i32::try_from(i).is_ok(),
            Number::Huge(_) => !dtype.is_int(),
            Number::Bool(_) | Number::Float(_) => true,
        }
    }

    /// An error if it does not fit.
    pub fn check(self, op: &str, dtype: DType) -> Result<()> {
        if self.fits(dtype) {
            return Ok(());
        }
        let shown = if let Number::Int(i) = self { i.to_string() } else { format!("{:e}", self.as_f64()) };
        bail!(Overflow, "{op}: the integer {shown} does not fit into {dtype}; give a float, or convert with astype")
    }

    /// The bytes of this number as an element of `dtype`, in the low end of eight bytes.
    pub fn to_bytes(self, dtype: DType) -> [u8; 8] {
        let mut out = [0; 8];
        match dtype {
            DType::Bool => out[0] = (self.as_f64() != 0.0) as u8,
            DType::I32 => out[..4].copy_from_slice(&(self.as_i64() as i32).to_ne_bytes()),
            DType::I64 => out = self.as_i64().to_ne_bytes(),
            DType::F32 => out[..4].copy_from_slice(&(self.as_f64() as f32).to_ne_bytes()),
            DType::F64 => out = self.as_f64().to_ne_bytes(),
        }
        out
    }
}

impl From<f64> for Number {
    fn from(x: f64) -> Number {
        Number::Float(x)
    }
}
impl From<i64> for Number {
    fn from(x: i64) -> Number {
        Number::Int(x)
    }
}
impl From<bool> for Number {
    fn from(x: bool) -> Number {
        Number::Bool(x)
    }
}
