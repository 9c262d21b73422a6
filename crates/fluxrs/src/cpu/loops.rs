//! Runs fused loops, cut into tasks of whole blocks.

use super::block::{Block, Part, Worker};
use super::fold::{self, Fold};
use super::lower::{Action, BLOCK, Lowered};
use super::run::Context;
use super::sparse;
use crate::error::Result;
use crate::plan::Mode;
use crate::shape;
use std::ops::Range;

/// Elements that a task works on, if a loop is of few instructions.
pub(super) const TASK: usize = 16 * BLOCK;

pub(super) fn run_loop(l: &Lowered, context: &Context<'_>) -> Result<()> {
    if let Some(found) = &l.sparse {
        return sparse::run(l, &found.0, found.1, context);
    }
    match l.mode {
        Mode::Map => run_map(l, 0, shape::size(&l.dims), context),
        Mode::Rows if l.spreads || l.cols() <= BLOCK => run_rows(l, 0..l.rows(), context),
        Mode::Rows => run_long_rows(l, context),
        Mode::Columns => run_columns(l, context),
    }
}

/// The part of a loop over some of the `count` rows that its space consists of, on this thread; see `rows.rs`.
pub(super) fn run_part(l: &Lowered, rows: &Range<usize>, count: usize, context: &Context<'_>) -> Result<()> {
    let part = |n: usize| n / count * rows.start..n / count * rows.end;
    match l.mode {
        Mode::Map => {
            run_spans(l, std::iter::once(part(shape::size(&l.dims))), context);
            Ok(())
        }
        _ => run_rows(l, part(l.rows()), context),
    }
}

/// Elements `start..end` of a loop without reductions.
pub(super) fn run_map(l: &Lowered, start: usize, end: usize, context: &Context<'_>) -> Result<()> {
    let most = if context.parallel { l.task } else { usize::MAX };
    let tasks = (end - start).div_ceil(most).max(1);
    // As long as each other: a short one at the end would not be worth the thread that it calls.
    let task = (end - start).div_ceil(tasks).next_multiple_of(l.block).max(1);
    let context = *context;
    context.each((end - start).div_ceil(task), |t| {
        let from = start + t * task;
        run_spans(l, std::iter::once(from..(from + task).min(end)), &context);
        Ok(())
    })
}

/// Ranges of elements of a loop without reductions, none longer than the first.
pub(super) fn run_spans(l: &Lowered, mut spans: impl Iterator<Item = Range<usize>>, context: &Context<'_>) {
    let Some(first) = spans.next() else { return };
    Worker::with(l, context.buffers, context.numbers, first.len(), |w| {
        for Range { start: mut at, end } in std::iter::once(first).chain(spans) {
            // Where rows are long, blocks end with them: what is broadcast along the others is then read in place.
            let row = l.row.unwrap_or(usize::MAX);
            let mut left = l.row.map_or(usize::MAX, |n| n - at % n);
            let mut follows = false;
            while at < end {
                let block = Block { start: at, len: l.block.min(end - at).min(left), row: 0, rows: 0 };
                let whole = block.len == row;
                // SAFETY: blocks are disjoint and within the loop's space; `follows` is set behind a whole row.
                unsafe { if follows && whole { w.run_next_row(&block) } else { w.run(&block, Part::All) } };
                at += block.len;
                left = if block.len == left { row } else { left - block.len };
                follows = whole && l.dims.len() == 2;
            }
        }
    });
}

/// Whole rows at a time, several short ones to a block.
fn run_rows(l: &Lowered, range: Range<usize>, context: &Context<'_>) -> Result<()> {
    let (rows, cols) = (range.len(), l.cols());
    let per_block = if l.by_row { 1 } else { (BLOCK / cols.max(1)).clamp(1, BLOCK) };
    let per_task = if context.parallel { (TASK / cols.max(1)).max(1).next_multiple_of(per_block) } else { rows.max(1) };
    let context = *context;
    context.each(rows.div_ceil(per_task), |t| {
        let (from, to) = (range.start + t * per_task, range.start + ((t + 1) * per_task).min(rows));
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
pub(super) fn scratch_bytes(l: &Lowered) -> usize {
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
        Action::Fold(f) | Action::Joined(f) => Some((k, f)),
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
    let per_block = if l.by_row { 1 } else { (BLOCK / width).clamp(1, fold::ROWS) };
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
                    w.sums = folds.iter().enumerate().map(|(f, (_, fold))| acc(f, fold)).collect();
                    let mut row = first;
                    while row < last {
                        let many = per_block.min(last - row);
                        let block = Block { start: row * cols + col, len: many * n, row: col, rows: n };
                        w.run(&block, Part::Full);
                        let apart = |(_, (k, _)): &(usize, &(usize, Fold))| matches!(l.code[*k].action, Action::Fold(_));
                        for (f, (k, fold)) in folds.iter().enumerate().filter(apart) {
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
