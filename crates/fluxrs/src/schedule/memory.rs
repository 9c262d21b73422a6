//! Where temporaries lie in the workspace: a piece is used again as soon as its last reader has run.

use super::emit::Program;
use crate::plan::{Buf, Place};
use std::collections::BTreeSet;

/// Pieces start on multiples of this: cache lines on the host, binding offsets on GPUs.
const ALIGN: usize = 256;

/// Gives every temporary its offset; returns the size of the workspace.
pub(crate) fn lay_out(program: &mut Program) -> usize {
    let mut last_use = vec![usize::MAX; program.buffers.len()];
    let mut touched: Vec<Vec<Buf>> = Vec::with_capacity(program.kernels.len());
    for (k, kernel) in program.kernels.iter().enumerate() {
        let buffers = kernel.body.buffers();
        buffers.iter().for_each(|&b| last_use[b as usize] = k);
        touched.push(buffers);
    }
    crate::work::count(touched.iter().map(Vec::len).sum());
    // Free pieces by (size, offset).
    let mut free: BTreeSet<(usize, usize)> = BTreeSet::new();
    let mut placed = vec![false; program.buffers.len()];
    let mut top = 0usize;
    for (k, buffers) in touched.iter().enumerate() {
        for &b in buffers {
            let info = &mut program.buffers[b as usize];
            if !matches!(info.place, Place::Workspace(_)) || placed[b as usize] {
                continue;
            }
            placed[b as usize] = true;
            let bytes = bytes(info.len, info.dtype.bytes());
            let fit = free.range((bytes, 0)..).next().copied();
            let offset = match fit {
                Some((size, offset)) => {
                    free.remove(&(size, offset));
                    if size > bytes {
                        free.insert((size - bytes, offset + bytes));
                    }
                    offset
                }
                None => {
                    // Too much to address is refused where the workspace is allocated.
                    top = top.saturating_add(bytes);
                    top - bytes
                }
            };
            info.place = Place::Workspace(offset);
        }
        for &b in buffers {
            let info = &program.buffers[b as usize];
            if let (Place::Workspace(offset), true) = (info.place, last_use[b as usize] == k) {
                free.insert((bytes(info.len, info.dtype.bytes()), offset));
                last_use[b as usize] = usize::MAX;
            }
        }
    }
    top
}

fn bytes(len: usize, element: usize) -> usize {
    (len * element).max(1).next_multiple_of(ALIGN)
}
