//! Memory of a thread that packed operands are put in. It grows to the largest size asked for and is kept, so that
//! a product which has run once allocates nothing when it runs again.
use std::cell::UnsafeCell;

/// Vectors are aligned to it.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([u64; 8]);

thread_local! {
    static MEMORY: UnsafeCell<Vec<Line>> = const { UnsafeCell::new(Vec::new()) };
}

/// Uninitialised memory for `count` elements, good until the next call on this thread.
pub(super) fn of<T>(count: usize) -> *mut T {
    let lines = (count * size_of::<T>()).div_ceil(size_of::<Line>());
    MEMORY.with(|memory| {
        // SAFETY: no other reference to the vector lives, here or elsewhere in the thread.
        let memory = unsafe { &mut *memory.get() };
        if memory.capacity() < lines {
            *memory = Vec::new();
            memory.reserve_exact(lines);
        }
        memory.as_mut_ptr().cast()
    })
}
