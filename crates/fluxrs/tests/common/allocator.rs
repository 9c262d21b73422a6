//! An allocator that counts what each thread asks of it.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

struct Counting;

thread_local! {
    /// Bytes that the thread has.
    pub static LIVE: Cell<isize> = const { Cell::new(0) };
    /// Bytes that it ever asked for.
    #[allow(dead_code, reason = "not every test counts them")]
    pub static ASKED: Cell<usize> = const { Cell::new(0) };
    /// Times that it asked.
    #[allow(dead_code, reason = "not every test counts them")]
    pub static CALLS: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: the system's allocator does the work.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let _ = LIVE.try_with(|n| n.set(n.get() + layout.size() as isize));
        let _ = ASKED.try_with(|n| n.set(n.get() + layout.size()));
        let _ = CALLS.try_with(|n| n.set(n.get() + 1));
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        let _ = LIVE.try_with(|n| n.set(n.get() - layout.size() as isize));
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(ptr, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;
