//! Buffers by size class, kept when they are freed: making one costs far more than a dispatch.

use crate::device::{Gpu, Own, lock};
use crate::fault::{Fault, Result};
use crate::limits::Limits;
use rustc_hash::FxHashMap;
use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

const USAGE: wgpu::BufferUsages =
    wgpu::BufferUsages::STORAGE.union(wgpu::BufferUsages::COPY_SRC).union(wgpu::BufferUsages::COPY_DST);

#[derive(Default)]
struct Free {
    /// By their numbers: the least is taken first, so that a step that comes again is given the buffers it had.
    by_class: FxHashMap<u64, BTreeMap<u64, Own<wgpu::Buffer>>>,
    bytes: u64,
    /// The numbers of buffers that were given back to the driver, until bind groups are looked through for them.
    gone: Vec<u64>,
}

pub(crate) struct Pool {
    free: Mutex<Free>,
    /// Bytes of the largest buffer, of all freed ones that are kept, and of all, if that is bounded.
    limit: u64,
    idle: u64,
    most: Option<u64>,
    used: AtomicU64,
    made: AtomicU64,
    released: AtomicU64,
}

/// A storage buffer of the pool, returned to it when dropped. Work already submitted may still use it: the queue runs
/// in order, so its next user comes after.
pub struct Storage {
    buffer: Option<Own<wgpu::Buffer>>,
    /// Distinguishes buffers in keys of bind groups; stays with the memory through the pool.
    id: u64,
    class: u64,
    gpu: &'static Gpu,
}

/// The class of a size: a power of two or one of three steps between two, at least 256 bytes.
fn class(bytes: u64) -> u64 {
    let bytes = bytes.max(256);
    let step = (1u64 << (63 - bytes.leading_zeros() as u64)) / 4;
    bytes.next_multiple_of(step.max(64))
}

impl Pool {
    pub(crate) fn new(limits: &Limits) -> Pool {
        Pool {
            free: Mutex::default(),
            limit: limits.bytes,
            idle: limits.idle,
            most: limits.memory,
            used: AtomicU64::new(0),
            made: AtomicU64::new(0),
            released: AtomicU64::new(0),
        }
    }

    /// Bytes in use, and buffers made so far.
    pub(crate) fn counts(&self) -> (u64, u64) {
        (self.used.load(Ordering::Relaxed), self.made.load(Ordering::Relaxed))
    }

    fn take(&self, class: u64) -> Option<(u64, Own<wgpu::Buffer>)> {
        let mut free = lock(&self.free);
        let buffer = free.by_class.get_mut(&class)?.pop_first()?;
        free.bytes -= class;
        Some(buffer)
    }

    /// Gives back to the driver all that is free.
    fn drain(&self) {
        let mut free = lock(&self.free);
        let all = std::mem::take(&mut free.by_class);
        free.bytes = 0;
        free.gone.extend(all.values().flat_map(BTreeMap::keys));
        self.released.fetch_add(all.values().map(|buffers| buffers.len() as u64).sum(), Ordering::Relaxed);
    }

    fn give(&self, class: u64, (id, buffer): (u64, Own<wgpu::Buffer>)) {
        let mut free = lock(&self.free);
        if free.bytes + class <= self.idle {
            free.bytes += class;
            free.by_class.entry(class).or_default().insert(id, buffer);
        } else {
            free.gone.push(id);
            self.released.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn take_gone(&self) -> Vec<u64> {
        std::mem::take(&mut lock(&self.free).gone)
    }

    fn idle(&self) -> u64 {
        lock(&self.free).bytes
    }
}

impl Gpu {
    /// A buffer of at least `bytes` bytes, its contents arbitrary.
    pub fn storage(&'static self, bytes: u64) -> Result<Storage> {
        self.check()?;
        let (pool, class) = (&self.pool, class(bytes));
        if bytes > pool.limit {
            let text = format!("a tensor of {bytes} bytes: one buffer of this GPU has at most {}", pool.limit);
            return Err(Fault::Memory(text + "; split it, or move it with cpu(x)"));
        }
        let class = class.min(pool.limit);
        let buffer = match pool.take(class) {
            Some(buffer) => Some(buffer),
            None if pool.most.is_some_and(|most| pool.counts().0 + pool.idle() + class > most) => None,
            None => self.make(class),
        };
        // Idle buffers may take the memory that is missing; the driver frees them once the queue has passed them.
        let again = || {
            pool.drain();
            self.purge();
            let _ = self.device.poll(wgpu::PollType::wait_indefinitely());
            let used = pool.counts().0;
            let buffer = if pool.most.is_some_and(|most| used + class > most) { None } else { self.make(class) };
            let bound = pool.most.map_or(String::new(), |most| format!(" of {most}"));
            buffer.ok_or_else(|| Fault::Memory(format!("the GPU has no room for {bytes} bytes: {used}{bound} are in use")))
        };
        let (id, buffer) = buffer.map_or_else(again, Ok)?;
        pool.used.fetch_add(class, Ordering::Relaxed);
        Ok(Storage { buffer: Some(buffer), id, class, gpu: self })
    }

    fn make(&self, size: u64) -> Option<(u64, Own<wgpu::Buffer>)> {
        let scope = self.device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
        let label = Some("fluxrs tensor");
        let buffer = self.device.create_buffer(&wgpu::BufferDescriptor { label, size, usage: USAGE, mapped_at_creation: false });
        let error = crate::adapter::ready(scope.pop());
        let id = self.pool.made.fetch_add(1, Ordering::Relaxed);
        error.is_none().then_some((id, Own::new(buffer)))
    }

    /// Buffers that were given back to the driver.
    pub(crate) fn released(&self) -> u64 {
        self.pool.released.load(Ordering::Relaxed)
    }

    /// Bytes of storage in use and the number of buffers made since the device was opened.
    pub fn memory(&self) -> (u64, u64) {
        self.pool.counts()
    }
}

impl Storage {
    pub(crate) fn id(&self) -> u64 {
        self.id
    }
}

impl Deref for Storage {
    type Target = wgpu::Buffer;

    fn deref(&self) -> &wgpu::Buffer {
        self.buffer.as_deref().expect("taken only when dropped")
    }
}

impl Drop for Storage {
    fn drop(&mut self) {
        // A child of the process must not wait for the pool, which a thread of the parent may have locked.
        if self.gpu.is_foreign() {
            return;
        }
        self.gpu.pool.used.fetch_sub(self.class, Ordering::Relaxed);
        if let Some(buffer) = self.buffer.take() {
            self.gpu.pool.give(self.class, (self.id, buffer));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::class;

    #[test]
    fn classes_waste_at_most_a_quarter() {
        for bytes in (1..100_000u64).chain([1 << 30, (1 << 30) + 1, 3 << 29]) {
            let size = class(bytes);
            assert!(size >= bytes && size.is_multiple_of(64));
            assert!(bytes < 256 || size <= bytes + bytes / 4 + 64, "{bytes} -> {size}");
            assert_eq!(class(size), size);
        }
    }
}
