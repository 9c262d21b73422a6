//! Place: sources laid at affine positions of one output, the rest filled with a constant.
//! The adjoint of views; concatenate, stack, pad, repeat's copies and slices' gradients are made of it.

use super::Op;
use crate::bail;
use crate::dtype::{DType, Number};
use crate::error::Result;
use crate::graph::{Srcs, Tensor};
use crate::hash::Hasher;
use crate::shape::{self, Map, Shape, show};
use smallvec::{SmallVec, smallvec};

/// Parts that a tensor is split into at most: each is a node.
pub const MOST_PARTS: usize = 1 << 20;

pub struct Place {
    /// Where in the output the elements of each source lie. No two elements lie at one position.
    pub maps: SmallVec<[Map; 2]>,
    /// True if the sources leave positions uncovered, which then hold `fill`.
    pub fill: Option<Number>,
}

impl Place {
    pub(crate) fn hash(&self, dtype: DType, h: &mut Hasher) {
        for map in &self.maps {
            h.add(map.offset as u64);
            map.strides.iter().for_each(|&s| h.add(s as u64));
        }
        h.add(self.fill.is_some() as u64);
        h.add(self.fill.map_or(0, |f| u64::from_ne_bytes(f.to_bytes(dtype))));
    }

    /// `x` at `map` of an output of this shape, which is possible, zeros elsewhere.
    pub(crate) fn one(x: &Tensor, map: Map, shape: &[usize]) -> Tensor {
        Place::several(smallvec![x.clone()], smallvec![map], shape)
    }

    /// Sources at places apart of an output of this shape, which is possible, zeros elsewhere.
    pub(crate) fn several(srcs: Srcs, maps: SmallVec<[Map; 2]>, shape: &[usize]) -> Tensor {
        let covered: usize = srcs.iter().map(Tensor::size).sum();
        let fill = (covered != shape::size(shape)).then_some(Number::Int(0));
        let dtype = srcs[0].dtype();
        Tensor::within(Op::Place(Box::new(Place { maps, fill })), srcs, shape.into(), dtype)
    }

    pub(crate) fn gradient(&self, i: usize, src: &[usize], g: &Tensor) -> Tensor {
        g.window(src.into(), self.maps[i].clone())
    }
}

/// The common dtype of several tensors, which must live on one device.
pub(crate) fn common_dtype(op: &str, xs: &[Tensor]) -> Result<DType> {
    let Some(first) = xs.first() else { bail!(Value, "{op}: at least one tensor is needed") };
    super::apply::check_devices(op, &xs.iter().collect::<SmallVec<[&Tensor; 4]>>())?;
    Ok(xs.iter().fold(first.dtype(), |d, x| d.promote(x.dtype())))
}

/// Tensors one after the other along an axis.
pub fn concatenate(xs: &[Tensor], axis: isize) -> Result<Tensor> {
    let dtype = common_dtype("concatenate", xs)?;
    let ndim = xs[0].ndim();
    if ndim == 0 {
        bail!(Shape, "concatenate: tensors of no axes cannot be concatenated; use stack");
    }
    let axis = shape::axis("concatenate", axis, ndim)?;
    let mut shape = Shape::from(xs[0].shape());
    shape[axis] = 0;
    for x in xs {
        if x.ndim() != ndim {
            bail!(Shape, "concatenate: shapes {} and {} differ in their number of axes", show(xs[0].shape()), show(x.shape()));
        }
        let same = (0..ndim).all(|a| a == axis || x.shape()[a] == shape[a]);
        if !same {
            bail!(
                Shape,
                "concatenate: shapes {} and {} differ on an axis other than {axis}",
                show(xs[0].shape()),
                show(x.shape())
            );
        }
        shape[axis] = shape[axis].saturating_add(x.shape()[axis]);
    }
    shape::check("concatenate", &shape)?;
    let strides = shape::contiguous(&shape);
    let mut at = 0;
    let mut maps = SmallVec::new();
    let mut srcs = Srcs::new();
    for x in xs {
        maps.push(Map { offset: at as i64 * strides[axis], strides: strides.clone() });
        at += x.shape()[axis];
        srcs.push(x.cast(dtype));
    }
    Tensor::node(Op::Place(Box::new(Place { maps, fill: None })), srcs, shape, dtype)
}

/// Tensors of one shape along a new axis.
pub fn stack(xs: &[Tensor], axis: isize) -> Result<Tensor> {
    common_dtype("stack", xs)?;
    if let Some(x) = xs.iter().find(|x| x.shape() != xs[0].shape()) {
        bail!(Shape, "stack: shapes {} and {} differ", show(xs[0].shape()), show(x.shape()));
    }
    let axis = shape::axis("stack", axis, xs[0].ndim() + 1)? as isize;
    let wide: Result<Vec<Tensor>> = xs.iter().map(|x| x.expand_dims(&[axis])).collect();
    let wide = wide.map_err(|e| e.renamed("expand_dims", "stack"))?;
    concatenate(&wide, axis).map_err(|e| e.renamed("concatenate", "stack"))
}

/// Tensors below each other: along the first axis, vectors as rows.
pub fn vstack(xs: &[Tensor]) -> Result<Tensor> {
    concatenate(&xs.iter().map(|x| x.atleast(2)).collect::<Vec<_>>(), 0)
}

/// Tensors beside each other: along the second axis, vectors one after the other.
pub fn hstack(xs: &[Tensor]) -> Result<Tensor> {
    let xs: Vec<Tensor> = xs.iter().map(|x| x.atleast(1)).collect();
    concatenate(&xs, if xs.first().is_some_and(|x| x.ndim() > 1) { 1 } else { 0 })
}

impl Tensor {
    /// A border of `value` around the tensor: (before, after) an axis.
    pub fn pad(&self, widths: &[(usize, usize)], value: Number) -> Result<Tensor> {
        if widths.len() != self.ndim() {
            bail!(Value, "pad: {} pairs of widths for a tensor of shape {}", widths.len(), show(self.shape()));
        }
        value.check("pad", self.dtype())?;
        let shape: Shape = self.shape().iter().zip(widths).map(|(&n, &(a, b))| n.saturating_add(a).saturating_add(b)).collect();
        shape::check("pad", &shape)?;
        let strides = shape::contiguous(&shape);
        let offset = strides.iter().zip(widths).map(|(&s, &(a, _))| s * a as i64).sum();
        let fill = (shape.as_slice() != self.shape()).then_some(value);
        let place = Place { maps: smallvec![Map { offset, strides }], fill };
        Tensor::node(Op::Place(Box::new(place)), smallvec![self.clone()], shape, self.dtype())
    }

    /// Every element `n` times along an axis.
    pub fn repeat(&self, n: usize, axis: isize) -> Result<Tensor> {
        let axis = shape::axis("repeat", axis, self.ndim())?;
        let narrow = self.expand_dims(&[axis as isize + 1]).map_err(|e| e.renamed("expand_dims", "repeat"))?;
        let mut wide = Shape::from(narrow.shape());
        wide[axis + 1] = n;
        let wide = narrow.broadcast_to(&wide).map_err(|e| e.renamed("broadcast_to", "repeat"))?;
        let mut shape = Shape::from(self.shape());
        shape[axis] *= n;
        Ok(wide.reshape_to(&shape))
    }

    /// The whole tensor repeated along its axes, as NumPy's `tile`.
    pub fn tile(&self, times: &[usize]) -> Result<Tensor> {
        let ndim = times.len().max(self.ndim());
        let pad = |list: &[usize]| -> Shape {
            let mut out: Shape = smallvec![1; ndim - list.len()];
            out.extend_from_slice(list);
            out
        };
        let (shape, times) = (pad(self.shape()), pad(times));
        let interleave = |t: &[usize]| -> Shape { t.iter().zip(&shape).flat_map(|(&t, &n)| [t, n]).collect() };
        let narrow = interleave(&Shape::from_elem(1, ndim));
        shape::check("tile", &narrow)?;
        let wide = self.reshape_to(&narrow).broadcast_to(&interleave(&times)).map_err(|e| e.renamed("broadcast_to", "tile"))?;
        let out: Shape = times.iter().zip(&shape).map(|(&t, &n)| t * n).collect();
        Ok(wide.reshape_to(&out))
    }

    /// `sections` equal parts along an axis.
    pub fn split(&self, sections: usize, axis: isize) -> Result<Vec<Tensor>> {
        let axis = shape::axis("split", axis, self.ndim())?;
        let n = self.shape()[axis];
        if sections == 0 || !n.is_multiple_of(sections) {
            bail!(Value, "split: axis {axis} of length {n} does not split into {sections} equal parts");
        }
        if sections > MOST_PARTS {
            bail!(Value, "split: {sections} parts; at most {MOST_PARTS} are possible");
        }
        let at: Vec<usize> = (1..sections).map(|i| i * (n / sections)).collect();
        self.split_at(&at, axis as isize)
    }

    /// Parts between these positions along an axis.
    pub fn split_at(&self, at: &[usize], axis: isize) -> Result<Vec<Tensor>> {
        let axis = shape::axis("split", axis, self.ndim())?;
        let n = self.shape()[axis];
        let mut start = 0;
        let ends = at.iter().copied().chain([n]);
        Ok(ends
            .map(|end| {
                let (from, to) = (start.min(n), end.min(n));
                start = end;
                self.narrow(axis, from, to.saturating_sub(from))
            })
            .collect())
    }
}
