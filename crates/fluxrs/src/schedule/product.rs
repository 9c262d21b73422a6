//! The axes of a product: which are rows, columns and summed over, and how its operands lie along them.

use crate::ops::Conv;
use crate::shape::{Bound, Map, Shape, Strides};
use smallvec::{SmallVec, smallvec};

/// An operand: its shape, and where its elements lie.
pub(crate) type Factor<'a> = (&'a [usize], Map);

/// What of a product its operands' shapes decide.
pub(crate) struct Axes {
    pub batch: Shape,
    pub m: usize,
    pub inner: Shape,
    pub cols: Shape,
    pub a_map: Map,
    pub b_map: Map,
    pub window: Option<SmallVec<[Bound; 3]>>,
}

/// (…, m, k) by (…, k, n). A vector is a row on the left and a column on the right.
pub(crate) fn matmul((a, mut a_map): Factor<'_>, (b, mut b_map): Factor<'_>) -> Axes {
    let (m, k, n) = crate::ops::matmul::sizes(a, b);
    if a.len() == 1 {
        a_map.strides.insert(0, 0);
    }
    if b.len() == 1 {
        b_map.strides.push(0);
    }
    let batch = a[..a.len().saturating_sub(2)].into();
    Axes { batch, m, inner: smallvec![k], cols: smallvec![n], a_map, b_map, window: None }
}

/// The kernels (ℓ…, k, c, r…) by the patches of x (n, ℓ…, c, s…), which are (c, r…) by (o…), or by (n, o…).
pub(crate) fn conv(conv: &Conv, (x, x_map): Factor<'_>, (w, w_map): Factor<'_>, out: &[usize]) -> Axes {
    let (lead, swapped) = (conv.lead, conv.swapped);
    let (x_front, x_along) = x_map.strides.split_at(lead + 2);
    let places = &out[lead + 2..];
    let join = |parts: &[&[i64]]| -> Strides { parts.concat().into() };
    let scaled = |by: fn(&crate::ops::conv::Along) -> usize| -> Strides {
        conv.along.iter().zip(x_along).map(|(a, &s)| by(a) as i64 * s).collect()
    };
    let (taps, steps) = (scaled(|a| a.dilation), scaled(|a| a.stride));
    let [n, groups, c] = [&x_front[..1], &x_front[1..=lead], &x_front[lead + 1..]];
    let (first, samples): (&[i64], &[i64]) = if swapped { (&[], n) } else { (n, &[]) };
    let before: i64 = conv.along.iter().zip(x_along).map(|(a, &s)| a.before * s).sum();
    let mut axes = Axes {
        batch: if swapped { out[..lead].into() } else { out[..=lead].into() },
        m: w[lead],
        inner: w[lead + 1..].into(),
        cols: if swapped { out[lead + 1..].into() } else { places.into() },
        a_map: Map { offset: w_map.offset, strides: join(&[&[0][..first.len()], &w_map.strides]) },
        b_map: Map { offset: x_map.offset - before, strides: join(&[first, groups, c, &taps, samples, &steps]) },
        window: Some(SmallVec::new()),
    };
    for (d, a) in conv.along.iter().enumerate() {
        let steps = (a.dilation as i64, a.stride as i64);
        let bound = Bound { inner: 1 + d, col: usize::from(swapped) + d, at: -a.before, steps, len: x[lead + 2 + d] };
        axes.window.as_mut().expect("made above").push(bound);
    }
    let pointwise = |b: &Bound| axes.inner[b.inner] == 1 && b.at == 0 && b.steps.1 == 1 && axes.cols[b.col] == b.len;
    if axes.window.iter().flatten().all(pointwise) {
        axes.window = Some(SmallVec::new());
    }
    axes.merge();
    axes
}

impl Axes {
    /// Takes inner axes and columns' axes that no bound speaks of and both operands walk as one for one.
    fn merge(&mut self) {
        let lead = self.batch.len();
        let bounds = self.window.as_mut().expect("a convolution's");
        let inner = self.inner.len();
        let mut k = 0;
        while k + 1 < self.inner.len() {
            let free = bounds.iter().all(|b| b.inner != k && b.inner != k + 1);
            let joins = |map: &Map, at: usize| joins(&map.strides[at..], &self.inner[k..]);
            if free && joins(&self.a_map, lead + 1 + k) && joins(&self.b_map, lead + k) {
                fuse(&mut self.inner, k, [(&mut self.a_map, lead + 1 + k), (&mut self.b_map, lead + k)]);
                bounds.iter_mut().filter(|b| b.inner > k).for_each(|b| b.inner -= 1);
            } else {
                k += 1;
            }
        }
        let lead = lead + self.inner.len();
        debug_assert!(self.inner.len() <= inner);
        let mut k = 0;
        while k + 1 < self.cols.len() {
            let free = bounds.iter().all(|b| b.col != k && b.col != k + 1);
            if free && joins(&self.b_map.strides[lead + k..], &self.cols[k..]) {
                fuse(&mut self.cols, k, [(&mut self.b_map, lead + k)]);
                bounds.iter_mut().filter(|b| b.col > k).for_each(|b| b.col -= 1);
            } else {
                k += 1;
            }
        }
    }
}

/// True if the first two of these axes are one.
fn joins(strides: &[i64], lens: &[usize]) -> bool {
    lens[0] == 1 || lens[1] == 1 || strides[0] == strides[1] * lens[1] as i64
}

/// Makes axes `k` and `k + 1` one, in maps that have them from these places on.
fn fuse<const N: usize>(lens: &mut Shape, k: usize, maps: [(&mut Map, usize); N]) {
    let drop_second = lens[k + 1] == 1;
    lens[k] *= lens[k + 1];
    lens.remove(k + 1);
    for (map, at) in maps {
        map.strides.remove(if drop_second { at + 1 } else { at });
    }
}
