//! Exit registers as the manuals' tables have them, and what they mean.

use guest_addr::GuestPhysAddr;
use host_services::{
    ExitRegisters, FaultSource, GuestFault, NoGuestFault, aarch64, ept, npt, riscv64,
};
use mapping_flags::MappingFlags;

const READ: MappingFlags = MappingFlags::READ;
const WRITE: MappingFlags = MappingFlags::WRITE;
const EXECUTE: MappingFlags = MappingFlags::EXECUTE;
use FaultSource::{Instruction, TableWalk};

#[track_caller]
fn assert_fault(
    registers: &impl ExitRegisters,
    address: u64,
    access: MappingFlags,
    source: FaultSource,
) {
    let expected = GuestFault {
        address: GuestPhysAddr::new(address),
        access,
        source,
    };
    assert_eq!(GuestFault::decode(registers), Ok(expected));
}

#[track_caller]
fn assert_other(registers: &impl ExitRegisters) {
    assert_eq!(GuestFault::decode(registers), Err(NoGuestFault::OtherExit));
}

const fn trap(scause: u64, htinst: u64) -> riscv64::TrapRegisters {
    riscv64::TrapRegisters {
        scause,
        stval: 0xffff_ffd6_0000_0127,
        htval: 0x8_0040_3124 >> 2,
        htinst,
    }
}

/// Privileged Architecture, table "Hypervisor and Virtual Supervisor Trap Cause Codes", and the rows of "Values that may
/// be automatically written to htinst on an exception": zero, or a transformed load (LW x5 as 0x2283) or store.
#[test]
fn riscv_accesses_of_instructions() {
    assert_fault(&trap(20, 0), 0x8_0040_3127, EXECUTE, Instruction);
    assert_fault(&trap(21, 0), 0x8_0040_3127, READ, Instruction);
    assert_fault(&trap(21, 0x2283), 0x8_0040_3127, READ, Instruction);
    assert_fault(&trap(23, 0x0052_2023), 0x8_0040_3127, WRITE, Instruction);
}

/// Privileged Architecture, table "Special pseudoinstruction values for guest-page faults": 0x2000 and 0x2020 for 32-bit
/// entries, 0x3000 and 0x3020 for 64-bit ones. The cause is that of the instruction.
#[test]
fn riscv_walks_of_the_guests_tables() {
    for scause in [20, 21, 23] {
        for htinst in [0x2000, 0x3000] {
            assert_fault(&trap(scause, htinst), 0x8_0040_3124, READ, TableWalk);
        }
        for htinst in [0x2020, 0x3020] {
            assert_fault(&trap(scause, htinst), 0x8_0040_3124, WRITE, TableWalk);
        }
    }
}

#[test]
fn riscv_other_causes() {
    // Illegal instruction, breakpoint, ECALL from VS-mode, page faults of the guest's own, virtual instruction, and
    // the interrupt with the number of a fault.
    for scause in [2, 3, 10, 12, 13, 15, 22, 1 << 63 | 21] {
        assert_other(&trap(scause, 0));
    }
}

/// The widest guest-physical address has 59 bits (Sv57x4).
#[test]
fn riscv_wide_addresses() {
    let registers = riscv64::TrapRegisters {
        scause: 21,
        stval: 3,
        htval: (1 << 57) - 1,
        htinst: 0,
    };
    assert_fault(&registers, (1 << 59) - 1, READ, Instruction);
}

const PAGE: u64 = 0x80_1234_5000;

const fn abort(esr: u64) -> aarch64::AbortRegisters {
    aarch64::AbortRegisters {
        esr,
        far: 0xffff_8000_1000_0abc,
        // NS is set: it is no part of the address.
        hpfar: 1 << 63 | PAGE >> 8,
        stage_1: None,
    }
}

/// DDI 0487, ESR_EL2: EC 0x24 with WnR (bit 6), EC 0x20; DFSC 0b0001LL is a translation fault, 0b0010LL an access flag
/// fault. The values are those of a machine: loads and stores of 64 bits with a valid syndrome.
#[test]
fn aarch64_absent_pages() {
    let address = PAGE | 0xabc;
    assert_fault(&abort(0x93c0_8007), address, READ, Instruction);
    assert_fault(&abort(0x93c2_8047), address, WRITE, Instruction);
    assert_fault(&abort(0x8200_0007), address, EXECUTE, Instruction);
    assert_fault(&abort(0x93c0_800b), address, READ, Instruction);
    // Levels 0 to 3, and level -1 of FEAT_LPA2.
    for status in [0b00_0100, 0b00_0101, 0b00_0110, 0b00_0111, 0b10_1011] {
        assert_fault(&abort(0x24 << 26 | status), address, READ, Instruction);
    }
    // Bits of ISS2, above 32, change nothing.
    assert_fault(
        &abort(0x1f << 32 | 0x93c2_8047),
        address,
        WRITE,
        Instruction,
    );
}

/// S1PTW (bit 7): the address is that of the descriptor's page. A permission fault of a walk is its update of the
/// descriptor.
#[test]
fn aarch64_walks_of_stage_1() {
    assert_fault(&abort(0x9200_0086), PAGE, READ, TableWalk);
    assert_fault(&abort(0x8200_0087), PAGE, READ, TableWalk);
    // WnR is that of the instruction.
    assert_fault(&abort(0x9200_00c7), PAGE, READ, TableWalk);
    assert_fault(&abort(0x9200_008f), PAGE, WRITE, TableWalk);
    assert_fault(&abort(0x8200_008f), PAGE, WRITE, TableWalk);
    assert!(!abort(0x9200_008f).needs_stage_1());
}

/// After a permission fault HPFAR_EL2 is unknown, so stage 1 is asked.
#[test]
fn aarch64_permission_faults() {
    for (esr, access) in [
        (0x93c2_804f, WRITE),
        (0x93c0_800f, READ),
        (0x8200_000f, EXECUTE),
    ] {
        let unasked = abort(esr);
        assert!(unasked.needs_stage_1());
        assert_eq!(
            GuestFault::decode(&unasked),
            Err(NoGuestFault::AddressUnknown)
        );
        let asked = aarch64::AbortRegisters {
            stage_1: Some(GuestPhysAddr::new(0x4_5678_9000)),
            ..unasked
        };
        assert_fault(&asked, 0x4_5678_9abc, access, Instruction);
    }
    let translation = aarch64::AbortRegisters {
        stage_1: Some(GuestPhysAddr::new(0x4_5678_9000)),
        ..abort(0x93c0_8007)
    };
    assert!(!translation.needs_stage_1());
    assert_fault(&translation, PAGE | 0xabc, READ, Instruction);
}

/// CM (bit 8): WnR is 1 for cache maintenance, whatever the instruction needs.
#[test]
fn aarch64_cache_maintenance() {
    assert_fault(&abort(0x9200_0147), PAGE | 0xabc, READ, Instruction);
    let permission = aarch64::AbortRegisters {
        stage_1: Some(GuestPhysAddr::new(PAGE)),
        ..abort(0x9200_014f)
    };
    assert_fault(&permission, PAGE | 0xabc, WRITE, Instruction);
}

#[test]
fn aarch64_other_exceptions() {
    // HVC, SMC, WFI, MSR, an abort of EL2 itself; aborts that are address size faults, external, or TLB conflicts.
    for esr in [
        0x5a00_0000,
        0x5e00_0000,
        0x0600_0000,
        0x6230_0000,
        0x9600_0007,
    ] {
        assert_other(&abort(esr));
    }
    for status in [
        0b00_0000, 0b00_0011, 0b01_0000, 0b01_0100, 0b10_0001, 0b11_0000,
    ] {
        assert_other(&abort(0x24 << 26 | status));
        assert_other(&abort(0x20 << 26 | status));
    }
}

const fn violation(qualification: u64) -> ept::ExitRegisters {
    ept::ExitRegisters {
        reason: 48,
        qualification,
        guest_physical_address: 0x1_2345_6789,
    }
}

/// SDM 3C, table "Exit Qualification for EPT Violations": bits 2:0 the access, 5:3 what the entry allows, 7 whether the
/// linear address is valid, 8 whether it was translated, 11:9 the guest's own permissions.
#[test]
fn ept_violations() {
    let address = 0x1_2345_6789;
    assert_fault(&violation(0x181), address, READ, Instruction);
    assert_fault(&violation(0x182), address, WRITE, Instruction);
    assert_fault(&violation(0x184), address, EXECUTE, Instruction);
    // A locked access reads and writes.
    assert_fault(&violation(0x183), address, WRITE, Instruction);
    // Permissions of the entry and of the guest are no access.
    assert_fault(&violation(0xfb9), address, READ, Instruction);
    // The upper half of the reason says other things: bit 27 that the exit comes from an enclave.
    let from_enclave = ept::ExitRegisters {
        reason: 1 << 27 | 48,
        ..violation(0x182)
    };
    assert_fault(&from_enclave, address, WRITE, Instruction);
}

#[test]
fn ept_walks_of_the_guests_tables() {
    let address = 0x1_2345_6789;
    assert_fault(&violation(0x081), address, READ, TableWalk);
    // With accessed and dirty flags for EPT, a walk counts as a read and a write.
    assert_fault(&violation(0x083), address, WRITE, TableWalk);
    // MOV to CR3 loads the PDPTEs: no linear address.
    assert_fault(&violation(0x001), address, READ, TableWalk);
    // A trace that the processor writes.
    assert_fault(&violation(0x1_0002), address, WRITE, Instruction);
}

#[test]
fn ept_other_exits() {
    for reason in [0, 10, 18, 49, 1 << 31 | 33] {
        let registers = ept::ExitRegisters {
            reason,
            ..violation(0x181)
        };
        assert_other(&registers);
    }
}

const fn nested_fault(exit_info_1: u64) -> npt::ExitRegisters {
    npt::ExitRegisters {
        exit_code: 0x400,
        exit_info_1,
        exit_info_2: 0x1_2345_6789,
    }
}

/// APM 2, 15.25.6: bits 0 to 4 of EXITINFO1 are P, R/W, U/S, RSV and I/D; bit 32 the final address, bit 33 the guest's
/// tables.
#[test]
fn npt_faults() {
    let address = 0x1_2345_6789;
    for absent in [0, 1] {
        let last = 1 << 32 | absent;
        assert_fault(&nested_fault(last | 0x04), address, READ, Instruction);
        assert_fault(&nested_fault(last | 0x06), address, WRITE, Instruction);
        assert_fault(&nested_fault(last | 0x14), address, EXECUTE, Instruction);
        let walk = 1 << 33 | absent;
        assert_fault(&nested_fault(walk | 0x06), address, WRITE, TableWalk);
        assert_fault(&nested_fault(walk | 0x14), address, READ, TableWalk);
    }
}

#[test]
fn npt_other_exits() {
    for exit_code in [0x60, 0x78, 0x81, 0x4e, u64::MAX] {
        let registers = npt::ExitRegisters {
            exit_code,
            ..nested_fault(1 << 32 | 4)
        };
        assert_other(&registers);
    }
    // A reserved bit in a nested entry: no mapping cures it.
    assert_other(&nested_fault(1 << 32 | 0xc));
}
