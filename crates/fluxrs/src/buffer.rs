//! Memory that tensors live in. Host buffers are 64-byte aligned, padded, and never zeroed by us.

use crate::bail;
use crate::dtype::{DType, Element};
use crate::error::Result;
use std::alloc::{GlobalAlloc, Layout, System, alloc, dealloc};
use std::any::Any;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};

pub const ALIGN: usize = 64;
/// From so many bytes on the system is asked: it refuses what it does not have, where a program's own allocator reserves addresses
/// and lets the process be killed when they are used.
const LARGE: usize = 64 << 20;
/// Below so many bytes a buffer is aligned by hand: allocators are slower where they are asked for more than this.
const SMALL: usize = 4096;
const PLAIN_ALIGN: usize = 16;

/// A piece of host memory: our own, or another's kept alive by `owner`.
pub struct HostBuffer {
    ptr: NonNull<u8>,
    /// The address from the allocator.
    given: *mut u8,
    bytes: usize,
    owner: Option<Box<dyn Any + Send + Sync>>,
}

// SAFETY: the memory is only written by the plan that owns the buffer exclusively, before any thread
// else can see it (see `evaluate`); afterwards it is only read.
unsafe impl Send for HostBuffer {}
// SAFETY: likewise.
unsafe impl Sync for HostBuffer {}

fn layout(bytes: usize) -> Option<Layout> {
    if cfg!(any(miri, sanitized)) {
        // With nothing behind the last element, so that they see who reads there.
        return Layout::from_size_align(bytes.max(1), ALIGN).ok();
    }
    let padded = bytes.max(1).checked_next_multiple_of(ALIGN)?;
    match padded < SMALL {
        true => Layout::from_size_align(padded + ALIGN - PLAIN_ALIGN, PLAIN_ALIGN).ok(),
        false => Layout::from_size_align(padded, ALIGN).ok(),
    }
}

impl HostBuffer {
    pub fn new(bytes: usize) -> Result<HostBuffer> {
        if faults::should_fail() {
            bail!(Memory, "cannot get {bytes} bytes of memory (failure asked for by a test)");
        }
        let Some(layout) = layout(bytes) else {
            bail!(Memory, "cannot get {bytes} bytes of memory: more than can be addressed");
        };
        // SAFETY: the layout has a nonzero size.
        match NonNull::new(unsafe { if layout.size() < LARGE { alloc(layout) } else { System.alloc(layout) } }) {
            Some(given) => {
                // SAFETY: a small layout has room for what it takes to align it, any other is aligned already.
                let ptr = unsafe { given.add(given.align_offset(ALIGN)) };
                Ok(HostBuffer { ptr, given: given.as_ptr(), bytes, owner: None })
            }
            None => bail!(Memory, "cannot get {bytes} bytes of memory; make the tensors or the batch smaller"),
        }
    }

    /// Memory that belongs to `owner`, seen without a copy.
    ///
    /// # Safety
    /// `ptr` must be readable for `bytes` bytes and aligned to its elements as long as `owner` lives, and not be written.
    pub unsafe fn foreign(ptr: NonNull<u8>, bytes: usize, owner: Box<dyn Any + Send + Sync>) -> HostBuffer {
        HostBuffer { ptr, given: ptr.as_ptr(), bytes, owner: Some(owner) }
    }

    pub fn from_slice<T: Element>(data: &[T]) -> Result<HostBuffer> {
        let buffer = HostBuffer::new(size_of_val(data))?;
        // SAFETY: the new buffer is at least as long and has no other reference.
        unsafe { std::ptr::copy_nonoverlapping(data.as_ptr(), buffer.ptr.as_ptr().cast(), data.len()) };
        Ok(buffer)
    }

    pub fn as_ptr(&self) -> *mut u8 {
        self.ptr.as_ptr()
    }

    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Foreign memory may not be written.
    pub fn is_foreign(&self) -> bool {
        self.owner.is_some()
    }

    pub fn as_slice<T: Element>(&self) -> &[T] {
        // SAFETY: aligned, initialised by the plan that made it, not written while shared.
        unsafe { std::slice::from_raw_parts(self.ptr.as_ptr().cast(), self.bytes / size_of::<T>()) }
    }
}

impl Drop for HostBuffer {
    fn drop(&mut self) {
        if self.owner.is_none()
            && let Some(layout) = layout(self.bytes)
        {
            let ptr = self.given;
            // SAFETY: allocated in `new` with the same layout, hence by the same allocator.
            unsafe { if layout.size() < LARGE { dealloc(ptr, layout) } else { System.dealloc(ptr, layout) } }
        }
    }
}

/// A buffer of a device other than the host; its crate knows what is inside.
pub trait DeviceBuffer: Any + Send + Sync {
    fn as_any(&self) -> &dyn Any;
}

#[derive(Clone)]
pub enum Buffer {
    Host(Arc<HostBuffer>),
    Device(Arc<dyn DeviceBuffer>),
}

impl Buffer {
    pub fn host(bytes: usize) -> Result<Buffer> {
        Ok(Buffer::Host(Arc::new(HostBuffer::new(bytes)?)))
    }

    /// True if there are just `n` references to the memory, and it is ours to write.
    pub fn is_shared_by(&self, n: usize) -> bool {
        let is = match self {
            Buffer::Host(b) => Arc::strong_count(b) == n && !b.is_foreign(),
            Buffer::Device(b) => Arc::strong_count(b) == n,
        };
        // What another thread read before it let go comes before what is written now: the count alone does not say so.
        fence(Ordering::Acquire);
        is
    }

    pub(crate) fn host_ptr(&self) -> *mut u8 {
        match self {
            Buffer::Host(b) => b.as_ptr(),
            Buffer::Device(_) => unreachable!("plans of the CPU bind host buffers"),
        }
    }

    pub fn as_host(&self) -> Option<&HostBuffer> {
        match self {
            Buffer::Host(b) => Some(b),
            Buffer::Device(_) => None,
        }
    }
}

/// Bytes of `n` elements, or a MemoryError when that cannot be addressed.
pub fn byte_len(n: usize, dtype: DType) -> Result<usize> {
    match n.checked_mul(dtype.bytes()).filter(|&b| b <= isize::MAX as usize - ALIGN) {
        Some(b) => Ok(b),
        None => bail!(Memory, "cannot get memory for {n} elements of {dtype}"),
    }
}

/// Failed allocations and interruptions on demand, for the tests that show that nothing is lost by one.
pub mod faults {
    use std::cell::Cell;
    use std::sync::atomic::{AtomicBool, Ordering};

    /// True from the first time on that a test asks for one.
    static ARMED: AtomicBool = AtomicBool::new(false);

    thread_local! {
        static COUNTDOWN: Cell<u64> = const { Cell::new(0) };
        static KERNELS: Cell<u64> = const { Cell::new(0) };
    }

    /// A run on this thread is interrupted before the n-th kernel from now; 0 switches it off.
    pub fn interrupt_after(n: u64) {
        ARMED.store(true, Ordering::Relaxed);
        KERNELS.set(n);
    }

    pub(crate) fn should_stop() -> bool {
        ARMED.load(Ordering::Relaxed) && count_down(&KERNELS)
    }

    /// The n-th allocation from now on this thread fails; 0 switches it off.
    pub fn fail_after(n: u64) {
        ARMED.store(true, Ordering::Relaxed);
        COUNTDOWN.set(n);
    }

    pub(super) fn should_fail() -> bool {
        ARMED.load(Ordering::Relaxed) && count_down(&COUNTDOWN)
    }

    fn count_down(counter: &'static std::thread::LocalKey<Cell<u64>>) -> bool {
        let n = counter.get();
        if n > 0 {
            counter.set(n - 1);
        }
        n == 1
    }
}
