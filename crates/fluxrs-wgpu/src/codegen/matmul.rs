//! Products: the template with loads through index maps and the epilogue in its store.

use super::builder::{Builder, Launch, Target, decode, encode, scalar};
use super::index::Segment;
use super::map;
use super::ops::any_overflows;
use super::program::{Program, place};
use super::spill::{self, Targets};
use crate::fault::{Fault, Result};
use crate::limits::Limits;
use crate::pipeline::Access;
use crate::template;
use fluxrs::dtype::DType;
use fluxrs::plan::{Buf, Matmul};
use fluxrs::shape::Bound;
use fluxrs::shape::Map;

/// Rows and columns of a workgroup's tile.
const TILE: usize = 32;
/// Multiply-adds of one dispatch at most: a tenth of a second on a slow GPU, far from any watchdog.
const WORK: usize = 10_000_000_000;

/// The function that reads an element of an operand: beyond a bound it is zero.
fn load(builder: &mut Builder, m: &Matmul, name: &str, operand: (Buf, &Map), axes: [&[usize]; 2], bounds: &[Bound]) -> String {
    let mut batch = Segment::new("batch", &m.batch);
    let mut row = Segment::new("row", axes[0]);
    let mut col = Segment::new("col", axes[1]);
    let position = place(operand.1, &mut [&mut batch, &mut row, &mut col], builder);
    let mut inside = String::new();
    for b in bounds {
        let args = &mut builder.args;
        let steps = (args.step(b.steps.0), args.step(b.steps.1));
        let place = format!("{} * {} + {} * {}", row.coordinate(b.inner), steps.0, col.coordinate(b.col), steps.1);
        // A place before the first wraps to one beyond the last.
        inside += &format!("if ({place} + {} >= {}) {{ return Scalar(); }}\n", args.step(b.at), args.size(b.len));
    }
    let coordinates = [batch, row, col].map(|segment| segment.coordinates(&mut builder.args)).concat();
    let variable = builder.buffer(operand.0, Access::Read);
    let value = decode(m.dtype, &format!("{variable}[{position}]"));
    format!("fn {name}(batch: u32, row: u32, col: u32) -> Scalar {{\n{coordinates}{inside}return {value};\n}}\n")
}

/// Where one dispatch of several begins.
#[derive(Clone, Copy)]
struct Part {
    batch: usize,
    row: usize,
    col: usize,
    groups: [u32; 3],
}

/// Cuts the grid into dispatches within the limits of a dimension and of the work at once.
fn parts(m: &Matmul, batches: usize, limit: usize) -> Vec<Part> {
    let (rows, cols) = (m.m.div_ceil(TILE), m.n().div_ceil(TILE));
    let col_step = cols.min(limit);
    let strip = TILE * m.k() * (col_step * TILE).min(m.n()).max(1);
    let row_step = (WORK / strip).clamp(1, limit).min(rows);
    let batch_step = (WORK / (strip * row_step)).clamp(1, limit).min(batches);
    let mut all = Vec::new();
    for batch in (0..batches).step_by(batch_step) {
        for row in (0..rows).step_by(row_step) {
            for col in (0..cols).step_by(col_step) {
                let z = batch_step.min(batches - batch);
                let groups = [col_step.min(cols - col) as u32, row_step.min(rows - row) as u32, z as u32];
                all.push(Part { batch, row, col, groups });
            }
        }
    }
    all
}

fn launch(m: &Matmul, part: Part, fused: bool, targets: &[Target], guarded: bool, cost: usize, unroll: bool) -> Result<Launch> {
    let mut builder = Builder::new(targets, guarded, 0);
    for (name, size) in [("m", m.m), ("k", m.k()), ("n", m.n()), ("batch", part.batch), ("row", part.row), ("col", part.col)] {
        builder.args.named(name, size as u32);
    }
    let bounds = m.window.as_deref().unwrap_or_default();
    let mut text = load(&mut builder, m, "load_a", (m.a, &m.a_map), [&[m.m], &m.inner], &[]);
    text += &load(&mut builder, m, "load_b", (m.b, &m.b_map), [&m.inner, &m.cols], bounds);
    let mut store = String::new();
    let epilogue = m.epilogue.as_ref().filter(|_| fused);
    if m.keeps_c || epilogue.is_none() {
        let c = builder.buffer(m.c, Access::Write);
        store += &format!("{c}[i] = {};\n", encode(m.dtype, "value"));
    }
    if let Some(epilogue) = epilogue {
        let program = Program::new(epilogue)?;
        let stores: Vec<_> = epilogue.stores.iter().collect();
        store += &map::element(&program, &stores, &mut builder, Some((m.c, "value")))?;
    }
    let live = if guarded { format!("if (!({})) {{ return; }}\n", Builder::LIVE) } else { String::new() };
    text += &format!(
        "fn store(batch: u32, row: u32, col: u32, value: Scalar) {{\n{live}\
         let i = (batch * args.m + row) * args.n + col;\n{store}}}\n"
    );
    let body = template::fill(template::MATMUL, &[("declarations", "")], unroll);
    let text = format!("alias Scalar = {};\n{text}{body}", scalar(m.dtype));
    Ok(builder.finish(&text, part.groups, cost))
}

pub(crate) fn launches(m: &Matmul, targets: &mut Targets, guarded: bool, cost: usize, limits: &Limits) -> Result<Vec<Launch>> {
    super::builder::check_dtype(m.dtype)?;
    if m.dtype == DType::I64 {
        return Err(Fault::Unsupported("matmul of int64 (int32 and float32 can be multiplied)".to_owned()));
    }
    let batches: usize = m.batch.iter().product();
    if batches * m.m * m.n() == 0 {
        return Ok(Vec::new());
    }
    let parts = parts(m, batches, limits.groups as usize);
    // An epilogue over more tensors than one kernel may bind runs by itself.
    let bound = m.epilogue.as_ref().map_or(0, |l| spill::bindings(l, &targets.all))
        + 3
        + usize::from(guarded || m.epilogue.as_ref().is_some_and(any_overflows));
    let fused = bound <= limits.storage;
    let cost = cost / parts.len();
    let mut all = Vec::new();
    for part in parts {
        all.push(launch(m, part, fused, &targets.all, guarded, cost, limits.unroll)?);
    }
    if let Some(epilogue) = m.epilogue.as_ref().filter(|_| !fused) {
        all.extend(map::launches(epilogue, targets, guarded, cost, limits)?);
    }
    Ok(all)
}
