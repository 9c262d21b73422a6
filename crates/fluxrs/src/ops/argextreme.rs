//! Where the largest and the smallest element of an axis are.

use super::poll::{PIECE, Poll};
use super::shader::{Binding, Pass, Shader, Spec, template};
use super::{Op, Operand, OperandMut, Structured};
use crate::bail;
use crate::dtype::{DType, Element};
use crate::error::Result;
use crate::graph::Tensor;
use crate::shape::{self, Shape, show};
use crate::with_element;
use smallvec::smallvec;
use std::ops::Range;
use std::sync::Arc;

/// `srcs[0]` (…, n) ↦ int64 (…): where the largest or smallest element of the last axis is, the first of equals. NaN beats all.
struct Argextreme {
    largest: bool,
}

#[expect(clippy::eq_op, reason = "only NaN differs from itself")]
fn extreme<T: PartialOrd + Copy>(x: &[T], largest: bool, poll: Poll<'_>) -> Result<i64> {
    let mut best = 0;
    let mut find = |piece: Range<usize>| {
        for i in piece {
            let (x_i, now) = (x[i], x[best]);
            if now != now {
                break;
            }
            let better = if largest { x_i > now } else { x_i < now };
            if better || x_i != x_i {
                best = i;
            }
        }
        Ok(())
    };
    // A piece of several rows has polled for them.
    if x.len() <= PIECE {
        find(0..x.len())?
    } else {
        poll.pieces(x.len(), 1, find)?
    }
    Ok(best as i64)
}

impl Structured for Argextreme {
    fn name(&self) -> &'static str {
        if self.largest { "argmax" } else { "argmin" }
    }

    fn gradient(&self, _: usize, _: &[Tensor], _: &Tensor, _: &Tensor) -> Option<Tensor> {
        None
    }

    fn cpu(&self, srcs: &[Operand<'_>], out: OperandMut<'_>) -> Result<()> {
        fn each<T: Element + PartialOrd>(x: &[T], n: usize, mut out: OperandMut<'_>, largest: bool) -> Result<()> {
            let poll = out.poll;
            poll.fill(out.as_mut_slice(), n, |first, part| {
                let found = part.iter_mut().zip(x[first * n..].chunks_exact(n));
                found.into_iter().try_for_each(|(o, x)| extreme(x, largest, poll).map(|best| *o = best))
            })
        }
        let x = srcs[0];
        let n = *x.shape.last().expect("made with an axis");
        with_element!(x.dtype, T => each::<T>(x.as_slice(), n, out, self.largest))
    }

    fn cost(&self, srcs: &[&[usize]], _: &[usize]) -> usize {
        shape::size(srcs[0])
    }

    fn shader(&self, srcs: &[Spec<'_>], out: Spec<'_>) -> Result<Shader, String> {
        let sign = if self.largest { ">" } else { "<" };
        let nan = if srcs[0].dtype.is_float() { "fx_isnan(x)" } else { "false" };
        let code = format!(
            "fn better(x: x_type, best: x_type) -> bool {{\n    return x {sign} best;\n}}\n\n\
             fn is_nan(x: x_type) -> bool {{\n    return {nan};\n}}\n"
        );
        let (rows, length) = (out.size(), srcs[0].last());
        let pass = |items: usize, own: &str| {
            let pass = Pass::threads(template!("argextreme"), items, 64).code(code.clone()).code(own);
            pass.sizes([("length", length), ("pieces", pieces(length))]).operand("x", 0)
        };
        if pieces(length) == 1 {
            return Ok(pass(rows, WHOLE).result("out").into());
        }
        // A long row in pieces, and then the places that were found there.
        let places = |pass: Pass| pass.bind("places", Binding::Room(0, "u32"));
        let first = places(pass(rows * pieces(length), ONE));
        let second = places(pass(rows, OF_PIECES)).result("out");
        Ok(Shader { passes: vec![first, second], rooms: vec![rows * pieces(length)], raises: false })
    }
}

/// The pieces that a long row is gone through in, each by a thread: as many as each has elements.
fn pieces(length: usize) -> usize {
    if length > 1024 { length.isqrt() } else { 1 }
}

const WHOLE: &str = "fn count(i: u32) -> u32 {\n    return args.length;\n}\n\n\
     fn place(i: u32, k: u32) -> u32 {\n    return k;\n}\n\n\
     fn start(i: u32) -> u32 {\n    return i * args.length;\n}\n\n";
/// Neighbours go through neighbouring elements.
const ONE: &str = "fn count(i: u32) -> u32 {\n    return (args.length - i % args.pieces - 1u) / args.pieces + 1u;\n}\n\n\
     fn place(i: u32, k: u32) -> u32 {\n    return k * args.pieces + i % args.pieces;\n}\n\n\
     fn start(i: u32) -> u32 {\n    return i / args.pieces * args.length;\n}\n\n\
     fn out(i: u32, place: u32) {\n    places[i] = place;\n}\n\n";
const OF_PIECES: &str = "fn count(i: u32) -> u32 {\n    return args.pieces;\n}\n\n\
     fn place(i: u32, k: u32) -> u32 {\n    return places[i * args.pieces + k];\n}\n\n\
     fn start(i: u32) -> u32 {\n    return i * args.length;\n}\n\n";

fn arg_of(op: Argextreme, x: &Tensor, axis: Option<isize>, keepdims: bool) -> Result<Tensor> {
    let name = op.name();
    let array = x.as_array();
    let (moved, mut kept) = match axis {
        None => (array.reshape_to(&[array.size()]), Shape::from_elem(1, array.ndim())),
        Some(a) => {
            let a = shape::axis(name, a, array.ndim())?;
            let mut kept = Shape::from(array.shape());
            kept[a] = 1;
            (array.moveaxis(a as isize, -1)?, kept)
        }
    };
    let (&n, lead) = moved.shape().split_last().expect("a flat tensor has an axis");
    if n == 0 {
        bail!(Value, "{name}: an axis of length 0 has no {} element (shape {})", &name[3..], show(x.shape()));
    }
    let out = Tensor::within(Op::Structured(Arc::new(op)), smallvec![moved.clone()], lead.into(), DType::I64);
    if !keepdims {
        kept = lead.into();
    }
    Ok(out.reshape_to(&kept))
}

impl Tensor {
    /// Where the largest element is, along an axis or in the flattened tensor; the first of equals, NaN before all.
    pub fn argmax(&self, axis: Option<isize>, keepdims: bool) -> Result<Tensor> {
        arg_of(Argextreme { largest: true }, self, axis, keepdims)
    }

    /// Where the smallest element is, as `argmax`.
    pub fn argmin(&self, axis: Option<isize>, keepdims: bool) -> Result<Tensor> {
        arg_of(Argextreme { largest: false }, self, axis, keepdims)
    }
}
