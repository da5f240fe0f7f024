//! An invalidation that has begun.

use core::fmt;

use super::{Ordering, RemoteInvalidation, is_inside};

/// An invalidation that has begun: CPUs that enter from now on forget, those that were inside have not yet.
///
/// Make this CPU and all [`cpus_inside`](Self::cpus_inside) forget by other means, and then say so
/// ([`completed`](Self::completed)). Without that they forget once more at their next entry, which does no harm.
#[must_use = "the CPUs inside have not forgotten yet"]
pub struct Posted<'a, const N: usize> {
    space: &'a RemoteInvalidation<N>,
    this_cpu: usize,
    generation: u64,
    /// The count of each CPU, as it was.
    crossings: [u64; N],
    /// How many other CPUs were inside: mostly none, and then nobody looks at the counts again.
    inside: usize,
}

impl<'a, const N: usize> Posted<'a, N> {
    #[inline]
    pub(super) fn new(
        space: &'a RemoteInvalidation<N>,
        this_cpu: usize,
        generation: u64,
        crossings: [u64; N],
    ) -> Self {
        let odd = crossings.iter().filter(|&&crossings| is_inside(crossings));
        let here = crossings.get(this_cpu).copied().is_some_and(is_inside);
        Self {
            space,
            this_cpu,
            generation,
            crossings,
            inside: odd.count().saturating_sub(usize::from(here)),
        }
    }

    /// The other CPUs that were inside: they use what was removed until they leave or forget.
    pub fn cpus_inside(&self) -> impl Iterator<Item = usize> + '_ {
        let cpus = self.crossings.iter().enumerate();
        cpus.filter(|&(cpu, &crossings)| cpu != self.this_cpu && is_inside(crossings))
            .map(|(cpu, _)| cpu)
            .take(self.inside)
    }

    /// This CPU and those that were inside **have forgotten all that this invalidation removed**: they need not at their
    /// next entry, unless other invalidations came before that they have not heard of.
    pub fn completed(self) {
        self.cpus_inside()
            .chain([self.this_cpu])
            .for_each(|cpu| self.has_forgotten(cpu));
    }

    /// `cpu` has forgotten. That counts only if it had all earlier invalidations behind it.
    fn has_forgotten(&self, cpu: usize) {
        let before = self.generation.wrapping_sub(1);
        if let Some(slot) = self.space.cpus.get(cpu) {
            let _ = slot.forgotten.compare_exchange(
                before,
                self.generation,
                Ordering::Relaxed,
                Ordering::Relaxed,
            );
        }
    }

    /// Waits until every CPU that was inside has left. This CPU has forgotten.
    pub(super) fn wait(&self, mut spin: impl FnMut()) {
        self.has_forgotten(self.this_cpu);
        for cpu in self.cpus_inside() {
            while self.is_still_inside(cpu) {
                spin();
            }
        }
    }

    /// Whether `cpu` has not left since. If it left and came back, it has another count.
    fn is_still_inside(&self, cpu: usize) -> bool {
        let now = self.space.cpus.get(cpu);
        // Acquire: what the guest did before it left has happened.
        let now = now.map(|slot| slot.crossings.load(Ordering::Acquire));
        now == self.crossings.get(cpu).copied()
    }
}

impl<const N: usize> fmt::Debug for Posted<'_, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Posted")
            .field("generation", &self.generation)
            .field("inside", &self.cpus_inside().count())
            .finish_non_exhaustive()
    }
}
