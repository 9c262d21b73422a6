//! Memory for a plan's temporaries, kept between runs so that a replayed plan allocates none.

use crate::buffer::HostBuffer;
use crate::error::Result;
use std::sync::Mutex;

/// From so many bytes on a workspace is kept only for plans that come again.
const LARGE: usize = 64 << 20;
/// Below so many bytes it is not worth giving back.
const SMALL: usize = 1 << 20;
/// After so many runs that needed a quarter of it at most, it is given back.
const RUNS: u32 = 32;

struct Kept {
    memory: Option<HostBuffer>,
    /// The most that the latest runs needed, and how many they are.
    most: usize,
    runs: u32,
}

static KEPT: Mutex<Kept> = Mutex::new(Kept { memory: None, most: 0, runs: 0 });

/// At least so many bytes. A call that finds the kept ones in use gets some of its own.
pub fn lease(bytes: usize) -> Result<HostBuffer> {
    let kept = KEPT.try_lock().ok().and_then(|mut kept| kept.memory.take());
    kept.filter(|memory| memory.bytes() >= bytes).map_or_else(|| HostBuffer::new(bytes), Ok)
}

/// Takes back what a run leased and needed `bytes` of; `again` says whether its plan had run before.
pub fn give_back(memory: HostBuffer, bytes: usize, again: bool) {
    let Ok(mut kept) = KEPT.try_lock() else { return };
    kept.most = kept.most.max(bytes);
    kept.runs += 1;
    let mut keeps = again || memory.bytes() < LARGE || bytes < memory.bytes() / 4;
    if kept.runs == RUNS {
        keeps &= memory.bytes() <= SMALL || kept.most > memory.bytes() / 4;
        (kept.most, kept.runs) = (0, 0);
    }
    let old = std::mem::replace(&mut kept.memory, keeps.then_some(memory));
    drop(kept);
    drop(old);
}

/// Bytes that are kept for the next run.
pub fn kept_workspace() -> usize {
    KEPT.try_lock().ok().and_then(|kept| kept.memory.as_ref().map(HostBuffer::bytes)).unwrap_or(0)
}
