//! Tensors from one device to another.

use crate::backend::backend;
use crate::bail;
use crate::buffer::{Buffer, HostBuffer, byte_len};
use crate::device::Device;
use crate::dtype::DType;
use crate::error::Result;
use crate::evaluate;
use crate::graph::{Tensor, no_grad};
use std::sync::Arc;

/// The elements in row-major order in host memory, wherever they are.
pub fn to_host(x: &Tensor) -> Result<Arc<HostBuffer>> {
    let (mut buffer, map) = evaluate::read(x)?;
    if map.offset != 0 || !map.is_contiguous(x.shape()) {
        buffer = crate::ENGINE.own_copy(x)?;
    }
    match &buffer {
        Buffer::Host(host) => Ok(host.clone()),
        Buffer::Device(_) => {
            let host = HostBuffer::new(byte_len(x.size(), x.dtype())?)?;
            // SAFETY: fresh memory of this length without another reference; the device writes all of it.
            let out = unsafe { std::slice::from_raw_parts_mut(host.as_ptr(), host.bytes()) };
            backend(x.device()).download(&buffer, x.dtype(), out)?;
            Ok(Arc::new(host))
        }
    }
}

/// The value of `x` on a device, without history; the tensor itself if it is there already. Where the device has no
/// float64 it becomes float32.
pub fn to_device(x: &Tensor, device: Device) -> Result<Tensor> {
    if x.device() == device {
        return Ok(x.clone());
    }
    let target = backend(device);
    let x = match x.dtype() {
        DType::F64 if !target.supports(DType::F64) => no_grad(|| x.cast(DType::F32)),
        _ => x.clone(),
    };
    if !target.supports(x.dtype()) {
        bail!(Device, "{device} cannot hold {} tensors", x.dtype());
    }
    let host = to_host(&x)?;
    let bytes = byte_len(x.size(), x.dtype())?;
    let buffer = match device.is_cpu() {
        true => Buffer::Host(host),
        false => target.upload(&host.as_slice::<u8>()[..bytes], x.dtype())?,
    };
    Ok(Tensor::from_buffer(buffer, x.shape(), x.dtype(), device))
}
