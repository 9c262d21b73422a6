//! Views: other arrangements of the same elements. Never a copy until a kernel needs one.

use super::{Op, Place};
use crate::bail;
use crate::error::Result;
use crate::graph::Tensor;
use crate::shape::{self, Map, Shape, Strides, show};
use smallvec::{SmallVec, smallvec};

pub struct View {
    pub kind: ViewKind,
    /// The node that owns the elements; never a view itself.
    pub base: Tensor,
    /// Where in the base each element of the view lies.
    pub map: Map,
}

/// The difference between a view and `srcs[0]`: its gradient undoes it.
#[derive(Clone, Debug, PartialEq)]
pub enum ViewKind {
    Reshape,
    Permute(SmallVec<[usize; 4]>),
    Broadcast,
    /// Some of the elements, each at most once, at these positions of the (contiguous) source: slices, flips, diagonals.
    Window(Map),
}

impl ViewKind {
    pub(crate) fn tag(&self) -> u64 {
        match self {
            ViewKind::Reshape => 0,
            ViewKind::Permute(_) => 1,
            ViewKind::Broadcast => 2,
            ViewKind::Window(_) => 3,
        }
    }

    pub fn name(&self) -> &'static str {
        match self {
            ViewKind::Reshape => "reshape",
            ViewKind::Permute(_) => "transpose",
            ViewKind::Broadcast => "broadcast_to",
            ViewKind::Window(_) => "slice",
        }
    }
}

impl View {
    pub(crate) fn gradient(&self, src: &Tensor, g: &Tensor) -> Tensor {
        match &self.kind {
            ViewKind::Reshape => g.reshape_to(src.shape()),
            ViewKind::Permute(perm) => {
                let mut inverse: SmallVec<[usize; 4]> = smallvec![0; perm.len()];
                perm.iter().enumerate().for_each(|(i, &p)| inverse[p] = i);
                g.permute(&inverse)
            }
            ViewKind::Broadcast => g.sum_to(src.shape()),
            ViewKind::Window(map) => Place::one(g, map.clone(), src.shape()),
        }
    }
}

/// One entry of a basic index along an axis.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Slice {
    pub start: usize,
    pub step: isize,
    pub len: usize,
}

impl Tensor {
    fn view(&self, kind: ViewKind, shape: Shape, map: Map) -> Tensor {
        let op = Op::View(Box::new(View { kind, base: self.base(), map }));
        Tensor::within(op, smallvec![self.clone()], shape, self.dtype())
    }

    /// The same elements under another shape of the same size.
    pub(crate) fn reshape_to(&self, to: &[usize]) -> Tensor {
        debug_assert_eq!(self.size(), shape::size(to));
        if self.shape() == to {
            return self.clone();
        }
        match self.map().reshape(self.shape(), to) {
            Some(map) => self.view(ViewKind::Reshape, Shape::from_slice(to), map),
            None => self.contiguous().reshape_to(to),
        }
    }

    /// A node that owns the elements of this one in row-major order.
    pub fn contiguous(&self) -> Tensor {
        match self.op() {
            Op::View(_) => Place::one(self, Map::contiguous(self.shape()), self.shape()),
            _ => self.clone(),
        }
    }

    /// Axes in another order; `perm` must be a permutation.
    pub(crate) fn permute(&self, perm: &[usize]) -> Tensor {
        let shape = perm.iter().map(|&p| self.shape()[p]).collect();
        self.view(ViewKind::Permute(perm.into()), shape, self.map().permute(perm))
    }

    /// `to` must be a possible shape that this one broadcasts to.
    pub(crate) fn broadcast_shape(&self, to: &[usize]) -> Tensor {
        if self.shape() == to {
            return self.clone();
        }
        if self.is_number() {
            return self.fill(to, self.dtype());
        }
        self.view(ViewKind::Broadcast, Shape::from_slice(to), self.map().broadcast(self.shape(), to))
    }

    /// Some elements, at `window` of the contiguous layout of this shape.
    pub(crate) fn window(&self, shape: Shape, window: Map) -> Tensor {
        let map = window.then(&shape, &self.map(), self.shape());
        match map {
            Some(map) => self.view(ViewKind::Window(window), shape, map),
            None => self.contiguous().window(shape, window),
        }
    }

    pub fn reshape(&self, to: &[isize]) -> Result<Tensor> {
        // Lengths that multiply to more than can be match no tensor, unless one is 0: that is seen below.
        let lengths = to.iter().filter(|&&n| n >= 0).map(|&n| n as usize);
        let known = if to.contains(&0) { 0 } else { lengths.fold(1, usize::saturating_mul) };
        let unknown = to.iter().filter(|&&n| n < 0).count();
        let wrong = unknown > 1 || to.iter().any(|&n| n < -1);
        let fits = if unknown == 1 { known != 0 && self.size().is_multiple_of(known) } else { known == self.size() };
        if wrong || !fits {
            let wanted = to.iter().map(|n| n.to_string()).collect::<Vec<_>>().join(", ");
            bail!(
                Shape,
                "reshape: a tensor of shape {} ({} elements) cannot take the shape ({wanted})",
                show(self.shape()),
                self.size()
            );
        }
        let shape: Shape = to.iter().map(|&n| if n < 0 { self.size() / known } else { n as usize }).collect();
        shape::check("reshape", &shape)?;
        Ok(self.reshape_to(&shape))
    }

    /// Reverses the axes, or puts them in the order given.
    pub fn transpose(&self, axes: Option<&[isize]>) -> Result<Tensor> {
        let n = self.ndim();
        let Some(axes) = axes else { return Ok(self.permute(&(0..n).rev().collect::<Vec<_>>())) };
        if axes.len() != n {
            bail!(Value, "transpose: {} axes given for a tensor of shape {}", axes.len(), show(self.shape()));
        }
        shape::axes("transpose", Some(axes), n)?;
        let perm: SmallVec<[usize; 4]> = axes.iter().map(|&a| shape::axis("transpose", a, n)).collect::<Result<_>>()?;
        Ok(self.permute(&perm))
    }

    /// The last two axes exchanged.
    pub(crate) fn swap_last(&self) -> Tensor {
        let n = self.ndim();
        let mut perm: SmallVec<[usize; 4]> = (0..n).collect();
        perm.swap(n - 1, n - 2);
        self.permute(&perm)
    }

    pub fn moveaxis(&self, from: isize, to: isize) -> Result<Tensor> {
        let from = shape::axis("moveaxis", from, self.ndim())?;
        let to = shape::axis("moveaxis", to, self.ndim())?;
        if from == to {
            return Ok(self.clone());
        }
        let mut perm: Vec<usize> = (0..self.ndim()).filter(|&a| a != from).collect();
        perm.insert(to, from);
        Ok(self.permute(&perm))
    }

    pub fn broadcast_to(&self, to: &[usize]) -> Result<Tensor> {
        if shape::broadcast("broadcast_to", self.shape(), to)?.as_slice() != to {
            bail!(Shape, "broadcast_to: shape {} does not broadcast to {}", show(self.shape()), show(to));
        }
        shape::check("broadcast_to", to)?;
        Ok(self.broadcast_shape(to))
    }

    /// New axes of length 1 at these positions of the result.
    pub fn expand_dims(&self, axes: &[isize]) -> Result<Tensor> {
        let ndim = self.ndim() + axes.len();
        if ndim > shape::MOST_AXES {
            bail!(Value, "expand_dims: the result would have {ndim} axes; at most {} are possible", shape::MOST_AXES);
        }
        let new = shape::axes("expand_dims", Some(axes), ndim)?;
        let mut old = self.shape().iter();
        let shape: Shape = (0..ndim).map(|a| if new.contains(&a) { 1 } else { *old.next().unwrap() }).collect();
        Ok(self.reshape_to(&shape))
    }

    pub fn squeeze(&self, axes: Option<&[isize]>) -> Result<Tensor> {
        let gone = match axes {
            None => (0..self.ndim()).filter(|&a| self.shape()[a] == 1).collect(),
            some => shape::axes("squeeze", some, self.ndim())?,
        };
        if let Some(&a) = gone.iter().find(|&&a| self.shape()[a] != 1) {
            bail!(Shape, "squeeze: axis {a} of shape {} is not of length 1", show(self.shape()));
        }
        let shape: Shape = (0..self.ndim()).filter(|a| !gone.contains(a)).map(|a| self.shape()[a]).collect();
        Ok(self.reshape_to(&shape))
    }

    /// One slice an axis.
    pub fn slice(&self, slices: &[Slice]) -> Tensor {
        debug_assert_eq!(slices.len(), self.ndim());
        let layout = shape::contiguous(self.shape());
        let mut window = Map { offset: 0, strides: Strides::new() };
        for (s, &l) in slices.iter().zip(&layout) {
            window.offset += if s.len == 0 { 0 } else { s.start as i64 * l };
            window.strides.push(if s.len > 1 { s.step as i64 * l } else { l });
        }
        let whole = slices.iter().zip(self.shape()).all(|(s, &n)| s.step == 1 && s.len == n);
        if whole {
            return self.clone();
        }
        self.window(slices.iter().map(|s| s.len).collect(), window)
    }

    /// Elements `start..start + len` along one axis.
    pub(crate) fn narrow(&self, axis: usize, start: usize, len: usize) -> Tensor {
        let slices: SmallVec<[Slice; 4]> = (0..self.ndim())
            .map(|a| match a == axis {
                true => Slice { start, step: 1, len },
                false => Slice { start: 0, step: 1, len: self.shape()[a] },
            })
            .collect();
        self.slice(&slices)
    }

    pub fn flip(&self, axes: Option<&[isize]>) -> Result<Tensor> {
        let axes = shape::axes("flip", axes, self.ndim())?;
        let slices: SmallVec<[Slice; 4]> = (0..self.ndim())
            .map(|a| {
                let len = self.shape()[a];
                match axes.contains(&a) {
                    true => Slice { start: len.saturating_sub(1), step: -1, len },
                    false => Slice { start: 0, step: 1, len },
                }
            })
            .collect();
        Ok(if axes.is_empty() { self.clone() } else { self.slice(&slices) })
    }

    /// The k-th diagonals over two axes, as a new last axis.
    pub fn diagonal(&self, k: isize, axis1: isize, axis2: isize) -> Result<Tensor> {
        let n = self.ndim();
        if n < 2 {
            bail!(Shape, "diagonal: a tensor of two or more axes is needed, got shape {}", show(self.shape()));
        }
        let (a, b) = (shape::axis("diagonal", axis1, n)?, shape::axis("diagonal", axis2, n)?);
        if a == b {
            bail!(Value, "diagonal: axis1 and axis2 are both {axis1}");
        }
        let layout = shape::contiguous(self.shape());
        let (rows, cols) = (self.shape()[a] as isize, self.shape()[b] as isize);
        let k = k.clamp(-rows, cols);
        let (r0, c0) = ((-k).max(0), k.max(0));
        let len = (rows - r0).min(cols - c0).max(0) as usize;
        let rest = (0..n).filter(|&x| x != a && x != b);
        let mut shape: Shape = rest.clone().map(|x| self.shape()[x]).collect();
        let mut strides: Strides = rest.map(|x| layout[x]).collect();
        shape.push(len);
        strides.push(layout[a] + layout[b]);
        let offset = if len == 0 { 0 } else { r0 as i64 * layout[a] + c0 as i64 * layout[b] };
        Ok(self.window(shape, Map { offset, strides }))
    }

    /// Sums a gradient back to the shape that an operand had before it was broadcast.
    pub(crate) fn sum_to(&self, to: &[usize]) -> Tensor {
        if self.shape() == to {
            return self.clone();
        }
        let lead = self.ndim() - to.len();
        let axes = (0..self.ndim())
            .filter(|&a| a < lead || (to[a - lead] == 1 && self.shape()[a] != 1))
            .fold(0u64, |mask, a| mask | 1 << a);
        self.reduce_axes(super::reduce::Reduction::Sum, axes).reshape_to(to)
    }
}
