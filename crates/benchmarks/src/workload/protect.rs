//! W4 and W4x: protecting all of W1.

use anyhow::Result;

use crate::contender::{Access, Leaves, PageTable};
use crate::workload::{
    GIB, HOST, PAGES, SAMPLES, Workload, guest, guest_page, random_numbers, verify_equal,
    verify_linear,
};

/// Takes the right to write from 1 GiB of pages.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Protect {
    name: &'static str,
    before: Access,
    after: Access,
}

impl Protect {
    /// Pages that may not be executed.
    pub(crate) const W4: Self = Self {
        name: "W4",
        before: Access::ReadWrite,
        after: Access::Read,
    };
    /// Pages that may be.
    pub(crate) const W4X: Self = Self {
        name: "W4x",
        before: Access::ReadWriteExecute,
        after: Access::ReadExecute,
    };
}

impl Workload for Protect {
    fn name(&self) -> &'static str {
        self.name
    }

    fn units(&self) -> u64 {
        PAGES
    }

    fn prepare<T: PageTable>(&self) -> Result<Vec<T>> {
        let mut table = T::new(Leaves::Pages)?;
        table.map(guest(GIB)?, HOST, self.before)?;
        Ok(vec![table])
    }

    fn run<T: PageTable>(&self, tables: &mut [T]) -> Result<()> {
        let range = guest(GIB)?;
        for table in tables {
            table.protect(range, self.after)?;
        }
        Ok(())
    }

    fn verify<T: PageTable>(&self, tables: &[T]) -> Result<()> {
        verify_linear(tables, HOST, GIB)?;
        for table in tables {
            for number in random_numbers(SAMPLES, PAGES as u32) {
                let page = guest_page(number);
                let leaf = table.translate(page);
                let access = leaf.and_then(|leaf| T::access(leaf.flags));
                verify_equal(page, access, Some(self.after))?;
            }
        }
        Ok(())
    }
}
