//! A clock that stands still while the thread waits for a processor.

use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

/// A clock that was started.
///
/// It reads two clocks. The wall clock is cheap, and right for what takes microseconds; but on a busy machine it also
/// counts the time in which another program runs. The thread's own does not, and asking for it is a system
/// call. The lesser of the two is the time that the thread has used.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stopwatch {
    processor: Duration,
    wall: Instant,
}

impl Stopwatch {
    /// Starts.
    #[inline]
    pub(crate) fn start() -> Self {
        let processor = processor_time();
        let wall = Instant::now();
        Self { processor, wall }
    }

    /// The time since the start.
    #[inline]
    pub(crate) fn elapsed(self) -> Duration {
        let wall = self.wall.elapsed();
        let processor = processor_time().saturating_sub(self.processor);
        wall.min(processor)
    }
}

fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::try_from(time).unwrap_or_default()
}
