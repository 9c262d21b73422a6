//! Steps on their way: how many are in flight, and the flags they raise.
//!
//! The device keeps one status buffer. A bad loss or an index out of range raises a flag there, which stays up until the
//! host has seen it; kernels that commit look at it first. Every submit ends by writing its number as a canary and
//! copying the status to a buffer that the host maps without waiting.

use crate::device::Gpu;
use crate::fault::{Fault, Result};
use fluxrs::error::Error;
use fluxrs::ops::Structured;
use fluxrs::plan::Rollback;
use rustc_hash::FxHashMap;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::time::Instant;

const BYTES: u64 = 32;
/// Words of the status: a loss was bad, in which step, which losses; the canary; a kernel raised its flag (the number of its
/// call in the plan), with two words for the op's error; the number of the running step.
pub(crate) const BAD: usize = 0;
const BAD_STEP: usize = 1;
const BAD_LOSSES: usize = 2;
const CANARY: usize = 3;
pub(crate) const FLAG: usize = 4;
const STEP: usize = 7;

/// The flag's number where a result of int64 does not fit.
pub(crate) const OVERFLOW: u32 = u32::MAX;

/// The calls of a plan that may raise a flag, by the number they raise it with: the op, and its place among the plan's nodes.
pub(crate) type Calls = FxHashMap<u32, (Arc<dyn Structured>, u32)>;

/// A kernel's flag as it was raised in a step.
fn raised(step: u32, words: &[u32], calls: &Calls) -> Raised {
    match calls.get(&words[0]) {
        Some((op, local)) => Raised::Call { step, local: *local, error: op.raised([words[1], words[2]]) },
        None => Raised::Overflow,
    }
}

const WAITING: u8 = 0;
const MAPPED: u8 = 1;

/// What goes with a submit.
pub(crate) struct Step {
    /// In nanoseconds of one CPU core, as estimated.
    pub work: usize,
    /// Undoes the step on the host if it did not commit.
    pub rollback: Option<Arc<dyn Rollback>>,
    /// The calls that may raise flags in it.
    pub calls: Arc<Calls>,
}

struct Flight {
    number: u32,
    submission: wgpu::SubmissionIndex,
    begun: Instant,
    readback: wgpu::Buffer,
    mapped: Arc<AtomicU8>,
    step: Step,
}

/// The flags as they were read back.
#[derive(Clone, Debug, PartialEq)]
pub enum Raised {
    Loss {
        step: u32,
        losses: u32,
    },
    /// An index out of range, a singular matrix: by the call at this place of its plan.
    Call {
        step: u32,
        local: u32,
        error: Error,
    },
    /// A result of int64 that does not fit 32 bits.
    Overflow,
}

pub(crate) struct Steps {
    pub status: wgpu::Buffer,
    ticket: wgpu::Buffer,
    step: u32,
    flights: VecDeque<Flight>,
    /// When the last one was seen to be done.
    done: Instant,
    idle: Vec<wgpu::Buffer>,
    /// A flag that was seen and not yet reported.
    raised: Option<Raised>,
    /// Commits that did not happen, each with the losses of its own that were bad, by their bits.
    failed: Vec<(Arc<dyn Rollback>, u32)>,
}

/// True if the bits of the status name this loss of the plan; those from the last bit on share it.
pub(crate) fn is_bad(losses: u32, loss: usize) -> bool {
    losses >> loss.min(31) & 1 == 1
}

fn buffer(device: &wgpu::Device, usage: wgpu::BufferUsages) -> wgpu::Buffer {
    device.create_buffer(&wgpu::BufferDescriptor { label: Some("fluxrs status"), size: BYTES, usage, mapped_at_creation: false })
}

impl Steps {
    pub fn new(device: &wgpu::Device) -> Steps {
        use wgpu::BufferUsages as Usage;
        Steps {
            status: buffer(device, Usage::STORAGE | Usage::COPY_SRC | Usage::COPY_DST),
            ticket: buffer(device, Usage::COPY_SRC | Usage::COPY_DST),
            step: 0,
            flights: VecDeque::new(),
            done: Instant::now(),
            idle: Vec::new(),
            raised: None,
            failed: Vec::new(),
        }
    }

    /// Looks at what has come back, without waiting, until at most `most` steps are in flight. No further: what a step holds
    /// is let go after as many steps each time, so that a loop is given the same buffers again.
    fn collect(&mut self, gpu: &Gpu, most: usize) -> Result<()> {
        while self.flights.len() > most {
            let flight = &self.flights[0];
            match flight.mapped.load(Ordering::Acquire) {
                WAITING => return Ok(()),
                MAPPED => (),
                _ => {
                    self.flights.pop_front();
                    gpu.check()?;
                    return Err(gpu.lose("its status could not be read"));
                }
            }
            let Flight { number, readback, step, .. } = self.flights.pop_front().expect("looked at above");
            let mut words = [0u32; BYTES as usize / 4];
            {
                let view = readback.get_mapped_range(..).map_err(|error| Fault::Driver(error.to_string()))?;
                for (word, bytes) in words.iter_mut().zip(view.chunks_exact(4)) {
                    *word = u32::from_le_bytes(bytes.try_into().expect("four bytes"));
                }
            }
            readback.unmap();
            self.idle.push(readback);
            if words[CANARY] != number {
                return Err(gpu.lose("a step did not run to its end"));
            }
            if words[BAD] | words[FLAG] == 0 {
                continue;
            }
            let own = match words[BAD] {
                0 if self.raised.is_none() => {
                    let mut seen = raised(number, &words[FLAG..], &step.calls);
                    if let (Raised::Call { local, error, .. }, Some(rollback)) = (&mut seen, &step.rollback) {
                        *error = rollback.named(*local, error.clone());
                    }
                    self.raised = Some(seen);
                    // What was made of a wrong value is worth no more than a bad loss.
                    u32::MAX
                }
                0 => 0,
                _ => {
                    self.raised.get_or_insert(Raised::Loss { step: words[BAD_STEP], losses: words[BAD_LOSSES] });
                    if words[BAD_STEP] == number { words[BAD_LOSSES] } else { 0 }
                }
            };
            self.failed.extend(step.rollback.map(|rollback| (rollback, own)));
        }
        Ok(())
    }

    /// Waits until at most `most` steps are in flight.
    pub fn wait(&mut self, gpu: &Gpu, most: usize, stop: Option<&AtomicBool>) -> Result<()> {
        let _ = gpu.device.poll(wgpu::PollType::Poll);
        self.collect(gpu, most)?;
        while self.flights.len() > most {
            let flight = &self.flights[0];
            gpu.wait(&flight.submission, stop)?;
            // The time is known of what was waited for.
            let begun = flight.begun.max(self.done);
            self.done = Instant::now();
            gpu.pace.learn(flight.step.work, self.done.duration_since(begun));
            while flight.mapped.load(Ordering::Acquire) == WAITING {
                let _ = gpu.device.poll(wgpu::PollType::Poll);
                gpu.check()?;
            }
            self.collect(gpu, most)?;
        }
        Ok(())
    }

    /// A flag that was raised, lowered again: waits for the steps behind it, which committed nothing, and sets back what the
    /// host took for committed.
    pub fn take_raised(&mut self, gpu: &Gpu) -> Result<Option<Raised>> {
        if self.raised.is_some() {
            self.wait(gpu, 0, None)?;
            gpu.queue.write_buffer(&self.status, 0, &[0; BYTES as usize]);
            for (rollback, losses) in self.failed.drain(..).rev() {
                rollback.roll_back(&|loss| is_bad(losses, loss));
            }
        }
        Ok(self.raised.take())
    }

    /// Steps that are not known to be done.
    #[cfg(test)]
    pub fn in_flight(&self) -> usize {
        self.flights.len()
    }

    /// Makes the last step one that did not run to its end.
    #[cfg(test)]
    pub fn cut_short(&mut self) {
        self.flights.iter_mut().last().unwrap().number += 1;
    }

    /// The number of the step under way, or of the last one.
    pub fn number(&self) -> u32 {
        self.step
    }

    /// Gives the step its number, before its first kernel.
    pub fn begin(&mut self, gpu: &Gpu, encoder: &mut wgpu::CommandEncoder) {
        self.step = self.step.wrapping_add(1);
        gpu.queue.write_buffer(&self.ticket, 0, &self.step.to_le_bytes());
        encoder.copy_buffer_to_buffer(&self.ticket, 0, &self.status, 4 * STEP as u64, 4);
    }

    /// Ends and submits a step.
    pub fn submit(&mut self, gpu: &Gpu, mut encoder: wgpu::CommandEncoder, step: Step) -> Result<()> {
        use wgpu::BufferUsages as Usage;
        let fresh = || buffer(&gpu.device, Usage::MAP_READ | Usage::COPY_DST);
        let readback = self.idle.pop().unwrap_or_else(fresh);
        encoder.copy_buffer_to_buffer(&self.ticket, 0, &self.status, 4 * CANARY as u64, 4);
        encoder.copy_buffer_to_buffer(&self.status, 0, &readback, 0, BYTES);
        let submission = gpu.queue.submit([encoder.finish()]);
        let mapped = Arc::new(AtomicU8::new(WAITING));
        let seen = mapped.clone();
        readback.map_async(wgpu::MapMode::Read, .., move |result| {
            seen.store(if result.is_ok() { MAPPED } else { 2 }, Ordering::Release);
        });
        self.flights.push_back(Flight { number: self.step, submission, begun: Instant::now(), readback, mapped, step });
        gpu.check()
    }
}
