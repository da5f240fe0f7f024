//! What to run, as the command line of the machine says.

/// The largest leaf that faults of a real guest fill.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leaf {
    /// 4 KiB.
    Page,
    /// 2 MiB, where the region and the allocator permit it.
    Block,
}

impl Leaf {
    /// Its size in bytes.
    #[must_use]
    pub const fn size(self) -> u64 {
        match self {
            Self::Page => 4 << 10,
            Self::Block => 2 << 20,
        }
    }
}

/// The words of a command line that the suite understands: `seed=7 steps=2000 probes=50 only=split
/// sabotage blocks`. Others are left to the hypervisor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options<'a> {
    /// What the random sequences of the differential run follow from.
    pub seed: u64,
    /// The number of operations of the differential run, in each mode.
    pub steps: u64,
    /// The number of probes after each operation.
    pub probes: u64,
    /// Run only what has this in its name.
    pub only: &'a str,
    /// Damage every leaf that is made: the suite has to fail.
    pub sabotage: bool,
    /// What faults of a real guest fill.
    pub leaf: Leaf,
}

impl<'a> Options<'a> {
    /// The options in `line`.
    ///
    /// # Errors
    ///
    /// The word whose number cannot be read.
    pub fn parse(line: &'a str) -> Result<Self, &'a str> {
        let mut options = Self::default();
        for word in line.split_whitespace() {
            match word.split_once('=') {
                Some(("seed", value)) => options.seed = number(value).ok_or(word)?,
                Some(("steps", value)) => options.steps = number(value).ok_or(word)?,
                Some(("probes", value)) => options.probes = number(value).ok_or(word)?,
                Some(("only", value)) => options.only = value,
                None if word == "sabotage" => options.sabotage = true,
                None if word == "blocks" => options.leaf = Leaf::Block,
                _ => {}
            }
        }
        Ok(options)
    }
}

impl Default for Options<'_> {
    fn default() -> Self {
        Self {
            seed: 1,
            steps: 2000,
            probes: 50,
            only: "",
            sabotage: false,
            leaf: Leaf::Page,
        }
    }
}

pub(crate) fn number(text: &str) -> Option<u64> {
    match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_words_count_and_others_do_not() {
        let options =
            Options::parse("console=ttyS0 seed=0x10 steps=3 only=uart sabotage blocks quiet");
        let expected = Options {
            seed: 16,
            steps: 3,
            only: "uart",
            sabotage: true,
            leaf: Leaf::Block,
            ..Options::default()
        };
        assert_eq!(options, Ok(expected));
    }

    #[test]
    fn a_number_that_is_none_is_named() {
        assert_eq!(Options::parse("seed=1 steps=many"), Err("steps=many"));
    }
}
