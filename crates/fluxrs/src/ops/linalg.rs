//! Systems of linear equations: solve, inverse and determinant, by elimination with partial pivoting.

use super::apply::check_devices;
use super::factors::{Factors, each};
use super::matmul::matmul;
use super::shader::{Binding, Pass, Shader, Spec, template};
use super::{Elementwise, Op, Operand, OperandMut, Structured};
use crate::bail;
use crate::call_site::CallSite;
use crate::dtype::{DType, Element};
use crate::error::{Error, Result};
use crate::graph::Tensor;
use crate::shape::{self, Shape, show};
use crate::simd::math::Real;
use smallvec::smallvec;
use std::sync::Arc;

/// `srcs[0]` (…, n, n), `srcs[1]` (…, n, k) ↦ X (…, n, k) with A·X = B.
struct Solve {
    /// The function that the user called.
    op: &'static str,
    call_site: CallSite,
}

/// `srcs[0]` (…, n, n) ↦ its inverse.
struct Inverse {
    call_site: CallSite,
}

/// `srcs[0]` (…, n, n) ↦ (…).
struct Determinant {
    /// For its second gradient, which needs the inverse.
    call_site: CallSite,
}

/// `srcs[0]` (…, n, n) ↦ its adjugate, det A · A⁻¹, of a singular matrix too. Its own gradient needs the inverse.
struct Adjugate {
    call_site: CallSite,
}

/// The error for the first singular matrix of a batch.
fn check(op: &str, found: &[Option<usize>]) -> Result<()> {
    let Some((which, column)) = found.iter().enumerate().find_map(|(i, c)| c.map(|c| (i, c))) else { return Ok(()) };
    Err(singular(op, column, (found.len() > 1).then_some(which)))
}

fn singular(op: &str, column: usize, which: Option<usize>) -> Error {
    let which = which.map_or_else(|| "the matrix".into(), |which| format!("matrix {which} of the batch"));
    Error::Value(format!("{op}: {which} is singular: its column {column} is a combination of those before it"))
}

/// The same for the flag of a shader: the column, and the matrix or, where there is but one, the greatest word.
fn raised(op: &str, [column, which]: [u32; 2]) -> Error {
    singular(op, column as usize, (which != u32::MAX).then_some(which as usize))
}

/// The purpose of elimination, on a device that runs WGSL.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wanted {
    Equations,
    Inverse,
    Determinant,
    Adjugate,
}

/// Multiplications of one workgroup at most: a tenth of a second on a slow GPU, far from any watchdog.
const GROUP_WORK: usize = 1 << 26;

/// One workgroup eliminates one matrix, with B, the identity or nothing beside it.
fn eliminated(wanted: Wanted, srcs: &[Spec<'_>], out: Spec<'_>) -> Result<Shader, String> {
    let n = srcs[0].last();
    let k = if wanted == Wanted::Determinant { 0 } else { out.last() };
    if n.saturating_mul(n).saturating_mul(n + k) > GROUP_WORK {
        return Err(format!(" of matrices of order {n} with {k} columns"));
    }
    let matrices = shape::size(&srcs[0].shape[..srcs[0].shape.len() - 2]);
    let pass = Pass::groups(template!("lu"), matrices).sizes([("n", n), ("k", k), ("wanted", wanted as usize)]);
    let pass = pass.operand("a", 0).operand("b", srcs.len() - 1).result("out").bind("work", Binding::Room(0, "f32"));
    Ok(Shader {
        passes: vec![pass],
        rooms: vec![srcs[0].size() + matrices * n * k],
        raises: matches!(wanted, Wanted::Equations | Wanted::Inverse),
    })
}

fn solve_kernel<T: Real + Element>(op: &str, a: &[T], b: Option<&[T]>, n: usize, mut result: OperandMut<'_>) -> Result<()> {
    let poll = result.poll;
    let out = result.as_mut_slice::<T>();
    // A matrix that is singular is so without another side, too.
    if a.is_empty() {
        return Ok(());
    }
    let batch = a.len() / (n * n);
    let k = out.len() / batch / n;
    let found = each(a, n, out, false, poll, |i, factors, x| {
        match b {
            Some(b) => poll.copy(x, &b[i * n * k..(i + 1) * n * k])?,
            None => {
                poll.clear(x)?;
                (0..n).for_each(|r| x[r * n + r] = T::of(1.0));
            }
        }
        factors.solve(x, n, k, poll)?;
        Ok(factors.singular)
    })?;
    check(op, &found)
}

fn transposed(x: &Tensor) -> Tensor {
    x.swap_last()
}

fn product(a: &Tensor, b: &Tensor) -> Tensor {
    matmul(a, b).expect("shapes fit by construction")
}

fn order(x: &Operand<'_>) -> usize {
    x.shape[x.shape.len() - 1]
}

/// Nanoseconds to eliminate in these operands, the first of which are matrices.
fn effort(srcs: &[&[usize]]) -> usize {
    let n = srcs[0][srcs[0].len() - 1];
    srcs.iter().fold(1000, |sum, s| shape::size(s).saturating_mul(n).saturating_add(sum))
}

impl Structured for Solve {
    fn name(&self) -> &'static str {
        self.op
    }

    fn call_site(&self) -> Option<&CallSite> {
        Some(&self.call_site)
    }

    /// A·X = B: dB = A⁻ᵀ·g, dA = −dB·Xᵀ.
    fn gradient(&self, i: usize, srcs: &[Tensor], out: &Tensor, g: &Tensor) -> Option<Tensor> {
        let db = solve_node(self.op, self.call_site.gradient_of(self.op), &transposed(&srcs[0]), g);
        Some(if i == 1 { db } else { -product(&db, &transposed(out)) })
    }

    fn cpu(&self, srcs: &[Operand<'_>], out: OperandMut<'_>) -> Result<()> {
        let (a, b, n) = (srcs[0], srcs[1], order(&srcs[0]));
        match out.dtype {
            DType::F32 => solve_kernel::<f32>(self.op, a.as_slice(), Some(b.as_slice()), n, out),
            _ => solve_kernel::<f64>(self.op, a.as_slice(), Some(b.as_slice()), n, out),
        }
    }

    fn cost(&self, srcs: &[&[usize]], _: &[usize]) -> usize {
        effort(srcs)
    }

    fn looks_at_operands(&self) -> bool {
        true
    }

    fn shader(&self, srcs: &[Spec<'_>], out: Spec<'_>) -> Result<Shader, String> {
        eliminated(Wanted::Equations, srcs, out)
    }

    fn raised(&self, words: [u32; 2]) -> Error {
        raised(self.name(), words)
    }
}

impl Structured for Inverse {
    fn name(&self) -> &'static str {
        "inv"
    }

    fn call_site(&self) -> Option<&CallSite> {
        Some(&self.call_site)
    }

    /// dA = −Xᵀ·g·Xᵀ.
    fn gradient(&self, _: usize, _: &[Tensor], out: &Tensor, g: &Tensor) -> Option<Tensor> {
        let xt = transposed(out);
        Some(-product(&product(&xt, g), &xt))
    }

    fn cpu(&self, srcs: &[Operand<'_>], out: OperandMut<'_>) -> Result<()> {
        let (a, n) = (srcs[0], order(&srcs[0]));
        match out.dtype {
            DType::F32 => solve_kernel::<f32>("inv", a.as_slice(), None, n, out),
            _ => solve_kernel::<f64>("inv", a.as_slice(), None, n, out),
        }
    }

    fn cost(&self, srcs: &[&[usize]], _: &[usize]) -> usize {
        effort(srcs)
    }

    fn shader(&self, srcs: &[Spec<'_>], out: Spec<'_>) -> Result<Shader, String> {
        eliminated(Wanted::Inverse, srcs, out)
    }

    fn raised(&self, words: [u32; 2]) -> Error {
        raised(self.name(), words)
    }
}

impl Structured for Determinant {
    fn name(&self) -> &'static str {
        "det"
    }

    /// dA = g · adj Aᵀ.
    fn gradient(&self, _: usize, srcs: &[Tensor], _: &Tensor, g: &Tensor) -> Option<Tensor> {
        let adjugate = adjugate_node(&srcs[0], self.call_site.gradient_of("det"));
        Some(g.expand_dims(&[-2, -1]).expect("two axes of the matrix") * transposed(&adjugate))
    }

    fn cpu(&self, srcs: &[Operand<'_>], out: OperandMut<'_>) -> Result<()> {
        fn run<T: Real + Element>(a: &[T], n: usize, mut result: OperandMut<'_>) -> Result<()> {
            let poll = result.poll;
            let out = result.as_mut_slice::<T>();
            if n == 0 || out.is_empty() {
                out.fill(T::of(1.0));
                return Ok(());
            }
            let finish = |_, factors: Factors<T>, out: &mut [T]| {
                out[0] = factors.determinant(n);
                Ok(None)
            };
            each(a, n, out, false, poll, finish).map(drop)
        }
        let (a, n) = (srcs[0], order(&srcs[0]));
        match out.dtype {
            DType::F32 => run::<f32>(a.as_slice(), n, out),
            _ => run::<f64>(a.as_slice(), n, out),
        }
    }

    fn cost(&self, srcs: &[&[usize]], _: &[usize]) -> usize {
        effort(srcs)
    }

    fn shader(&self, srcs: &[Spec<'_>], out: Spec<'_>) -> Result<Shader, String> {
        eliminated(Wanted::Determinant, srcs, out)
    }
}

impl Structured for Adjugate {
    fn name(&self) -> &'static str {
        "adjugate"
    }

    fn call_site(&self) -> Option<&CallSite> {
        Some(&self.call_site)
    }

    /// adj A = det A · X with X = A⁻¹: dA = ⟨g, X⟩ · adj Aᵀ − adj Aᵀ·g·Xᵀ.
    fn gradient(&self, _: usize, srcs: &[Tensor], out: &Tensor, g: &Tensor) -> Option<Tensor> {
        let (x, ct) = (inverse_node(&srcs[0], self.call_site.clone()), transposed(out));
        let along = (g * &x).sum(Some(&[-2, -1]), true).expect("two axes of the matrix");
        Some(along * &ct - product(&product(&ct, g), &transposed(&x)))
    }

    fn cpu(&self, srcs: &[Operand<'_>], out: OperandMut<'_>) -> Result<()> {
        fn run<T: Real + Element>(a: &[T], n: usize, mut result: OperandMut<'_>) -> Result<()> {
            let poll = result.poll;
            let out = result.as_mut_slice::<T>();
            if out.is_empty() {
                return Ok(());
            }
            each(a, n, out, true, poll, |_, factors, x| factors.adjugate(x, n, poll).map(|()| None)).map(drop)
        }
        let (a, n) = (srcs[0], order(&srcs[0]));
        match out.dtype {
            DType::F32 => run::<f32>(a.as_slice(), n, out),
            _ => run::<f64>(a.as_slice(), n, out),
        }
    }

    fn cost(&self, srcs: &[&[usize]], _: &[usize]) -> usize {
        2 * effort(srcs)
    }

    fn shader(&self, srcs: &[Spec<'_>], out: Spec<'_>) -> Result<Shader, String> {
        eliminated(Wanted::Adjugate, srcs, out)
    }
}

fn solve_node(op: &'static str, call_site: CallSite, a: &Tensor, b: &Tensor) -> Tensor {
    Tensor::within(
        Op::Structured(Arc::new(Solve { op, call_site })),
        smallvec![a.clone(), b.clone()],
        b.shape().into(),
        b.dtype(),
    )
}

fn inverse_node(a: &Tensor, call_site: CallSite) -> Tensor {
    Tensor::within(Op::Structured(Arc::new(Inverse { call_site })), smallvec![a.clone()], a.shape().into(), a.dtype())
}

fn adjugate_node(a: &Tensor, call_site: CallSite) -> Tensor {
    Tensor::within(Op::Structured(Arc::new(Adjugate { call_site })), smallvec![a.clone()], a.shape().into(), a.dtype())
}

/// A square matrix, or a stack of them, in a float type.
fn square(op: &str, a: &Tensor) -> Result<Tensor> {
    match a.shape() {
        [.., n, m] if n == m => Ok(a.cast(a.dtype().to_float())),
        _ => bail!(Shape, "{op}: a square matrix is needed, or a stack of them, got shape {}", show(a.shape())),
    }
}

fn solve_as(op: &'static str, a: &Tensor, b: &Tensor) -> Result<Tensor> {
    check_devices(op, &[a, b])?;
    let dtype = a.dtype().promote(b.dtype()).to_float();
    let (a, b) = (square(op, a)?.cast(dtype), b.cast(dtype));
    let n = a.shape()[a.ndim() - 1];
    let vector = b.ndim() == 1;
    let columns = if vector { b.reshape_to(&[b.size(), 1]) } else { b.clone() };
    let [.., rows, k] = *columns.shape() else { bail!(Shape, "{op}: the other side needs an axis, got a number") };
    if rows != n {
        bail!(Shape, "{op}: a matrix of shape {} does not fit {} equations: shape {}", show(a.shape()), rows, show(b.shape()));
    }
    let lead = shape::broadcast(op, &a.shape()[..a.ndim() - 2], &columns.shape()[..columns.ndim() - 2])?;
    let full = |r: usize, c: usize| -> Shape { lead.iter().copied().chain([r, c]).collect() };
    let wide = |x: &Tensor, k: usize| x.broadcast_to(&full(n, k)).map_err(|e| e.renamed("broadcast_to", op));
    let x = solve_node(op, CallSite::here(), &wide(&a, n)?, &wide(&columns, k)?);
    let flat: Shape = lead.iter().copied().chain([n]).collect();
    Ok(if vector { x.reshape_to(&flat) } else { x })
}

/// X with A·X = B: `A \ B`. B may be a vector, and both may be stacks. A singular A fails the evaluation.
pub fn solve(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    if a.ndim() == 0 {
        return Elementwise::divide.apply(&[b, a]);
    }
    solve_as("solve", a, b)
}

/// X with X·B = A: `A / B`. A may be a vector, and both may be stacks.
pub fn rdivide(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    if b.ndim() == 0 {
        return Elementwise::divide.apply(&[a, b]);
    }
    square("rdivide", b)?;
    if a.ndim() < 2 {
        return solve_as("rdivide", &transposed(b), a);
    }
    Ok(transposed(&solve_as("rdivide", &transposed(b), &transposed(a))?))
}

/// The inverse of a square matrix, or of each of a stack. A singular one fails the evaluation.
pub fn inverse(a: &Tensor) -> Result<Tensor> {
    Ok(inverse_node(&square("inv", a)?, CallSite::here()))
}

/// The adjugate of a square matrix, det A · A⁻¹, or of each of a stack; of a singular one too.
pub fn adjugate(a: &Tensor) -> Result<Tensor> {
    Ok(adjugate_node(&square("adjugate", a)?, CallSite::here()))
}

/// The determinant of a square matrix, or of each of a stack. Its second gradient needs the inverse.
pub fn det(a: &Tensor) -> Result<Tensor> {
    let a = square("det", a)?;
    let lead = Shape::from(&a.shape()[..a.ndim() - 2]);
    let dtype = a.dtype();
    Ok(Tensor::within(Op::Structured(Arc::new(Determinant { call_site: CallSite::here() })), smallvec![a], lead, dtype))
}
