//! [`Vmids`] against a slow model: sets of numbers, and what the CPUs may have translations of.

use std::collections::BTreeSet;

use host_services::{Vmid, VmidError, Vmids};
use nested_page_table::InvalidationFailed;
use proptest::prelude::{Strategy, any, prop_oneof, proptest};

#[derive(Clone, Copy, Debug)]
enum Step {
    /// Allocate; the host may fail to invalidate.
    Allocate { fails: bool },
    /// Claim this number.
    Claim { number: u16, fails: bool },
    /// Release the n-th of those that are out.
    Release(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => any::<bool>().prop_map(|fails| Step::Allocate { fails }),
        1 => (0_u16..200, any::<bool>()).prop_map(|(number, fails)| Step::Claim { number, fails }),
        3 => any::<usize>().prop_map(Step::Release),
    ]
}

struct Model {
    numbers: BTreeSet<u16>,
    out: Vec<Vmid>,
    /// Numbers of which a CPU may have translations.
    cached: BTreeSet<u16>,
    generation: u64,
}

impl Model {
    fn is_out(&self, number: u16) -> bool {
        self.out.iter().any(|vmid| vmid.number() == number)
    }

    /// A VMID was handed out: it is nobody else's, and no CPU has translations of it.
    fn receive(&mut self, vmid: Vmid) {
        let number = vmid.number();
        assert!(self.numbers.contains(&number), "{number} is out of range");
        assert!(!self.is_out(number), "{number} was handed out twice");
        let is_fresh = self.cached.insert(number);
        assert!(is_fresh, "{number} was not invalidated");
        self.out.push(vmid);
    }

    fn allocate(&mut self, vmids: &mut Vmids<3>, fails: bool) {
        let free = |number: &&u16| !self.is_out(**number);
        let all_taken = self.numbers.iter().find(free).is_none();
        let none_fresh = self
            .numbers
            .iter()
            .filter(free)
            .all(|n| self.cached.contains(n));
        let mut calls = 0;
        let result = vmids.allocate(|| {
            calls += 1;
            answer(fails)
        });
        assert_eq!(
            calls > 0,
            none_fresh && !all_taken,
            "an invalidation in vain, or none"
        );
        if calls > 0 && !fails {
            // Address spaces that run have translations again at once.
            self.cached = self.out.iter().map(Vmid::number).collect();
            self.generation += 1;
        }
        match result {
            Ok(vmid) => self.receive(vmid),
            Err(VmidError::AllTaken) => assert!(all_taken),
            Err(error) => assert!(calls > 0 && fails, "{error}"),
        }
    }

    fn claim(&mut self, vmids: &mut Vmids<3>, number: u16, fails: bool) {
        let mut calls = 0;
        let result = vmids.claim(number, || {
            calls += 1;
            answer(fails)
        });
        if calls > 0 && !fails {
            assert!(self.cached.remove(&number), "an invalidation in vain");
        }
        match result {
            Ok(vmid) => {
                assert_eq!(vmid.number(), number);
                self.receive(vmid);
            }
            Err(VmidError::OutOfRange(_)) => assert!(!self.numbers.contains(&number)),
            Err(VmidError::Taken(_)) => assert!(self.is_out(number)),
            Err(error) => assert!(calls > 0 && fails, "{error}"),
        }
    }
}

const fn answer(fails: bool) -> Result<(), InvalidationFailed> {
    match fails {
        true => Err(InvalidationFailed),
        false => Ok(()),
    }
}

proptest! {
    #[test]
    fn no_vmid_is_two_machines_and_none_comes_back_with_translations(
        first in 0_u16..140,
        count in 1_u16..70,
        steps in proptest::collection::vec(step(), 1..300),
    ) {
        let last = (first + count - 1).min(191);
        let mut vmids = Vmids::<3>::new(first, last).unwrap();
        let mut model = Model {
            numbers: (first..=last).collect(),
            out: Vec::new(),
            cached: BTreeSet::new(),
            generation: 0,
        };
        for step in steps {
            match step {
                Step::Allocate { fails } => model.allocate(&mut vmids, fails),
                Step::Claim { number, fails } => model.claim(&mut vmids, number, fails),
                Step::Release(_) if model.out.is_empty() => {}
                Step::Release(which) => {
                    let which = which % model.out.len();
                    vmids.release(model.out.swap_remove(which));
                }
            }
            assert_eq!(vmids.generation(), model.generation);
        }
    }
}

#[test]
fn there_is_room_for_each_number_or_nothing() {
    assert!(Vmids::<1>::new(0, 63).is_some());
    assert!(Vmids::<1>::new(0, 64).is_none());
    assert!(Vmids::<1024>::new(0, u16::MAX).is_some());
    assert!(Vmids::<1023>::new(0, u16::MAX).is_none());
    assert!(Vmids::<1>::new(2, 1).is_none());
}

#[test]
fn every_number_of_16_bits_is_handed_out_before_anything_is_invalidated() {
    let mut vmids = Vmids::<1024>::new(0, u16::MAX).unwrap();
    let numbers = (0..=u16::MAX).map(|_| vmids.allocate(|| Err(InvalidationFailed)).unwrap());
    let numbers: BTreeSet<u16> = numbers.map(|vmid| vmid.number()).collect();
    assert_eq!(numbers.len(), 1 << 16);
    assert_eq!(vmids.allocate(|| Ok(())), Err(VmidError::AllTaken));
}
