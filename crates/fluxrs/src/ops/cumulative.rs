//! Running sums and products along an axis, and the recurrence that the gradient of a running product is made of.

use super::poll::{Poll, rows};
use super::shader::{Binding, Pass, Shader, Spec, template};
use super::structured::{offset, offsets, room};
use super::{Op, Operand, OperandMut, Structured};
use crate::dtype::{DType, Element};
use crate::error::Result;
use crate::graph::{Srcs, Tensor};
use crate::pool;
use crate::shape::{self, Shape};
use crate::simd::math::Num;
use smallvec::smallvec;
use std::ops::Range;
use std::sync::Arc;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// yᵢ = yᵢ₋₁ + xᵢ
    Sum,
    /// yᵢ = yᵢ₋₁ · xᵢ
    Prod,
    /// yᵢ = aᵢ · yᵢ₋₁ + bᵢ, with y₀ = b₀; a is the first operand.
    Recurrence,
}

/// One pass along an axis, from its end if it is reversed (then yᵢ₊₁ stands for yᵢ₋₁).
#[derive(Clone, Copy)]
struct Cumulative {
    kind: Kind,
    axis: usize,
    reverse: bool,
}

/// Elements below which one thread is enough.
const PARALLEL: usize = pool::grain(1 << 15);

impl Cumulative {
    fn apply(self, srcs: Srcs) -> Tensor {
        let (shape, dtype) = (Shape::from(srcs[0].shape()), srcs[0].dtype());
        Tensor::within(Op::Structured(Arc::new(self)), srcs, shape, dtype)
    }

    fn backwards(self, kind: Kind) -> Cumulative {
        Cumulative { kind, reverse: !self.reverse, ..self }
    }

    /// At each index what `x` has one step later in the order of the pass (earlier with `earlier`), `edge` where there is none.
    fn shifted(self, x: &Tensor, earlier: bool, edge: i64) -> Tensor {
        let n = x.shape()[self.axis];
        let up = earlier != self.reverse;
        let mut widths = vec![(0, 0); x.ndim()];
        widths[self.axis] = if up { (1, 0) } else { (0, 1) };
        let kept = x.narrow(self.axis, usize::from(!up), n - 1);
        kept.pad(&widths, edge.into()).expect("one pair of widths an axis")
    }

    fn run<T: Num + Element>(self, srcs: &[Operand<'_>], mut out: OperandMut<'_>) -> Result<()> {
        let (shape, poll) = (out.shape, out.poll);
        let out = out.as_mut_slice::<T>();
        let n = shape[self.axis];
        let inner = shape::size(&shape[self.axis + 1..]);
        if inner == 1 {
            return match self.kind {
                Kind::Sum => self.lines(srcs, out, poll, |last: T, x, _| last.add(x)),
                Kind::Prod => self.lines(srcs, out, poll, |last: T, x, _| last.mul(x)),
                Kind::Recurrence => self.lines(srcs, out, poll, |last: T, x, b| x.mul(last).add(b)),
            };
        }
        let (x, b) = (Rows::of(srcs[0], self.axis)?, Rows::of(srcs[srcs.len() - 1], self.axis)?);
        let line = |k: usize, y: &mut [T]| {
            let (mut x_room, mut b_room) = (x.room()?, b.room()?);
            let row = |step: usize| if self.reverse { n - 1 - step } else { step };
            poll.pieces(n * inner, inner, |piece| {
                for (step, columns) in rows(piece, inner) {
                    let at = row(step) * inner + columns.start;
                    let b_row = if step == 0 || self.kind == Kind::Recurrence {
                        b.row(k, row(step), columns.clone(), &mut b_room)
                    } else {
                        &[]
                    };
                    if step == 0 {
                        y[at..at + columns.len()].copy_from_slice(b_row);
                        continue;
                    }
                    let before = row(step - 1) * inner + columns.start;
                    let x_row = x.row(k, row(step), columns, &mut x_room);
                    for (j, &x) in x_row.iter().enumerate() {
                        let last = y[before + j];
                        y[at + j] = match self.kind {
                            Kind::Sum => last.add(x),
                            Kind::Prod => last.mul(x),
                            Kind::Recurrence => x.mul(last).add(b_row[j]),
                        };
                    }
                }
                Ok(())
            })
        };
        if out.len() < PARALLEL {
            return out.chunks_exact_mut(n * inner).enumerate().try_for_each(|(k, y)| line(k, y));
        }
        let some = (PARALLEL / (n * inner)).max(1);
        pool::each_chunk(out, some * n * inner, |t, lines| {
            (t * some..).zip(lines.chunks_exact_mut(n * inner)).try_for_each(|(k, y)| line(k, y))
        })
    }
}

/// Lines that one thread goes along side by side: each step waits for the one before it, but not for another line's.
const LINES: usize = 4;

impl Cumulative {
    /// The last axis, whose elements stand in lines.
    fn lines<T: Num + Element>(
        self,
        srcs: &[Operand<'_>],
        out: &mut [T],
        poll: Poll<'_>,
        step: impl Fn(T, T, T) -> T + Sync,
    ) -> Result<()> {
        let (x, b) = (srcs[0], srcs[srcs.len() - 1]);
        let n = x.shape[self.axis];
        let along = |of: &Operand<'_>, k: usize| offset(k, &of.shape[..self.axis], &of.strides[..self.axis]);
        let strides = (x.strides[self.axis] as isize, b.strides[self.axis] as isize);
        let some = |first: usize, y: &mut [T], together: usize| {
            let mut starts = [(0, 0); LINES];
            let mut last = [T::of(0.0); LINES];
            starts[..together].iter_mut().zip(first..).for_each(|(start, k)| *start = (along(&x, k), along(&b, k)));
            poll.pieces(n * together, together, |piece| {
                for at in piece.start / together..piece.end / together {
                    let place = if self.reverse { n - 1 - at } else { at };
                    for (k, (start, last)) in starts.iter().zip(&mut last).enumerate().take(together) {
                        // SAFETY: the line's number and the place in it are within the operands' shape.
                        let (x, b) = unsafe {
                            let place = place as isize;
                            (x.get::<T>(start.0 + place * strides.0), b.get::<T>(start.1 + place * strides.1))
                        };
                        *last = if at == 0 { b } else { step(*last, x, b) };
                        y[k * n + place] = *last;
                    }
                }
                Ok(())
            })
        };
        let task = |first: usize, lines: &mut [T]| {
            let together = |k: usize, y: &mut [T]| match y.len() / n {
                LINES => some(first + k * LINES, y, LINES),
                fewer => (0..fewer).zip(y.chunks_exact_mut(n)).try_for_each(|(j, y)| some(first + k * LINES + j, y, 1)),
            };
            lines.chunks_mut(LINES * n).enumerate().try_for_each(|(k, y)| together(k, y))
        };
        if out.len() < PARALLEL {
            return task(0, out);
        }
        let share = (PARALLEL / n).max(1).next_multiple_of(LINES);
        pool::each_chunk(out, share * n, |t, lines| task(t * share, lines))
    }
}

/// An operand as rows: for each index of the axes before one and each index along it, the elements of the axes behind it.
struct Rows<'a> {
    of: Operand<'a>,
    axis: usize,
    /// Where the elements of a row lie, if not one after the other.
    places: Vec<isize>,
}

impl<'a> Rows<'a> {
    fn of(of: Operand<'a>, axis: usize) -> Result<Rows<'a>> {
        let (shape, strides) = (&of.shape[axis + 1..], &of.strides[axis + 1..]);
        let places = if shape::is_contiguous(shape, strides) { Vec::new() } else { offsets(shape, strides)? };
        Ok(Rows { of, axis, places })
    }

    /// Memory for a row that has to be gathered.
    fn room<T>(&self) -> Result<Vec<T>> {
        room(self.places.len())
    }

    fn row<'b, T: Element>(&'b self, before: usize, at: usize, columns: Range<usize>, room: &'b mut Vec<T>) -> &'b [T] {
        let (axis, strides) = (self.axis, self.of.strides);
        let start = offset(before, &self.of.shape[..axis], &strides[..axis]) + at as isize * strides[axis] as isize;
        // SAFETY: the indices are within the operand's shape.
        unsafe {
            if self.places.is_empty() {
                return self.of.run(start + columns.start as isize, columns.len());
            }
            room.clear();
            room.extend(self.places[columns].iter().map(|place| self.of.get::<T>(start + place)));
        }
        room
    }
}

impl Structured for Cumulative {
    fn name(&self) -> &'static str {
        match self.kind {
            Kind::Sum => "cumsum",
            Kind::Prod => "cumprod",
            Kind::Recurrence => "recurrence",
        }
    }

    fn key(&self) -> u64 {
        (self.axis as u64) << 1 | self.reverse as u64
    }

    fn gradient(&self, i: usize, srcs: &[Tensor], out: &Tensor, g: &Tensor) -> Option<Tensor> {
        if out.size() == 0 {
            return Some(g.clone());
        }
        let later = |x: &Tensor| self.shifted(x, false, 0);
        let follow = |a: &Tensor| self.backwards(Kind::Recurrence).apply(smallvec![later(a), g.clone()]);
        Some(match (self.kind, i) {
            (Kind::Sum, _) => self.backwards(Kind::Sum).apply(smallvec![g.clone()]),
            // No division by x: a zero is a factor like any other.
            (Kind::Prod, _) => self.shifted(out, true, 1) * follow(&srcs[0]),
            (Kind::Recurrence, 0) => self.shifted(out, true, 0) * follow(&srcs[0]),
            (Kind::Recurrence, _) => follow(&srcs[0]),
        })
    }

    fn reads_through_map(&self, _: usize) -> bool {
        true
    }

    fn cpu(&self, srcs: &[Operand<'_>], out: OperandMut<'_>) -> Result<()> {
        if shape::size(out.shape) == 0 {
            return Ok(());
        }
        match out.dtype {
            DType::F32 => self.run::<f32>(srcs, out),
            DType::F64 => self.run::<f64>(srcs, out),
            DType::I32 => self.run::<i32>(srcs, out),
            DType::I64 | DType::Bool => self.run::<i64>(srcs, out),
        }
    }

    fn cost(&self, _: &[&[usize]], out: &[usize]) -> usize {
        shape::size(out)
    }

    fn shader(&self, srcs: &[Spec<'_>], out: Spec<'_>) -> Result<Shader, String> {
        let wide = out.dtype == DType::I64;
        let rule = match self.kind {
            Kind::Sum if wide => "fx_wide_add(last, x)",
            Kind::Prod if wide => "fx_wide_mul(last, x)",
            Kind::Sum => "last + x",
            Kind::Prod => "last * x",
            Kind::Recurrence => "x * last + b",
        };
        let row = if self.reverse { "args.length - 1u - i" } else { "i" };
        let code = format!(
            "fn step(last: x_type, x: x_type, b: x_type) -> x_type {{\n    return {rule};\n}}\n\n\
             fn row(i: u32) -> u32 {{\n    return {row};\n}}\n\n"
        );
        let (length, inner) = (out.shape[self.axis], shape::size(&out.shape[self.axis + 1..]));
        let lines = out.size() / length;
        let sizes = |pass: Pass, step: usize| {
            let pass = pass.sizes([("lines", lines), ("length", length), ("inner", inner), ("step", step)]);
            pass.code(code.clone()).operand("x", 0)
        };
        let walk = |items: usize, step: usize, piece: usize, before: &str| {
            let before = format!("fn before(line: u32, piece: u32, start: u32) -> x_type {{\n    return {before};\n}}\n\n");
            let pass = sizes(Pass::threads(template!("cumulative"), items, 64).code(before), step);
            pass.sizes([("piece", piece)]).operand("b", srcs.len() - 1)
        };
        let written = "fn out(at: u32, value: x_type) {\n    y[at] = bitcast<u32>(value);\n}\n\n";
        let y = |pass: Pass| pass.code(written).bind("y", Binding::Memory(0, "u32"));
        let shader = if self.kind == Kind::Sum && length > SHORT {
            // Each piece by a thread: its sum, the sums before it, its own running sums.
            let (pieces, step) = (length.isqrt(), length.div_ceil(length.isqrt()));
            let totals = |pass: Pass| pass.bind("totals", Binding::Room(0, "u32"));
            let total = totals(sizes(Pass::threads(template!("cumulative_total"), lines * pieces, 64), step));
            let carry = sizes(Pass::threads(template!("cumulative_carry"), lines, 64), step).sizes([("pieces", pieces)]);
            let own = walk(lines * pieces, step, 0, "bitcast<x_type>(totals[piece * args.lines + line])");
            Shader { passes: vec![total, totals(carry), y(totals(own))], rooms: vec![lines * pieces], raises: false }
        } else {
            // Lines are gone through one element after the other, as on the CPU, but not all of a long one in one dispatch.
            let before = "bitcast<x_type>(y[start + row(piece * args.step - 1u) * args.inner])";
            let passes = (0..length.div_ceil(LONG)).map(|piece| y(walk(lines, LONG, piece, before))).collect();
            Shader { passes, ..Shader::default() }
        };
        Ok(if wide { shader.raising() } else { shader })
    }
}

/// Lines up to here are summed by one thread each; and the elements that one thread goes through in one dispatch.
const SHORT: usize = 1024;
const LONG: usize = 1 << 16;

fn cumulative(op: &str, kind: Kind, x: &Tensor, axis: Option<isize>) -> Result<Tensor> {
    let x = x.as_array();
    // Sums and products of small integers would overflow in their own type: NumPy widens them.
    let x = if x.dtype().is_float() { x } else { x.cast(DType::I64) };
    let (x, axis) = match axis {
        Some(axis) => (x.clone(), shape::axis(op, axis, x.ndim())?),
        None => (x.reshape_to(&[x.size()]), 0),
    };
    Ok(Cumulative { kind, axis, reverse: false }.apply(smallvec![x]))
}

impl Tensor {
    /// The sums of the elements up to each along an axis, or of the flattened tensor.
    pub fn cumsum(&self, axis: Option<isize>) -> Result<Tensor> {
        cumulative("cumsum", Kind::Sum, self, axis)
    }

    /// The products of the elements up to each along an axis, or of the flattened tensor.
    pub fn cumprod(&self, axis: Option<isize>) -> Result<Tensor> {
        cumulative("cumprod", Kind::Prod, self, axis)
    }
}
