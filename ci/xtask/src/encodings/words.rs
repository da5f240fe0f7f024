//! Instructions of 32 bits, as a manual gives them.

use std::fmt::Write as _;

/// An instruction as the manual encodes it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Word {
    /// The assembly language.
    pub(super) text: &'static str,
    /// The bits that say which instruction it is.
    pub(super) mask: u32,
    /// Their values.
    pub(super) value: u32,
    /// Fields that name a register, as their first bits, which must not name the zero register.
    pub(super) registers: &'static [u32],
    /// The number of the zero register.
    pub(super) zero: u32,
}

impl Word {
    fn is(&self, word: u32) -> bool {
        let names_zero = |first: &u32| word >> first & 0x1f == self.zero;
        word & self.mask == self.value && !self.registers.iter().any(names_zero)
    }
}

/// The instructions of a function that matter.
#[derive(Clone, Copy, Debug)]
pub(super) struct Function {
    pub(super) name: &'static str,
    /// All of them, in order.
    pub(super) words: &'static [Word],
}

impl Function {
    /// A complaint if `found` are not the words of this function.
    pub(super) fn complaint(&self, found: &[u32]) -> Option<String> {
        let equal = self.words.len() == found.len()
            && self
                .words
                .iter()
                .zip(found)
                .all(|(word, &found)| word.is(found));
        (!equal).then(|| {
            let mut complaint = format!("{}: expected", self.name);
            for word in self.words {
                let _ = write!(complaint, " {} ({:08x})", word.text, word.value);
            }
            complaint += ", found";
            for word in found {
                let _ = write!(complaint, " {word:08x}");
            }
            complaint
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOVE: Word = Word {
        text: "MOVE",
        mask: 0xffff_ffe0,
        value: 0x1234_5660,
        registers: &[0],
        zero: 31,
    };
    const TWICE: Function = Function {
        name: "twice",
        words: &[MOVE, MOVE],
    };

    #[test]
    fn every_word_counts_and_so_does_their_number() {
        let (right, zero, wrong) = (0x1234_5661, 0x1234_567f, 0x1234_5641);
        assert_eq!(TWICE.complaint(&[right, right]), None);
        for found in [
            &[right][..],
            &[],
            &[right; 3],
            &[right, wrong],
            &[zero, right],
        ] {
            assert!(TWICE.complaint(found).is_some(), "{found:x?}");
        }
        assert_eq!(
            TWICE.complaint(&[wrong]).unwrap(),
            "twice: expected MOVE (12345660) MOVE (12345660), found 12345641"
        );
    }
}
