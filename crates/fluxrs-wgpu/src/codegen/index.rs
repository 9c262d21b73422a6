//! Positions in buffers, written as expressions over a linear index and, where a map needs them, its coordinates.

use super::args::Args;

/// Axes that are walked by one linear index, a variable of the kernel.
pub(crate) struct Segment {
    name: &'static str,
    dims: Vec<usize>,
    /// True if some position needs the coordinates one by one.
    split: bool,
}

/// The one stride that walks all axes in row-major order, if there is one. Axes of length 1 say nothing.
fn single(dims: &[usize], strides: &[i64]) -> Option<i64> {
    let mut walk = dims.iter().zip(strides).rev().filter(|(n, _)| **n != 1);
    let Some((&n, &first)) = walk.next() else { return Some(0) };
    let mut next = first * n as i64;
    for (&n, &stride) in walk {
        if stride != next {
            return None;
        }
        next *= n as i64;
    }
    Some(first)
}

impl Segment {
    pub fn new(name: &'static str, dims: &[usize]) -> Segment {
        Segment { name, dims: dims.to_vec(), split: false }
    }

    pub fn size(&self) -> usize {
        self.dims.iter().product()
    }

    pub fn axes(&self) -> usize {
        self.dims.len()
    }

    /// The coordinate along one axis.
    pub fn coordinate(&mut self, k: usize) -> String {
        self.split = true;
        format!("{}_{k}", self.name)
    }

    /// The term that these axes add to a position; None if it is nothing.
    pub fn term(&mut self, strides: &[i64], args: &mut Args) -> Option<String> {
        match single(&self.dims, strides) {
            Some(0) => return None,
            Some(1) => return Some(self.name.to_owned()),
            Some(stride) => return Some(format!("{} * {}", self.name, args.step(stride))),
            None => self.split = true,
        }
        let mut sum = Vec::new();
        for (k, (&n, &stride)) in self.dims.iter().zip(strides).enumerate() {
            match stride {
                _ if n == 1 => (),
                0 => (),
                1 => sum.push(format!("{}_{k}", self.name)),
                _ => sum.push(format!("{}_{k} * {}", self.name, args.step(stride))),
            }
        }
        Some(sum.join(" + "))
    }

    /// The statements that split the index into coordinates, if any position needed them.
    pub fn coordinates(&self, args: &mut Args) -> String {
        if !self.split {
            return String::new();
        }
        let name = self.name;
        let mut text = String::new();
        let mut rest = name.to_owned();
        for k in (1..self.dims.len()).rev() {
            let n = args.size(self.dims[k]);
            text += &format!("let {name}_{k} = {rest} % {n};\nlet {name}_q{k} = {rest} / {n};\n");
            rest = format!("{name}_q{k}");
        }
        text + &format!("let {name}_0 = {rest};\n")
    }
}

/// The sum of an offset and the terms of several segments.
pub(crate) fn position(offset: i64, terms: impl IntoIterator<Item = Option<String>>, args: &mut Args) -> String {
    let mut sum: Vec<String> = terms.into_iter().flatten().collect();
    if offset != 0 || sum.is_empty() {
        sum.push(if offset == 0 { "0u".to_owned() } else { args.step(offset) });
    }
    sum.join(" + ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(dims: &[usize], strides: &[i64], offset: i64) -> String {
        let mut args = Args::default();
        let mut segment = Segment::new("i", dims);
        let term = segment.term(strides, &mut args);
        position(offset, [term], &mut args)
    }

    #[test]
    fn positions_are_as_short_as_the_map_allows() {
        assert_eq!(text(&[2, 3, 4], &[12, 4, 1], 0), "i");
        assert_eq!(text(&[2, 3, 4], &[24, 8, 2], 5), "i * args.a0 + args.a1");
        assert_eq!(text(&[2, 3, 4], &[0, 0, 0], 0), "0u");
        assert_eq!(text(&[2, 1, 4], &[4, 9, 1], 0), "i");
        assert_eq!(text(&[2, 3], &[1, 2], 0), "i_0 + i_1 * args.a0");
        assert_eq!(text(&[2, 3], &[0, 1], 7), "i_1 + args.a0");
        assert_eq!(text(&[], &[], 0), "0u");
    }
}
