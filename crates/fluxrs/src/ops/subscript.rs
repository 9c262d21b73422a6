//! Subscripts by NumPy's rules: integers, ranges, new axes, an ellipsis, arrays of integers, masks, and mixtures.

use super::index::{take, take_along_axes};
use super::view::Slice;
use crate::bail;
use crate::dtype::DType;
use crate::error::Result;
use crate::graph::Tensor;
use crate::shape::{Shape, show};

/// One entry of a subscript.
pub enum Index {
    At(isize),
    /// From `start` on, before `stop`, as Python's `slice` counts them; both are cut to the axis.
    Range {
        start: isize,
        stop: isize,
        step: isize,
    },
    NewAxis,
    /// All axes that the other entries leave over.
    Ellipsis,
    /// Integers; their least and largest where they are known at the call, and are checked there.
    Array(Tensor, Option<(i64, i64)>),
    /// A mask of this shape, as [`nonzero`](super::index::nonzero) gives it.
    Mask(Vec<Tensor>, Shape),
}

impl Index {
    /// The number of axes of the tensor that it takes.
    fn axes(&self) -> usize {
        match self {
            Index::NewAxis | Index::Ellipsis => 0,
            Index::Mask(_, shape) => shape.len(),
            _ => 1,
        }
    }

    fn is_array(&self) -> bool {
        matches!(self, Index::Array(..) | Index::Mask(..))
    }
}

fn whole(len: usize) -> Slice {
    Slice { start: 0, step: 1, len }
}

/// The part of an axis that a range selects, by Python's rules. The step is not 0.
fn range(start: isize, stop: isize, step: isize, len: usize) -> Slice {
    let n = len as isize;
    let (lowest, highest) = if step < 0 { (-1, n - 1) } else { (0, n) };
    let place = |at: isize| if at < 0 { (at.saturating_add(n)).max(lowest) } else { at.min(highest) };
    let (start, stop) = (place(start), place(stop));
    let span = if step < 0 { start - stop } else { stop - start };
    let count = if span > 0 { (span as usize - 1) / step.unsigned_abs() + 1 } else { 0 };
    Slice { start: start.max(0) as usize, step: if count > 1 { step } else { 1 }, len: count }
}

fn check(index: i64, axis: usize, size: usize) -> Result<()> {
    if index < -(size as i64) || index >= size as i64 {
        bail!(Index, "index {index} is out of range for axis {axis} of size {size}");
    }
    Ok(())
}

/// The entries, worked out: first a view of the tensor in another shape, then elements at arrays of indices into some of its axes.
struct Parts {
    slices: Vec<Slice>,
    kept: Vec<isize>,
    arrays: Vec<(usize, Tensor)>,
}

impl Parts {
    fn keep(&mut self, slice: Slice) {
        self.kept.push(slice.len as isize);
        self.slices.push(slice);
    }

    /// An array of indices into an axis, which the view leaves whole.
    fn pick(&mut self, size: usize, at: Tensor) {
        self.arrays.push((self.kept.len(), at));
        self.keep(whole(size));
    }
}

/// The elements of `x` that the entries select.
pub fn subscript(x: &Tensor, mut entries: Vec<Index>) -> Result<Tensor> {
    let used: usize = entries.iter().map(Index::axes).sum();
    if used > x.ndim() {
        bail!(Index, "{used} indices for a tensor of {} axes (shape {})", x.ndim(), show(x.shape()));
    }
    match entries.iter().filter(|e| matches!(e, Index::Ellipsis)).count() {
        0 => entries.push(Index::Ellipsis),
        1 => {}
        _ => bail!(Index, "an index can have one Ellipsis only"),
    }
    let mixed = entries.iter().any(Index::is_array);
    // Beside an array an integer is one.
    let advanced: Vec<bool> = entries.iter().map(|e| e.is_array() || (mixed && matches!(e, Index::At(_)))).collect();
    let together = advanced.windows(2).filter(|w| !w[0] && w[1]).count() + advanced[0] as usize <= 1;
    let mut parts = Parts { slices: Vec::with_capacity(x.ndim()), kept: Vec::new(), arrays: Vec::new() };
    for entry in entries {
        let axis = parts.slices.len();
        let size = x.shape().get(axis).copied().unwrap_or(0);
        match entry {
            Index::NewAxis => parts.kept.push(1),
            Index::Ellipsis => x.shape()[axis..axis + x.ndim() - used].iter().for_each(|&n| parts.keep(whole(n))),
            Index::Range { start, stop, step } => parts.keep(range(start, stop, step, size)),
            Index::At(i) => {
                check(i as i64, axis, size)?;
                match mixed {
                    true => parts.pick(size, Tensor::number(i as i64).cast(DType::I64)),
                    false => {
                        let start = if i < 0 { i + size as isize } else { i } as usize;
                        parts.slices.push(Slice { start, step: 1, len: 1 });
                    }
                }
            }
            Index::Array(at, known) => {
                if let Some((least, largest)) = known {
                    check(least, axis, size)?;
                    check(largest, axis, size)?;
                }
                parts.pick(size, at);
            }
            Index::Mask(at, mask) => {
                if x.shape()[axis..axis + mask.len()] != mask[..] {
                    let (mask, of) = (show(&mask), show(x.shape()));
                    bail!(Index, "a mask of shape {mask} does not fit axis {axis} and following of a tensor of shape {of}");
                }
                at.into_iter().zip(mask).for_each(|(at, n)| parts.pick(n, at));
            }
        }
    }
    let view = x.slice(&parts.slices).reshape(&parts.kept)?;
    if parts.arrays.is_empty() { Ok(view) } else { gather(&view, parts.arrays, together) }
}

/// Elements at arrays of indices into some axes. Where these stand together the result's axes stand there, else in front.
fn gather(x: &Tensor, arrays: Vec<(usize, Tensor)>, together: bool) -> Result<Tensor> {
    let (axes, at): (Vec<usize>, Vec<Tensor>) = arrays.into_iter().unzip();
    if let [axis] = axes[..] {
        return take(x, &at[0], axis as isize);
    }
    let rest = (0..x.ndim()).filter(|a| !axes.contains(a));
    let order: Vec<isize> = axes.iter().copied().chain(rest).map(|a| a as isize).collect();
    let out = take_along_axes(&x.transpose(Some(&order))?, &at, &axes)?;
    if !together || axes[0] == 0 {
        return Ok(out);
    }
    // The new axes go behind those that stood before the first indexed one.
    let new = out.ndim() - (x.ndim() - axes.len());
    let before = new..new + axes[0];
    let order: Vec<isize> = before.clone().chain(0..new).chain(before.end..out.ndim()).map(|a| a as isize).collect();
    out.transpose(Some(&order))
}

impl Tensor {
    /// Row `i` of a tensor, which has one.
    pub fn row(&self, i: usize) -> Tensor {
        self.narrow(0, i, 1).reshape_to(&self.shape()[1..])
    }
}
