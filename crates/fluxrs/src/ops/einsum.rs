//! NumPy's einsum: sums of products over named axes, lowered to views, products and sums.

use super::matmul::matmul;
use super::place::common_dtype;
use super::reduce::Reduction;
use crate::bail;
use crate::dtype::DType;
use crate::error::Result;
use crate::graph::Tensor;
use crate::shape::{self, Shape, show};
use std::collections::BTreeMap;

/// A letter, or an axis of the ellipsis: `ELLIPSIS` + how far it is from the last one.
type Label = u32;
const ELLIPSIS: Label = 1 << 16;

/// An operand with a name for each axis, no two alike.
#[derive(Clone)]
struct Term {
    x: Tensor,
    labels: Vec<Label>,
}

fn name(label: Label) -> String {
    char::from_u32(label).filter(|_| label < ELLIPSIS).map_or("...".into(), String::from)
}

/// The labels of one operand's subscripts, an ellipsis standing for `ellipsis` axes.
fn labels(spec: &str, part: &str, ellipsis: usize) -> Result<Vec<Label>> {
    let mut out = Vec::new();
    let mut rest = part;
    let mut seen = false;
    while let Some(c) = rest.chars().next() {
        if let Some(behind) = rest.strip_prefix("...").filter(|_| !seen) {
            out.extend((0..ellipsis as Label).rev().map(|k| ELLIPSIS + k));
            rest = behind;
            seen = true;
        } else if c.is_ascii_alphabetic() {
            out.push(c as Label);
            rest = &rest[1..];
        } else {
            bail!(Value, "einsum: {c:?} in {spec:?} is no subscript; use letters, commas, one ... an operand, and ->");
        }
    }
    Ok(out)
}

/// The axes of every operand, and of the result.
fn parse(spec: &str, xs: &[Tensor]) -> Result<(Vec<Vec<Label>>, Vec<Label>)> {
    let plain: String = spec.chars().filter(|c| !c.is_whitespace()).collect();
    let (inputs, output) = match plain.split_once("->") {
        Some((inputs, output)) => (inputs, Some(output)),
        None => (plain.as_str(), None),
    };
    let parts: Vec<&str> = inputs.split(',').collect();
    if parts.len() != xs.len() {
        bail!(Value, "einsum: {spec:?} has subscripts for {} operands, but {} are given", parts.len(), xs.len());
    }
    let mut terms = Vec::new();
    let mut widest = 0;
    for (i, (part, x)) in parts.iter().zip(xs).enumerate() {
        let named = labels(spec, part, 0)?.len();
        let fits = if part.contains("...") { named <= x.ndim() } else { named == x.ndim() };
        if !fits {
            bail!(Shape, "einsum: subscripts {part:?} name {named} axes, but operand {i} has shape {}", show(x.shape()));
        }
        widest = widest.max(x.ndim() - named);
        terms.push(labels(spec, part, x.ndim() - named)?);
    }
    let all: Vec<Label> = terms.iter().flatten().copied().collect();
    let Some(output) = output else {
        // The ellipsis, then every letter that stands once, in the order of the alphabet.
        let mut once: Vec<Label> =
            all.iter().copied().filter(|l| *l < ELLIPSIS && all.iter().filter(|m| *m == l).count() == 1).collect();
        once.sort_unstable();
        let lead = (0..widest as Label).rev().map(|k| ELLIPSIS + k);
        return Ok((terms, lead.chain(once).collect()));
    };
    if widest > 0 && !output.contains("...") {
        bail!(Value, "einsum: the result in {spec:?} must hold the ... that operands have; sum over those axes by name");
    }
    let output = labels(spec, output, widest)?;
    for (i, l) in output.iter().enumerate() {
        if output[..i].contains(l) {
            bail!(Value, "einsum: {} stands twice in the result of {spec:?}", name(*l));
        }
        if !all.contains(l) {
            bail!(Value, "einsum: {} in the result of {spec:?} is in no operand", name(*l));
        }
    }
    Ok((terms, output))
}

impl Term {
    /// With the diagonal in place of axes of one name.
    fn of(x: &Tensor, mut labels: Vec<Label>) -> Result<Term> {
        let mut x = x.clone();
        while let Some((i, j)) = repeated(&labels) {
            if x.shape()[i] != x.shape()[j] {
                bail!(Shape, "einsum: axes {i} and {j} of shape {} are both {}", show(x.shape()), name(labels[i]));
            }
            x = x.diagonal(0, i as isize, j as isize)?;
            // The diagonal is the last axis; a third axis of the name is the next pair's.
            let label = labels.remove(j);
            labels.remove(i);
            labels.push(label);
        }
        Ok(Term { x, labels })
    }

    fn size(&self) -> f64 {
        self.x.size() as f64
    }

    fn has(&self, label: &Label) -> bool {
        self.labels.contains(label)
    }

    fn axis(&self, label: Label) -> usize {
        self.labels.iter().position(|l| *l == label).expect("asked for its own labels")
    }

    /// Summed over the axes that `keep` does not want.
    fn summed(self, keep: impl Fn(&Label) -> bool) -> Term {
        let gone = (0..self.labels.len()).filter(|&a| !keep(&self.labels[a])).fold(0u64, |mask, a| mask | 1 << a);
        let labels = self.labels.into_iter().filter(|l| keep(l)).collect();
        Term { x: self.x.reduce_axes(Reduction::Sum, gone), labels }
    }

    /// With its axes in this order.
    fn arranged(&self, labels: &[Label]) -> Tensor {
        let perm: Vec<usize> = labels.iter().map(|&l| self.axis(l)).collect();
        let in_place = perm.iter().enumerate().all(|(i, &p)| i == p);
        if in_place { self.x.clone() } else { self.x.permute(&perm) }
    }

    fn lengths(&self, labels: &[Label]) -> Shape {
        labels.iter().map(|&l| self.x.shape()[self.axis(l)]).collect()
    }
}

fn repeated(labels: &[Label]) -> Option<(usize, usize)> {
    (0..labels.len()).find_map(|i| (i + 1..labels.len()).find(|&j| labels[i] == labels[j]).map(|j| (i, j)))
}

/// The sum of products of two terms over what neither the result nor another term wants.
fn contract(a: Term, b: Term, wanted: &dyn Fn(&Label) -> bool) -> Result<Term> {
    let a = a.summed(|l| wanted(l) || b.has(l));
    let b = b.summed(|l| wanted(l) || a.has(l));
    let (batch, inner): (Vec<Label>, Vec<Label>) = a.labels.iter().filter(|l| b.has(l)).partition(|l| wanted(l));
    let left: Vec<Label> = a.labels.iter().filter(|l| !b.has(l)).copied().collect();
    let right: Vec<Label> = b.labels.iter().filter(|l| !a.has(l)).copied().collect();
    let (lead, m, n, k) = (a.lengths(&batch), a.lengths(&left), b.lengths(&right), a.lengths(&inner));
    let labels = [batch.clone(), left.clone(), right.clone()].concat();
    if inner.is_empty() || (left.is_empty() && right.is_empty()) {
        // Elementwise, which fuses: the axes of the other stand as 1.
        let space: Shape = [&lead[..], &m, &n, &k].concat().into();
        shape::check("einsum", &space)?;
        let ones = |n: usize| std::iter::repeat_n(1, n);
        let wide_a: Shape = lead.iter().chain(&m).copied().chain(ones(n.len())).chain(k.iter().copied()).collect();
        let wide_b: Shape = lead.iter().copied().chain(ones(m.len())).chain(n.iter().chain(&k).copied()).collect();
        let x = a.arranged(&[batch.clone(), left, inner.clone()].concat()).reshape_to(&wide_a);
        let y = b.arranged(&[batch, right, inner].concat()).reshape_to(&wide_b);
        let axes = (labels.len()..labels.len() + k.len()).fold(0u64, |mask, a| mask | 1 << a);
        return Ok(Term { x: (x * y).reduce_axes(Reduction::Sum, axes), labels });
    }
    let product = |s: &[usize]| s.iter().product::<usize>();
    let with = |r: usize, c: usize| -> Shape { lead.iter().copied().chain([r, c]).collect() };
    let x = a.arranged(&[batch.clone(), left, inner.clone()].concat()).reshape_to(&with(product(&m), product(&k)));
    let y = b.arranged(&[batch, inner, right].concat()).reshape_to(&with(product(&k), product(&n)));
    let shape: Shape = lead.iter().chain(&m).chain(&n).copied().collect();
    Ok(Term { x: matmul(&x, &y).map_err(|e| e.renamed("matmul", "einsum"))?.reshape_to(&shape), labels })
}

/// The pair whose product makes what is left smallest.
fn best_pair(terms: &[Term], lengths: &BTreeMap<Label, usize>, output: &[Label]) -> (usize, usize) {
    let growth = |i: usize, j: usize| -> f64 {
        let others = || (0..terms.len()).filter(move |&t| t != i && t != j);
        let wanted = |l: &Label| output.contains(l) || others().any(|t| terms[t].has(l));
        let size: f64 =
            lengths.iter().filter(|(l, _)| (terms[i].has(l) || terms[j].has(l)) && wanted(l)).map(|(_, &n)| n as f64).product();
        size - terms[i].size() - terms[j].size()
    };
    let pairs = (0..terms.len()).flat_map(|i| (i + 1..terms.len()).map(move |j| (i, j)));
    pairs.min_by(|&(a, b), &(c, d)| growth(a, b).total_cmp(&growth(c, d))).expect("there are two terms")
}

/// The sum of products that `spec` names, such as `ij,jk->ik`, with NumPy's rules: without `->` the letters that stand once are kept, in the
/// order of the alphabet; a letter twice in an operand takes its diagonal; `...` stands for axes that broadcast.
pub fn einsum(spec: &str, xs: &[Tensor]) -> Result<Tensor> {
    let (inputs, output) = parse(spec, xs)?;
    let dtype = common_dtype("einsum", xs)?;
    if dtype == DType::Bool {
        // Of truth values, as NumPy's: whether any product is true.
        let wide: Vec<Tensor> = xs.iter().map(|x| x.cast(DType::I64)).collect();
        return Ok(einsum(spec, &wide)?.to_bool());
    }
    let mut terms: Vec<Term> = xs.iter().zip(inputs).map(|(x, l)| Term::of(&x.cast(dtype), l)).collect::<Result<_>>()?;
    let mut lengths: BTreeMap<Label, usize> = BTreeMap::new();
    for t in &terms {
        for (&l, &n) in t.labels.iter().zip(t.x.shape()) {
            let known = lengths.entry(l).or_insert(n);
            if *known == 1 {
                *known = n;
            } else if n != 1 && n != *known {
                bail!(Shape, "einsum: {} in {spec:?} has length {known} in one operand and {n} in another", name(l));
            }
        }
    }
    // An axis of length 1 that broadcasts is no axis.
    for t in &mut terms {
        let stays: Vec<bool> = t.labels.iter().zip(t.x.shape()).map(|(l, &n)| n == lengths[l]).collect();
        let pick = |a: &usize| stays[*a];
        let shape: Shape = (0..stays.len()).filter(pick).map(|a| t.x.shape()[a]).collect();
        t.labels = (0..stays.len()).filter(pick).map(|a| t.labels[a]).collect();
        t.x = t.x.reshape_to(&shape);
    }
    while terms.len() > 1 {
        let (i, j) = best_pair(&terms, &lengths, &output);
        let b = terms.remove(j);
        let a = terms.remove(i);
        let made = contract(a, b, &|l| output.contains(l) || terms.iter().any(|t| t.has(l)))?;
        terms.insert(i, made);
    }
    let last = terms.remove(0).summed(|l| output.contains(l));
    Ok(last.arranged(&output))
}
