//! Structured ops, by the name of their shader.

use super::args::Args;
use super::builder::{Launch, Target, check_dtype, grid};
use super::map;
use super::spill::Targets;
use crate::device::Limits;
use crate::fault::{Fault, Result};
use crate::pipeline::Access;
use crate::template;
use fluxrs::dtype::{DType, Number};
use fluxrs::plan::{Argument, Call, Load, Loop, Mode, Rank, Source, Store};
use fluxrs::shape::Map;

const THREADS: usize = 256;

fn target(argument: &Argument, targets: &[Target], op: &str) -> Result<Target> {
    check_dtype(argument.dtype)?;
    match argument.source {
        Source::Buffer(buffer) => Ok(targets[buffer as usize]),
        _ => Err(Fault::Unsupported(format!("{op} of a Python number"))),
    }
}

/// A kernel that writes a constant into the whole result.
fn zeros(call: &Call, targets: &mut Targets, dtype: DType, limits: &Limits) -> Result<Vec<Launch>> {
    let n = fluxrs::shape::size(&call.shape);
    let everywhere = Map { offset: 0, strides: [0].as_slice().into() };
    let source = Source::Constant(Number::Int(0));
    let body = Loop {
        mode: Mode::Map,
        dims: [n].as_slice().into(),
        fence: 0,
        loads: vec![Load { reg: 0, source, dtype, rank: Rank::Full, map: everywhere }],
        code: Vec::new(),
        stores: vec![Store { reg: 0, buffer: call.out, dtype, rank: Rank::Full, map: Map::contiguous(&[n]) }],
    };
    map::launches(&body, targets, false, n, limits)
}

/// Gather, or scatter-add after zeroing: `srcs[0]` the data, `srcs[1]` the row numbers, `rows` of `width` elements.
fn rows(call: &Call, shader: &str, targets: &mut Targets, cost: usize, limits: &Limits) -> Result<Vec<Launch>> {
    let name = call.op.name();
    let (data, index) = (&call.srcs[0], &call.srcs[1]);
    let scatter = shader == "scatter_add";
    let (table, items) = if scatter { (&call.shape[..], &data.shape[..]) } else { (&data.shape[..], &call.shape[..]) };
    let (width, elements) = (fluxrs::shape::size(&table[1..]), fluxrs::shape::size(items));
    let mut all = if scatter { zeros(call, targets, data.dtype, limits)? } else { Vec::new() };
    if elements == 0 {
        return Ok(all);
    }
    let [x, y] = grid(elements.div_ceil(THREADS), limits.groups);
    let mut args = Args::default();
    for size in [elements, width, table[0], x as usize, data.offset, index.offset] {
        args.size(size);
    }
    let source = match (scatter, data.dtype) {
        (true, DType::F32) => template::SCATTER_ADD.to_owned(),
        (true, _) => {
            let add = "fn add(at: u32, word: u32) {\n    atomicAdd(&out[at], word);\n}\n";
            template::fill(template::SCATTER_ADD, &[("add", add)], false)
        }
        _ => template::GATHER.to_owned(),
    };
    let bindings = vec![
        (target(data, &targets.all, name)?, Access::Read),
        (target(index, &targets.all, name)?, Access::Read),
        (targets.all[call.out as usize], Access::Write),
        (Target::Status, Access::Write),
    ];
    all.push(Launch { source, bindings, args, groups: [x, y, 1], cost });
    Ok(all)
}

pub(crate) fn launches(call: &Call, targets: &mut Targets, cost: usize, limits: &Limits) -> Result<Vec<Launch>> {
    match call.op.shader() {
        Some(shader @ ("gather" | "scatter_add")) => rows(call, shader, targets, cost, limits),
        _ => Err(Fault::Unsupported(call.op.name().to_owned())),
    }
}

/// The kernel that looks at a loss before the commit.
pub(crate) fn guard(loss: Target, length: usize, number: usize) -> Launch {
    let mut args = Args::default();
    args.size(length);
    args.size(number);
    let bindings = vec![(loss, Access::Read), (Target::Status, Access::Write)];
    Launch { source: template::GUARD.to_owned(), bindings, args, groups: [1, 1, 1], cost: length }
}
