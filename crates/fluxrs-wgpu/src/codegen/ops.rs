//! Instructions of a fused program as WGSL expressions.

use super::builder::check_dtype;
use crate::fault::{Fault, Result};
use crate::library;
use fluxrs::dtype::DType;
use fluxrs::ops::Elementwise;
use fluxrs::ops::reduce::Reduction;
use fluxrs::plan::{Code, Inst, Loop};

/// The type of an instruction's result.
pub(crate) fn result(inst: &Inst) -> DType {
    match inst.code {
        Code::Map(op) => op.record().class.types(inst.dtype).1,
        Code::Cast(to) => to,
        Code::Fold(_) | Code::Spread => inst.dtype,
    }
}

/// True if an instruction may give an int64 that does not fit the device's 32 bits.
fn may_overflow(inst: &Inst) -> bool {
    match inst.code {
        Code::Map(op) => inst.dtype == DType::I64 && op.record().wide.is_some(),
        Code::Cast(to) => to == DType::I64 && inst.dtype.is_float(),
        Code::Fold(kind) => inst.dtype == DType::I64 && matches!(kind, Reduction::Sum | Reduction::Prod),
        Code::Spread => false,
    }
}

/// True if any instruction of a program may.
pub(crate) fn any_overflows(body: &Loop) -> bool {
    body.code.iter().any(may_overflow)
}

/// An expression of the op table with registers for operands, and integer functions where the operands are integers.
fn apply(op: Elementwise, dtype: DType, operands: &[String]) -> Result<String> {
    let record = op.record();
    let (mut rest, whole) = match record.wide {
        Some(wide) if dtype == DType::I64 => (wide, false),
        _ => (record.wgsl, matches!(dtype, DType::I32 | DType::I64)),
    };
    let mut text = String::new();
    while let Some(start) = rest.find(|c: char| c.is_ascii_alphabetic() || c == '_') {
        let length = rest[start..].find(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
        let end = length.map_or(rest.len(), |length| start + length);
        let word = &rest[start..end];
        text += &rest[..start];
        if let Some(i) = record.operands.iter().position(|name| *name == word) {
            text += &operands[i];
        } else if word.starts_with("fx_") && whole {
            let name = format!("{word}_i");
            if !library::has(&name) {
                return Err(Fault::Unsupported(format!("{} of integers", record.name)));
            }
            text += &name;
        } else if word.starts_with("fx_") && !library::has(word) {
            return Err(Fault::Unsupported(record.name.to_owned()));
        } else {
            text += word;
        }
        rest = &rest[end..];
    }
    Ok(text + rest)
}

fn cast(from: DType, to: DType, x: &str) -> String {
    match (from, to) {
        (DType::Bool, DType::Bool) => x.to_owned(),
        (DType::F32, DType::Bool) => format!("fx_ne({x}, 0.0)"),
        (_, DType::Bool) => format!("{x} != 0"),
        (_, DType::F32 | DType::F64) => format!("f32({x})"),
        (DType::F32, DType::I64) => format!("fx_wide_int({x})"),
        (DType::F32, _) => format!("fx_to_int({x})"),
        _ => format!("i32({x})"),
    }
}

/// The expression of one instruction; folds are written by the reduction.
pub(crate) fn expression(inst: &Inst, operands: &[String]) -> Result<String> {
    check_dtype(inst.dtype)?;
    match inst.code {
        Code::Map(op) => apply(op, inst.dtype, operands),
        Code::Cast(to) => {
            check_dtype(to)?;
            Ok(cast(inst.dtype, to, &operands[0]))
        }
        Code::Spread | Code::Fold(_) => Ok(operands[0].clone()),
    }
}

/// The value that a fold begins with.
pub(crate) fn identity(kind: Reduction, dtype: DType) -> &'static str {
    let float = dtype.is_float();
    match kind {
        Reduction::Sum if float => "0.0",
        Reduction::Prod if float => "1.0",
        Reduction::Max if float => "fx_neg(fx_inf())",
        Reduction::Min if float => "fx_inf()",
        Reduction::Sum => "0",
        Reduction::Prod => "1",
        Reduction::Max if dtype == DType::Bool => "false",
        Reduction::Min if dtype == DType::Bool => "true",
        Reduction::Max => "bitcast<i32>(0x80000000u)",
        Reduction::Min => "0x7fffffff",
        Reduction::Any => "false",
        Reduction::All => "true",
    }
}

/// Two partial results in one.
pub(crate) fn combine(kind: Reduction, dtype: DType, a: &str, b: &str) -> String {
    let float = dtype.is_float();
    match kind {
        Reduction::Sum if dtype == DType::I64 => format!("fx_wide_add({a}, {b})"),
        Reduction::Prod if dtype == DType::I64 => format!("fx_wide_mul({a}, {b})"),
        Reduction::Sum => format!("{a} + {b}"),
        Reduction::Prod => format!("{a} * {b}"),
        Reduction::Any => format!("{a} || {b}"),
        Reduction::All => format!("{a} && {b}"),
        Reduction::Max if dtype == DType::Bool => format!("{a} || {b}"),
        Reduction::Min if dtype == DType::Bool => format!("{a} && {b}"),
        Reduction::Max if float => format!("fx_max({a}, {b})"),
        Reduction::Min if float => format!("fx_min({a}, {b})"),
        Reduction::Max => format!("max({a}, {b})"),
        Reduction::Min => format!("min({a}, {b})"),
    }
}
