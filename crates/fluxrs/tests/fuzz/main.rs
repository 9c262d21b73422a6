//! Random programs, compared with the reference: values bit for bit, errors, what is kept, and that failed evaluations change nothing.
//!
//! `FLUXRS_FUZZ_SECONDS=n` runs longer than the usual time, `FLUXRS_FUZZ_SEED=s` runs one program. A program that fails is
//! made shorter while it still fails, and printed.

mod acts;
mod calls;
mod composed;
mod nested;
mod random;
mod structured;
mod threads;
mod world;

use fluxrs::evaluate::{audit_keys, shared_key};
use random::Random;
use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};
use world::World;

thread_local! {
    /// Where the last panic of this thread was.
    static PLACE: RefCell<String> = const { RefCell::new(String::new()) };
}

/// The acts of a program.
fn program(seed: u64) -> Vec<u64> {
    let mut r = Random::new(seed);
    let n = r.below(70) + 5;
    (0..n).map(|_| r.word()).collect()
}

/// Runs a program; what went wrong, with the trace, if something did.
fn run(program: &[u64]) -> Result<(), (String, Vec<String>)> {
    let mut world = World::new();
    let result = catch_unwind(AssertUnwindSafe(|| {
        program.iter().for_each(|&seed| acts::act(&mut world, seed));
        world.say("end");
        world.flush();
        world.check_all(&mut Random::new(program.first().copied().unwrap_or(0) >> 60));
        if let Some(graphs) = shared_key() {
            panic!("{graphs}");
        }
    }));
    fluxrs::buffer::faults::fail_after(0);
    fluxrs::buffer::faults::interrupt_after(0);
    let Err(panic) = result else { return Ok(()) };
    let text = panic.downcast_ref::<String>().cloned().or(panic.downcast_ref::<&str>().map(|s| s.to_string()));
    // A queued update would be committed by the next program.
    let _ = fluxrs::leaf::flush();
    Err((text.unwrap_or_default() + &PLACE.take(), world.log))
}

/// Leaves out acts as long as the program fails at the same place without them.
fn minimise(mut program: Vec<u64>, patience: Duration) -> Vec<u64> {
    let place = |program: &[u64]| run(program).err().map(|(what, _)| what.rsplit(" (").next().unwrap_or_default().to_string());
    let (start, wanted) = (Instant::now(), place(&program));
    let mut piece = program.len().div_ceil(2);
    while piece > 0 && start.elapsed() < patience {
        let before = program.len();
        let mut at = 0;
        while at < program.len() && start.elapsed() < patience {
            let mut shorter = program.clone();
            shorter.drain(at..(at + piece).min(program.len()));
            if place(&shorter) == wanted { program = shorter } else { at += piece }
        }
        // Single acts are tried again as long as one more goes.
        if piece > 1 || program.len() == before {
            piece /= 2;
        }
    }
    program
}

fn report(seed: u64) {
    let short = minimise(program(seed), Duration::from_secs(20));
    if let Err((what, log)) = run(&short) {
        eprintln!("program {seed}, {} acts:\n{}\n{what}\n", short.len(), log.join("\n"));
    }
}

fn seconds() -> f64 {
    std::env::var("FLUXRS_FUZZ_SECONDS").ok().and_then(|s| s.parse().ok()).unwrap_or(20.0)
}

/// Runs programs from `first` on, each `step`-th, until the time is up; returns the seeds of those that failed.
fn search(first: u64, step: u64, time: Duration) -> (Vec<u64>, u64) {
    let start = Instant::now();
    let mut failed = Vec::new();
    let mut seed = first;
    while start.elapsed() < time && failed.len() < 5 {
        if std::env::var_os("FLUXRS_FUZZ_TRACE").is_some() {
            eprintln!("program {seed}");
        }
        if let Err((what, _)) = run(&program(seed)) {
            // Said at once: it may not fail again.
            eprintln!("program {seed}: {what}");
            failed.push(seed);
        }
        seed += step;
    }
    (failed, (seed - first) / step)
}

/// The same in a process that makes machine code for all loops, and in one that does so for AVX2.
#[test]
fn random_programs_as_machine_code() {
    for isa in ["", "avx2"] {
        let status = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["random_programs", "--exact"])
            .envs([("FLUXRS_JIT", "all"), ("FLUXRS_ISA", isa), ("FLUXRS_FUZZ_SECONDS", "8")])
            .status();
        assert!(status.unwrap().success(), "FLUXRS_ISA={isa}");
    }
}

#[test]
fn random_programs() {
    audit_keys();
    let quiet = std::panic::take_hook();
    std::panic::set_hook(Box::new(|info| {
        PLACE.set(info.location().map(|l| format!(" ({}:{})", l.file(), l.line())).unwrap_or_default());
    }));
    if let Some(seed) = std::env::var("FLUXRS_FUZZ_SEED").ok().and_then(|s| s.parse().ok()) {
        report(seed);
        assert!(run(&program(seed)).is_ok(), "program {seed} failed");
        return;
    }
    let time = Duration::from_secs_f64(seconds());
    // Alone first, so that a failure is the program's own; then beside another thread.
    let (mut failed, alone) = search(0, 1, time.mul_f64(0.7));
    let (beside, together) = std::thread::scope(|scope| {
        let other = scope.spawn(|| search(1 << 32 | 1, 2, time.mul_f64(0.3)));
        let (mut failed, n) = search(1 << 32, 2, time.mul_f64(0.3));
        let (more, m) = other.join().expect("failures are caught");
        failed.extend(more);
        (failed, n + m)
    });
    failed.extend(beside);
    eprintln!("{alone} programs alone, {together} beside each other");
    failed.iter().for_each(|&seed| report(seed));
    std::panic::set_hook(quiet);
    assert!(failed.is_empty(), "programs {failed:?} failed; run one with FLUXRS_FUZZ_SEED");
}
