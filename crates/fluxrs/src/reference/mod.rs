//! The meaning of a graph: every node by itself, in memory of its own. No fusion, no reuse, nothing in place, one thread.
//!
//! It shares with the plans only the scalar loops, the tree of reductions and the tiles of products, so that results must agree bit
//! for bit. The fuzzer evaluates every graph when it is made and compares what plans make of it later.

mod array;

pub use array::{Array, Value};

use crate::bail;
use crate::cpu::lower::cast_loop;
use crate::cpu::{fold, gemm};
use crate::dtype::{DType, Number};
use crate::error::Result;
use crate::graph::{self, Tensor};
use crate::ops::scan::{Counter, Part};
use crate::ops::{Conv, Elementwise, Op, Operand, OperandMut, Poll, Reduce, Scan, Structured, ViewKind};
use crate::plan::Mode;
use crate::shape::{self, Map, Shape, Strides};
use crate::simd::math::Num;
use crate::stop::NEVER;
use crate::tape::deferred::{Written, write_out};
use array::{full, positions};
use rustc_hash::FxHashMap;
use smallvec::smallvec;
use std::sync::Arc;

fn broadcast(x: &Array, to: &[usize]) -> Array {
    x.view(&Map::contiguous(&x.shape).broadcast(&x.shape, to), to)
}

/// Every node's value by its number: a graph is evaluated once, when it is made, and remembered as it was then.
#[derive(Default)]
pub struct Reference {
    values: FxHashMap<u64, Result<Value>>,
    /// Deferred gradients, written out here alone: a plan does that in its own time.
    written: FxHashMap<u64, Tensor>,
}

impl Reference {
    /// The value of `t`, of everything it needs, and of the history that a gradient would need.
    pub fn value(&mut self, t: &Tensor) -> Result<Value> {
        let mut stack = vec![(t.clone(), false)];
        while let Some((node, seen)) = stack.pop() {
            if self.values.contains_key(&node.id()) {
                continue;
            }
            let (mut srcs, value) = {
                let g = graph::lock();
                (node.0.srcs.get(&g).clone(), node.0.value.get(&g).clone())
            };
            if matches!(node.op(), Op::Gradient(_)) && !srcs.is_empty() {
                let written = self.written.entry(node.id()).or_insert_with(|| {
                    let mut written = Written::default();
                    write_out(std::slice::from_ref(&node), &mut written).expect("rules of our own do not fail");
                    written.of(&node.0).expect("written above").clone()
                });
                srcs = smallvec![written.clone()];
            }
            if !seen && srcs.iter().any(|s| !self.values.contains_key(&s.id())) {
                stack.push((node, true));
                stack.extend(srcs.into_iter().map(|s| (s, false)));
                continue;
            }
            let value = match (node.op(), value.buffer()) {
                (Op::Data, None) => Err(crate::error::Error::Value("overwritten".into())),
                // A node that was evaluated before the reference saw it has forgotten its operands.
                (op, Some(b)) if matches!(op, Op::Data) || srcs.is_empty() => {
                    let host = b.as_host().expect("the reference runs on the CPU");
                    // SAFETY: the buffer holds the node's elements in row-major order.
                    let a = unsafe { Array::copied(host.as_ptr(), &Map::contiguous(node.shape()), node.shape(), node.dtype()) };
                    Ok(Value::Array(a))
                }
                // The operand that a gradient is defined towards has no part in the value.
                (Op::Custom(_) | Op::Gradient(_), _) => self.values[&srcs[0].id()].clone(),
                (op, _) => {
                    let srcs: Result<Vec<Value>> = srcs.iter().map(|s| self.values[&s.id()].clone()).collect();
                    srcs.and_then(|srcs| apply(op, &srcs, node.shape(), node.dtype()))
                }
            };
            self.values.insert(node.id(), value);
        }
        self.values[&t.id()].clone()
    }
}

/// One op on values.
pub fn apply(op: &Op, srcs: &[Value], shape: &[usize], dtype: DType) -> Result<Value> {
    let first = || srcs[0].array(dtype);
    Ok(Value::Array(match op {
        Op::Data => unreachable!("data has a value"),
        Op::Number(n) => return Ok(Value::Number(*n)),
        Op::Fill => match srcs[0] {
            Value::Number(n) => full(shape, dtype, n),
            _ => unreachable!("fills are made of numbers"),
        },
        Op::Map(e) => elementwise(*e, srcs, shape, dtype),
        Op::Cast => cast(&first(), dtype),
        Op::View(v) => {
            let x = first();
            let layout = Map::contiguous(&x.shape);
            match &v.kind {
                ViewKind::Reshape => x.view(&Map::contiguous(shape), shape),
                ViewKind::Permute(perm) => x.view(&layout.permute(perm), shape),
                ViewKind::Broadcast => broadcast(&x, shape),
                ViewKind::Window(window) => x.view(window, shape),
            }
        }
        Op::Place(p) => {
            let size = dtype.bytes();
            let ground = full(shape, dtype, p.fill.unwrap_or(Number::Int(0)));
            Array::make(shape, dtype, |to| {
                // SAFETY: places lie within the output.
                unsafe {
                    std::ptr::copy_nonoverlapping(ground.ptr(), to, ground.bytes().len());
                    for (src, map) in srcs.iter().zip(&p.maps) {
                        let x = src.array(dtype);
                        for (i, at) in positions(map, &x.shape).into_iter().enumerate() {
                            std::ptr::copy_nonoverlapping(x.ptr().add(i * size), to.offset(at as isize * size as isize), size);
                        }
                    }
                }
            })
        }
        Op::Reduce(r) => reduce(*r, &first(), shape),
        Op::Matmul => matmul(&first(), &srcs[1].array(dtype), shape, dtype),
        Op::Conv(c) => conv(c, &first(), &srcs[1].array(dtype), shape, dtype),
        Op::Structured(s) => structured(&**s, srcs, shape, dtype)?,
        Op::Scan(s) => return scan(s, srcs).map(|parts| Value::Parts(Arc::new(parts))),
        Op::Part(k) => match &srcs[0] {
            Value::Parts(parts) => parts[*k as usize].clone(),
            _ => unreachable!("a part is made of a scan"),
        },
        Op::Custom(_) | Op::Gradient(_) => unreachable!("its value is its operand's"),
        Op::Argument | Op::Parts(_) => unreachable!("it has no value"),
    }))
}

fn cast(x: &Array, dtype: DType) -> Array {
    let null = std::ptr::null();
    // SAFETY: one element of the result for each of `x`.
    Array::make(&x.shape, dtype, |to| unsafe { cast_loop(x.dtype, dtype)(to, [x.ptr(), null, null], x.len()) })
}

/// Numbers take the type of what they meet.
fn elementwise(e: Elementwise, srcs: &[Value], shape: &[usize], dtype: DType) -> Array {
    let class = e.record().class;
    let strong = class.values(srcs).iter().find_map(|s| match s {
        Value::Array(a) => Some(a.dtype),
        _ => None,
    });
    let operand = strong.expect("one operand is an array");
    let wide: Vec<Array> = srcs.iter().enumerate().map(|(i, s)| broadcast(&s.array(class.operand(i, operand)), shape)).collect();
    let mut ptrs = [std::ptr::null(); 3];
    ptrs.iter_mut().zip(&wide).for_each(|(p, x)| *p = x.ptr());
    let kernel = e.kernel(operand).expect("the op was called with a type of its class");
    // SAFETY: every operand has the result's shape.
    Array::make(shape, dtype, |to| unsafe { kernel(to, ptrs, shape::size(shape)) })
}

/// A row by itself is folded in pieces; where the kept axes come last, rows of them are added up in groups.
fn reduce(r: Reduce, x: &Array, shape: &[usize]) -> Array {
    let fold = fold::of(r.kind, x.dtype).expect("the reduction was called with a type it has");
    let (gone, kept): (Vec<usize>, Vec<usize>) = (0..x.shape.len()).partition(|&a| r.reduces(a));
    let count = |axes: &[usize]| axes.iter().map(|&a| x.shape[a]).product::<usize>();
    let (rows, cols, size) = (count(&kept), count(&gone), x.dtype.bytes());
    let sorted = |first: &[usize], then: &[usize]| {
        let order: Vec<usize> = first.iter().chain(then).copied().collect();
        let shape: Shape = order.iter().map(|&a| x.shape[a]).collect();
        x.view(&Map::contiguous(&x.shape).permute(&order), &shape)
    };
    // SAFETY: rows lie one after the other; partial results have room for whole rows.
    Array::make(shape, x.dtype, |to| unsafe {
        if crate::schedule::reduction_mode(&x.shape, r.axes) == Mode::Rows {
            let x = sorted(&kept, &gone);
            (0..rows).for_each(|i| (fold.rows)(x.ptr().add(i * cols * size), 1, cols, to.add(i * size)));
            return;
        }
        let x = sorted(&gone, &kept);
        let groups = cols.div_ceil(fold::ROWS).max(1);
        let mut partials = vec![0u64; groups * rows + 1];
        let at = partials.as_mut_ptr().cast::<u8>();
        for group in 0..groups {
            let acc = at.add(group * rows * size);
            (fold.clear)(acc, rows);
            for i in group * fold::ROWS..((group + 1) * fold::ROWS).min(cols) {
                (fold.combine)(acc, x.ptr().add(i * rows * size), rows);
            }
        }
        fold.combine_all(at, groups, rows, rows);
        std::ptr::copy_nonoverlapping(at, to, rows * size);
    })
}

fn matmul(a: &Array, b: &Array, shape: &[usize], dtype: DType) -> Array {
    fn product<T: gemm::Element>(a: &Array, b: &Array, shape: &[usize], to: *mut u8) {
        let (m, k, n) = crate::ops::matmul::sizes(&a.shape, &b.shape);
        let lead = a.shape.len().saturating_sub(2);
        let p = gemm::Product { m, k, n, a_strides: (k as isize, 1), b_strides: (n as isize, 1), ldc: n };
        let grid = p.grid::<T>();
        for item in 0..shape::size(&shape[..lead]) {
            for tile in 0..grid.len() {
                // SAFETY: operands and result have the product's sizes.
                unsafe {
                    let (a, b) = (a.ptr().cast::<T>().add(item * m * k), b.ptr().cast::<T>().add(item * k * n));
                    gemm::run(&p, a, b, to.cast::<T>().add(item * m * n), &grid.tile(tile), &NEVER);
                }
            }
        }
    }
    Array::make(shape, dtype, |to| match dtype {
        DType::F32 => product::<f32>(a, b, shape, to),
        DType::F64 => product::<f64>(a, b, shape, to),
        DType::I32 => product::<i32>(a, b, shape, to),
        DType::I64 => product::<i64>(a, b, shape, to),
        DType::Bool => unreachable!("products of bools are made in int64"),
    })
}

fn conv(op: &Conv, x: &Array, w: &Array, shape: &[usize], dtype: DType) -> Array {
    Array::make(shape, dtype, |to| match dtype {
        DType::F32 => correlate::<f32>(op, x, w, shape, to, f32::mul_add),
        DType::F64 => correlate::<f64>(op, x, w, shape, to, f64::mul_add),
        DType::I32 => correlate::<i32>(op, x, w, shape, to, |x, y, z| x.mul(y).add(z)),
        DType::I64 => correlate::<i64>(op, x, w, shape, to, |x, y, z| x.mul(y).add(z)),
        DType::Bool => unreachable!("convolutions of bools are made in int64"),
    })
}

/// Each element by itself: Σ w · x over the channels and the kernel's elements in order, in the pieces that products by windows have.
fn correlate<T: gemm::Element + Num>(op: &Conv, x: &Array, w: &Array, shape: &[usize], to: *mut u8, fma: fn(T, T, T) -> T) {
    let lead = op.lead;
    let (terms, places) = (&w.shape[lead + 1..], lead + 2);
    let order = gemm::order::<T>(shape::size(terms));
    let (x_layout, w_layout) = (shape::contiguous(&x.shape), shape::contiguous(&w.shape));
    let at = |index: &[usize], layout: &[i64]| index.iter().zip(layout).map(|(&i, &s)| i * s as usize).sum::<usize>();
    let digits = |i: usize, shape: &[usize]| -> Shape {
        shape::contiguous(shape).iter().zip(shape).map(|(&s, &n)| i / s as usize % n).collect()
    };
    let taps: Vec<Shape> = (0..shape::size(terms)).map(|j| digits(j, terms)).collect();
    // SAFETY: indices are within the shapes of the arrays, which have the type of the result.
    let get = |a: &Array, i: usize| unsafe { *a.ptr().cast::<T>().add(i) };
    let multiply_add = |x: T, y: T, z: T| if order.fused { fma(x, y, z) } else { x.mul(y).add(z) };
    for i in 0..shape::size(shape) {
        let o = digits(i, shape);
        let (n, groups, k) = match op.swapped {
            false => (o[0], &o[1..=lead], o[lead + 1]),
            true => (o[lead + 1], &o[..lead], o[lead]),
        };
        let image = at(&[n], &x_layout) + at(groups, &x_layout[1..]);
        let kernel = at(groups, &w_layout) + at(&[k], &w_layout[lead..]);
        let value = |tap: &Shape| {
            let mut from = image + at(&tap[..1], &x_layout[lead + 1..]);
            for (d, a) in op.along.iter().enumerate() {
                let place = (o[places + d] * a.stride + tap[1 + d] * a.dilation) as i64 - a.before;
                if place < 0 || place >= x.shape[places + d] as i64 {
                    return T::default();
                }
                from += at(&[place as usize], &x_layout[places + d..]);
            }
            get(x, from)
        };
        let piece = |taps: &[Shape]| {
            let term = |sum: T, tap: &Shape| multiply_add(get(w, kernel + at(tap, &w_layout[lead + 1..])), value(tap), sum);
            taps.iter().fold(T::default(), term)
        };
        let sum = taps.chunks(order.depth.max(1)).map(piece).reduce(Num::add);
        // SAFETY: `to` has room for every element of the shape.
        unsafe { to.cast::<T>().add(i).write(sum.unwrap_or_default()) };
    }
}

fn structured(op: &dyn Structured, srcs: &[Value], shape: &[usize], dtype: DType) -> Result<Array> {
    let srcs: Vec<Array> = srcs
        .iter()
        .map(|s| match s {
            Value::Number(n) => full(&[], n.dtype(), *n),
            array => array.array(dtype),
        })
        .collect();
    let strides: Vec<Strides> = srcs.iter().map(|a| shape::contiguous(&a.shape)).collect();
    let operands = srcs.iter().zip(&strides);
    let operands: Vec<Operand<'_>> =
        operands.map(|(a, strides)| Operand { ptr: a.ptr(), shape: &a.shape, strides, dtype: a.dtype }).collect();
    let mut result = Ok(());
    let poll = Poll(&|_| false);
    let out = Array::make(shape, dtype, |ptr| result = op.cpu(&operands, OperandMut { ptr, shape, dtype, poll }));
    result.map(|()| out)
}

/// Every part of a scan: its function, step after step.
fn scan(scan: &Scan, srcs: &[Value]) -> Result<Vec<Array>> {
    let body = &scan.body;
    let (mut states, rows) = (srcs[..body.states].to_vec(), &srcs[body.states..][..body.rows]);
    // What each step leaves, in the order of the steps.
    let mut all: Vec<Vec<Value>> = states.iter().map(|s| vec![s.clone()]).collect();
    all.extend(body.outputs[body.states..].iter().map(|_| vec![]));
    for i in 0..scan.length {
        let t = if scan.reverse { scan.length - 1 - i } else { i };
        let mut values: FxHashMap<u64, Value> = FxHashMap::default();
        for (k, x) in body.inputs.iter().enumerate() {
            let value = match k.checked_sub(body.states) {
                None => states[k].clone(),
                Some(row) if row < rows.len() => {
                    let map = Map { offset: (t * x.size()) as i64, strides: shape::contiguous(x.shape()) };
                    Value::Array(rows[row].array(x.dtype()).view(&map, x.shape()))
                }
                Some(_) => counted(&srcs[k], scan.counters.iter().find(|c| c.input == k), i),
            };
            values.insert(x.id(), value);
        }
        body.outputs.iter().try_for_each(|y| evaluate(y, &mut values))?;
        for (list, y) in all.iter_mut().zip(&body.outputs) {
            list.push(values[&y.id()].clone());
        }
        states.iter_mut().zip(&body.outputs).for_each(|(s, y)| *s = values[&y.id()].clone());
    }
    let stacked = |k: u32| {
        let (shape, dtype) = scan.shape_of(scan.part(k));
        let mut list = match scan.part(k) {
            Part::Last(i) => vec![states[i].clone()],
            Part::All(i) => all[i].clone(),
            Part::Step(j) => all[body.states + j].clone(),
        };
        if scan.reverse {
            list.reverse();
        }
        let rows: Vec<Array> = list.iter().map(|x| x.array(dtype)).collect();
        Array::make(&shape, dtype, |to| {
            for (i, row) in rows.iter().enumerate() {
                // SAFETY: `make` gave room for every row.
                unsafe { std::ptr::copy_nonoverlapping(row.ptr(), to.add(i * row.bytes().len()), row.bytes().len()) };
            }
        })
    };
    Ok((0..scan.parts() as u32).map(stacked).collect())
}

/// A number at step `i`.
fn counted(value: &Value, counter: Option<&Counter>, i: usize) -> Value {
    match (value, counter) {
        (Value::Number(Number::Int(n)), Some(c)) => Value::Number(Number::Int(n + c.first + c.step * i as i64)),
        _ => value.clone(),
    }
}

/// Adds the value of `root`, and of all it needs, to `values`.
fn evaluate(root: &Tensor, values: &mut FxHashMap<u64, Value>) -> Result<()> {
    let mut stack = vec![root.clone()];
    while let Some(node) = stack.last().cloned() {
        let srcs = {
            let g = graph::lock();
            node.0.operands(&g).to_vec()
        };
        let missing: Vec<Tensor> = srcs.iter().filter(|s| !values.contains_key(&s.id())).cloned().collect();
        if !values.contains_key(&node.id()) && !missing.is_empty() {
            stack.extend(missing);
            continue;
        }
        stack.pop();
        if values.contains_key(&node.id()) {
            continue;
        }
        let srcs: Vec<Value> = srcs.iter().map(|s| values[&s.id()].clone()).collect();
        let value = match node.op() {
            Op::Custom(_) => srcs[0].clone(),
            op => apply(op, &srcs, node.shape(), node.dtype())?,
        };
        values.insert(node.id(), value);
    }
    Ok(())
}

/// The elements that a tensor shows now, evaluated by a plan if need be.
pub fn computed(t: &Tensor) -> Result<Array> {
    let (buffer, map) = crate::evaluate::read(t)?;
    let Some(host) = buffer.as_host() else { bail!(Device, "the reference runs on the CPU") };
    // SAFETY: views stay within what they view.
    Ok(unsafe { Array::copied(host.as_ptr(), &map, t.shape(), t.dtype()) })
}

/// The sum of two arrays of one shape and type, as `back` and `update` make it.
pub fn sum(x: &Array, y: &Array) -> Array {
    elementwise(Elementwise::add, &[Value::Array(x.clone()), Value::Array(y.clone())], &x.shape, x.dtype)
}
