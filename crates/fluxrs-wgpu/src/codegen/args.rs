//! The arguments of a kernel: sizes, strides, offsets and numbers, in one uniform, so that its text depends on none.

use crate::fault::{Fault, Result};
use fluxrs::dtype::{DType, Number};

/// The form of a Python number in the argument words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// One word, as an element of this type.
    Element(DType),
    /// Two words, low first, of its 64-bit integer: a counter or a seed.
    Wide,
}

/// A word that is filled in at every run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patch {
    pub word: usize,
    /// Index into the run's numbers.
    pub number: u32,
    /// Added to the number, if it is whole.
    pub add: i64,
    pub form: Form,
}

#[derive(Clone, Default, Debug)]
pub(crate) struct Args {
    pub words: Vec<u32>,
    pub patches: Vec<Patch>,
    /// The names of some words in templates, with their places.
    names: Vec<(usize, String)>,
}

/// A number as a word of the device, where int64 has 32 bits.
pub(crate) fn element(number: Number, dtype: DType) -> Result<u32> {
    match dtype {
        DType::Bool => Ok(u32::from(number.as_f64() != 0.0)),
        DType::I32 => Ok(number.as_i64() as u32),
        DType::I64 => i32::try_from(number.as_i64())
            .map(|word| word as u32)
            .map_err(|_| Fault::Unsupported(format!("integers beyond 32 bits ({} beside an int64 tensor)", number.as_i64()))),
        DType::F32 | DType::F64 => Ok((number.as_f64() as f32).to_bits()),
    }
}

impl Args {
    /// Adds a word and gives the expression that reads it.
    pub fn word(&mut self, value: u32) -> String {
        self.words.push(value);
        format!("args.a{}", self.words.len() - 1)
    }

    /// Adds a word that a template reads as `args.name`.
    pub fn named(&mut self, name: &str, value: u32) {
        self.names.push((self.words.len(), name.to_owned()));
        self.words.push(value);
    }

    /// Changes a word that was added under a name.
    pub fn set(&mut self, name: &str, value: u32) {
        if let Some((word, _)) = self.names.iter().find(|(_, known)| known == name) {
            self.words[*word] = value;
        }
    }

    /// A size that must fit 32 bits, which buffers of at most 2 GiB ensure.
    pub fn size(&mut self, value: usize) -> String {
        self.word(u32::try_from(value).unwrap_or(u32::MAX))
    }

    /// An offset or a stride. Negative ones wrap, and the sum of an index wraps back.
    pub fn step(&mut self, value: i64) -> String {
        self.word(value as u32)
    }

    /// A word that each run fills with one of its numbers.
    pub fn number(&mut self, number: u32, dtype: DType) -> String {
        let word = self.words.len();
        self.patches.push(Patch { word, number, add: 0, form: Form::Element(dtype) });
        self.word(0)
    }

    /// The same under a name.
    pub fn named_number(&mut self, name: &str, number: u32, dtype: DType) {
        self.patches.push(Patch { word: self.words.len(), number, add: 0, form: Form::Element(dtype) });
        self.named(name, 0);
    }

    /// Two words for a 64-bit number: `name_low` and `name_high`.
    pub fn named_wide(&mut self, name: &str, number: u32) {
        self.patches.push(Patch { word: self.words.len(), number, add: 0, form: Form::Wide });
        self.named(&format!("{name}_low"), 0);
        self.named(&format!("{name}_high"), 0);
    }

    /// The declaration of the uniform.
    pub fn declaration(&self) -> String {
        let mut members: Vec<String> = (0..self.words.len().max(1)).map(|word| format!("a{word}")).collect();
        self.names.iter().for_each(|(word, name)| members[*word].clone_from(name));
        let members: Vec<String> = members.iter().map(|name| format!("    {name}: u32,\n")).collect();
        format!("struct Args {{\n{}}}\n@group(0) @binding(0) var<uniform> args: Args;\n", members.concat())
    }

    /// Writes this run's numbers into a copy of the words; says whether anything changed.
    pub fn fill(patches: &[Patch], numbers: &[Number], words: &mut [u32]) -> Result<bool> {
        let mut changed = false;
        let mut set = |word: usize, value: u32| {
            changed |= words[word] != value;
            words[word] = value;
        };
        for patch in patches {
            let number = match numbers[patch.number as usize] {
                Number::Int(n) => Number::Int(n.wrapping_add(patch.add)),
                other => other,
            };
            match patch.form {
                Form::Element(dtype) => set(patch.word, element(number, dtype)?),
                Form::Wide => {
                    let wide = number.as_i64() as u64;
                    set(patch.word, wide as u32);
                    set(patch.word + 1, (wide >> 32) as u32);
                }
            }
        }
        Ok(changed)
    }
}
