//! Pooling: the places of the largest elements of windows, and their means.

use super::along::take_places;
use super::poll::PIECE;
use super::shader::{Pass, Shader, Spec, template};
use super::structured::{offset, room};
use super::window::{LANES, Leave, Row, Windows};
use super::{Half, Op, Operand, OperandMut, Structured};
use crate::bail;
use crate::dtype::{DType, Element};
use crate::error::Result;
use crate::graph::Tensor;
use crate::per_isa;
use crate::pool;
use crate::shape::{self, Shape, show};
use crate::simd::isa::{Isa, level};
use crate::simd::math::Real;
use crate::with_element;
use smallvec::smallvec;
use std::sync::Arc;

pub use super::window::Window;

/// `srcs[0]` (…, elements of the plane) ↦ int64 (…, windows): where in the plane the largest element of each window is, the first
/// of equals. NaN beats all.
struct Peaks {
    of: Windows,
}

/// `srcs[0]` (…, elements of the plane) ↦ (…, windows): Σ x / n over the n elements of each window, where margins are zeros.
struct Mean {
    of: Windows,
}

/// The adjoint of `Mean`: `srcs[0]` (…, windows) ↦ (…, elements of the plane).
struct Spread {
    of: Windows,
}

/// The elements of one row of windows: a pointer to the first, and from each to the next.
#[derive(Clone, Copy)]
struct Line<T> {
    first: *const T,
    step: isize,
    size: usize,
    stride: usize,
}

/// Calls `$body` with the constant 1 or 2 for the step if it is that, so that the loop within becomes one of vectors.
macro_rules! with_step {
    ($step:expr, $known:ident => $body:expr) => {
        match $step {
            1 => {
                let $known = 1;
                $body
            }
            2 => {
                let $known = 2;
                $body
            }
            $known => $body,
        }
    };
}

/// # Safety
/// The machine has the instruction set; the line has `size` elements; `best` and `places` have one length.
#[inline(always)]
#[expect(clippy::extra_unused_type_parameters, reason = "compiled for every instruction set, though none is asked about")]
#[expect(clippy::eq_op, reason = "only NaN differs from itself")]
#[expect(clippy::neg_cmp_op_on_partial_ord, reason = "true beside NaN")]
unsafe fn peaks_body<T: Ordered, I: Isa>(line: Line<T>, row: &Row, best: &mut [T], places: &mut [i64]) {
    for tap in row.taps.clone() {
        let (lanes, at) = row.lanes(tap, best.len(), line.size, line.stride);
        let (best, places) = (&mut best[lanes.clone()], &mut places[lanes]);
        // SAFETY: `lanes` gives those with an element within the line.
        unsafe {
            let x = line.first.wrapping_offset(at as isize * line.step);
            with_step!(line.step * line.stride as isize, step => for (j, (best, place)) in best.iter_mut().zip(places).enumerate() {
                let x = *x.offset(j as isize * step);
                let take = !(x <= *best) & (*best == *best);
                *best = if take { x } else { *best };
                *place = if take { (row.line + at + j * line.stride) as i64 } else { *place };
            });
        }
    }
}

/// # Safety
/// As above.
#[inline(always)]
#[expect(clippy::extra_unused_type_parameters, reason = "compiled for every instruction set, though none is asked about")]
unsafe fn add_body<T: Real, I: Isa>(line: Line<T>, row: &Row, sums: &mut [T]) {
    for tap in row.taps.clone() {
        let (lanes, at) = row.lanes(tap, sums.len(), line.size, line.stride);
        let sums = &mut sums[lanes];
        // SAFETY: `lanes` gives those with an element within the line.
        unsafe {
            let x = line.first.wrapping_offset(at as isize * line.step);
            with_step!(line.step * line.stride as isize, step => for (j, sum) in sums.iter_mut().enumerate() {
                *sum = *sum + *x.offset(j as isize * step);
            });
        }
    }
}

/// # Safety
/// The machine has the instruction set; the line has an element for each of `n` lanes.
#[inline(always)]
#[expect(clippy::extra_unused_type_parameters, reason = "compiled for every instruction set, though none is asked about")]
unsafe fn spread_body<T: Real, I: Isa>(line: Line<T>, row: &Row, n: usize, to: &mut [T]) {
    for tap in row.taps.clone() {
        let (lanes, at) = row.lanes(tap, n, to.len(), line.stride);
        let end = to.len();
        for (j, to) in lanes.zip(to[at.min(end)..].iter_mut().step_by(line.stride)) {
            // SAFETY: j is a lane.
            *to = *to + unsafe { *line.first.offset(j as isize * line.step) };
        }
    }
}

per_isa! {
    /// Takes what is larger in a row of windows.
    fn take_larger[T: Ordered](line: Line<T>, row: &Row, best: &mut [T], places: &mut [i64]) = peaks_body
}
per_isa! {
    /// Adds up a row of windows.
    fn add_row[T: Real](line: Line<T>, row: &Row, sums: &mut [T]) = add_body
}
per_isa! {
    /// Adds each window's element to those of its row.
    fn add_back[T: Real](line: Line<T>, row: &Row, n: usize, to: &mut [T]) = spread_body
}

trait Ordered: Element + PartialOrd {}
impl<T: Element + PartialOrd> Ordered for T {}

/// The rows that the last axis of an operand makes, whatever lies between their elements.
#[derive(Clone, Copy)]
struct Planes<'a>(Operand<'a>);

impl Planes<'_> {
    fn step(self) -> isize {
        self.0.strides[self.0.strides.len() - 1] as isize
    }

    /// The first element of a row; of a row without elements it is not to be read.
    fn row<T>(self, row: usize) -> *const T {
        let last = self.0.shape.len() - 1;
        self.0.ptr.cast::<T>().wrapping_offset(offset(row, &self.0.shape[..last], &self.0.strides[..last]))
    }
}

/// Places and elements, as far as they are asked for.
struct Found<'a, T> {
    places: Option<&'a mut [i64]>,
    elements: Option<&'a mut [T]>,
}

fn peaks<T: Ordered>(w: &Windows, x: Planes<'_>, outputs: usize, out: Found<'_, T>, poll: super::Poll<'_>) -> Result<()> {
    let (kernel, step) = (take_larger::<T>(level()), x.step());
    let some = w.some(outputs);
    let part = |k: usize, found: &mut Found<'_, T>| {
        let (mut leave, start) = (Leave::of(poll), k * some);
        let (mut best, mut places) = ([T::default(); LANES], [0; LANES]);
        let (mut row, mut plane) = (usize::MAX, std::ptr::null());
        w.runs(start..(start + some).min(outputs), |run| {
            let (best, places) = (&mut best[..run.n], &mut places[..run.n]);
            if run.row != row {
                (row, plane) = (run.row, x.row::<T>(run.row));
            }
            let line = (w.begin(0, run.index[0]) * w.size[1] + w.begin(1, run.index[1])) * w.size[2];
            for (j, (best, place)) in best.iter_mut().zip(&mut *places).enumerate() {
                *place = (line + w.begin(2, run.index[2] + j)) as i64;
                // SAFETY: the first element of a window that is no margin lies in the plane.
                *best = unsafe { *plane.offset(*place as isize * step) };
            }
            w.rows(&run, &mut leave, |row| {
                // SAFETY: the line lies in the plane.
                let first = unsafe { plane.offset(row.line as isize * step) };
                let line = Line { first, step, size: w.size[2], stride: w.stride[2] };
                // SAFETY: the level is the machine's; the line is as long as the windows' last axis.
                unsafe { kernel(line, &row, best, places) }
            })?;
            let to = run.at - start..run.at - start + run.n;
            if let Some(out) = &mut found.places {
                out[to.clone()].copy_from_slice(places);
            }
            if let Some(out) = &mut found.elements {
                out[to].copy_from_slice(best);
            }
            Ok(())
        })
    };
    let mut places = out.places.map(|places| places.chunks_mut(some));
    let mut elements = out.elements.map(|elements| elements.chunks_mut(some));
    let mut parts = room(outputs.div_ceil(some))?;
    parts.extend((0..outputs.div_ceil(some)).map(|_| Found {
        places: places.as_mut().and_then(Iterator::next),
        elements: elements.as_mut().and_then(Iterator::next),
    }));
    match &mut parts[..] {
        [all] => part(0, all),
        _ => pool::each_chunk(&mut parts, 1, |k, found| part(k, &mut found[0])),
    }
}

fn means<T: Real + Element>(w: &Windows, x: Planes<'_>, mut out: OperandMut<'_>) -> Result<()> {
    let (kernel, step, volume) = (add_row::<T>(level()), x.step(), T::of(w.volume() as f64));
    let (outputs, poll) = (shape::size(out.shape), out.poll);
    let some = w.some(outputs);
    pool::each_chunk(out.as_mut_slice::<T>(), some, |k, out| {
        let (mut leave, start) = (Leave::of(poll), k * some);
        w.runs(start..start + out.len(), |run| {
            let sums = &mut out[run.at - start..][..run.n];
            sums.fill(T::of(0.0));
            w.rows(&run, &mut leave, |row| {
                let first = x.row::<T>(run.row).wrapping_offset(row.line as isize * step);
                let line = Line { first, step, size: w.size[2], stride: w.stride[2] };
                // SAFETY: the level is the machine's; the line lies in the plane.
                unsafe { kernel(line, &row, sums) }
            })?;
            sums.iter_mut().for_each(|sum| *sum = *sum / volume);
            Ok(())
        })
    })
}

fn spread<T: Real + Element>(w: &Windows, g: Planes<'_>, mut out: OperandMut<'_>) -> Result<()> {
    let (kernel, step, volume) = (add_back::<T>(level()), g.step(), T::of(w.volume() as f64));
    let (plane, outputs, poll) = (w.plane(), w.outputs(), out.poll);
    let planes = (PIECE / plane.saturating_add(outputs.saturating_mul(w.volume()))).max(1);
    pool::each_chunk(out.as_mut_slice::<T>(), planes * plane, |k, out| {
        let mut leave = Leave::of(poll);
        for part in out.chunks_mut(PIECE) {
            leave.take(part.len())?;
            part.fill(T::of(0.0));
        }
        let start = k * planes;
        w.runs(start * outputs..(start + out.len() / plane) * outputs, |run| {
            let from = (run.row - start) * plane;
            let at = run.at - run.row * outputs;
            let first = g.row::<T>(run.row).wrapping_offset(at as isize * step);
            let line = Line { first, step, size: run.n, stride: w.stride[2] };
            w.rows(&run, &mut leave, |row| {
                let to = &mut out[from + row.line..][..w.size[2]];
                // SAFETY: the level is the machine's; the outputs of a run lie in one row of the operand.
                unsafe { kernel(line, &row, run.n, to) }
            })
        })?;
        for part in out.chunks_mut(PIECE) {
            leave.take(part.len())?;
            part.iter_mut().for_each(|x| *x = *x / volume);
        }
        Ok(())
    })
}

/// Nanoseconds for so many windows.
fn effort(w: &Windows, outputs: usize, plane: usize) -> usize {
    outputs.saturating_mul(w.volume()).saturating_add(plane).saturating_add(outputs)
}

impl Structured for Peaks {
    fn name(&self) -> &'static str {
        "maxpool"
    }

    fn key(&self) -> u64 {
        self.of.key()
    }

    fn gradient(&self, _: usize, _: &[Tensor], _: &Tensor, _: &Tensor) -> Option<Tensor> {
        None
    }

    fn reads_through_map(&self, _: usize) -> bool {
        true
    }

    fn half(&self) -> Option<Half> {
        Some(Half::Places)
    }

    fn cpu(&self, srcs: &[Operand<'_>], mut out: OperandMut<'_>) -> Result<()> {
        let (x, outputs, poll) = (srcs[0], shape::size(out.shape), out.poll);
        let places = Some(out.as_mut_slice());
        with_element!(x.dtype, T => peaks::<T>(&self.of, Planes(x), outputs, Found { places, elements: None }, poll))
    }

    fn cpu_elements(&self, srcs: &[Operand<'_>], places: Option<OperandMut<'_>>, mut elements: OperandMut<'_>) -> Result<()> {
        let (x, outputs, poll) = (srcs[0], shape::size(elements.shape), elements.poll);
        let mut places = places;
        let places = places.as_mut().map(|out| out.as_mut_slice());
        with_element!(x.dtype, T => {
            let elements = Some(elements.as_mut_slice::<T>());
            peaks::<T>(&self.of, Planes(x), outputs, Found { places, elements }, poll)
        })
    }

    fn cost(&self, srcs: &[&[usize]], out: &[usize]) -> usize {
        effort(&self.of, shape::size(out), shape::size(srcs[0]))
    }

    fn shader(&self, srcs: &[Spec<'_>], out: Spec<'_>) -> Result<Shader, String> {
        let nan = if srcs[0].dtype.is_float() { "fx_isnan(x)" } else { "false" };
        let code = format!("fn is_nan(x: x_type) -> bool {{\n    return {nan};\n}}\n");
        let pass = self.of.describe(Pass::threads(template!("maxpool"), out.size(), 64))?.code(code);
        Ok(pass.operand("x", 0).places().into())
    }
}

impl Structured for Mean {
    fn name(&self) -> &'static str {
        "meanpool"
    }

    fn key(&self) -> u64 {
        self.of.key()
    }

    fn gradient(&self, _: usize, srcs: &[Tensor], _: &Tensor, g: &Tensor) -> Option<Tensor> {
        Some(over(g, Arc::new(Spread { of: self.of }), srcs[0].shape()[srcs[0].ndim() - 1], g.dtype()))
    }

    fn reads_through_map(&self, _: usize) -> bool {
        true
    }

    fn cpu(&self, srcs: &[Operand<'_>], out: OperandMut<'_>) -> Result<()> {
        match out.dtype {
            DType::F32 => means::<f32>(&self.of, Planes(srcs[0]), out),
            _ => means::<f64>(&self.of, Planes(srcs[0]), out),
        }
    }

    fn cost(&self, srcs: &[&[usize]], out: &[usize]) -> usize {
        effort(&self.of, shape::size(out), shape::size(srcs[0]))
    }

    fn shader(&self, _: &[Spec<'_>], out: Spec<'_>) -> Result<Shader, String> {
        let pass = self.of.describe(Pass::threads(template!("meanpool"), out.size(), 64))?;
        Ok(pass.operand("x", 0).result("out").into())
    }
}

impl Structured for Spread {
    fn name(&self) -> &'static str {
        "meanpool_gradient"
    }

    fn key(&self) -> u64 {
        self.of.key()
    }

    fn gradient(&self, _: usize, srcs: &[Tensor], _: &Tensor, g: &Tensor) -> Option<Tensor> {
        Some(over(g, Arc::new(Mean { of: self.of }), srcs[0].shape()[srcs[0].ndim() - 1], g.dtype()))
    }

    fn reads_through_map(&self, _: usize) -> bool {
        true
    }

    fn cpu(&self, srcs: &[Operand<'_>], out: OperandMut<'_>) -> Result<()> {
        match out.dtype {
            DType::F32 => spread::<f32>(&self.of, Planes(srcs[0]), out),
            _ => spread::<f64>(&self.of, Planes(srcs[0]), out),
        }
    }

    fn cost(&self, srcs: &[&[usize]], out: &[usize]) -> usize {
        effort(&self.of, shape::size(srcs[0]), shape::size(out))
    }

    fn shader(&self, _: &[Spec<'_>], out: Spec<'_>) -> Result<Shader, String> {
        let pass = self.of.describe(Pass::threads(template!("meanpool_gradient"), out.size(), 64))?;
        Ok(pass.operand("x", 0).result("out").into())
    }
}

/// An op over the last axis, which becomes `n` long.
fn over(x: &Tensor, op: Arc<dyn Structured>, n: usize, dtype: DType) -> Tensor {
    let mut shape = Shape::from(x.shape());
    *shape.last_mut().expect("made with an axis") = n;
    Tensor::within(Op::Structured(op), smallvec![x.clone()], shape, dtype)
}

/// `x` with the windows' axes as one, the windows, and the shape of the result.
fn pooled(op: &str, x: &Tensor, window: Window<'_>) -> Result<(Tensor, Windows, Shape)> {
    let (w, axes) = (Windows::of(op, x.shape(), window)?, window.kernel.len());
    let lead = x.ndim() - axes;
    if lead > 2 {
        let wanted = if lead == 3 { "(N, C, …) or (C, …)" } else { "a batch of channels" };
        bail!(
            Shape,
            "{op}: windows of {axes} axes take {} or {} axes, {wanted}, got shape {}",
            axes + 1,
            axes + 2,
            show(x.shape())
        );
    }
    let mut shape = Shape::from(&x.shape()[..lead]);
    shape.push(w.plane());
    let flat = x.reshape_to(&shape);
    shape.pop();
    shape.extend_from_slice(&w.out[super::window::AXES - axes..]);
    shape::check(op, &shape)?;
    Ok((flat, w, shape))
}

/// Where in the plane of the windows' axes, seen as one, the largest element of each window is.
pub fn peak_places(x: &Tensor, window: Window<'_>) -> Result<Tensor> {
    let (flat, of, shape) = pooled("maxpool", &x.as_array(), window)?;
    Ok(over(&flat, Arc::new(Peaks { of }), of.outputs(), DType::I64).reshape_to(&shape))
}

/// The largest element of each window; the first of equals takes the gradient, NaN beats all. Margins are never the largest.
pub fn maxpool(x: &Tensor, window: Window<'_>) -> Result<Tensor> {
    let (flat, of, shape) = pooled("maxpool", &x.as_array(), window)?;
    let places = over(&flat, Arc::new(Peaks { of }), of.outputs(), DType::I64);
    Ok(take_places(&flat, &places).reshape_to(&shape))
}

/// The mean of each window: Σ x / n over its n positions, of which those in the margins are zeros.
pub fn meanpool(x: &Tensor, window: Window<'_>) -> Result<Tensor> {
    let x = x.as_array();
    let (flat, of, shape) = pooled("meanpool", &x.cast(x.dtype().to_float()), window)?;
    Ok(over(&flat, Arc::new(Mean { of }), of.outputs(), flat.dtype()).reshape_to(&shape))
}
