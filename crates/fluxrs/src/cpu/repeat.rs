//! Runs the plan of a step once for each row of the sequences. Between two steps nothing but addresses changes.

use super::block::Address;
use super::memory::ALIGN;
use super::rows::Rows;
use super::run::{Context, CpuPlan};
use crate::dtype::Number;
use crate::error::Result;
use crate::plan::{Argument, Feed, Repeat, Source, Storage};
use crate::shape;
use std::ops::Range;

fn bytes_of(x: &Argument) -> usize {
    shape::size(&x.shape).saturating_mul(x.dtype.bytes())
}

fn aligned(bytes: usize) -> usize {
    bytes.max(1).checked_next_multiple_of(ALIGN).unwrap_or(usize::MAX)
}

/// Bytes that a run takes: for each task the workspace of a step, its partial results, and two places for each state that is not stored.
pub(super) fn scratch_bytes(r: &Repeat, inner: &CpuPlan, rows: Option<Rows>) -> usize {
    let states = r.carries.iter().map(|c| aligned(bytes_of(&c.first)).saturating_mul(2));
    let workspaces = aligned(inner.workspace).saturating_mul(tasks(rows));
    let all = states.chain([workspaces, aligned(inner.scratch)]);
    // The scratch memory of a plan begins wherever its workspace ends.
    all.fold(ALIGN, usize::saturating_add)
}

fn tasks(rows: Option<Rows>) -> usize {
    rows.as_ref().map_or(1, Rows::tasks)
}

/// Memory that moves from row to row.
struct Track {
    buffer: usize,
    row: Address,
    /// In bytes, from one step to the next.
    stride: isize,
}

/// A state: where it is read first, and the places where it is written by turns.
struct State {
    /// The buffers of the step's plan that are its value before and after.
    before: Option<usize>,
    after: usize,
    first: Address,
    /// The place for the step i is `places[i & 1]`, moved by `stride` each step.
    places: [Address; 2],
    stride: isize,
    bytes: usize,
}

pub(super) fn run(r: &Repeat, inner: &CpuPlan, rows: Option<Rows>, context: &Context<'_>) -> Result<()> {
    let plan = &*inner.plan;
    let mut top = context.scratch.0.wrapping_add(context.scratch.0.align_offset(ALIGN));
    let mut take = |bytes: usize| {
        let at = Address(top);
        top = top.wrapping_add(aligned(bytes));
        at
    };
    let scratch = take(inner.scratch);
    let workspaces: Vec<Address> = (0..tasks(rows)).map(|_| take(inner.workspace)).collect();
    // Those of a task that are not in its workspace.
    let mut fixed: Vec<(usize, Address)> = Vec::new();
    let mut tracks: Vec<Track> = Vec::new();
    let mut before = vec![None; r.carries.len()];
    let mut after = vec![0; r.carries.len()];
    // Where the row of the first step begins, and how far it is to the next.
    let row = |buffer: u32, offset: i64, stride: i64, size: usize| {
        let (stride, bytes) = (stride as isize * size as isize, size as isize);
        let start = context.buffers[buffer as usize].0.wrapping_offset(offset as isize * bytes);
        match r.reverse {
            true => (Address(start.wrapping_offset((r.length as isize - 1) * stride)), -stride),
            false => (Address(start), stride),
        }
    };
    for (buffer, info) in plan.buffers.iter().enumerate() {
        let size = info.dtype.bytes();
        let mut track = |at: (Address, isize)| tracks.push(Track { buffer, row: at.0, stride: at.1 });
        match info.storage {
            Storage::Slot(slot) => match r.feeds[slot as usize] {
                Feed::Whole(whole) => fixed.push((buffer, context.buffers[whole as usize])),
                Feed::Row { buffer, offset, stride } => track(row(buffer, offset, stride, size)),
                Feed::State(state) => before[state] = Some(buffer),
            },
            Storage::Output(output) => match (output as usize).checked_sub(r.carries.len()) {
                Some(step) => track(row(r.steps[step], 0, info.len as i64, size)),
                None => after[output as usize] = buffer,
            },
            Storage::Temporary => (),
        }
    }
    let states: Vec<State> = r
        .carries
        .iter()
        .enumerate()
        .map(|(k, carry)| {
            let bytes = bytes_of(&carry.first);
            let Source::Buffer(first) = carry.first.source else { unreachable!("a state is no number") };
            let first = context.buffers[first as usize].at(carry.first.map.offset as usize * carry.first.dtype.bytes());
            let of = |buffer: u32| context.buffers[buffer as usize].0;
            let (places, stride) = match (carry.all, carry.last) {
                // One place moves on; the step i writes where the step i + 1 reads.
                (Some(all), _) => {
                    let (start, stride) = if r.reverse { (r.length * bytes, -(bytes as isize)) } else { (0, bytes as isize) };
                    let row = of(all).wrapping_add(start);
                    copy(first, Address(row), bytes);
                    let next = Address(row.wrapping_offset(stride));
                    ([next, next], stride)
                }
                // The last step writes the result.
                (None, last) => {
                    let one = last.map_or_else(|| take(bytes), |last| Address(of(last)));
                    let other = take(bytes);
                    (if r.length % 2 == 1 { [one, other] } else { [other, one] }, 0)
                }
            };
            State { before: before[k], after: after[k], first: Address(first), places, stride, bytes }
        })
        .collect();
    let steps = |workspace: Address, part: Option<(Range<usize>, usize)>| -> Result<()> {
        let mut buffers: Vec<Address> = inner.offsets.iter().map(|&offset| Address(workspace.0.wrapping_add(offset))).collect();
        fixed.iter().for_each(|&(buffer, at)| buffers[buffer] = at);
        let mut numbers: Vec<Number> = Vec::with_capacity(r.numbers.len());
        for i in 0..r.length {
            context.go_on()?;
            numbers.clear();
            numbers.extend(r.numbers.iter().map(|&(source, first, step)| number(source, first, step, i, context.numbers)));
            for t in &tracks {
                buffers[t.buffer] = Address(t.row.0.wrapping_offset(t.stride * i as isize));
            }
            for s in &states {
                let at = |i: usize| Address(s.places[i & 1].0.wrapping_offset(s.stride * i as isize));
                if let Some(before) = s.before {
                    buffers[before] = if i == 0 { s.first } else { at(i - 1) };
                }
                buffers[s.after] = at(i);
            }
            let step = Context { buffers: &buffers, numbers: &numbers, scratch, parallel: false, ..*context };
            match &part {
                Some((rows, count)) => inner.part(rows, *count, &step)?,
                None => inner.kernels(0..plan.kernels.len(), &step, &mut None)?,
            }
        }
        Ok(())
    };
    match rows {
        Some(rows) => context.each(rows.tasks(), |t| steps(workspaces[t], Some((rows.range(t), rows.count))))?,
        None => steps(workspaces[0], None)?,
    }
    for (s, carry) in states.iter().zip(&r.carries) {
        let Some(last) = carry.last else { continue };
        if r.length == 0 {
            copy(s.first.0, context.buffers[last as usize], s.bytes);
        } else if carry.all.is_some() {
            let end = s.places[0].0.wrapping_offset(s.stride * (r.length as isize - 1));
            copy(end, context.buffers[last as usize], s.bytes);
        }
    }
    Ok(())
}

fn number(source: Source, first: i64, step: i64, i: usize, numbers: &[Number]) -> Number {
    let Source::Number(k) = source else { unreachable!("a number is one in every plan") };
    match numbers[k as usize] {
        Number::Int(n) if (first, step) != (0, 0) => Number::Int(n.wrapping_add(first).wrapping_add(step.wrapping_mul(i as i64))),
        number => number,
    }
}

fn copy(from: *const u8, to: Address, bytes: usize) {
    // SAFETY: both are a state's memory, of its size, and a state's old value lies in none of its new ones.
    unsafe { std::ptr::copy_nonoverlapping(from, to.0, bytes) };
}
