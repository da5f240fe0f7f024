//! What the programs are asked to do.
#![expect(
    unsafe_code,
    reason = "reads requests through the pointer that the caller gave"
)]

use core::slice;

/// What stands for a failure, and for an address that leads nowhere.
pub const FAILURE: u64 = u64::MAX;

/// One operation.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Request {
    /// 0 maps, 1 unmaps, everything else translates.
    pub operation: u64,
    /// The first guest byte.
    pub guest: u64,
    /// The first host byte.
    pub host: u64,
    /// The number of bytes.
    pub size: u64,
}

/// A table that is asked.
pub trait Consumer {
    /// Maps guest memory to host memory for reading and writing: 0, or [`FAILURE`].
    fn map(&mut self, request: &Request) -> u64;

    /// Unmaps guest memory: 0, or [`FAILURE`].
    fn unmap(&mut self, request: &Request) -> u64;

    /// Where the first guest byte leads, or [`FAILURE`].
    fn translate(&self, request: &Request) -> u64;
}

/// Does what the requests say: the last answer.
///
/// # Safety
///
/// `requests` leads to `count` requests, which nobody changes.
pub unsafe fn serve(consumer: &mut impl Consumer, requests: *const Request, count: usize) -> u64 {
    // SAFETY: the caller vouches for the requests.
    let requests = unsafe { slice::from_raw_parts(requests, count) };
    let mut answer = 0;
    for request in requests {
        answer = match request.operation {
            0 => consumer.map(request),
            1 => consumer.unmap(request),
            _ => consumer.translate(request),
        };
    }
    answer
}
