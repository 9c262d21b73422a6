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

struct Flight {
    step: u32,
    submission: wgpu::SubmissionIndex,
    readback: wgpu::Buffer,
    mapped: Arc<AtomicU8>,
    /// Undoes the step on the host if it did not commit.
    rollback: Option<Arc<dyn Rollback>>,
    calls: Arc<Calls>,
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
    device.create_buffer(&wgpu::BufferDescriptor { label: None, size: BYTES, usage, mapped_at_creation: false })
}

impl Steps {
    pub fn new(device: &wgpu::Device) -> Steps {
        use wgpu::BufferUsages as Usage;
        Steps {
            status: buffer(device, Usage::STORAGE | Usage::COPY_SRC | Usage::COPY_DST),
            ticket: buffer(device, Usage::COPY_SRC | Usage::COPY_DST),
            step: 0,
            flights: VecDeque::new(),
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
                    return Err(Fault::Lost("its status could not be read".to_owned()));
                }
            }
            let flight = self.flights.pop_front().expect("looked at above");
            let mut words = [0u32; BYTES as usize / 4];
            {
                let view = flight.readback.get_mapped_range(..).map_err(|error| Fault::Driver(error.to_string()))?;
                for (word, bytes) in words.iter_mut().zip(view.chunks_exact(4)) {
                    *word = u32::from_le_bytes(bytes.try_into().expect("four bytes"));
                }
            }
            flight.readback.unmap();
            self.idle.push(flight.readback);
            if words[CANARY] != flight.step {
                return Err(Fault::Lost("a step did not run to its end".to_owned()));
            }
            if words[BAD] | words[FLAG] != 0 {
                let own = if words[BAD_STEP] == flight.step { words[BAD_LOSSES] } else { 0 };
                self.failed.extend(flight.rollback.map(|rollback| (rollback, own)));
            }
            if words[BAD] != 0 {
                self.raised.get_or_insert(Raised::Loss { step: words[BAD_STEP], losses: words[BAD_LOSSES] });
            } else if words[FLAG] != 0 {
                self.raised.get_or_insert_with(|| raised(flight.step, &words[FLAG..], &flight.calls));
            }
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

    /// Ends and submits a step, with what is to be taken back if it does not commit and the calls that may raise flags in it.
    pub fn submit(
        &mut self,
        gpu: &Gpu,
        mut encoder: wgpu::CommandEncoder,
        rollback: Option<Arc<dyn Rollback>>,
        calls: &Arc<Calls>,
    ) -> Result<()> {
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
        self.flights.push_back(Flight { step: self.step, submission, readback, mapped, rollback, calls: calls.clone() });
        gpu.check()
    }
}
