//! What happened on the host, in order.

use std::sync::Mutex;

use guest_addr::{GuestPhysAddr, HostPhysAddr, HostPhysRange};
use nested_page_table::Invalidation;

use crate::sync::locked;

/// Something that happened on the host.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// Frames were handed out.
    Allocated(HostPhysRange),
    /// Frames were given back.
    Freed(HostPhysRange),
    /// Lines of the data cache were written back.
    Cleaned(HostPhysRange),
    /// Lines of the data cache were dropped.
    StaleLinesDropped(HostPhysRange),
    /// Instruction fetches of all CPUs see what was stored.
    Synchronised(HostPhysRange),
    /// CPUs forgot what a request names.
    Invalidated(Box<Invalidation>),
    /// A guest page that is watched leads to this host page now.
    Linked {
        /// The guest page.
        gpa: GuestPhysAddr,
        /// The host page.
        host: HostPhysAddr,
    },
    /// A guest page that is watched leads nowhere now.
    Unlinked {
        /// The guest page.
        gpa: GuestPhysAddr,
    },
    /// A word that is watched was changed.
    Stored {
        /// The word.
        address: HostPhysAddr,
        /// What it holds now.
        value: u64,
    },
}

/// How the log looks at what no call tells it of.
pub(crate) trait Watched {
    /// Where the table of `root_register` leads for `gpa` now.
    fn host_of(&self, root_register: u64, gpa: GuestPhysAddr) -> Option<HostPhysAddr>;

    /// The word at `address`.
    fn word(&self, address: HostPhysAddr) -> Option<u64>;
}

struct Page {
    root_register: u64,
    gpa: GuestPhysAddr,
    host: Option<HostPhysAddr>,
}

struct Word {
    address: HostPhysAddr,
    value: Option<u64>,
}

#[derive(Default)]
struct State {
    events: Vec<Event>,
    pages: Vec<Page>,
    words: Vec<Word>,
}

/// The events since the log was switched on.
///
/// Stores to tables and memory are no calls. The log looks at the pages and words that are watched before it
/// notes any other event, so that a change stands between the events that it happened between.
#[derive(Default)]
pub(crate) struct EventLog(Mutex<Option<State>>);

impl EventLog {
    pub(crate) fn switch_on(&self) {
        locked(&self.0).get_or_insert_default();
    }

    pub(crate) fn watch_page(
        &self,
        watched: &impl Watched,
        root_register: u64,
        gpa: GuestPhysAddr,
    ) {
        let host = watched.host_of(root_register, gpa);
        let page = Page {
            root_register,
            gpa,
            host,
        };
        locked(&self.0).get_or_insert_default().pages.push(page);
    }

    pub(crate) fn watch_word(&self, watched: &impl Watched, address: HostPhysAddr) {
        let value = watched.word(address);
        let word = Word { address, value };
        locked(&self.0).get_or_insert_default().words.push(word);
    }

    /// Notes what changed, and then `event`.
    pub(crate) fn note(&self, watched: &impl Watched, event: Event) {
        if let Some(state) = locked(&self.0).as_mut() {
            state.look(watched);
            state.events.push(event);
        }
    }

    pub(crate) fn take(&self, watched: &impl Watched) -> Vec<Event> {
        let mut state = locked(&self.0);
        let Some(state) = state.as_mut() else {
            return Vec::new();
        };
        state.look(watched);
        core::mem::take(&mut state.events)
    }
}

impl State {
    /// Notes what has changed since the last event.
    fn look(&mut self, watched: &impl Watched) {
        for word in &mut self.words {
            let now = watched.word(word.address);
            if let Some(value) = now.filter(|_| now != word.value) {
                let address = word.address;
                self.events.push(Event::Stored { address, value });
            }
            word.value = now;
        }
        for page in &mut self.pages {
            let (gpa, now) = (page.gpa, watched.host_of(page.root_register, page.gpa));
            match now {
                _ if now == page.host => {}
                Some(host) => self.events.push(Event::Linked { gpa, host }),
                None => self.events.push(Event::Unlinked { gpa }),
            }
            page.host = now;
        }
    }
}
