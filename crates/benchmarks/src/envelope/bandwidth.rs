//! What memory itself can do: the words of a cell's leaves, as one array.
#![expect(unsafe_code, reason = "reads and writes frames as an array")]

use std::hint::black_box;
use std::slice;

use anyhow::{Context, Result};
use nested_paging::guest_addr::PAGE_SIZE_4K;
use nested_paging::{HostFrames, HostPhysAddr};

use crate::envelope::cell::Operation;
use crate::envelope::work::Work;
use crate::frames::{self, StackFrames};
use crate::trial::Trial;

/// The name in reports.
pub(crate) const NAME: &str = "bandwidth";
const WORDS_OF_FRAME: u64 = PAGE_SIZE_4K / 8;

/// Writes as many words as a cell has leaves; or reads them; or both.
pub(crate) struct Bandwidth<'w> {
    work: &'w Work,
    frames: Vec<HostPhysAddr>,
}

impl<'w> Bandwidth<'w> {
    /// The trial, with nothing prepared.
    pub(crate) const fn new(work: &'w Work) -> Self {
        let frames = Vec::new();
        Self { work, frames }
    }

    fn words(&mut self) -> impl Iterator<Item = &mut [u64]> {
        self.frames.iter().map(|frame| {
            let words = frames::pointer(*frame).cast::<u64>();
            // SAFETY: the frame is this value's, and has that many words; each is in the list once.
            unsafe { slice::from_raw_parts_mut(words, WORDS_OF_FRAME as usize) }
        })
    }
}

impl Trial for Bandwidth<'_> {
    fn contender(&self) -> &'static str {
        NAME
    }

    fn prepare(&mut self) -> Result<()> {
        for _ in 0..self.work.units().div_ceil(WORDS_OF_FRAME) {
            let frame = StackFrames.alloc(1, PAGE_SIZE_4K).context("no frame")?;
            self.frames.push(frame);
        }
        self.words().for_each(|words| words.fill(1));
        Ok(())
    }

    fn run(&mut self) -> Result<()> {
        let mut sum = 0_u64;
        let operation = self.work.cell.operation;
        for words in self.words() {
            match operation {
                Operation::Map | Operation::Unmap => black_box(words).fill(0),
                Operation::Visit | Operation::Translate => {
                    sum = words.iter().fold(sum, |sum, word| sum.wrapping_add(*word));
                }
                _ => words.iter_mut().for_each(|word| *word ^= 2),
            }
        }
        black_box(sum);
        Ok(())
    }

    fn verify(&self) -> Result<()> {
        Ok(())
    }

    fn clean_up(&mut self) {
        for frame in self.frames.drain(..) {
            // SAFETY: it was taken in `prepare`, and nobody uses it any more.
            unsafe { StackFrames.dealloc(frame, 1) }
        }
    }
}
