//! The threads that run a plan's kernels: the one that called for it, and helpers, which rayon keeps asleep between plans.
//!
//! A plan enters the pool once. A kernel is a number of tasks, which threads take from a counter; it is over when there are none left and every
//! thread has left it, which is the one barrier. A helper looks out for the next kernel of the plan for a short while and then goes back to sleep.
//! One plan at a time has the helpers: tasks of another, or of a thread that has not entered, run on their caller, and so do tasks within a task.

use crate::error::{Error, Result};
use crate::stop::{HEARD_WITHIN, look};
use rayon::{ThreadBuilder, ThreadPool, ThreadPoolBuilder};
use std::any::Any;
use std::cell::{Cell, UnsafeCell};
use std::hint::spin_loop;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::ptr::null_mut;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, AtomicUsize, Ordering::*};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock};
use std::time::{Duration, Instant};

/// The time that a thread waits actively: a helper for the next kernel, the caller for helpers that finish.
const ACTIVE: Duration = Duration::from_micros(50);

/// A number of elements at which work is cut or shared out. Miri, a thousand times as slow, is to see the same of small tensors.
pub(crate) const fn grain(elements: usize) -> usize {
    if cfg!(miri) { elements / 32 } else { elements }
}

/// On cache lines of its own: other threads write it often.
#[repr(align(128))]
struct Apart<T>(T);

struct Team {
    threads: ThreadPool,
    helpers: usize,
    /// Threads that the system has refused so far.
    missing: Mutex<Vec<ThreadBuilder>>,
    /// The number of helpers that have been called up and have not gone back.
    present: AtomicUsize,
    /// True if a plan is under way that may have another kernel.
    in_plan: AtomicBool,
    /// Odd while a kernel is open to helpers; a kernel's number is its own.
    kernel: Apart<AtomicU64>,
    /// The open kernel's work.
    work: UnsafeCell<*const (dyn Fn() + Sync)>,
    /// The number of helpers within a kernel.
    inside: Apart<AtomicUsize>,
    /// True if the caller sleeps until they have left.
    waited_for: AtomicBool,
    door: Mutex<()>,
    left: Condvar,
}

// SAFETY: `work` is written by the caller while no kernel is open and no helper is inside, and read by those who are.
unsafe impl Sync for Team {}
// SAFETY: the work may be run by any thread, as its type says.
unsafe impl Send for Team {}

/// This process's helpers, never freed: its threads may look at them until it ends. A forked child makes its own.
static TEAM: AtomicPtr<Team> = AtomicPtr::new(null_mut());
/// True if a plan has the helpers.
static TAKEN: AtomicBool = AtomicBool::new(false);

thread_local! {
    /// True if helpers take part in what this thread hands out next.
    static LEADS: Cell<bool> = const { Cell::new(false) };
}

/// The number of threads that run a plan, with the caller: the cores that the process may use, or `RAYON_NUM_THREADS`.
pub fn threads() -> usize {
    static THREADS: OnceLock<usize> = OnceLock::new();
    *THREADS.get_or_init(|| {
        let asked = std::env::var("RAYON_NUM_THREADS").ok().and_then(|n| n.parse().ok()).filter(|&n| n > 0);
        let cores = || std::thread::available_parallelism().map_or(1, usize::from);
        asked.unwrap_or_else(cores).min(rayon::max_num_threads())
    })
}

/// A plan's stay in the pool.
pub struct Stay(bool);

/// While the result lives, `each` on this thread has helpers: unless another plan has them.
pub fn enter() -> Stay {
    let has = threads() > 1 && !TAKEN.swap(true, Acquire);
    LEADS.set(has);
    Stay(has)
}

impl Drop for Stay {
    fn drop(&mut self) {
        if self.0 {
            LEADS.set(false);
            if let Some(team) = present_team() {
                team.in_plan.store(false, Release);
            }
            TAKEN.store(false, Release);
        }
    }
}

/// In a forked child: the parent's threads are not here.
pub(crate) fn forget_threads() {
    TEAM.store(null_mut(), Relaxed);
    TAKEN.store(false, Relaxed);
}

fn present_team() -> Option<&'static Team> {
    // SAFETY: a team that was published is never freed.
    unsafe { TEAM.load(Acquire).as_ref() }
}

/// Called by the plan that has entered: by one thread at a time.
fn team() -> Option<&'static Team> {
    if present_team().is_none() {
        TEAM.store(Box::into_raw(Box::new(Team::new(threads() - 1)?)), Release);
    }
    present_team()
}

/// Runs tasks 0..n, each once, on any thread. After an error no further task begins; that of the first failed task is returned.
pub fn each(n: usize, task: impl Fn(usize) -> Result<()> + Sync) -> Result<()> {
    struct Restore;
    impl Drop for Restore {
        fn drop(&mut self) {
            LEADS.set(true);
        }
    }
    if n < 2 || !LEADS.replace(false) {
        return (0..n).try_for_each(task);
    }
    let _restore = Restore;
    match team() {
        Some(team) => team.share(n, &task),
        None => (0..n).try_for_each(task),
    }
}

/// `each` for the chunks of a slice, as `chunks_mut` makes them: the task gets a chunk's number and the chunk.
pub fn each_chunk<T: Send>(all: &mut [T], size: usize, task: impl Fn(usize, &mut [T]) -> Result<()> + Sync) -> Result<()> {
    struct Start<T>(*mut T);
    // SAFETY: the chunks are apart, and their elements may go to other threads.
    unsafe impl<T: Send> Sync for Start<T> {}
    impl<T> Start<T> {
        fn at(&self, i: usize) -> *mut T {
            self.0.wrapping_add(i)
        }
    }
    let (len, start) = (all.len(), Start(all.as_mut_ptr()));
    each(len.div_ceil(size), |i| {
        let from = i * size;
        // SAFETY: within the slice, which is borrowed for as long as tasks run; no other task has this chunk.
        task(i, unsafe { std::slice::from_raw_parts_mut(start.at(from), size.min(len - from)) })
    })
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// Starts a thread of rayon's, or gives it back.
fn start(thread: ThreadBuilder) -> std::result::Result<(), ThreadBuilder> {
    let builder = std::thread::Builder::new().name(format!("fluxrs-{}", thread.index() + 1));
    let slot = Arc::new(Mutex::new(Some(thread)));
    let own = slot.clone();
    let run = move || {
        let thread = locked(&own).take();
        if let Some(thread) = thread {
            thread.run();
        }
    };
    match builder.spawn(run) {
        Ok(_) => Ok(()),
        Err(_) => locked(&slot).take().map_or(Ok(()), Err),
    }
}

/// The bad end of a task.
type Failure = std::result::Result<Error, Box<dyn Any + Send>>;

impl Team {
    fn new(helpers: usize) -> Option<Team> {
        let mut missing = vec![];
        let keep = |thread| {
            missing.extend(start(thread).err());
            Ok(())
        };
        let threads = ThreadPoolBuilder::new().num_threads(helpers).spawn_handler(keep).build().ok()?;
        Some(Team {
            threads,
            helpers,
            missing: Mutex::new(missing),
            present: AtomicUsize::new(0),
            in_plan: AtomicBool::new(false),
            kernel: Apart(AtomicU64::new(0)),
            work: UnsafeCell::new(&|| ()),
            inside: Apart(AtomicUsize::new(0)),
            waited_for: AtomicBool::new(false),
            door: Mutex::new(()),
            left: Condvar::new(),
        })
    }

    fn share(&'static self, n: usize, task: &(dyn Fn(usize) -> Result<()> + Sync)) -> Result<()> {
        let next = Apart(AtomicUsize::new(0));
        let failed: Mutex<Option<(usize, Failure)>> = Mutex::new(None);
        let work = || {
            loop {
                let i = next.0.fetch_add(1, Relaxed);
                if i >= n {
                    return;
                }
                let failure = match catch_unwind(AssertUnwindSafe(|| task(i))) {
                    Ok(Ok(())) => continue,
                    Ok(Err(error)) => Ok(error),
                    Err(panic) => Err(panic),
                };
                next.0.store(n, Relaxed);
                // Tasks begin in order, so that the first of those that fail has begun whenever one has failed.
                let mut failed = locked(&failed);
                if failed.as_ref().is_none_or(|&(first, _)| i < first) {
                    *failed = Some((i, failure));
                }
            }
        };
        let whole = self.open(n - 1, &work);
        match failed.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner()) {
            Some((_, Ok(error))) => Err(error),
            Some((_, Err(panic))) => resume_unwind(panic),
            None if !whole => Err(Error::Interrupted),
            None => Ok(()),
        }
    }

    /// Runs `work` on this thread and at most so many helpers. False if it forked during that, from within a signal handler: what helpers
    /// had begun is not done in the child.
    fn open(&'static self, most: usize, work: &(dyn Fn() + Sync)) -> bool {
        // SAFETY: no kernel is open and no helper is inside. The borrow is longer than any helper's use: this does not return while a helper of
        // this process is inside, and none comes in once the kernel is closed.
        unsafe { *self.work.get() = std::mem::transmute::<*const (dyn Fn() + Sync + '_), *const (dyn Fn() + Sync)>(work) };
        self.kernel.0.fetch_add(1, SeqCst);
        self.call_up(most);
        work();
        self.kernel.0.fetch_add(1, SeqCst);
        self.wait_until_empty()
    }

    fn call_up(&'static self, most: usize) {
        let first = !self.in_plan.swap(true, Relaxed);
        let mut missing = locked(&self.missing);
        if first && let Some(thread) = missing.pop() {
            // There may be more room now.
            missing.extend(start(thread).err());
        }
        let most = most.min(self.helpers - missing.len());
        for _ in self.present.load(SeqCst)..most {
            self.present.fetch_add(1, SeqCst);
            self.threads.spawn(|| self.help());
        }
    }

    fn wait_until_empty(&self) -> bool {
        let is_empty = || self.inside.0.load(SeqCst) == 0;
        let began = Instant::now();
        while !is_empty() {
            if began.elapsed() < ACTIVE {
                (0..64).for_each(|_| spin_loop());
                continue;
            }
            self.waited_for.store(true, SeqCst);
            let door = locked(&self.door);
            if !is_empty() {
                drop(self.left.wait_timeout(door, HEARD_WITHIN));
            }
            look();
            if !std::ptr::eq(self, TEAM.load(Relaxed)) {
                return false;
            }
        }
        self.waited_for.store(false, Relaxed);
        true
    }

    /// The loop of a helper, until there is nothing more to do.
    fn help(&self) {
        let mut last = 0;
        while let Some(kernel) = self.look_out(last) {
            self.inside.0.fetch_add(1, SeqCst);
            if self.kernel.0.load(SeqCst) == kernel {
                // SAFETY: it is open, and the caller waits for those inside before the work goes. It does not panic.
                unsafe { (**self.work.get())() };
            }
            if self.inside.0.fetch_sub(1, SeqCst) == 1 && self.waited_for.load(SeqCst) {
                drop(locked(&self.door));
                self.left.notify_one();
            }
            last = kernel;
        }
    }

    /// The next kernel after `last`; none if it does not come soon.
    fn look_out(&self, last: u64) -> Option<u64> {
        let is_next = |kernel: &u64| kernel % 2 == 1 && *kernel != last;
        let began = Instant::now();
        loop {
            for _ in 0..64 {
                let kernel = self.kernel.0.load(Acquire);
                if is_next(&kernel) {
                    return Some(kernel);
                }
                spin_loop();
            }
            if !self.in_plan.load(Acquire) || began.elapsed() > ACTIVE {
                self.present.fetch_sub(1, SeqCst);
                // The caller of a kernel that is opened now may have counted on this helper.
                let kernel = Some(self.kernel.0.load(SeqCst)).filter(is_next)?;
                self.present.fetch_add(1, SeqCst);
                return Some(kernel);
            }
        }
    }
}
