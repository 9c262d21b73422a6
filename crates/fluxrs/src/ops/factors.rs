//! Elimination: matrices in their factors, and what is made of those.

use super::poll::{PIECE, Poll};
use super::structured::room;
use crate::error::Result;
use crate::per_isa;
use crate::pool;
use crate::simd::isa::{Isa, level};
use crate::simd::math::Real;
use std::ops::Range;
use std::sync::Mutex;

/// Multiplications of one elimination step that are worth other threads.
const PARALLEL: usize = 1 << 17;

/// # Safety
/// The machine has the instruction set.
#[inline(always)]
#[expect(clippy::extra_unused_type_parameters, reason = "compiled for every instruction set, though none is asked about")]
unsafe fn take_away_body<T: Real, I: Isa>(y: &mut [T], x: &[T], factor: T) {
    for (y, &x) in y.iter_mut().zip(x) {
        *y = *y - factor * x;
    }
}
per_isa! {
    /// y −= factor · x, rounded twice, so that every machine gives the same bits.
    fn take_away[T: Real](y: &mut [T], x: &[T], factor: T) = take_away_body
}

/// Takes multiples of `row` from every row of `rest`; `factor` gives the multiple.
fn eliminate<T: Real>(
    rest: &mut [T],
    width: usize,
    row: &[T],
    poll: Poll<'_>,
    factor: impl Fn(&mut [T], usize) -> T + Sync,
) -> Result<()> {
    let kernel = take_away::<T>(level());
    let from = width - row.len();
    let at_once = (PIECE / width).max(1);
    let some = |k: usize, lines: &mut [T]| {
        poll.before((lines.len() / width * row.len()).min(PIECE))?;
        for (r, line) in lines.chunks_exact_mut(width).enumerate() {
            let f = factor(line, k * at_once + r);
            // SAFETY: the level is the machine's.
            let take = |at: Range<usize>| unsafe { kernel(&mut line[from..][at.clone()], &row[at], f) };
            long(row.len(), poll, take)?;
        }
        Ok(())
    };
    if rest.len() / width * row.len() < PARALLEL {
        rest.chunks_mut(at_once * width).enumerate().try_for_each(|(k, lines)| some(k, lines))
    } else {
        pool::each_chunk(rest, at_once * width, some)
    }
}

/// Does something to the columns of a row: at once, or in pieces where there are very many.
fn long(columns: usize, poll: Poll<'_>, mut task: impl FnMut(Range<usize>)) -> Result<()> {
    if columns <= PIECE {
        task(0..columns);
        return Ok(());
    }
    poll.pieces(columns, 1, |at| {
        task(at);
        Ok(())
    })
}

/// A matrix in its factors: L below the diagonal, U on and above it.
pub(super) struct Factors<T> {
    lu: Vec<T>,
    /// Which rows changed places, one pair a column.
    swaps: Vec<usize>,
    /// Likewise of columns; none where pivots are looked for in their own column alone.
    columns: Vec<usize>,
    /// The first column without a pivot.
    pub singular: Option<usize>,
}

fn swap_rows<T>(a: &mut [T], width: usize, i: usize, j: usize, poll: Poll<'_>) -> Result<()> {
    if i == j {
        return Ok(());
    }
    let (upper, lower) = a.split_at_mut(i.max(j) * width);
    let upper = &mut upper[i.min(j) * width..];
    long(width, poll, |at| upper[at.clone()].swap_with_slice(&mut lower[at]))
}

/// With `complete` a pivot is the largest of all elements left, so that only the last ones can be 0.
fn factor<T: Real>(a: &[T], n: usize, complete: bool, poll: Poll<'_>) -> Result<Factors<T>> {
    let mut lu = room(a.len())?;
    long(a.len(), poll, |at| lu.extend_from_slice(&a[at]))?;
    let (mut swaps, mut columns, mut singular) = (room(n)?, room(n)?, None);
    for c in 0..n {
        let (mut best, mut column) = (c, c);
        for r in c..n {
            let end = if complete { n } else { c + 1 };
            if complete {
                poll.before(end - c)?;
            }
            for q in c..end {
                if lu[r * n + q].abs() > lu[best * n + column].abs() {
                    (best, column) = (r, q);
                }
            }
        }
        swaps.push(best);
        swap_rows(&mut lu, n, c, best, poll)?;
        if complete {
            columns.push(column);
            lu.chunks_exact_mut(n).for_each(|row| row.swap(c, column));
        }
        let (upper, rest) = lu.split_at_mut((c + 1) * n);
        let row = &upper[c * n..];
        let pivot = row[c];
        if pivot == T::of(0.0) {
            singular = singular.or(Some(c));
            continue;
        }
        eliminate(rest, n, &row[c + 1..], poll, |line, _| {
            line[c] = line[c] / pivot;
            line[c]
        })?;
    }
    Ok(Factors { lu, swaps, columns, singular })
}

impl<T: Real> Factors<T> {
    /// `x` holds B (n, k) and becomes the solution.
    pub fn solve(&self, x: &mut [T], n: usize, k: usize, poll: Poll<'_>) -> Result<()> {
        if k == 0 {
            return Ok(());
        }
        self.forwards(x, n, k, poll)?;
        self.backwards(x, n, k, poll)
    }

    /// L⁻¹ of B with its rows in the order of the pivots.
    fn forwards(&self, x: &mut [T], n: usize, k: usize, poll: Poll<'_>) -> Result<()> {
        self.swaps.iter().enumerate().try_for_each(|(i, &j)| swap_rows(x, k, i, j, poll))?;
        for c in 0..n {
            let (upper, rest) = x.split_at_mut((c + 1) * k);
            eliminate(rest, k, &upper[c * k..], poll, |_, r| self.lu[(c + 1 + r) * n + c])?;
        }
        Ok(())
    }

    /// U⁻¹ of that, its rows in the order of the unknowns.
    fn backwards(&self, x: &mut [T], n: usize, k: usize, poll: Poll<'_>) -> Result<()> {
        for c in (0..n).rev() {
            let (upper, rest) = x.split_at_mut(c * k);
            let row = &mut rest[..k];
            long(k, poll, |at| row[at].iter_mut().for_each(|x| *x = *x / self.lu[c * n + c]))?;
            eliminate(upper, k, row, poll, |_, r| self.lu[r * n + c])?;
        }
        self.columns.iter().enumerate().rev().try_for_each(|(i, &j)| swap_rows(x, k, i, j, poll))
    }

    pub fn determinant(&self, n: usize) -> T {
        let swapped = |list: &[usize]| list.iter().enumerate().filter(|&(i, &j)| i != j).count();
        let swapped = swapped(&self.swaps) + swapped(&self.columns);
        let sign = if swapped % 2 == 0 { T::of(1.0) } else { T::of(-1.0) };
        (0..n).fold(sign, |d, i| d * self.lu[i * n + i])
    }

    /// det A · A⁻¹, from factors with complete pivots. Without the last pivot only the last row of L⁻¹ counts; without two all is 0.
    pub fn adjugate(mut self, x: &mut [T], n: usize, poll: Poll<'_>) -> Result<()> {
        poll.clear(x)?;
        if self.singular.is_some_and(|c| c + 1 < n) {
            return Ok(());
        }
        if self.singular.is_some() {
            self.lu[n * n - 1] = T::of(1.0);
        }
        (0..n).for_each(|r| x[r * n + r] = T::of(1.0));
        self.forwards(x, n, n, poll)?;
        if self.singular.is_some() {
            poll.clear(&mut x[..(n - 1) * n])?;
        }
        self.backwards(x, n, n, poll)?;
        let determinant = self.determinant(n);
        long(x.len(), poll, |at| x[at].iter_mut().for_each(|x| *x = *x * determinant))
    }
}

/// Factors every matrix of the batch and gives it to `finish` with its part of the result.
pub(super) fn each<T: Real>(
    a: &[T],
    n: usize,
    out: &mut [T],
    complete: bool,
    poll: Poll<'_>,
    finish: impl Fn(usize, Factors<T>, &mut [T]) -> Result<Option<usize>> + Sync,
) -> Result<Vec<Option<usize>>> {
    let batch = a.len() / (n * n);
    let part = out.len() / batch;
    let found = Mutex::new(vec![None; batch]);
    let one = |i: usize, out: &mut [T]| {
        let column = finish(i, factor(&a[i * n * n..(i + 1) * n * n], n, complete, poll)?, out)?;
        found.lock().unwrap_or_else(|e| e.into_inner())[i] = column;
        Ok(())
    };
    let some = |first: usize, out: &mut [T]| match part {
        0 => (0..batch).try_for_each(|i| one(i, &mut [])),
        _ => out.chunks_exact_mut(part).enumerate().try_for_each(|(i, out)| one(first + i, out)),
    };
    // Each matrix by itself, also when there are many: their sizes do not add up to one elimination step.
    if batch > 1 && part > 0 && a.len() * n > PARALLEL {
        let at_once = (PIECE / (n * n)).max(1);
        pool::each_chunk(out, at_once * part, |k, out| some(k * at_once, out))?;
    } else {
        some(0, out)?;
    }
    Ok(found.into_inner().unwrap_or_else(|e| e.into_inner()))
}
