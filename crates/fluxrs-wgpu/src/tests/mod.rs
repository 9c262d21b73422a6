//! Tests on a device. Without one they say so and pass; with `FLUXRS_GPU` set they must run.

mod fast_math;
mod faults;
mod hardware;
mod math;
mod matmul;
mod parity;
mod programs;
mod recorder;
mod shaders;
mod steps;
mod structured;
mod uniform;

use crate::device::{Gpu, gpu};
use crate::pipeline::Access;

/// The device, or None with a line that says that nothing was tested.
pub(crate) fn device() -> Option<&'static Gpu> {
    match gpu() {
        Ok(gpu) => {
            // The stock driver of Debian 12 computes wrong results: it stops loops after 65,535 turns.
            let driver = &gpu.adapter.driver;
            assert!(!driver.contains("Mesa 22."), "this software driver is too old: {driver}");
            Some(gpu)
        }
        Err(why) if std::env::var(crate::VARIABLE).is_err() => {
            eprintln!("the GPU part was not run: {why}");
            None
        }
        Err(why) => panic!("{} is set, yet {why}", crate::VARIABLE),
    }
}

pub(crate) fn words(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

fn bytes(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

/// Runs one kernel over its inputs, then gives the words of its one output, the last buffer.
pub(crate) fn run(gpu: &'static Gpu, source: &str, args: &[u32], inputs: &[&[u32]], out: usize, groups: [u32; 3]) -> Vec<u32> {
    let mut access = vec![Access::Read; inputs.len()];
    access.push(Access::Write);
    let kernel = gpu.kernel(source, &access, "a test").unwrap();
    let mut args = args.to_vec();
    args.resize(args.len().next_multiple_of(64), 0);
    let uniform = gpu.device.create_buffer(&wgpu::BufferDescriptor {
        label: None,
        size: 4 * args.len() as u64,
        usage: wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST,
        mapped_at_creation: false,
    });
    gpu.upload(&uniform, &bytes(&args)).unwrap();
    let mut buffers = Vec::new();
    for input in inputs {
        let buffer = gpu.storage(4 * input.len() as u64).unwrap();
        gpu.upload(&buffer, &bytes(input)).unwrap();
        buffers.push(buffer);
    }
    buffers.push(gpu.storage(4 * out as u64).unwrap());
    let mut entries = vec![wgpu::BindGroupEntry { binding: 0, resource: uniform.as_entire_binding() }];
    for (i, buffer) in buffers.iter().enumerate() {
        entries.push(wgpu::BindGroupEntry { binding: i as u32 + 1, resource: buffer.as_entire_binding() });
    }
    let group =
        gpu.device.create_bind_group(&wgpu::BindGroupDescriptor { label: None, layout: &kernel.layout, entries: &entries });
    let mut encoder = gpu.device.create_command_encoder(&Default::default());
    {
        let mut pass = encoder.begin_compute_pass(&Default::default());
        pass.set_pipeline(&kernel.pipeline);
        pass.set_bind_group(0, &group, &[0]);
        pass.dispatch_workgroups(groups[0], groups[1], groups[2]);
    }
    gpu.queue.submit([encoder.finish()]);
    let mut result = vec![0u8; 4 * out];
    gpu.download(buffers.last().unwrap(), &mut result).unwrap();
    result.chunks_exact(4).map(|word| u32::from_le_bytes(word.try_into().unwrap())).collect()
}

#[test]
fn bytes_survive_the_way_there_and_back() {
    let Some(gpu) = device() else { return };
    for size in [4usize, 256, 260, 1 << 20, (40 << 20) + 4] {
        let there: Vec<u8> = (0..size).map(|i| (i * 7 + i / 251) as u8).collect();
        let buffer = gpu.storage(size as u64).unwrap();
        gpu.upload(&buffer, &there).unwrap();
        let mut back = vec![0; size];
        gpu.download(&buffer, &mut back).unwrap();
        assert!(there == back, "{size} bytes");
    }
}

#[test]
fn memory_that_cannot_be_had_is_an_error() {
    let Some(gpu) = device() else { return };
    assert!(matches!(gpu.storage(1 << 40), Err(crate::Fault::Memory(_))));
    gpu.check().unwrap();
    gpu.storage(1024).unwrap();
}
