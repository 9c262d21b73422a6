//! Orders of rows: places of the largest and smallest elements, and sorting.

use super::args::Args;
use super::builder::{Launch, Target};
use super::structured::Op;
use crate::fault::Result;
use crate::pipeline::Access;
use crate::template::{self, fill};
use fluxrs::dtype::DType;
use fluxrs::shape::size;

/// Rows longer than this are not sorted by counting.
const SORTED: usize = 1 << 12;

/// The function that makes unsigned integers of elements, in the same order.
fn key(dtype: DType) -> &'static str {
    match dtype {
        DType::F32 => template::KEY,
        DType::Bool => "fn key(word: u32) -> u32 {\n    return word;\n}\n",
        _ => "fn key(word: u32) -> u32 {\n    return word ^ 0x80000000u;\n}\n",
    }
}

impl Op<'_, '_> {
    /// A kernel over rows of the one operand: their number, length and start.
    fn by_row(&self, text: &str, items: usize, threads: usize) -> Result<Vec<Launch>> {
        let length = self.call.srcs[0].shape.last().copied().unwrap_or(1);
        let groups = self.grid(items, threads);
        let mut args = Args::default();
        for word in [items, length, self.offset(0), groups[0] as usize] {
            args.size(word);
        }
        Ok(vec![self.launch(text, vec![(self.operand(0)?, Access::Read), self.out()], args, groups)])
    }

    pub(super) fn argextreme(&self) -> Result<Vec<Launch>> {
        let sign = if self.call.op.name() == "argmax" { ">" } else { "<" };
        let dtype = self.call.srcs[0].dtype;
        let (scalar, nan) = match dtype {
            DType::F32 => ("f32", "fx_isnan(bitcast<f32>(word))"),
            DType::Bool => ("u32", "false"),
            _ => ("i32", "false"),
        };
        let better = format!(
            "alias Scalar = {scalar};\n\nfn better(x: Scalar, best: Scalar) -> bool {{\n    return x {sign} best;\n}}\n\n\
             fn is_nan(word: u32) -> bool {{\n    return {nan};\n}}\n"
        );
        self.by_row(&fill(template::ARGEXTREME, &[("better", &better)], false), size(&self.call.shape), 64)
    }

    pub(super) fn argsort(&mut self) -> Result<Vec<Launch>> {
        let source = &self.call.srcs[0];
        if source.shape.last().is_some_and(|&n| n > SORTED) {
            return self.bitonic();
        }
        let text = key(source.dtype).to_owned() + template::ARGSORT;
        self.by_row(&text, size(&self.call.shape), 256)
    }

    /// Long rows: every pair of elements at every distance of a bitonic network, a dispatch a distance.
    fn bitonic(&mut self) -> Result<Vec<Launch>> {
        let (elements, length) = (size(&self.call.shape), self.call.shape[self.call.shape.len() - 1]);
        let padded = length.next_power_of_two();
        let slots = elements / length * padded;
        let text = key(self.call.srcs[0].dtype).to_owned() + template::BITONIC;
        let order = Target::Temp((self.targets.temporary)(slots));
        let bindings = vec![(self.operand(0)?, Access::Read), (order, Access::Write), self.out()];
        let launch = |items: usize, run: usize, distance: usize, what: usize| {
            let groups = self.grid(items, 256);
            let mut args = Args::default();
            for word in [items, length, self.offset(0), groups[0] as usize, padded, run, distance, what] {
                args.size(word);
            }
            Launch { cost: items, ..self.launch(&text, bindings.clone(), args, groups) }
        };
        let mut all = vec![launch(slots, 0, 0, 0)];
        let mut run = 2;
        while run <= padded {
            let mut distance = run / 2;
            while distance > 0 {
                all.push(launch(slots / 2, run, distance, 1));
                distance /= 2;
            }
            run *= 2;
        }
        all.push(launch(elements, 0, 0, 2));
        Ok(all)
    }
}
