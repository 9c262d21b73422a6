//! The adjoint of taking by number: sums of what goes to the same row.

use super::index::{Indexed, gather_rows, numbers};
use super::poll::{PIECE, rows};
use super::shader::{Binding, Pass, Shader, Spec, template};
use super::sort::{order, ordered};
use super::structured::room;
use super::{Op, Operand, OperandMut, Structured};
use crate::bail;
use crate::call_site::CallSite;
use crate::dtype::{DType, Element};
use crate::error::{Error, Result};
use crate::graph::Tensor;
use crate::pool;
use crate::shape;
use smallvec::smallvec;
use std::ops::AddAssign;
use std::sync::Arc;

/// `srcs[0]` rows (indices…, …), `srcs[1]` indices ↦ (n, …): the sums of the rows of each index, zeros where there are none.
pub struct ScatterAdd {
    rows: usize,
    of: Indexed,
}

impl Structured for ScatterAdd {
    fn name(&self) -> &'static str {
        "scatter_add"
    }

    fn key(&self) -> u64 {
        self.of.key() ^ self.rows as u64
    }

    fn call_site(&self) -> Option<&CallSite> {
        Some(&self.of.call_site)
    }

    fn gradient(&self, i: usize, srcs: &[Tensor], _: &Tensor, g: &Tensor) -> Option<Tensor> {
        (i == 0).then(|| gather_rows(g, &srcs[1], self.of.gradient_of(self.name())).expect("the shape of the rows"))
    }

    fn cpu(&self, srcs: &[Operand<'_>], out: OperandMut<'_>) -> Result<()> {
        fn scatter<T: Element + AddAssign>(op: &ScatterAdd, x: &[T], index: &[i64], mut out: OperandMut<'_>) -> Result<()> {
            let (poll, width) = (out.poll, x.len() / index.len().max(1));
            if width == 0 && !index.is_empty() {
                return poll.pieces(index.len(), 1, |piece| {
                    index[piece].iter().try_for_each(|&i| op.of.row("scatter_add", i, op.rows).map(drop))
                });
            }
            // The rows of `part`, from number `first` on: the sums are in the order of the indices, whoever makes them.
            let sums = |first: usize, part: &mut [T]| {
                poll.clear(part)?;
                let many = part.len() / width.max(1);
                poll.pieces(x.len(), width, |piece| {
                    for (row, columns) in rows(piece, width) {
                        let Some(to) = op.of.row("scatter_add", index[row], op.rows)?.checked_sub(first).filter(|&to| to < many)
                        else {
                            continue;
                        };
                        let (from, to) = (row * width + columns.start, to * width + columns.start);
                        let from = &x[from..from + columns.len()];
                        part[to..to + columns.len()].iter_mut().zip(from).for_each(|(o, &f)| *o += f);
                    }
                    Ok(())
                })
            };
            // Each thread goes through all indices for its share of the rows, which pays where rows are long.
            let share = if width < 16 { op.rows } else { op.rows.div_ceil(pool::threads()) };
            if x.len() < PIECE || share == 0 {
                return sums(0, out.as_mut_slice());
            }
            pool::each_chunk(out.as_mut_slice(), (share * width).max(1), |t, part| sums(t * share, part))
        }
        let (x, index) = (srcs[0], srcs[1].as_slice());
        match out.dtype {
            DType::F32 => scatter::<f32>(self, x.as_slice(), index, out),
            DType::F64 => scatter::<f64>(self, x.as_slice(), index, out),
            DType::I32 => scatter::<i32>(self, x.as_slice(), index, out),
            DType::I64 => scatter::<i64>(self, x.as_slice(), index, out),
            DType::Bool => bail!(Type, "scatter_add: bool rows cannot be added"),
        }
    }

    fn is_sparse(&self) -> bool {
        true
    }

    fn cpu_rows(&self, srcs: &[Operand<'_>], keys: OperandMut<'_>, rows: OperandMut<'_>) -> Result<()> {
        fn sums<T: Element + AddAssign>(x: &[T], keys: &[i64], mut out: OperandMut<'_>) -> Result<()> {
            let (n, poll) = (keys.len(), out.poll);
            let width = x.len() / n.max(1);
            let out = out.as_mut_slice::<T>();
            let mut first = 0;
            poll.pieces(x.len(), width, |piece| {
                for (i, columns) in self::rows(piece, width) {
                    let (row, place) = (keys[i] / n as i64, keys[i] as usize % n);
                    if i == 0 || keys[i - 1] / n as i64 != row {
                        first = i;
                        out[i * width + columns.start..i * width + columns.end].fill(T::default());
                    }
                    let from = &x[place * width + columns.start..place * width + columns.end];
                    let to = &mut out[first * width + columns.start..first * width + columns.end];
                    to.iter_mut().zip(from).for_each(|(o, &f)| *o += f);
                }
                Ok(())
            })
        }
        let (x, index) = (srcs[0], srcs[1].as_slice::<i64>());
        let (mut keys, poll) = (keys, rows.poll);
        let n = index.len() as i64;
        let mut sorted = room(index.len())?;
        poll.pieces(index.len(), 1, |mut piece| {
            piece.try_for_each(|place| {
                sorted.push(self.of.row("scatter_add", index[place], self.rows)? as i64 * n + place as i64);
                Ok(())
            })
        })?;
        order(&mut sorted, poll)?;
        let keys = keys.as_mut_slice::<i64>();
        poll.copy(keys, &sorted)?;
        match rows.dtype {
            DType::F32 => sums::<f32>(x.as_slice(), keys, rows),
            DType::F64 => sums::<f64>(x.as_slice(), keys, rows),
            DType::I32 => sums::<i32>(x.as_slice(), keys, rows),
            DType::I64 => sums::<i64>(x.as_slice(), keys, rows),
            DType::Bool => bail!(Type, "scatter_add: bool rows cannot be added"),
        }
    }

    fn looks_at_operands(&self) -> bool {
        true
    }

    fn shader(&self, srcs: &[Spec<'_>], out: Spec<'_>) -> Result<Shader, String> {
        floats(out.dtype)?;
        let sizes = Scatter { lines: 1, taken: srcs[1].size(), rows: self.rows, width: shape::size(&out.shape[1..]) };
        Ok(sizes.shader().raising())
    }

    fn raised(&self, words: [u32; 2]) -> Error {
        self.of.raised(self.name(), words)
    }
}

/// Sums of what goes by number to the same row, in an order that depends on nothing but the numbers: of each line `taken` numbers
/// of rows of this width.
pub(super) struct Scatter {
    pub lines: usize,
    pub taken: usize,
    pub rows: usize,
    pub width: usize,
}

/// Numbers up to which each element of a result looks at all of them, and the work up to which it does at more.
const FEW: usize = 16;
const WORK: usize = 1 << 20;
/// Numbers that one thread adds.
const RUN: usize = 64;

impl Scatter {
    pub fn shader(&self) -> Shader {
        let Scatter { lines, taken, rows, width } = *self;
        let elements = lines * rows * width;
        if elements == 0 {
            return numbers(lines * taken, rows).into();
        }
        let sized = |pass: Pass| pass.sizes([("taken", taken), ("rows", rows), ("width", width)]).operand("x", 0);
        if taken <= FEW || elements.saturating_mul(taken) <= WORK {
            let pass = sized(Pass::threads(template!("scatter_small"), elements, 256));
            return pass.operand("index", 1).result("out").into();
        }
        let key = "fn key(word: u32) -> u32 {\n    let at = fx_row(bitcast<i32>(word), args.rows);\n    \
                   return select(u32(at), 0xffffffffu, at < 0);\n}\n\n";
        let (passes, padded) = ordered(key, 1, lines, taken);
        let pieces = taken.div_ceil(RUN);
        let sums = |template: &'static str| {
            let pass = sized(Pass::threads(template, lines * pieces * width, 256)).operand("index", 1).result("out");
            let pass = pass.code(key).sizes([("padded", padded), ("pieces", pieces)]).bind("order", Binding::Room(0, "u32"));
            pass.bind("parts", Binding::Room(1, "f32"))
        };
        let zeros = Pass::threads(template!("zeros"), elements, 256).result("out");
        let mut all: Vec<Pass> = passes.into_iter().map(|pass| pass.sizes([("rows", rows)])).collect();
        all.extend([zeros, sums(template!("scatter_pieces")), sums(template!("scatter_runs"))]);
        Shader { passes: all, rooms: vec![lines * padded, lines * pieces * 2 * width], raises: false }
    }
}

/// The adjoints of what takes elements by number are gradients: on a GPU they are float32.
pub(super) fn floats(dtype: DType) -> Result<(), String> {
    if dtype == DType::F32 { Ok(()) } else { Err(format!(" of {dtype}")) }
}

/// The adjoint of `gather_rows` from a tensor of this shape.
pub(super) fn scatter_rows(rows: &Tensor, index: &Tensor, shape: &[usize], of: Indexed) -> Tensor {
    let op = ScatterAdd { rows: shape[0], of };
    Tensor::within(Op::Structured(Arc::new(op)), smallvec![rows.clone(), index.clone()], shape.into(), rows.dtype())
}
