//! The stream of random numbers: where it is, and its blocks.

use crate::bail;
use crate::error::Result;
use std::cell::RefCell;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, MutexGuard};

/// Where a stream is: the next node takes block `counter` of the stream `seed`, and those after it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stream {
    pub seed: u64,
    pub counter: u64,
}

static STREAM: Mutex<Option<Stream>> = Mutex::new(None);

thread_local! {
    /// Streams that this thread draws from again, the innermost last.
    static REPLAYS: RefCell<Vec<Stream>> = const { RefCell::new(Vec::new()) };
}

/// The lock over the stream, for a thread that forks.
pub(crate) type Locked = MutexGuard<'static, Option<Stream>>;

pub(crate) fn lock() -> Locked {
    STREAM.lock().unwrap_or_else(|e| e.into_inner())
}

/// Does something to the stream that this thread draws from now.
fn with_stream<R>(f: impl FnOnce(&mut Stream) -> R) -> R {
    REPLAYS.with_borrow_mut(|replays| match replays.last_mut() {
        Some(stream) => f(stream),
        None => {
            let mut global = lock();
            // Until a seed is set, every process has another.
            f(global.get_or_insert_with(|| Stream { seed: RandomState::new().hash_one(std::process::id()), counter: 0 }))
        }
    })
}

/// Starts the stream anew.
pub fn seed(n: u64) {
    set_state(Stream { seed: n, counter: 0 });
}

pub fn state() -> Stream {
    with_stream(|s| *s)
}

pub fn set_state(stream: Stream) {
    with_stream(|s| *s = stream);
}

/// The blocks that were drawn since, by one step of a scan; the stream goes on as if there had been `steps`.
pub fn drawn(since: Stream, steps: usize) -> Result<u64> {
    let now = state();
    if now.seed != since.seed {
        bail!(Value, "scan: the function sets the seed, and runs once for all steps: call seed outside");
    }
    let drawn = now.counter.wrapping_sub(since.counter);
    set_state(Stream { counter: since.counter.wrapping_add(drawn.wrapping_mul(steps as u64)), ..since });
    Ok(drawn)
}

/// While it lives, random nodes made on this thread draw from a stream of its own, so that what was drawn there before comes again;
/// the global stream stands still.
pub struct Replay(());

impl Replay {
    pub fn enter(from: Stream) -> Replay {
        REPLAYS.with_borrow_mut(|replays| replays.push(from));
        Replay(())
    }
}

impl Drop for Replay {
    fn drop(&mut self) {
        REPLAYS.with_borrow_mut(|replays| replays.pop());
    }
}

/// Takes blocks from the stream; gives where they were.
pub(super) fn reserve(blocks: u64) -> Stream {
    with_stream(|s| {
        let at = *s;
        s.counter = s.counter.wrapping_add(blocks);
        at
    })
}

/// Philox4x32-10 (Salmon et al., Parallel random numbers: as easy as 1, 2, 3, 2011).
#[inline(always)]
pub fn philox(counter: u64, seed: u64) -> [u32; 4] {
    let mut c = [counter as u32, (counter >> 32) as u32, 0, 0];
    let mut key = [seed as u32, (seed >> 32) as u32];
    for _ in 0..10 {
        let (a, b) = (0xd2511f53 * c[0] as u64, 0xcd9e8d57 * c[2] as u64);
        c = [(b >> 32) as u32 ^ c[1] ^ key[0], b as u32, (a >> 32) as u32 ^ c[3] ^ key[1], a as u32];
        key = [key[0].wrapping_add(0x9e3779b9), key[1].wrapping_add(0xbb67ae85)];
    }
    c
}
