//! Machine code beside the loops of the interpreter, bit for bit.

use super::emit::emit;
use super::encode::Assembler;
use super::memory::Machine;
use crate::dtype::DType;
use crate::ops::Elementwise;
use crate::ops::elementwise::Class;
use crate::simd::isa::{Level, levels};
use crate::simd::trace::{Id, Step};
use std::ptr::null;

/// Random numbers that are the same at each run.
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) as usize % n
    }

    fn number(&mut self) -> f64 {
        const EDGES: [f64; 14] =
            [0.0, -0.0, 1.0, -1.0, f64::INFINITY, f64::NEG_INFINITY, f64::NAN, 1e-40, -1e-310, 3e38, -1e300, 0.5, 88.0, -104.5];
        match self.below(4) {
            0 => EDGES[self.below(EDGES.len())],
            1 => (self.below(2001) as f64 - 1000.0) * 0.1,
            _ => (self.below(1 << 24) as f64 / f64::from(1 << 23) - 1.0) * 4.0,
        }
    }
}

fn compiled_levels() -> Vec<Level> {
    levels().into_iter().filter(|l| matches!(l, Level::Avx2 | Level::Avx512)).collect()
}

/// The elements of one type as bytes, with room behind them that must stay as it is.
#[derive(Clone)]
struct Column {
    bytes: Vec<u64>,
    dtype: DType,
}

impl Column {
    fn new(dtype: DType, n: usize, mut of: impl FnMut() -> f64) -> Column {
        let mut column = Column { bytes: vec![!0; n + 16], dtype };
        for i in 0..n {
            let x = of();
            // SAFETY: there are eight bytes for each of the elements.
            unsafe {
                match dtype {
                    DType::F32 => column.at().cast::<f32>().add(i).write(x as f32),
                    DType::F64 => column.at().cast::<f64>().add(i).write(x),
                    _ => column.at().add(i).write((x > 0.0) as u8),
                }
            }
        }
        column
    }

    fn at(&mut self) -> *mut u8 {
        self.bytes.as_mut_ptr().cast()
    }

    /// The bits of each element, NaN as one value, and then of what lies behind.
    fn bits(&self, n: usize) -> Vec<u64> {
        let at: *const u8 = self.bytes.as_ptr().cast();
        let size = self.dtype.bytes();
        (0..n + 16)
            .map(|i| {
                // SAFETY: there are eight bytes for each of the elements and of those behind.
                unsafe {
                    match self.dtype {
                        DType::F32 => {
                            let x = at.cast::<f32>().add(i).read();
                            u64::from(if x.is_nan() && i < n { f32::NAN.to_bits() } else { x.to_bits() })
                        }
                        DType::F64 => {
                            let x = at.cast::<f64>().add(i).read();
                            if x.is_nan() && i < n { f64::NAN.to_bits() } else { x.to_bits() }
                        }
                        _ => u64::from(at.add(i * size).read()),
                    }
                }
            })
            .collect()
    }
}

fn result(e: Elementwise, dtype: DType) -> DType {
    e.record().class.types(dtype).1
}

/// What the interpreter's loop gives.
fn interpreted(e: Elementwise, dtype: DType, operands: &mut [Column], ids: &[usize], n: usize) -> Column {
    let mut out = Column::new(result(e, dtype), n, || 0.0);
    let mut src = [null(); 3];
    src.iter_mut().zip(ids).for_each(|(s, &k)| *s = operands[k].at().cast_const());
    // SAFETY: all operands have as many elements as the result.
    unsafe { e.kernel(dtype).expect("it was traced")(out.at(), src, n) };
    out
}

/// Runs a program; the columns are its operands.
fn run(steps: &[Step], dtype: DType, level: Level, columns: &mut [Column], n: usize) -> bool {
    let mut asm = Assembler::new(level);
    if !emit(steps, dtype == DType::F64, &mut asm) {
        return false;
    }
    let machine = Machine::new(&asm.bytes).expect("tests may execute code");
    let list: Vec<*mut u8> = columns.iter_mut().map(Column::at).collect();
    // SAFETY: the function begins the code, and each operand has n elements.
    unsafe { machine.run(0, &list, n) };
    true
}

/// The ops whose records can be compiled.
fn compiled(dtype: DType) -> Vec<Elementwise> {
    let mut steps = vec![Step::Load(0), Step::Load(1), Step::Load(2)];
    let logic = |e: &Elementwise| e.record().class == Class::Logic;
    Elementwise::ALL.iter().copied().filter(|e| !logic(e) && e.trace(dtype, [0, 1, 2], &mut steps).is_some()).collect()
}

#[test]
fn records_that_are_compiled() {
    let names: Vec<&str> = compiled(DType::F32).iter().map(|e| e.record().name).collect();
    for name in
        "add subtract multiply divide maximum minimum negative abs square sqrt exp tanh sigmoid relu less where".split(' ')
    {
        assert!(names.contains(&name), "{name} is not among {names:?}");
    }
    assert_eq!(compiled(DType::F64).len(), names.len());
}

#[test]
fn each_op_gives_the_bits_of_its_loop() {
    let mut random = Random(1);
    for dtype in [DType::F32, DType::F64] {
        for e in compiled(dtype) {
            let arity = e.record().arity;
            for n in [1, 3, 16, 21, 70, 600] {
                let mut columns: Vec<Column> =
                    (0..arity).map(|k| Column::new(e.record().class.operand(k, dtype), n, || random.number())).collect();
                let ids: Vec<usize> = (0..arity).collect();
                let expected = interpreted(e, dtype, &mut columns, &ids, n).bits(n);
                let load = |k: usize| if columns[k].dtype == DType::Bool { Step::Truths(k as u16) } else { Step::Load(k as u16) };
                let mut steps: Vec<Step> = (0..arity).map(load).collect();
                let id = e.trace(dtype, [0, 1, 2], &mut steps).expect("it was traced");
                let truths = result(e, dtype) == DType::Bool;
                steps.push(if truths { Step::StoreTruths(arity as u16, id) } else { Step::Store(arity as u16, id) });
                columns.push(Column::new(result(e, dtype), n, || 0.0));
                for level in compiled_levels() {
                    let mut columns = columns.clone();
                    let done = run(&steps, dtype, level, &mut columns, n);
                    let bools = columns.iter().any(|c| c.dtype == DType::Bool);
                    assert!(done || bools && level == Level::Avx2, "{e:?} {dtype:?} {level:?}");
                    if done {
                        assert_eq!(columns[arity].bits(n), expected, "{e:?} {dtype:?} {level:?} {n}");
                    }
                }
            }
        }
    }
}

/// Programs of many ops, with single elements, operands in place and more values than there are registers.
#[test]
fn random_programs_give_the_bits_of_their_loops() {
    let mut done = [0; 2];
    for seed in 0..600 {
        let mut random = Random(seed * 7919 + 5);
        let dtype = [DType::F32, DType::F64][random.below(2)];
        let n = [1, 5, 16, 33, 64, 100, 257][random.below(7)];
        let ops: Vec<Elementwise> = compiled(dtype).into_iter().filter(|e| e.record().class != Class::Test).collect();
        let inputs = 1 + random.below(8);
        let (mut steps, mut columns, mut values, mut ids) = (vec![], vec![], vec![], vec![]);
        for k in 0..inputs {
            let x = random.number();
            let single = random.below(3) == 0;
            columns.push(Column::new(dtype, n, || if single { x } else { random.number() }));
            values.push(columns[k].clone());
            steps.push(if single { Step::Single(k as u16) } else { Step::Load(k as u16) });
            ids.push(k as Id);
        }
        let mut stores = vec![];
        for _ in 0..1 + random.below(40) {
            let e = ops[random.below(ops.len())];
            let class = e.record().class;
            let of_type = |values: &[Column], wanted: DType| -> Vec<usize> {
                (0..values.len()).filter(|&k| values[k].dtype == wanted).collect()
            };
            let operands: Option<Vec<usize>> = (0..e.record().arity)
                .map(|k| {
                    let list = of_type(&values, class.operand(k, dtype));
                    (!list.is_empty()).then(|| list[random.below(list.len())])
                })
                .collect();
            let Some(operands) = operands else { continue };
            let mut traced = [0; 3];
            traced.iter_mut().zip(&operands).for_each(|(t, &k)| *t = ids[k]);
            let id = e.trace(dtype, traced, &mut steps).expect("it was traced");
            let out = interpreted(e, dtype, &mut values, &operands, n);
            ids.push(id);
            values.push(out);
            if values.last().unwrap().dtype == dtype && random.below(4) == 0 {
                stores.push(values.len() - 1);
            }
        }
        // One result goes over the first operand, if that has all its elements.
        let in_place = matches!(steps[0], Step::Load(_)) && random.below(2) == 0;
        let mut expected = vec![];
        for (s, &value) in stores.iter().enumerate() {
            let operand = if s == 0 && in_place { 0 } else { columns.len() };
            if operand > 0 {
                columns.push(Column::new(dtype, n, || 0.0));
            }
            steps.push(Step::Store(operand as u16, ids[value]));
            expected.push((operand, values[value].bits(n)));
        }
        for (k, level) in compiled_levels().into_iter().enumerate() {
            let mut columns = columns.clone();
            if run(&steps, dtype, level, &mut columns, n) {
                done[k] += 1;
                for (operand, bits) in &expected {
                    assert_eq!(&columns[*operand].bits(n), bits, "seed {seed}, {level:?}, {steps:?}");
                }
            }
        }
    }
    assert!(compiled_levels().is_empty() || done[0] > 200, "{done:?} were compiled");
}
