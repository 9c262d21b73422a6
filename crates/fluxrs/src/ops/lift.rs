//! Products that a scan's function makes of rows alone, as one product over the whole sequence, and so rows of a table by number. Of
//! rows enough, the bits are the same: the order of a product's sums depends on the inner size alone.

use super::scan::Outline;
use super::{Op, ViewKind};
use crate::graph::{Tensor, lock};
use crate::shape::{Map, Shape};
use rustc_hash::FxHashMap;

/// Products of up to so many rows, or columns, add in another order; see `cpu::gemm`.
const FEW: usize = 4;

/// A node of the function over all steps.
#[derive(Clone)]
enum Lifted {
    /// With the steps on a first axis.
    Rows(Tensor),
    /// The same at each step.
    Const(Tensor),
}

struct Lift<'a> {
    outline: &'a Outline,
    /// The nodes looked at so far; None for one that depends on a state or on random numbers, or has no form over all steps.
    known: FxHashMap<u64, Option<Lifted>>,
}

/// The products among these nodes, operands before what is made of them, that are made of rows and of what all steps read: each with
/// the sequence of its values.
pub(super) fn products(outline: &Outline, order: &[Tensor]) -> Vec<(Tensor, Tensor)> {
    let known = outline.rows.iter().map(|(node, xs)| (node.id(), Some(Lifted::Rows(xs.clone()))));
    let states = outline.states.iter().map(|(node, _)| (node.id(), None));
    let mut lift = Lift { outline, known: known.chain(states).collect() };
    let mut out = Vec::new();
    for node in order.iter().filter(|x| matches!(x.op(), Op::Matmul | Op::Structured(_))) {
        if let Some(Lifted::Rows(all)) = lift.of(node) {
            out.push((node.clone(), all));
        }
    }
    out
}

impl Lift<'_> {
    fn of(&mut self, root: &Tensor) -> Option<Lifted> {
        let mut stack = vec![root.clone()];
        while let Some(node) = stack.last().cloned() {
            if self.known.contains_key(&node.id()) {
                stack.pop();
                continue;
            }
            if node.is_number() || node.0.level < self.outline.level {
                self.known.insert(node.id(), Some(Lifted::Const(node.clone())));
                continue;
            }
            let srcs = node.0.srcs.get(&lock()).clone();
            let missing: Vec<Tensor> = srcs.iter().filter(|s| !self.known.contains_key(&s.id())).cloned().collect();
            if missing.is_empty() {
                let lifted: Option<Vec<Lifted>> = srcs.iter().map(|s| self.known[&s.id()].clone()).collect();
                let lifted = lifted.filter(|srcs| !srcs.is_empty()).and_then(|lifted| self.node(&node, &srcs, &lifted));
                self.known.insert(node.id(), lifted.map(Lifted::Rows));
            }
            stack.extend(missing);
        }
        self.known[&root.id()].clone()
    }

    /// A shape with the steps in front.
    fn long(&self, shape: &[usize]) -> Shape {
        std::iter::once(self.outline.length).chain(shape.iter().copied()).collect()
    }

    fn node(&self, node: &Tensor, srcs: &[Tensor], lifted: &[Lifted]) -> Option<Tensor> {
        let rows = |k: usize| if let Lifted::Rows(x) = &lifted[k] { Some(x) } else { None };
        let shape = node.shape();
        Some(match node.op() {
            Op::Cast => rows(0)?.cast(node.dtype()),
            Op::View(view) => {
                let x = rows(0)?;
                match &view.kind {
                    ViewKind::Reshape => x.reshape_to(&self.long(shape)),
                    ViewKind::Permute(perm) => {
                        x.permute(&std::iter::once(0).chain(perm.iter().map(|p| p + 1)).collect::<Vec<_>>())
                    }
                    ViewKind::Broadcast => self.aligned(x, srcs[0].shape(), shape.len()).broadcast_shape(&self.long(shape)),
                    ViewKind::Window(map) => {
                        let strides = std::iter::once(srcs[0].size() as i64).chain(map.strides.iter().copied()).collect();
                        x.window(self.long(shape), Map { offset: map.offset, strides })
                    }
                }
            }
            Op::Map(e) => {
                let of = |(x, s): (&Lifted, &Tensor)| match x {
                    Lifted::Rows(x) => self.aligned(x, s.shape(), shape.len()),
                    Lifted::Const(x) => x.clone(),
                };
                let operands: Vec<Tensor> = lifted.iter().zip(srcs).map(of).collect();
                e.apply(&operands.iter().collect::<Vec<_>>()).ok()?
            }
            Op::Matmul => {
                let (Some(x), Lifted::Const(w), &[m, n]) = (rows(0), &lifted[1], shape) else { return None };
                let k = srcs[0].shape()[1];
                if w.ndim() != 2 || self.outline.length == 0 || node.device().is_cpu() && (m <= FEW || n <= FEW) {
                    return None;
                }
                let tall = x.reshape_to(&[self.outline.length * m, k]);
                super::matmul::matmul(&tall, w).ok()?.reshape_to(&self.long(shape))
            }
            Op::Structured(op) if self.outline.length > 0 => {
                let all: Vec<Option<&Tensor>> = (0..srcs.len()).map(rows).collect();
                op.over_steps(srcs, &all)?.ok()?
            }
            _ => return None,
        })
    }

    /// Rows of a shape as rows of so many axes.
    fn aligned(&self, x: &Tensor, shape: &[usize], axes: usize) -> Tensor {
        let ones = std::iter::repeat_n(1, axes - shape.len());
        x.reshape_to(&self.long(&ones.chain(shape.iter().copied()).collect::<Shape>()))
    }
}
