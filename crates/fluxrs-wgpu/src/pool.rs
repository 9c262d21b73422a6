//! Buffers by size class, kept when they are freed: making one costs far more than a dispatch.

use crate::device::{Gpu, lock};
use crate::fault::{Fault, Result};
use rustc_hash::FxHashMap;
use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// Freed bytes kept at most; what exceeds them is given back to the driver.
const IDLE: u64 = 2 << 30;

const USAGE: wgpu::BufferUsages =
    wgpu::BufferUsages::STORAGE.union(wgpu::BufferUsages::COPY_SRC).union(wgpu::BufferUsages::COPY_DST);

#[derive(Default)]
struct Free {
    /// By their numbers: the least is taken first, so that a step that comes again is given the buffers it had.
    by_class: FxHashMap<u64, BTreeMap<u64, wgpu::Buffer>>,
    bytes: u64,
}

pub(crate) struct Pool {
    free: Mutex<Free>,
    limit: u64,
    used: AtomicU64,
    made: AtomicU64,
}

/// A storage buffer of the pool, returned to it when dropped. Work already submitted may still use it: the queue runs
/// in order, so its next user comes after.
pub struct Storage {
    buffer: Option<wgpu::Buffer>,
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
    pub(crate) fn new(limit: u64) -> Pool {
        Pool { free: Mutex::default(), limit, used: AtomicU64::new(0), made: AtomicU64::new(0) }
    }

    /// Bytes in use, and buffers made so far.
    pub(crate) fn counts(&self) -> (u64, u64) {
        (self.used.load(Ordering::Relaxed), self.made.load(Ordering::Relaxed))
    }

    fn take(&self, class: u64) -> Option<(u64, wgpu::Buffer)> {
        let mut free = lock(&self.free);
        let buffer = free.by_class.get_mut(&class)?.pop_first()?;
        free.bytes -= class;
        Some(buffer)
    }

    fn drain(&self) {
        *lock(&self.free) = Free::default();
    }

    fn give(&self, class: u64, buffer: (u64, wgpu::Buffer)) {
        let mut free = lock(&self.free);
        if free.bytes + class <= IDLE {
            free.bytes += class;
            free.by_class.entry(class).or_default().insert(buffer.0, buffer.1);
        }
    }
}

impl Gpu {
    /// A buffer of at least `bytes` bytes, its contents arbitrary.
    pub fn storage(&'static self, bytes: u64) -> Result<Storage> {
        self.check()?;
        let class = class(bytes).min(self.pool.limit.max(bytes));
        if bytes > self.pool.limit {
            return Err(Fault::Memory(bytes));
        }
        let (id, buffer) = match self.pool.take(class) {
            Some(buffer) => buffer,
            None => match self.make(class) {
                Some(buffer) => buffer,
                // Idle buffers may take the memory that is missing; the driver frees them once the queue has passed them.
                None => {
                    self.pool.drain();
                    let _ = self.device.poll(wgpu::PollType::wait_indefinitely());
                    self.make(class).ok_or(Fault::Memory(bytes))?
                }
            },
        };
        self.pool.used.fetch_add(class, Ordering::Relaxed);
        Ok(Storage { buffer: Some(buffer), id, class, gpu: self })
    }

    fn make(&self, size: u64) -> Option<(u64, wgpu::Buffer)> {
        let scope = self.device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
        let buffer =
            self.device.create_buffer(&wgpu::BufferDescriptor { label: None, size, usage: USAGE, mapped_at_creation: false });
        let error = crate::adapter::ready(scope.pop());
        let id = self.pool.made.fetch_add(1, Ordering::Relaxed);
        error.is_none().then_some((id, buffer))
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
        self.buffer.as_ref().expect("taken only when dropped")
    }
}

impl Drop for Storage {
    fn drop(&mut self) {
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
