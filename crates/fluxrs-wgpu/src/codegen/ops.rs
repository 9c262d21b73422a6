//! Instructions of a fused program as WGSL expressions.

use super::builder::check_dtype;
use crate::fault::{Fault, Result};
use crate::library;
use fluxrs::dtype::DType;
use fluxrs::ops::reduce::Kind;
use fluxrs::ops::{Class, Elementwise};
use fluxrs::plan::{Code, Inst};

/// The type of an instruction's result.
pub(crate) fn result(inst: &Inst) -> DType {
    match inst.code {
        Code::Map(op) => match op.record().class {
            Class::Compare | Class::Test | Class::Logic => DType::Bool,
            _ => inst.dtype,
        },
        Code::Cast(to) => to,
        Code::Fold(_) | Code::Spread => inst.dtype,
    }
}

/// An expression of the op table with registers for operands, and integer functions where the operands are integers.
fn apply(op: Elementwise, dtype: DType, operands: &[String]) -> Result<String> {
    let record = op.record();
    let whole = matches!(dtype, DType::I32 | DType::I64);
    let mut text = String::new();
    let mut rest = record.wgsl;
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

/// What a fold begins with.
pub(crate) fn identity(kind: Kind, dtype: DType) -> &'static str {
    let float = dtype.is_float();
    match kind {
        Kind::Sum if float => "0.0",
        Kind::Prod if float => "1.0",
        Kind::Max if float => "fx_neg(fx_inf())",
        Kind::Min if float => "fx_inf()",
        Kind::Sum => "0",
        Kind::Prod => "1",
        Kind::Max if dtype == DType::Bool => "false",
        Kind::Min if dtype == DType::Bool => "true",
        Kind::Max => "bitcast<i32>(0x80000000u)",
        Kind::Min => "0x7fffffff",
        Kind::Any => "false",
        Kind::All => "true",
    }
}

/// Two partial results in one.
pub(crate) fn combine(kind: Kind, dtype: DType, a: &str, b: &str) -> String {
    let float = dtype.is_float();
    match kind {
        Kind::Sum => format!("{a} + {b}"),
        Kind::Prod => format!("{a} * {b}"),
        Kind::Any => format!("{a} || {b}"),
        Kind::All => format!("{a} && {b}"),
        Kind::Max if dtype == DType::Bool => format!("{a} || {b}"),
        Kind::Min if dtype == DType::Bool => format!("{a} && {b}"),
        Kind::Max if float => format!("fx_max({a}, {b})"),
        Kind::Min if float => format!("fx_min({a}, {b})"),
        Kind::Max => format!("max({a}, {b})"),
        Kind::Min => format!("min({a}, {b})"),
    }
}
