//! The threads of a plan: every task once, the first error, panics, nesting, and thousands of short kernels one after the other.

use fluxrs::error::{Error, Result};
use fluxrs::pool;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// The number of threads is that of the process: each gets one of its own.
#[test]
fn tasks_on_any_number_of_threads() {
    for threads in ["1", "2", "3", "9"] {
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "--ignored", "in_one_process"])
            .env("RAYON_NUM_THREADS", threads)
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&child.stdout);
        assert!(child.status.success() && text.contains("1 passed"), "{threads} threads: {text}");
    }
}

fn value(i: usize) -> Error {
    Error::Value(format!("task {i}"))
}

#[test]
#[ignore = "run by the other test, for several numbers of threads"]
fn in_one_process() {
    for round in 0..3 {
        let _stay = pool::enter();
        each_task_once(round);
        first_error();
        panics_come_through();
        chunks();
        nested();
        short_kernels();
    }
    let all: Vec<_> = (0..4).map(|_| std::thread::spawn(several_plans)).collect();
    all.into_iter().for_each(|t| t.join().unwrap());
    each_task_once(9);
}

fn each_task_once(round: usize) {
    for n in [0, 1, 2, 3, 17, 1000 + round] {
        let seen: Vec<AtomicUsize> = (0..n).map(|_| AtomicUsize::new(0)).collect();
        pool::each(n, |i| {
            seen[i].fetch_add(1, Relaxed);
            Ok(())
        })
        .unwrap();
        assert!(seen.iter().all(|s| s.load(Relaxed) == 1), "{n} tasks");
    }
}

fn first_error() {
    for bad in [0, 1, 7, 99] {
        let ran = AtomicUsize::new(0);
        let found = pool::each(100_000, |i| {
            ran.fetch_add(1, Relaxed);
            if i >= bad { Err(value(i)) } else { Ok(()) }
        });
        assert!(matches!(found, Err(Error::Value(m)) if m == format!("task {bad}")));
        assert!(ran.load(Relaxed) < 1000, "tasks begin after one has failed");
    }
}

fn panics_come_through() {
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| ()));
    let caught = catch_unwind(AssertUnwindSafe(|| pool::each(64, |i| if i == 5 { panic!("five") } else { Ok(()) })));
    std::panic::set_hook(hook);
    assert_eq!(caught.unwrap_err().downcast_ref(), Some(&"five"));
}

fn chunks() {
    for (n, size) in [(0, 4), (3, 4), (1000, 1), (1000, 7), (1000, 1000)] {
        let mut all = vec![0; n];
        pool::each_chunk(&mut all, size, |k, part| {
            assert!(part.len() == size || k == n / size);
            part.iter_mut().enumerate().for_each(|(i, x)| *x += k * size + i);
            Ok(())
        })
        .unwrap();
        assert!(all.iter().enumerate().all(|(i, &x)| i == x));
    }
}

fn nested() {
    let ran = AtomicUsize::new(0);
    let inner = |_| {
        ran.fetch_add(1, Relaxed);
        Ok(())
    };
    let outer: Result<()> = pool::each(20, |_| pool::each(30, inner));
    outer.unwrap();
    assert_eq!(ran.into_inner(), 600);
}

/// Each reads what the one before wrote on whichever thread.
fn short_kernels() {
    let mut cells = vec![0usize; 64];
    for k in 0..3000 {
        pool::each_chunk(&mut cells, 9, |_, part| {
            assert!(part.iter().all(|&x| x == k));
            part.iter_mut().for_each(|x| *x += 1);
            Ok(())
        })
        .unwrap();
        if k % 500 == 0 {
            // Helpers have gone to sleep by then, or are about to.
            std::thread::sleep(std::time::Duration::from_micros(60));
        }
    }
}

/// One has the helpers, the others do without.
fn several_plans() {
    for _ in 0..200 {
        let _stay = pool::enter();
        each_task_once(1);
    }
}
