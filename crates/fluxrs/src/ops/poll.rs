//! Stopping a kernel: it polls before each piece of its work, and a piece takes a fraction of a millisecond.

use crate::error::{Error, Result};
use crate::pool;
use crate::stop::{stopped, watch};
use std::ops::Range;
use std::sync::atomic::AtomicBool;

/// Elements of a piece at most.
pub const PIECE: usize = pool::grain(1 << 14);
/// Turns of the innermost loop from which on other threads are worth waking.
const PARALLEL: usize = pool::grain(1 << 15);

/// Asked with the number of elements (turns of the innermost loop) that come next whether to stop before them.
#[derive(Clone, Copy)]
pub struct Poll<'a>(pub &'a (dyn Fn(usize) -> bool + Sync));

impl Poll<'_> {
    /// An error once the run is to end; else leave to go through `n` elements.
    #[inline]
    pub fn before(self, n: usize) -> Result<()> {
        if (self.0)(n) { Err(Error::Interrupted) } else { Ok(()) }
    }

    /// Calls `task` with the pieces of `0..n`, in order. A piece is a number of whole rows of `width`, or a part of one.
    pub fn pieces(self, n: usize, width: usize, mut task: impl FnMut(Range<usize>) -> Result<()>) -> Result<()> {
        let most = if width > PIECE { PIECE } else { PIECE / width.max(1) * width.max(1) };
        let mut start = 0;
        while start < n {
            let row_end = if width > PIECE { (start / width + 1) * width } else { n };
            let end = (start + most).min(row_end).min(n);
            self.before(end - start)?;
            task(start..end)?;
            start = end;
        }
        Ok(())
    }

    /// Calls `task` with pieces of `out` and where they start, on several threads if there is much to do: `work` elements are gone
    /// through for one of `out`.
    pub fn fill<T: Send>(self, out: &mut [T], work: usize, task: impl Fn(usize, &mut [T]) -> Result<()> + Sync) -> Result<()> {
        let piece = (PIECE / work.max(1)).max(1);
        let one = |k: usize, part: &mut [T]| {
            self.before(part.len().saturating_mul(work).min(PIECE))?;
            task(k * piece, part)
        };
        match out.len().saturating_mul(work) < PARALLEL {
            true => out.chunks_mut(piece).enumerate().try_for_each(|(k, part)| one(k, part)),
            false => pool::each_chunk(out, piece, one),
        }
    }

    pub fn copy<T: Copy>(self, to: &mut [T], from: &[T]) -> Result<()> {
        self.pieces(to.len(), 1, |at| {
            to[at.clone()].copy_from_slice(&from[at]);
            Ok(())
        })
    }

    pub fn clear<T: Copy + Default>(self, to: &mut [T]) -> Result<()> {
        self.pieces(to.len(), 1, |at| {
            to[at].fill(T::default());
            Ok(())
        })
    }
}

/// Work of the calling thread outside a plan, which signals end as they end a kernel.
pub fn heard<R>(work: impl FnOnce(Poll<'_>) -> Result<R>) -> Result<R> {
    let stop = AtomicBool::new(false);
    watch(&stop, || work(Poll(&|_| stopped(&stop))))
}

/// The rows of `width` that a piece covers, each with the part of it: (row, columns).
pub fn rows(piece: Range<usize>, width: usize) -> impl Iterator<Item = (usize, Range<usize>)> {
    let width = width.max(1);
    (piece.start / width..piece.end.div_ceil(width)).map(move |row| {
        let first = row * width;
        (row, piece.start.max(first) - first..piece.end.min(first + width) - first)
    })
}
