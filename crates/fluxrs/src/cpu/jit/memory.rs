//! Memory that the machine executes: written first, then made executable and no longer writable.

use memmap2::{Mmap, MmapMut};

/// The code of a plan's programs.
pub struct Machine(Mmap);

/// The form of a program's code: the list of its operands' addresses, and the number of elements.
#[cfg(target_arch = "x86_64")]
type Entry = unsafe extern "sysv64" fn(*const *mut u8, usize);

impl Machine {
    /// None where the system has no such memory for us.
    pub fn new(code: &[u8]) -> Option<Machine> {
        let mut map = MmapMut::map_anon(code.len()).ok()?;
        map.copy_from_slice(code);
        map.make_exec().ok().map(Machine)
    }

    /// The memory that it takes.
    pub fn bytes(&self) -> usize {
        self.0.len().next_multiple_of(4096)
    }

    /// Runs the function at a place of the code.
    ///
    /// # Safety
    /// A function that `emit` appended begins there, `list` has an address for each operand of it, and each has `n` elements (or one,
    /// where the program says so), of which nothing else uses what is written.
    #[cfg(target_arch = "x86_64")]
    pub unsafe fn run(&self, at: usize, list: &[*mut u8], n: usize) {
        // SAFETY: the caller's promise. The code keeps to the convention: it uses no stack and none of the registers that a callee saves.
        unsafe {
            let entry: Entry = std::mem::transmute(self.0.as_ptr().add(at));
            entry(list.as_ptr(), n);
        }
    }

    /// # Safety
    /// It has no code, and is never called.
    #[cfg(not(target_arch = "x86_64"))]
    pub unsafe fn run(&self, _: usize, _: &[*mut u8], _: usize) {
        unreachable!("no code is made for this machine")
    }
}
