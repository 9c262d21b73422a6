//! Bytes to the device and back. Waiting goes in slices of 20 ms, between which the stop flag is looked at.

use crate::device::Gpu;
use crate::fault::{Fault, Result};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::time::Duration;

/// An upload is handed to the driver in pieces of this many bytes: staging memory is held until a submit.
const PIECE: usize = 32 << 20;

const SLICE: Duration = Duration::from_millis(20);

const WAITING: u8 = 0;
const MAPPED: u8 = 1;
const FAILED: u8 = 2;

impl Gpu {
    /// Writes `bytes` at the start of `buffer`; their number is a multiple of four.
    pub fn upload(&self, buffer: &wgpu::Buffer, bytes: &[u8]) -> Result<()> {
        self.check()?;
        for (i, piece) in bytes.chunks(PIECE).enumerate() {
            self.queue.write_buffer(buffer, (i * PIECE) as u64, piece);
            if bytes.len() > PIECE {
                self.queue.submit([]);
            }
        }
        self.check()
    }

    /// Waits until a submission is done, in slices; with a stop flag, until that or an interrupt asks to stop.
    pub fn wait(&self, submission: &wgpu::SubmissionIndex, stop: Option<&AtomicBool>) -> Result<()> {
        let stopped = || stop.is_some_and(|stop| stop.load(Ordering::Relaxed) || fluxrs::stop::interrupted());
        loop {
            let waited =
                self.device.poll(wgpu::PollType::Wait { submission_index: Some(submission.clone()), timeout: Some(SLICE) });
            self.check()?;
            match waited {
                Ok(_) => return Ok(()),
                Err(wgpu::PollError::Timeout) if stopped() => {
                    return Err(Fault::Interrupted);
                }
                Err(wgpu::PollError::Timeout) => (),
                Err(error) => return Err(Fault::Driver(error.to_string())),
            }
        }
    }

    /// The first `out.len()` bytes of `buffer`, a multiple of four, once everything submitted before is done.
    pub fn download(&self, buffer: &wgpu::Buffer, out: &mut [u8]) -> Result<()> {
        self.check()?;
        for (i, piece) in out.chunks_mut(PIECE).enumerate() {
            self.download_piece(buffer, (i * PIECE) as u64, piece)?;
        }
        Ok(())
    }

    fn download_piece(&self, buffer: &wgpu::Buffer, at: u64, out: &mut [u8]) -> Result<()> {
        let size = out.len() as u64;
        let scope = self.device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
        let staging = self.device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("fluxrs readback"),
            size,
            usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        if crate::adapter::ready(scope.pop()).is_some() {
            return Err(Fault::Memory(format!("the GPU has no room for {size} bytes to read a tensor through")));
        }
        let mut encoder = self.device.create_command_encoder(&Default::default());
        encoder.copy_buffer_to_buffer(buffer, at, &staging, 0, size);
        let submission = self.queue.submit([encoder.finish()]);
        let state = Arc::new(AtomicU8::new(WAITING));
        let seen = state.clone();
        staging.map_async(wgpu::MapMode::Read, .., move |result| {
            seen.store(if result.is_ok() { MAPPED } else { FAILED }, Ordering::Release);
        });
        // No flag of a plan's stops this wait, but an interrupt does.
        self.wait(&submission, Some(&AtomicBool::new(false)))?;
        while state.load(Ordering::Acquire) == WAITING {
            let _ = self.device.poll(wgpu::PollType::Poll);
            self.check()?;
            std::thread::yield_now();
        }
        if state.load(Ordering::Acquire) == FAILED {
            self.check()?;
            return Err(Fault::Driver("a buffer could not be mapped".to_owned()));
        }
        let view = staging.get_mapped_range(..).map_err(|error| Fault::Driver(error.to_string()))?;
        out.copy_from_slice(&view);
        Ok(())
    }
}
