//! Memory of a thread that packed operands are put in. It grows to the largest size asked for and is kept, so that
//! a product which has run once allocates nothing when it runs again.
use std::cell::UnsafeCell;

/// Vectors are aligned to it.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([u8; 64]);

thread_local! {
    static MEMORY: UnsafeCell<Vec<Line>> = const { UnsafeCell::new(Vec::new()) };
}

/// Two pieces of uninitialised memory of so many elements, good until the next call on this thread.
pub(super) fn of<T>(first: usize, second: usize) -> (*mut T, *mut T) {
    let lines = |count: usize| (count * size_of::<T>()).div_ceil(size_of::<Line>());
    let (first, second) = (lines(first), lines(second));
    MEMORY.with(|memory| {
        // SAFETY: no other reference to the vector lives, here or elsewhere in the thread.
        let memory = unsafe { &mut *memory.get() };
        if memory.capacity() < first + second {
            *memory = Vec::new();
            memory.reserve_exact(first + second);
        }
        let start = memory.as_mut_ptr();
        (start.cast(), start.wrapping_add(first).cast())
    })
}
