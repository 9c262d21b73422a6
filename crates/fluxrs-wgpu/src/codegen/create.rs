//! Tensors made of numbers alone: random ones, and equal steps.

use super::args::Args;
use super::builder::{Launch, check_dtype, scalar};
use super::structured::Op;
use crate::fault::{Fault, Result};
use crate::template::{self, fill};
use fluxrs::dtype::DType;
use fluxrs::plan::Source;
use fluxrs::shape::size;

impl Op<'_, '_> {
    pub(super) fn random(&self, dtype: DType) -> Result<Vec<Launch>> {
        let part = match self.call.op.name() {
            "rand" => "",
            "randn" => template::RANDOM_NORMAL,
            "randint" => template::RANDOM_INTEGER,
            _ => return Err(Fault::Unsupported("randint over more than 32 bits".to_owned())),
        };
        check_dtype(dtype)?;
        let elements = size(&self.call.shape);
        let groups = self.grid(elements.div_ceil(4), 64);
        let mut args = Args::default();
        args.size(elements);
        args.word(groups[0]);
        for argument in &self.call.srcs {
            let Source::Number(number) = argument.source else { return self.unsupported(" with a computed seed") };
            args.wide(number);
        }
        args.words.resize(12, 0);
        let parts: &[_] = if part.is_empty() { &[] } else { &[("make", part)] };
        Ok(vec![self.launch(&fill(template::RANDOM, parts, false), vec![self.out()], args, groups)])
    }

    /// Numbers at equal distances, in the type of the result.
    pub(super) fn iota(&self, dtype: DType) -> Result<Vec<Launch>> {
        check_dtype(dtype)?;
        let whole = self.call.srcs[..2].iter().all(|number| number.dtype == DType::I64);
        if dtype == DType::Bool || dtype != DType::F32 && !whole {
            return self.unsupported(&format!(" of {dtype} from fractions"));
        }
        let elements = size(&self.call.shape);
        let groups = self.grid(elements, 256);
        let mut args = Args::default();
        for word in [elements, groups[0] as usize, usize::from(self.call.op.name() == "linspace")] {
            args.size(word);
        }
        let mut numbers = Vec::new();
        for argument in &self.call.srcs {
            let Source::Number(number) = argument.source else { return self.unsupported(" of computed numbers") };
            numbers.push(format!("bitcast<{}>({})", scalar(dtype), args.number(number, dtype)));
        }
        let (first, step, last) = (&numbers[0], &numbers[1], numbers.get(2).unwrap_or(&numbers[0]));
        let value = match dtype {
            DType::F32 => format!("{first} + f32(i) * {step}"),
            DType::I64 => format!("fx_wide_add({first}, fx_wide_mul(i32(i), {step}))"),
            _ => format!("{first} + i32(i) * {step}"),
        };
        let values = format!(
            "{}\nfn value(i: u32) -> u32 {{\n    return bitcast<u32>({value});\n}}\n\n\
             fn last() -> u32 {{\n    return bitcast<u32>({last});\n}}\n",
            args.declaration()
        );
        Ok(vec![self.launch(&fill(template::IOTA, &[("value", &values)], false), vec![self.out()], args, groups)])
    }
}
