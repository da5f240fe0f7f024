//! The protocol in every interleaving and with every reordering that the memory model allows: loom runs the code itself.
//!
//! The model has one page. Its table entry is a word, and its frame is a cell that only its owner may touch: a guest
//! while the page is mapped, the host after the invalidation. A guest that uses a stale translation is a data race on the
//! cell, which loom reports. A guest has to be kicked to end, so a lost kick is a model that does not end.

extern crate std;

use std::boxed::Box;

use loom::cell::UnsafeCell;
use loom::model::Builder;
use loom::sync::atomic::AtomicBool;
use loom::sync::{Arc, Notify};
use loom::thread;

use super::{AtomicU64, Cpu, FIRST_GENERATION, Ordering, RemoteInvalidation};

impl<const N: usize> RemoteInvalidation<N> {
    fn new() -> Self {
        Self {
            generation: AtomicU64::new(FIRST_GENERATION),
            cpus: core::array::from_fn(|_| Cpu {
                crossings: AtomicU64::new(0),
                forgotten: AtomicU64::new(0),
            }),
        }
    }
}

const CPUS: usize = 3;

/// A page that a guest has.
struct Page {
    is_mapped: AtomicBool,
    frame: UnsafeCell<u64>,
}

impl Page {
    fn new() -> Self {
        Self {
            is_mapped: AtomicBool::new(true),
            frame: UnsafeCell::new(0),
        }
    }
}

struct Host {
    space: RemoteInvalidation<CPUS>,
    pages: [Page; 2],
    /// The interrupt that makes a CPU leave. It stays pending.
    kicks: [Notify; CPUS],
}

/// What a CPU has cached: the pages that it believes mapped.
struct Tlb<'h> {
    host: &'h Host,
    cached: [bool; 2],
}

impl Host {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            space: RemoteInvalidation::new(),
            pages: [Page::new(), Page::new()],
            kicks: core::array::from_fn(|_| Notify::new()),
        })
    }

    /// Removes a page, makes everybody forget, and uses its frame for something else.
    fn take_back(&self, cpu: usize, page: usize) {
        let page = self.unmap(page);
        self.space.invalidate(
            cpu,
            || (),
            |other| self.kicks[other].notify(),
            thread::yield_now,
        );
        reuse(page);
    }

    fn unmap(&self, page: usize) -> &Page {
        let page = &self.pages[page];
        page.is_mapped.store(false, Ordering::Relaxed);
        page
    }
}

fn reuse(page: &Page) {
    // No CPU can use the page any more. If one does, loom reports it.
    page.frame.with_mut(|_| ());
}

impl<'h> Tlb<'h> {
    /// A CPU that was inside the guest before, and has cached all pages.
    fn new(host: &'h Host) -> Self {
        Self {
            host,
            cached: [true; 2],
        }
    }

    /// Forgets everything, after which the CPU walks speculatively as it likes.
    fn forget(&mut self) {
        self.cached = [false; 2];
        for page in 0..2 {
            self.walk(page);
        }
    }

    fn walk(&mut self, page: usize) {
        self.cached[page] |= self.host.pages[page].is_mapped.load(Ordering::Relaxed);
    }

    /// The guest reads the page, if the CPU believes it mapped. Otherwise it faults.
    fn access(&mut self, page: usize) -> bool {
        if !self.cached[page] {
            self.walk(page);
        }
        if self.cached[page] {
            self.host.pages[page].frame.with(|_| ());
        }
        self.cached[page]
    }

    /// Runs the guest until it faults, or is kicked: until then it uses the page again and again.
    fn run(&mut self, cpu: usize, page: usize) {
        let host = self.host;
        let inside = host.space.enter(cpu, || self.forget());
        if self.access(page) {
            host.kicks[cpu].wait();
            self.access(page);
        }
        drop(inside);
    }

    /// Runs the guest for one access only.
    fn run_once(&mut self, cpu: usize, page: usize) {
        let host = self.host;
        let inside = host.space.enter(cpu, || self.forget());
        self.access(page);
        drop(inside);
    }
}

/// Runs `model` in all interleavings with up to `preemptions` preemptions at any place.
fn check(preemptions: usize, model: impl Fn() + Sync + Send + 'static) {
    let mut builder = Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.max_branches = 200;
    builder.check(model);
}

fn spawn(host: &Arc<Host>, action: impl FnOnce(&Host) + 'static) -> thread::JoinHandle<()> {
    let host = Arc::clone(host);
    let action: Box<dyn FnOnce(&Host)> = Box::new(action);
    thread::spawn(move || action(&host))
}

/// A guest runs until it is kicked or faults, comes back, and then does not use what was removed.
#[test]
fn a_guest_that_runs_is_kicked_and_forgets() {
    check(4, || {
        let host = Host::new();
        let guest = spawn(&host, |host| {
            let mut tlb = Tlb::new(host);
            tlb.run(1, 0);
            tlb.run_once(1, 0);
        });
        host.take_back(0, 0);
        guest.join().unwrap();
    });
}

/// Two pages are removed one after the other, while a guest enters and leaves.
#[test]
fn one_invalidation_after_another_reaches_a_guest_that_comes_and_goes() {
    check(3, || {
        let host = Host::new();
        let guest = spawn(&host, |host| {
            let mut tlb = Tlb::new(host);
            tlb.run_once(1, 0);
            tlb.run_once(1, 1);
            tlb.run_once(1, 0);
        });
        host.take_back(0, 0);
        host.take_back(0, 1);
        guest.join().unwrap();
    });
}

/// Two CPUs invalidate at once, both from inside: neither waits for the other for ever, and both forget.
#[test]
fn two_cpus_that_invalidate_at_once_do_not_wait_for_each_other() {
    check(3, || {
        let host = Host::new();
        let invalidate = |cpu: usize| {
            move |host: &Host| {
                let mut tlb = Tlb::new(host);
                let inside = host.space.enter(cpu, || tlb.forget());
                tlb.access(1 - cpu);
                let page = host.unmap(cpu);
                host.space
                    .invalidate(cpu, || tlb.forget(), |_| (), thread::yield_now);
                reuse(page);
                // The exit handler is done, and the guest goes on.
                tlb.access(1 - cpu);
                drop(inside);
            }
        };
        let other = spawn(&host, invalidate(1));
        invalidate(0)(&host);
        other.join().unwrap();
    });
}

/// A broadcast makes the CPUs inside forget one page; a guest that was outside, or has another page to forget, forgets at
/// its next entry.
#[test]
fn a_completed_broadcast_covers_its_own_invalidation_only() {
    check(3, || {
        let host = Host::new();
        let guest = spawn(&host, |host| {
            let mut tlb = Tlb::new(host);
            // Nothing is remembered from before.
            drop(host.space.enter(1, || tlb.cached = [false; 2]));
            tlb.run_once(1, 0);
            tlb.run_once(1, 0);
        });
        let other = spawn(&host, |host| {
            // Posts for page 0, and has not made anybody forget yet.
            let page = host.unmap(0);
            let posted = host.space.post(2);
            if posted.cpus_inside().next().is_none() {
                posted.completed();
                reuse(page);
            }
        });
        // An invalidation of page 1, which no CPU has cached: it is complete at once.
        host.unmap(1);
        host.space.post(0).completed();
        guest.join().unwrap();
        other.join().unwrap();
    });
}

#[test]
fn a_cpu_is_inside_once() {
    check(1, || {
        let space = RemoteInvalidation::<2>::new();
        let inside = space.enter(1, || ());
        assert!(inside.is_some());
        assert!(space.enter(1, || ()).is_none());
        assert!(space.enter(2, || ()).is_none());
        assert_eq!(
            space.post(0).cpus_inside().collect::<std::vec::Vec<_>>(),
            [1]
        );
        assert_eq!(space.post(1).cpus_inside().count(), 0);
        drop(inside);
        assert_eq!(space.post(0).cpus_inside().count(), 0);
        assert!(space.enter(1, || ()).is_some());
    });
}

#[test]
fn who_has_completed_everything_forgets_no_more() {
    check(1, || {
        let space = RemoteInvalidation::<2>::new();
        let forgets = |cpu| {
            let mut forgot = false;
            drop(space.enter(cpu, || forgot = true));
            forgot
        };
        assert!(forgets(0), "the first entry");
        assert!(forgets(1), "the first entry");
        assert!(!forgets(1));
        let inside = space.enter(1, || ());
        let early = space.post(0);
        let late = space.post(0);
        late.completed();
        early.completed();
        drop(inside);
        assert!(forgets(1), "late was completed before early");
        let inside = space.enter(1, || ());
        space.post(0).completed();
        drop(inside);
        assert!(!forgets(1));
        assert!(forgets(0), "late was completed before early");
        space.invalidate(0, || (), |_| (), || ());
        assert!(!forgets(0));
        assert!(forgets(1), "it was outside");
    });
}
