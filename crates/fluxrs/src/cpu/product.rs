//! Runs products, cut into tiles, and the epilogue on each tile while that is in cache.

use super::block::Address;
use super::gemm::{self, Patches, Product, Shared, Tile, Way};
use super::loops::{run_map, run_spans};
use super::lower::Lowered;
use super::run::Context;
use crate::dtype::DType;
use crate::error::Result;
use crate::plan::Matmul;
use crate::shape;
use std::ops::Range;

/// Multiply-adds of small products that are a task together.
const ITEMS: usize = 1 << 17;

pub(super) fn run_matmul(m: &Matmul, epilogue: Option<&Lowered>, context: &Context<'_>) -> Result<()> {
    match m.dtype {
        DType::F32 => product::<f32>(m, epilogue, context),
        DType::F64 => product::<f64>(m, epilogue, context),
        DType::I32 => product::<i32>(m, epilogue, context),
        DType::I64 => product::<i64>(m, epilogue, context),
        DType::Bool => unreachable!("products of bools are made in int64"),
    }
}

/// One product of the batch, whose operands begin where its strides say.
#[expect(clippy::large_enum_variant, reason = "one a kernel, on the stack")]
enum Form {
    Plain(Product),
    Window(Patches),
}

impl Form {
    fn of(m: &Matmul) -> Form {
        let lead = m.batch.len();
        let (a, b) = (&m.a_map.strides[lead..], &m.b_map.strides[lead..]);
        let Some(bounds) = &m.window else {
            let (a_strides, b_strides) = ((a[0] as isize, a[1] as isize), (b[0] as isize, b[1] as isize));
            return Form::Plain(Product { m: m.m, k: m.k(), n: m.n(), a_strides, b_strides, ldc: m.n() });
        };
        let (b_inner, b_cols) = b.split_at(m.inner.len());
        Form::Window(Patches {
            m: m.m,
            inner: m.inner.clone(),
            cols: m.cols.clone(),
            a_row: a[0] as isize,
            a_inner: a[1..].into(),
            b_inner: b_inner.into(),
            b_cols: b_cols.into(),
            bounds: bounds.clone(),
            ldc: m.n(),
        })
    }
}

/// The part of one plain product with its epilogue over some of the `count` rows of a batch, on this thread; see `rows.rs`.
pub(super) fn run_part(m: &Matmul, epilogue: Option<&Lowered>, rows: &Range<usize>, count: usize, context: &Context<'_>) {
    match m.dtype {
        DType::F32 => part::<f32>(m, rows, count, context),
        DType::F64 => part::<f64>(m, rows, count, context),
        DType::I32 => part::<i32>(m, rows, count, context),
        DType::I64 => part::<i64>(m, rows, count, context),
        DType::Bool => unreachable!("products of bools are made in int64"),
    }
    if let Some(l) = epilogue {
        let row = m.m / count * m.n();
        run_spans(l, std::iter::once(rows.start * row..rows.end * row), context);
    }
}

fn part<T: gemm::Element>(m: &Matmul, rows: &Range<usize>, count: usize, context: &Context<'_>) {
    let Form::Plain(p) = Form::of(m) else { unreachable!("windows are not computed by rows of a batch") };
    let tile = Tile { rows: m.m / count * rows.start..m.m / count * rows.end, cols: 0..m.n() };
    let [a, b, c] = [m.a, m.b, m.c].map(|buffer| context.buffers[buffer as usize].at(0).cast::<T>());
    let (a, b) = (a.wrapping_offset(m.a_map.offset as isize), b.wrapping_offset(m.b_map.offset as isize));
    // SAFETY: the rows are this thread's own; operands lie within their buffers.
    unsafe { gemm::run(&p, a.cast_const(), b.cast_const(), c, &tile, context.stop) }
}

/// Where an item of the batch begins in A and in B.
fn item(m: &Matmul, item: usize) -> (isize, isize) {
    let (mut a, mut b, mut rest) = (m.a_map.offset, m.b_map.offset, item);
    for axis in (0..m.batch.len()).rev() {
        let i = (rest % m.batch[axis]) as i64;
        rest /= m.batch[axis];
        a += i * m.a_map.strides[axis];
        b += i * m.b_map.strides[axis];
    }
    (a as isize, b as isize)
}

/// Bytes that the packed operands of a large product take.
pub(super) fn scratch_bytes(m: &Matmul) -> usize {
    match m.dtype {
        DType::F32 => packed_bytes::<f32>(m),
        DType::F64 => packed_bytes::<f64>(m),
        DType::I32 => packed_bytes::<i32>(m),
        DType::I64 => packed_bytes::<i64>(m),
        DType::Bool => 0,
    }
}

fn packed_bytes<T: gemm::Element>(m: &Matmul) -> usize {
    match Form::of(m) {
        Form::Plain(p) => Shared::new::<T>(&p).map_or(0, |s| s.room() * size_of::<T>()),
        Form::Window(_) => 0,
    }
}

/// A batch of products for each of which all threads pack the operands together.
fn large<T: gemm::Element>(s: &Shared, m: &Matmul, epilogue: Option<&Lowered>, ctx: &Context<'_>) -> Result<()> {
    let (n, panels) = (m.n(), ctx.scratch);
    let [a, b, c] = [m.a, m.b, m.c].map(|buffer| ctx.buffers[buffer as usize]);
    for i in 0..shape::size(&m.batch) {
        let (first, (oa, ob)) = (i * m.m * n, item(m, i));
        for piece in s.pieces() {
            let from = |x: Address, offset| x.at(0).cast::<T>().wrapping_offset(offset).cast_const();
            ctx.each(s.packings(&piece), |t| {
                // SAFETY: operands lie within their buffers; the tasks of a piece are disjoint parts of its room, which nothing else uses.
                unsafe { gemm::pack(s, &piece, t, from(a, oa), from(b, ob), panels.at(0).cast::<T>()) };
                Ok(())
            })?;
            let grid = s.grid(&piece);
            ctx.each(grid.len(), |t| {
                let tile = grid.tile(t);
                // SAFETY: tiles are disjoint parts of C, and what they read is packed.
                unsafe { gemm::multiply(s, &piece, &tile, from(a, oa), from(panels, 0), c.at(0).cast::<T>().add(first)) };
                if let (Some(l), true) = (epilogue, tile.cols == (0..n) && s.is_last(&piece)) {
                    let row = |i: usize| first + (piece.rows.start + i) * n;
                    run_spans(l, std::iter::once(row(tile.rows.start)..row(tile.rows.end)), ctx);
                }
                Ok(())
            })?;
        }
    }
    ctx.go_on()?;
    match epilogue {
        // Pieces of rows are too short for it.
        Some(l) if !s.whole_rows() => run_map(l, 0, shape::size(&m.batch) * m.m * n, ctx),
        _ => Ok(()),
    }
}

fn product<T: gemm::Element>(m: &Matmul, epilogue: Option<&Lowered>, context: &Context<'_>) -> Result<()> {
    let (form, n, batch) = (Form::of(m), m.n(), shape::size(&m.batch));
    if let Form::Plain(p) = &form
        && let Some(shared) = Shared::new::<T>(p)
    {
        return large::<T>(&shared, m, epilogue, context);
    }
    let (grid, way) = match &form {
        Form::Plain(p) => (p.grid::<T>(), Way::Plain),
        Form::Window(w) => {
            let way = w.way::<T>();
            (w.grid::<T>(batch, way), way)
        }
    };
    let tiles = grid.len();
    let (a, b) = (context.buffers[m.a as usize], context.buffers[m.b as usize]);
    let c = context.buffers[m.c as usize];
    // The epilogue runs on a tile while that is in cache, unless its pieces of rows are short.
    let on_tiles = tiles > 0 && (matches!(form, Form::Window(_)) || grid.tile(0).cols == (0..n));
    let ctx = *context;
    let one = |i: usize, tile: &Tile| {
        let (oa, ob) = item(m, i);
        // SAFETY: tiles and items of the batch are disjoint parts of C; operands lie within their buffers, of a window all that
        // is within its bounds.
        unsafe {
            let (a, b) = (a.at(0).cast::<T>().wrapping_offset(oa), b.at(0).cast::<T>().wrapping_offset(ob));
            let c = c.at(0).cast::<T>().add(i * m.m * n);
            match &form {
                Form::Plain(p) => gemm::run(p, a.cast_const(), b.cast_const(), c, tile, ctx.stop),
                Form::Window(w) => gemm::run_patches(w, way, a.cast_const(), b.cast_const(), c, tile, ctx.stop),
            }
        }
    };
    // Small items of a batch are a task together.
    let some = if tiles == 1 { (ITEMS / (m.m * n).saturating_mul(m.k()).max(1)).clamp(1, batch.max(1)) } else { 1 };
    ctx.each((batch * tiles).div_ceil(some), |t| {
        let tasks = t * some..((t + 1) * some).min(batch * tiles);
        for task in tasks.clone() {
            one(task / tiles, &grid.tile(task % tiles));
        }
        if let (Some(l), true) = (epilogue, on_tiles) {
            let (first, tile) = (tasks.start / tiles * m.m * n, grid.tile(tasks.start % tiles));
            let row = |i: usize| first + i * n + tile.cols.start..first + i * n + tile.cols.end;
            if tile.cols == (0..n) {
                let end = row(tile.rows.end - 1).end + (tasks.len() - 1) * m.m * n;
                run_spans(l, std::iter::once(row(tile.rows.start).start..end), &ctx);
            } else {
                run_spans(l, tile.rows.map(row), &ctx);
            }
        }
        // A tile that was stopped looks like any other.
        ctx.go_on()
    })?;
    match epilogue {
        Some(l) if !on_tiles => run_map(l, 0, batch * m.m * n, context),
        _ => Ok(()),
    }
}
