//! Loops over a table with an operand that is zero but for some rows.

use super::block::{Block, Part, Worker};
use super::lower::{BLOCK, Lowered};
use super::run::Context;
use crate::dtype::{DType, Number};
use crate::error::Result;
use crate::plan::{Source, Sparse};
use crate::shape;
use std::ops::Range;

/// The elements of rows that there are not: of a block, of any type.
static ZEROS: [u64; BLOCK] = [0; BLOCK];

pub(super) fn run(l: &Lowered, s: &Sparse, load: usize, context: &Context<'_>) -> Result<()> {
    // SAFETY: the kernel that found the rows has written a key for each number.
    let keys = unsafe { std::slice::from_raw_parts(context.buffers[s.keys as usize].0.cast::<i64>().cast_const(), s.n) };
    let Source::Buffer(rows) = l.loads[load].source else { unreachable!("rows lie in a buffer") };
    let table = Table { l, load, keys, width: s.width, rows: context.buffers[rows as usize].0 };
    let per_task = (l.task / s.width).max(1);
    let shared = *context;
    match s.only.is_some_and(|(factor, zero)| is_zero(factor, zero, l.loads[load].dtype, context.numbers)) {
        // Only the rows of which there is a key.
        true => context.each(s.n.div_ceil(per_task), |t| {
            let part = t * per_task..((t + 1) * per_task).min(s.n);
            Worker::with(l, shared.buffers, shared.numbers, s.width, |w| {
                part.filter(|&i| table.is_first(i)).for_each(|i| table.row(w, i));
            });
            Ok(())
        }),
        false => {
            let count = shape::size(&l.dims) / s.width;
            context.each(count.div_ceil(per_task), |t| {
                let part = t * per_task..((t + 1) * per_task).min(count);
                Worker::with(l, shared.buffers, shared.numbers, part.len() * s.width, |w| table.all(w, part));
                Ok(())
            })
        }
    }
}

/// True if the number, times zero, is the zero of this sign.
fn is_zero(factor: Source, zero: f64, dtype: DType, numbers: &[Number]) -> bool {
    let factor = match factor {
        Source::Number(k) => numbers[k as usize],
        Source::Constant(number) => number,
        Source::Buffer(_) => return false,
    };
    let factor = if dtype == DType::F32 { factor.as_f64() as f32 as f64 } else { factor.as_f64() };
    dtype.is_float() && (factor * 0.0).to_bits() == zero.to_bits()
}

struct Table<'a> {
    l: &'a Lowered,
    load: usize,
    keys: &'a [i64],
    width: usize,
    /// The row of each key that is the first of its row.
    rows: *mut u8,
}

// SAFETY: tasks run over rows apart, and only read the operand's.
unsafe impl Sync for Table<'_> {}

impl Table<'_> {
    /// The row in the table of key i.
    fn number(&self, i: usize) -> usize {
        self.keys[i] as usize / self.keys.len()
    }

    fn is_first(&self, i: usize) -> bool {
        i == 0 || self.number(i - 1) != self.number(i)
    }

    /// The row of key i.
    fn row(&self, w: &mut Worker<'_>, i: usize) {
        let row = self.number(i);
        let from = self.rows.wrapping_add(i * self.width * self.l.loads[self.load].dtype.bytes());
        self.span(w, row * self.width..(row + 1) * self.width, Some(from));
    }

    /// Some rows, of which some have keys.
    fn all(&self, w: &mut Worker<'_>, part: Range<usize>) {
        let mut i = self.keys.partition_point(|&key| (key as usize / self.keys.len()) < part.start);
        let mut at = part.start;
        while at < part.end {
            while i < self.keys.len() && !self.is_first(i) {
                i += 1;
            }
            let next = if i < self.keys.len() { self.number(i).min(part.end) } else { part.end };
            self.span(w, at * self.width..next * self.width, None);
            if next < part.end {
                self.row(w, i);
                i += 1;
            }
            at = next + 1;
        }
    }

    /// Some elements of the table, with the operand's from an address on, or zeros.
    fn span(&self, w: &mut Worker<'_>, elements: Range<usize>, from: Option<*mut u8>) {
        let (size, most) = (self.l.loads[self.load].dtype.bytes(), self.l.block.min(BLOCK));
        let mut at = elements.start;
        while at < elements.end {
            let len = most.min(elements.end - at);
            let given = from
                .map_or_else(|| ZEROS.as_ptr().cast::<u8>().cast_mut(), |from| from.wrapping_add((at - elements.start) * size));
            w.given = Some((self.load, given));
            // SAFETY: blocks are disjoint and within the loop's space; the operand's elements are only read, and there are as many.
            unsafe { w.run(&Block { start: at, len, row: 0, rows: 0 }, Part::All) };
            at += len;
        }
    }
}
