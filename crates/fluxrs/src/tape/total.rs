//! The sum over all steps of a node of a scan's function, as one op on the values of all steps: of products Σₜ aₜᵀ·bₜ, one product of
//! the aₜ and bₜ one below the other.

use crate::graph::{Tensor, lock};
use crate::ops::matmul::matmul;
use crate::ops::reduce::Reduction;
use crate::ops::{Elementwise, Op, Reduce, ViewKind};

/// A sum over the steps.
pub(super) enum Total {
    /// Of aᵀ·b, for nodes a (k, m) and b (k, n).
    Product(Tensor, Tensor),
    /// Of the sums over some axes of a node.
    Sum(Tensor, u64),
    /// A view of a sum of the views' operands: the node is one of the views.
    View(Box<Total>, Tensor),
    Add(Box<Total>, Box<Total>),
}

impl Total {
    /// The sum of this node, if it is made of products, or of reductions of what is at hand for every step anyway.
    pub fn of(node: &Tensor, at_hand: &dyn Fn(&Tensor) -> bool) -> Option<Total> {
        let srcs = node.0.srcs.get(&lock()).clone();
        let rest = |x: &Tensor| Total::of(x, at_hand).map(Box::new);
        match node.op() {
            Op::View(view) if matches!(view.kind, ViewKind::Reshape | ViewKind::Permute(_)) => {
                Some(Total::View(rest(&srcs[0])?, node.clone()))
            }
            Op::Map(Elementwise::add) if srcs.iter().all(|s| s.shape() == node.shape()) => {
                Some(Total::Add(rest(&srcs[0])?, rest(&srcs[1])?))
            }
            Op::Matmul if srcs.iter().all(|s| s.ndim() == 2) => Some(Total::Product(transposed(&srcs[0]), srcs[1].clone())),
            // An outer product.
            Op::Map(Elementwise::multiply) => {
                let is_column = |x: &Tensor| matches!(*x.shape(), [m, 1] if m > 1);
                let is_row = |x: &Tensor| matches!(*x.shape(), [1, n] | [n] if n > 1);
                let (a, b) = match (&srcs[0], &srcs[1]) {
                    (a, b) if is_column(a) && is_row(b) => (a, b),
                    (b, a) if is_column(a) && is_row(b) => (a, b),
                    _ => return None,
                };
                Some(Total::Product(a.reshape_to(&[1, a.size()]), b.reshape_to(&[1, b.size()])))
            }
            Op::Reduce(Reduce { kind: Reduction::Sum, axes }) if at_hand(&srcs[0]) => Some(Total::Sum(srcs[0].clone(), *axes)),
            _ => None,
        }
    }

    /// The nodes that it takes the values of, at every step.
    pub fn nodes<'a>(&'a self, out: &mut Vec<&'a Tensor>) {
        match self {
            Total::Product(a, b) => out.extend([a, b]),
            Total::Sum(x, _) => out.push(x),
            Total::View(inner, _) => inner.nodes(out),
            Total::Add(x, y) => {
                x.nodes(out);
                y.nodes(out);
            }
        }
    }

    /// The sum, given those values with the steps on a first axis.
    pub fn made(&self, all: &dyn Fn(&Tensor) -> Tensor) -> Tensor {
        match self {
            Total::Product(a, b) => {
                let tall = |x: &Tensor| {
                    let values = all(x);
                    values.reshape_to(&[values.shape()[0] * x.shape()[0], x.shape()[1]])
                };
                matmul(&tall(a).swap_last(), &tall(b)).expect("as many rows of each")
            }
            Total::Sum(x, axes) => all(x).reduce_axes(Reduction::Sum, axes << 1 | 1),
            Total::View(inner, view) => {
                let x = inner.made(all);
                match view.op() {
                    Op::View(v) => match &v.kind {
                        ViewKind::Permute(perm) => x.permute(perm),
                        _ => x.reshape_to(view.shape()),
                    },
                    _ => unreachable!("made of views alone"),
                }
            }
            Total::Add(x, y) => x.made(all) + y.made(all),
        }
    }
}

/// The transpose of a matrix: what it is the transpose of, if it is one.
fn transposed(x: &Tensor) -> Tensor {
    match x.op() {
        Op::View(view) if view.kind == ViewKind::Permute(smallvec::smallvec![1, 0]) => x.0.srcs.get(&lock())[0].clone(),
        _ => x.swap_last(),
    }
}
