//! Windows that slide over the last axes of a tensor: where they lie, and their elements in the order in which kernels see them.

use super::poll::{PIECE, Poll};
use super::shader::Pass;
use crate::bail;
use crate::error::Result;
use crate::hash::Hasher;
use crate::pool;
use crate::shape;
use std::ops::Range;

/// Spatial axes at most.
pub const AXES: usize = 3;
/// Outputs beside each other that a kernel computes together.
pub const LANES: usize = 64;
/// Elements of a window's row that it goes through without a look at the stop flag.
const TAPS: usize = PIECE / LANES;
/// Turns of the innermost loop from which on other threads are worth waking.
const PARALLEL: usize = pool::grain(1 << 15);

/// Windows as a caller gives them: an entry for each spatial axis, which are the last ones of the tensor.
#[derive(Clone, Copy)]
pub struct Window<'a> {
    pub kernel: &'a [usize],
    pub stride: &'a [usize],
    /// Positions before and after each axis that the windows cover too.
    pub margins: &'a [(usize, usize)],
}

/// The same with the lengths that they slide over; of fewer than three axes the first have length 1.
#[derive(Clone, Copy)]
pub(super) struct Windows {
    pub size: [usize; AXES],
    pub out: [usize; AXES],
    pub kernel: [usize; AXES],
    pub stride: [usize; AXES],
    pub before: [usize; AXES],
}

/// Outputs beside each other in the last axis.
#[derive(Clone, Copy)]
pub(super) struct Run {
    /// The first of them among all outputs.
    pub at: usize,
    /// The index of the axes before the windows'.
    pub row: usize,
    /// Its index in the windows' axes.
    pub index: [usize; AXES],
    pub n: usize,
}

/// A part of one row of the elements of windows beside each other: taps `taps` of the lanes' windows.
pub(super) struct Row {
    /// The place of the row's first element among those that the windows slide over.
    pub line: usize,
    /// The position of the first lane's first tap in the row; negative in the margin.
    pub first: isize,
    pub taps: Range<usize>,
}

/// Leave to go through elements, asked for a piece at a time.
pub(super) struct Leave<'a> {
    poll: Poll<'a>,
    left: usize,
}

impl<'a> Leave<'a> {
    pub fn of(poll: Poll<'a>) -> Leave<'a> {
        Leave { poll, left: 0 }
    }

    /// Leave for `n` elements, a piece at most.
    pub fn take(&mut self, n: usize) -> Result<()> {
        debug_assert!(n <= PIECE);
        if self.left < n {
            self.poll.before(PIECE)?;
            self.left = PIECE;
        }
        self.left -= n;
        Ok(())
    }
}

impl Windows {
    pub fn of(op: &str, shape: &[usize], window: Window<'_>) -> Result<Windows> {
        let axes = window.kernel.len();
        if axes == 0 || axes > AXES || window.stride.len() != axes || window.margins.len() != axes {
            let (strides, margins) = (window.stride.len(), window.margins.len());
            bail!(Value, "{op}: windows have one to {AXES} axes, got {axes} lengths, {strides} strides and {margins} margins");
        }
        if shape.len() < axes {
            let wanted = if axes == 1 { "one axis".into() } else { format!("{axes} axes") };
            bail!(Shape, "{op}: windows of {wanted} need as many in the input, got shape {}", shape::show(shape));
        }
        let spatial = &shape[shape.len() - axes..];
        let mut w = Windows { size: [1; AXES], out: [1; AXES], kernel: [1; AXES], stride: [1; AXES], before: [0; AXES] };
        for (a, &n) in (AXES - axes..).zip(spatial) {
            let i = a + axes - AXES;
            let (kernel, stride, (before, after)) = (window.kernel[i], window.stride[i], window.margins[i]);
            if kernel == 0 || stride == 0 {
                bail!(Value, "{op}: windows and strides must be >= 1, got {:?} and {:?}", window.kernel, window.stride);
            }
            let padded = n.saturating_add(before).saturating_add(after);
            if kernel > padded {
                bail!(
                    Shape,
                    "{op}: a window of {kernel} is larger than axis {} of shape {}, {padded} with its margins",
                    shape.len() - axes + i,
                    shape::show(shape)
                );
            }
            if before >= kernel || after >= kernel {
                bail!(
                    Value,
                    "{op}: margins must be smaller than the window, which would else see nothing but margin; got {:?} for {:?}",
                    window.margins,
                    window.kernel
                );
            }
            if n == 0 {
                bail!(Shape, "{op}: axis {} of shape {} has no elements", shape.len() - axes + i, shape::show(shape));
            }
            (w.size[a], w.kernel[a], w.stride[a], w.before[a]) = (n, kernel, stride, before);
            w.out[a] = (padded - kernel) / stride + 1;
        }
        Ok(w)
    }

    /// Elements that the windows of one row of the other axes slide over.
    pub fn plane(&self) -> usize {
        self.size.iter().product()
    }

    pub fn outputs(&self) -> usize {
        self.out.iter().product()
    }

    /// Elements of a window.
    pub fn volume(&self) -> usize {
        self.kernel.iter().fold(1, |n, &k| n.saturating_mul(k))
    }

    pub fn key(&self) -> u64 {
        let mut h = Hasher::new(AXES as u64);
        [self.size, self.out, self.kernel, self.stride, self.before].as_flattened().iter().for_each(|&n| h.add(n as u64));
        h.finish()
    }

    /// The arguments of a shader, whose integers have 32 bits.
    pub fn describe(&self, pass: Pass) -> Result<Pass, String> {
        if self.kernel.iter().chain(&self.size).any(|&n| n >= 1 << 30) {
            return Err(" of windows or axes of 2^30 or more".into());
        }
        let [size, out, kernel, stride, before] = [self.size, self.out, self.kernel, self.stride, self.before];
        let pass = pass.sizes([("size_d", size[0]), ("size_h", size[1]), ("size_w", size[2])]);
        let pass = pass.sizes([("out_d", out[0]), ("out_h", out[1]), ("out_w", out[2])]);
        let pass = pass.sizes([("kernel_d", kernel[0]), ("kernel_h", kernel[1]), ("kernel_w", kernel[2])]);
        let pass = pass.sizes([("stride_d", stride[0]), ("stride_h", stride[1]), ("stride_w", stride[2])]);
        Ok(pass.sizes([("before_d", before[0]), ("before_h", before[1]), ("before_w", before[2])]))
    }

    /// Outputs of one task.
    pub fn some(&self, outputs: usize) -> usize {
        let work = self.volume();
        match outputs.saturating_mul(work) < PARALLEL {
            true => outputs.max(1),
            false => (PIECE / work).max(LANES.min(self.out[2])),
        }
    }

    /// Calls `task` with the outputs `range`, as far as they stand beside each other at once.
    pub fn runs(&self, range: Range<usize>, mut task: impl FnMut(Run) -> Result<()>) -> Result<()> {
        let [_, high, wide] = self.out;
        let mut at = range.start;
        while at < range.end {
            let (line, w) = (at / wide, at % wide);
            let (h, rest) = (line % high, line / high);
            let n = LANES.min(wide - w).min(range.end - at);
            task(Run { at, row: rest / self.out[0], index: [rest % self.out[0], h, w], n })?;
            at += n;
        }
        Ok(())
    }

    /// The first element within the axis of the window at `index`.
    pub fn begin(&self, axis: usize, index: usize) -> usize {
        (index * self.stride[axis]).saturating_sub(self.before[axis])
    }

    /// Calls `task` with every row of the elements of a run's windows, in their order, in parts.
    pub fn rows(&self, run: &Run, leave: &mut Leave<'_>, mut task: impl FnMut(Row)) -> Result<()> {
        let inside = |axis: usize| {
            let first = (run.index[axis] * self.stride[axis]) as isize - self.before[axis] as isize;
            let end = (first + self.kernel[axis] as isize).min(self.size[axis] as isize);
            self.begin(axis, run.index[axis])..end as usize
        };
        let first = (run.index[2] * self.stride[2]) as isize - self.before[2] as isize;
        // Taps that lie within the row for one of the lanes.
        let last = first + ((run.n - 1) * self.stride[2]) as isize;
        let from = if last < 0 { last.unsigned_abs() } else { 0 };
        let to = ((self.size[2] as isize - first) as usize).min(self.kernel[2]);
        for d in inside(0) {
            for h in inside(1) {
                let line = (d * self.size[1] + h) * self.size[2];
                for tap in (from..to).step_by(TAPS) {
                    let taps = tap..(tap + TAPS).min(to);
                    leave.take(run.n * taps.len())?;
                    task(Row { line, first, taps });
                }
            }
        }
        Ok(())
    }
}

impl Row {
    /// The lanes of `n` whose element number `tap` lies within the row, and the position of the first one's.
    #[inline(always)]
    pub fn lanes(&self, tap: usize, n: usize, size: usize, stride: usize) -> (Range<usize>, usize) {
        let start = self.first + tap as isize;
        let from = if start < 0 { start.unsigned_abs().div_ceil(stride) } else { 0 };
        let to = if start < size as isize { ((size as isize - 1 - start) as usize / stride + 1).min(n) } else { 0 };
        (from.min(to)..to, (start + (from * stride) as isize) as usize)
    }
}
