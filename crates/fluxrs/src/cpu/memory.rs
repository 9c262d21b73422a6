//! Where a plan's temporaries lie in the workspace: a piece is used again as soon as its last reader has run.

use crate::error::Result;
use crate::plan::Plan;
use crate::stop::go_on;
use std::collections::BTreeSet;

/// Pieces start on multiples of this: cache lines.
pub const ALIGN: usize = 256;

/// The place of every temporary, by buffer, in bytes from the start of the workspace; and the size of that.
pub fn lay_out(plan: &Plan) -> Result<(Vec<usize>, usize)> {
    let mut offsets = vec![0; plan.buffers.len()];
    // Free pieces by (size, offset).
    let mut free: BTreeSet<(usize, usize)> = BTreeSet::new();
    let mut top = 0usize;
    let bytes = |b: u32| plan.buffers[b as usize].bytes().max(1).next_multiple_of(ALIGN);
    for (k, life) in plan.lives().into_iter().enumerate() {
        go_on(k)?;
        for b in life.begins {
            let bytes = bytes(b);
            let fit = free.range((bytes, 0)..).next().copied();
            offsets[b as usize] = match fit {
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
        }
        free.extend(life.ends.into_iter().map(|b| (bytes(b), offsets[b as usize])));
    }
    Ok((offsets, top))
}
