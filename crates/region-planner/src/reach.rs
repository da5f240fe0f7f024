//! Which of the regions seen so far reach furthest.

use crate::class::Class;

/// An earlier region: where its pages end, what it is, and where it stands in the sorted slice.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reached {
    pub(crate) end: u64,
    pub(crate) class: Class,
    pub(crate) index: u32,
}

/// The earlier region that ends last, and the one that ends last among those of another class.
///
/// Regions come by ascending start, so an earlier region overlaps the next one exactly when it ends
/// past the next one's start. Two candidates therefore answer, without a search, whether *any*
/// earlier region overlaps the next one and differs from it in class.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reach {
    furthest: Option<Reached>,
    other_class: Option<Reached>,
}

impl Reach {
    pub(crate) const NOTHING: Self = Self {
        furthest: None,
        other_class: None,
    };

    pub(crate) const fn is_empty(&self) -> bool {
        self.furthest.is_none()
    }

    /// An earlier region of another class than `class` that has the page `start`.
    #[inline]
    pub(crate) fn conflict(&self, start: u64, class: Class) -> Option<u32> {
        let furthest = self.furthest.filter(|reached| reached.end > start)?;
        if furthest.class != class {
            return Some(furthest.index);
        }
        let other = self.other_class.filter(|reached| reached.end > start)?;
        Some(other.index)
    }

    #[inline]
    pub(crate) fn record(&mut self, next: Reached) {
        match self.furthest {
            Some(furthest) if furthest.end >= next.end => {
                let end = self.other_class.map_or(0, |other| other.end);
                if furthest.class != next.class && end < next.end {
                    self.other_class = Some(next);
                }
            }
            furthest => {
                if furthest.is_some_and(|furthest| furthest.class != next.class) {
                    self.other_class = furthest;
                }
                self.furthest = Some(next);
            }
        }
    }
}
