//! Runs a plan on the CPU: kernel after kernel, each cut into tasks by its shape alone.

use super::block::{Address, Block, Part, Worker};
use super::fold::{self, Fold};
use super::gemm::{self, Patches, Product, Tile, Way};
use super::lower::{Action, BLOCK, Lowered, lower};
use super::memory::lay_out;
use super::repeat;
use super::workspace;
use crate::backend::Executable;
use crate::buffer::faults;
use crate::cache::bytes_of;
use crate::debug::profile::span;
use crate::dtype::{DType, Number};
use crate::error::{Error, Result};
use crate::ops::{Operand, OperandMut, Poll};
use crate::plan::{Bindings, Body, Call, Kernel, Matmul, Mode, Place, Plan, Source};
use crate::pool;
use crate::shape;
use crate::stop::{NEVER, go_on, stopped};
use smallvec::SmallVec;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Kernels cheaper than this (in nanoseconds of one core) are not worth waking other threads for.
const PARALLEL: usize = pool::grain(30_000);
/// Multiply-adds of small products that are a task together.
const ITEMS: usize = 1 << 17;
/// Elements that a task works on.
const TASK: usize = 16 * BLOCK;

pub struct CpuPlan {
    pub(super) plan: Arc<Plan>,
    steps: Vec<Step>,
    /// Where each temporary lies in the workspace, and the size of that.
    pub(super) offsets: Vec<usize>,
    pub(super) workspace: usize,
    /// Bytes behind the workspace for partial results, of whichever kernel needs most.
    pub(super) scratch: usize,
    /// True if any kernel is worth more threads than the caller's.
    parallel: bool,
    /// True if it has run before.
    ran: AtomicBool,
}

enum Step {
    Loop(Lowered),
    Matmul(Option<Lowered>),
    Structured,
    Repeat(Box<CpuPlan>),
}

/// The parts of a run that every task of a kernel needs.
#[derive(Clone, Copy)]
pub(super) struct Context<'a> {
    pub buffers: &'a [Address],
    pub numbers: &'a [Number],
    pub stop: &'a AtomicBool,
    /// Room for the partial results of a reduction; see `scratch_bytes`.
    pub scratch: Address,
    pub parallel: bool,
}

impl Context<'_> {
    /// An error once the run is to end: what a kernel leaves then is not finished.
    pub fn go_on(&self) -> Result<()> {
        if stopped(self.stop) { Err(Error::Interrupted) } else { Ok(()) }
    }

    /// Runs tasks 0..n, each once, on any thread; they must not write what another touches. Stops early when asked to.
    fn each(&self, n: usize, task: impl Fn(usize) -> Result<()> + Sync) -> Result<()> {
        let run = |i: usize| {
            self.go_on()?;
            task(i)
        };
        if self.parallel { pool::each(n, run) } else { (0..n).try_for_each(run) }
    }
}

impl CpuPlan {
    pub fn new(plan: &Arc<Plan>) -> Result<CpuPlan> {
        let lowered = |(i, k): (usize, &Kernel)| {
            go_on(i)?;
            Ok(match &k.body {
                Body::Loop(l) => Step::Loop(lower(l, plan)),
                Body::Matmul(m) => Step::Matmul(m.epilogue.as_ref().map(|l| lower(l, plan))),
                Body::Structured(_) => Step::Structured,
                Body::Repeat(r) => Step::Repeat(Box::new(CpuPlan::new(&r.plan)?)),
            })
        };
        let steps = plan.kernels.iter().enumerate().map(lowered).collect::<Result<Vec<Step>>>()?;
        let scratch = |(step, kernel): (&Step, &Kernel)| match (step, &kernel.body) {
            (Step::Loop(l), _) => scratch_bytes(l),
            (Step::Repeat(inner), Body::Repeat(r)) => repeat::scratch_bytes(r, inner),
            _ => 0,
        };
        let scratch = steps.iter().zip(&plan.kernels).map(scratch).max().unwrap_or(0);
        let within = |step: &Step| matches!(step, Step::Repeat(inner) if inner.parallel);
        let parallel =
            plan.kernels.iter().any(|k| !matches!(k.body, Body::Repeat(_)) && k.cost > PARALLEL) || steps.iter().any(within);
        let (offsets, workspace) = lay_out(plan)?;
        Ok(CpuPlan { plan: plan.clone(), steps, offsets, workspace, scratch, parallel, ran: AtomicBool::new(false) })
    }

    /// Runs some kernels; `failed` becomes the call that fails, if one does.
    pub(super) fn kernels(&self, range: std::ops::Range<usize>, context: &Context<'_>, failed: &mut Option<u32>) -> Result<()> {
        for k in range {
            let kernel = &self.plan.kernels[k];
            if stopped(context.stop) || faults::should_stop() && k < self.plan.commit {
                return Err(Error::Interrupted);
            }
            let _span = span("kernel", || kernel.label.clone().into());
            let context = Context { parallel: kernel.cost > PARALLEL, ..*context };
            match (&self.steps[k], &kernel.body) {
                (Step::Loop(l), _) => run_loop(l, &context)?,
                (Step::Matmul(epilogue), Body::Matmul(m)) => run_matmul(m, epilogue.as_ref(), &context)?,
                (_, Body::Structured(call)) => run_call(call, &context).inspect_err(|_| *failed = Some(call.local))?,
                (Step::Repeat(inner), Body::Repeat(r)) => {
                    repeat::run(r, inner, &context).inspect_err(|_| *failed = Some(r.local))?
                }
                _ => unreachable!("steps are made from the kernels"),
            }
        }
        Ok(())
    }
}

impl Executable for CpuPlan {
    fn run(&self, bindings: &mut Bindings<'_>) -> Result<()> {
        let plan = &*self.plan;
        let bytes = self.workspace.saturating_add(self.scratch);
        let workspace = workspace::lease(bytes)?;
        let buffers: SmallVec<[Address; 32]> = plan
            .buffers
            .iter()
            .zip(&self.offsets)
            .map(|(b, &offset)| match b.place {
                Place::Slot(i) => Address(bindings.slots[i as usize].host_ptr()),
                Place::Output(i) => Address(bindings.outputs[i as usize].host_ptr()),
                Place::Temporary => Address(workspace.as_ptr().wrapping_add(offset)),
            })
            .collect();
        let scratch = Address(workspace.as_ptr().wrapping_add(self.workspace));
        let context = Context { buffers: &buffers, numbers: bindings.numbers, stop: bindings.stop, scratch, parallel: false };
        let _stay = self.parallel.then(pool::enter);
        let mut result = self.kernels(0..plan.commit, &context, &mut bindings.failed);
        // The last look: from here on the run counts as done.
        result = result.and_then(|()| context.go_on());
        if result.is_ok() {
            bindings.bad_losses = (0..plan.guards.len()).filter(|&i| !is_finite(plan, &buffers, plan.guards[i])).collect();
            if bindings.bad_losses.is_empty() && plan.commit < plan.kernels.len() {
                // The last segment writes parameters: once begun, it is not interrupted.
                result =
                    self.kernels(plan.commit..plan.kernels.len(), &Context { stop: &NEVER, ..context }, &mut bindings.failed);
            }
        }
        workspace::give_back(workspace, bytes, self.ran.swap(true, Ordering::Relaxed));
        result
    }

    fn bytes(&self) -> usize {
        let lists = |step: &Step| match step {
            Step::Loop(l) | Step::Matmul(Some(l)) => l.bytes(),
            Step::Repeat(inner) => inner.bytes(),
            _ => 0,
        };
        size_of::<CpuPlan>() + bytes_of(&self.steps) + bytes_of(&self.offsets) + self.steps.iter().map(lists).sum::<usize>()
    }
}

fn is_finite(plan: &Plan, buffers: &[Address], b: u32) -> bool {
    let info = &plan.buffers[b as usize];
    let ptr = buffers[b as usize].0;
    // SAFETY: a loss is an output, computed by now.
    unsafe {
        match info.dtype {
            DType::F32 => std::slice::from_raw_parts(ptr.cast::<f32>(), info.len).iter().all(|x| x.is_finite()),
            DType::F64 => std::slice::from_raw_parts(ptr.cast::<f64>(), info.len).iter().all(|x| x.is_finite()),
            _ => true,
        }
    }
}

fn run_loop(l: &Lowered, context: &Context<'_>) -> Result<()> {
    match l.mode {
        Mode::Map => run_map(l, 0, shape::size(&l.dims), context),
        Mode::Rows if l.spreads || l.cols() <= BLOCK => run_rows(l, context),
        Mode::Rows => run_long_rows(l, context),
        Mode::Columns => run_columns(l, context),
    }
}

/// Elements `start..end` of a loop without reductions.
fn run_map(l: &Lowered, start: usize, end: usize, context: &Context<'_>) -> Result<()> {
    let task = if context.parallel { TASK } else { (end - start).max(1) };
    let context = *context;
    context.each((end - start).div_ceil(task), |t| {
        let from = start + t * task;
        run_spans(l, std::iter::once(from..(from + task).min(end)), &context);
        Ok(())
    })
}

/// Ranges of elements of a loop without reductions, none longer than the first.
fn run_spans(l: &Lowered, mut spans: impl Iterator<Item = Range<usize>>, context: &Context<'_>) {
    let Some(first) = spans.next() else { return };
    Worker::with(l, context.buffers, context.numbers, first.len(), |w| {
        for Range { start: mut at, end } in std::iter::once(first).chain(spans) {
            while at < end {
                // Where rows are long, blocks end with them: what is broadcast along the others is then read in place.
                let row = l.row.map_or(usize::MAX, |n| n - at % n);
                let block = Block { start: at, len: l.block.min(end - at).min(row), row: 0, rows: 0 };
                // SAFETY: blocks are disjoint and within the loop's space.
                unsafe { w.run(&block, Part::All) };
                at += block.len;
            }
        }
    });
}

/// Whole rows at a time, several short ones to a block.
fn run_rows(l: &Lowered, context: &Context<'_>) -> Result<()> {
    let (rows, cols) = (l.rows(), l.cols());
    let per_block = (BLOCK / cols.max(1)).clamp(1, BLOCK);
    let per_task = if context.parallel { (TASK / cols.max(1)).max(1).next_multiple_of(per_block) } else { rows.max(1) };
    let context = *context;
    context.each(rows.div_ceil(per_task), |t| {
        let (from, to) = (t * per_task, ((t + 1) * per_task).min(rows));
        let longest = (per_block.min(to - from) * cols).max(per_block);
        Worker::with(l, context.buffers, context.numbers, longest, |w| {
            for row in (from..to).step_by(per_block) {
                let n = per_block.min(to - row);
                // SAFETY: rows are disjoint between tasks.
                unsafe { w.run(&Block { start: row * cols, len: n * cols, row, rows: n }, Part::All) };
            }
        });
        Ok(())
    })
}

/// Bytes of a reduction's partial results: eight for each piece of each row, or each group of each column.
fn scratch_bytes(l: &Lowered) -> usize {
    let (rows, cols) = (l.rows(), l.cols());
    let partials = match l.mode {
        Mode::Rows if !l.spreads && cols > BLOCK => rows.saturating_mul(cols.div_ceil(fold::CHUNK)),
        Mode::Columns => cols.saturating_mul(rows.div_ceil(fold::ROWS).max(1)),
        _ => 0,
    };
    partials.saturating_mul(8 * folds(l).len())
}

fn folds(l: &Lowered) -> Vec<(usize, Fold)> {
    let of = |(k, m): (usize, &super::lower::Micro)| match m.action {
        Action::Fold(f) => Some((k, f)),
        _ => None,
    };
    l.code.iter().enumerate().filter_map(of).collect()
}

/// Rows longer than a block: pieces are folded by any thread, then combined pairwise.
fn run_long_rows(l: &Lowered, context: &Context<'_>) -> Result<()> {
    let (rows, cols) = (l.rows(), l.cols());
    let pieces = cols.div_ceil(fold::CHUNK);
    let folds = folds(l);
    let store = context.scratch;
    let area = rows * pieces * 8;
    let context = *context;
    let per_task = if context.parallel { TASK / fold::CHUNK } else { (rows * pieces).max(1) };
    context.each((rows * pieces).div_ceil(per_task), |t| {
        Worker::with(l, context.buffers, context.numbers, fold::CHUNK, |w| {
            for p in t * per_task..((t + 1) * per_task).min(rows * pieces) {
                let (row, piece) = (p / pieces, p % pieces);
                let at = piece * fold::CHUNK;
                let block = Block { start: row * cols + at, len: fold::CHUNK.min(cols - at), row, rows: 0 };
                // SAFETY: pieces are disjoint, and so are their partial results.
                unsafe {
                    w.run(&block, Part::Full);
                    for (f, (k, fold)) in folds.iter().enumerate() {
                        let src = w.operand(l.code[*k].src[0], &block);
                        (fold.block)(src, block.len, store.at(f * area + p * fold.size));
                    }
                }
            }
        });
        Ok(())
    })?;
    context.each(rows.div_ceil(BLOCK), |t| {
        let from = t * BLOCK;
        let block = Block { start: 0, len: 0, row: from, rows: BLOCK.min(rows - from) };
        Worker::with(l, context.buffers, context.numbers, block.rows, |w| {
            // SAFETY: all pieces are done; this task alone finishes these rows.
            unsafe {
                for (f, (k, fold)) in folds.iter().enumerate() {
                    let dst = w.operand(l.code[*k].dst, &block);
                    for r in 0..block.rows {
                        let at = store.at(f * area + (from + r) * pieces * fold.size);
                        fold.combine_all(at, pieces, 1, 1);
                        std::ptr::copy_nonoverlapping(at, dst.add(r * fold.size), fold.size);
                    }
                }
                w.run(&block, Part::Row);
            }
        });
        Ok(())
    })
}

/// Reductions over leading axes: rows are added up element by element, in fixed groups that are then combined pairwise.
fn run_columns(l: &Lowered, context: &Context<'_>) -> Result<()> {
    let (rows, cols) = (l.rows(), l.cols());
    if cols == 0 {
        return Ok(());
    }
    let groups = rows.div_ceil(fold::ROWS).max(1);
    let folds = folds(l);
    let width = cols.min(BLOCK);
    let strips = cols.div_ceil(width);
    // Per fold: groups × cols partial results.
    let area = groups * cols * 8;
    let store = context.scratch;
    let per_block = (BLOCK / width).clamp(1, fold::ROWS);
    let context = *context;
    let per_task = if context.parallel { (TASK / (width * fold::ROWS)).max(1) } else { (groups * strips).max(1) };
    context.each((groups * strips).div_ceil(per_task), |t| {
        Worker::with(l, context.buffers, context.numbers, per_block * width, |w| {
            for p in t * per_task..((t + 1) * per_task).min(groups * strips) {
                let (group, strip) = (p / strips, p % strips);
                let (first, last) = (group * fold::ROWS, ((group + 1) * fold::ROWS).min(rows));
                let (col, n) = (strip * width, width.min(cols - strip * width));
                // SAFETY: each (group, strip) has its own part of the partial results.
                unsafe {
                    let acc = |f: usize, fold: &Fold| store.at(f * area + (group * cols + col) * fold.size);
                    for (f, (_, fold)) in folds.iter().enumerate() {
                        (fold.clear)(acc(f, fold), n);
                    }
                    let mut row = first;
                    while row < last {
                        let many = per_block.min(last - row);
                        let block = Block { start: row * cols + col, len: many * n, row: col, rows: n };
                        w.run(&block, Part::Full);
                        for (f, (k, fold)) in folds.iter().enumerate() {
                            let src = w.operand(l.code[*k].src[0], &block);
                            for r in 0..many {
                                (fold.combine)(acc(f, fold), src.add(r * n * fold.size), n);
                            }
                        }
                        row += many;
                    }
                }
            }
        });
        Ok(())
    })?;
    context.each(strips, |t| {
        let col = t * width;
        let block = Block { start: 0, len: 0, row: col, rows: width.min(cols - col) };
        Worker::with(l, context.buffers, context.numbers, block.rows, |w| {
            // SAFETY: all groups are done; this task alone finishes these columns.
            unsafe {
                for (f, (k, fold)) in folds.iter().enumerate() {
                    let at = store.at(f * area + col * fold.size);
                    fold.combine_all(at, groups, cols, block.rows);
                    std::ptr::copy_nonoverlapping(at, w.operand(l.code[*k].dst, &block), block.rows * fold.size);
                }
                w.run(&block, Part::Row);
            }
        });
        Ok(())
    })
}

fn run_matmul(m: &Matmul, epilogue: Option<&Lowered>, context: &Context<'_>) -> Result<()> {
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

fn product<T: gemm::Element>(m: &Matmul, epilogue: Option<&Lowered>, context: &Context<'_>) -> Result<()> {
    let lead = m.batch.len();
    let (sa, sb) = (&m.a_map.strides, &m.b_map.strides);
    let (form, n, batch) = (Form::of(m), m.n(), shape::size(&m.batch));
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
    let one = |item: usize, tile: &Tile| {
        let (mut oa, mut ob) = (m.a_map.offset, m.b_map.offset);
        let mut rest = item;
        for axis in (0..lead).rev() {
            let i = (rest % m.batch[axis]) as i64;
            rest /= m.batch[axis];
            oa += i * sa[axis];
            ob += i * sb[axis];
        }
        // SAFETY: tiles and items of the batch are disjoint parts of C; operands lie within their buffers, of a window all that
        // is within its bounds.
        unsafe {
            let (a, b) = (a.at(0).cast::<T>().wrapping_offset(oa as isize), b.at(0).cast::<T>().wrapping_offset(ob as isize));
            let c = c.at(0).cast::<T>().add(item * m.m * n);
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

fn run_call(call: &Call, context: &Context<'_>) -> Result<()> {
    let numbers: SmallVec<[[u8; 8]; 4]> = call
        .srcs
        .iter()
        .map(|s| match s.source {
            Source::Number(i) => context.numbers[i as usize].to_bytes(s.dtype),
            Source::Constant(c) => c.to_bytes(s.dtype),
            Source::Buffer(_) => [0; 8],
        })
        .collect();
    let srcs: SmallVec<[Operand<'_>; 4]> = call
        .srcs
        .iter()
        .zip(&numbers)
        .map(|(s, n)| Operand {
            ptr: match s.source {
                Source::Buffer(b) => context.buffers[b as usize].at(s.map.offset as usize * s.dtype.bytes()).cast_const(),
                _ => n.as_ptr(),
            },
            shape: &s.shape,
            strides: &s.map.strides,
            dtype: s.dtype,
        })
        .collect();
    let stopped = |_: usize| stopped(context.stop);
    let result = |buffer: u32, dtype: DType| OperandMut {
        ptr: context.buffers[buffer as usize].0,
        shape: &call.shape,
        dtype,
        poll: Poll(&stopped),
    };
    let out = call.out.map(|buffer| result(buffer, call.dtype));
    match (out, call.elements) {
        (out, Some(elements)) => call.op.cpu_elements(&srcs, out, result(elements, call.srcs[0].dtype)),
        (Some(out), None) => call.op.cpu(&srcs, out),
        (None, None) => Ok(()),
    }
}
