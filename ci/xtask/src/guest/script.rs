//! What a user types into guests, and what they have to answer.

use super::Guest;
use crate::isa::Isa;
use crate::process::Exchange;

/// The hypervisor's last words about a guest that ended as it should.
const POWERED_OFF: Exchange<'_> = ("the guest powered off: ", "");

/// A conversation with a guest. Its last command ends with the power off, so that a wrong answer ends it
/// too.
#[derive(Clone, Copy, Debug)]
pub(super) struct Script {
    /// What does not depend on the ramdisk.
    pub(super) before_ramdisk: &'static [Exchange<'static>],
    /// What a guest only says whose ramdisk is what it should be, and what it says then.
    pub(super) of_ramdisk: &'static [Exchange<'static>],
}

impl Script {
    pub(super) const fn new(guest: Guest, isa: Isa) -> Self {
        match (guest, isa) {
            (Guest::Uboot, Isa::Aarch64) => UBOOT_AARCH64,
            (Guest::Uboot, _) => UBOOT_RISCV64,
            (Guest::Linux, _) => LINUX,
            (Guest::LinuxSmp | Guest::LinuxSmpBlocks, _) => LINUX_SMP,
        }
    }

    pub(super) fn exchanges(&self) -> Vec<Exchange<'static>> {
        [self.before_ramdisk, self.of_ramdisk].concat()
    }
}

/// U-Boot's version; the CRC-32 of a file of 1 MiB, and of as much of a word that U-Boot writes.
macro_rules! uboot {
    ($commands:literal) => {
        Script {
            before_ramdisk: &[
                ("Hit any key to stop autoboot", "\r"),
                ("=> ", "version\r"),
                ("U-Boot 20", ""),
                ("=> ", concat!($commands, "; poweroff\r")),
            ],
            of_ramdisk: &[("==> 5639d2c7", ""), ("==> a09f8b6c", ""), POWERED_OFF],
        }
    };
}

const UBOOT_RISCV64: Script = uboot!(
    "crc32 0x88000000 0x100000; \
     mw.l 0x89000000 0x6e657374 0x40000; crc32 0x89000000 0x100000"
);

/// The words are below the second of the concatenated root tables.
const UBOOT_AARCH64: Script = uboot!(
    "crc32 0x48000000 0x100000; \
     mw.l 0x8000000000 0x6e657374 0x40000; crc32 0x8000000000 0x100000"
);

/// A shell, and the MD5 of a file of 1.5 MiB. stty waits until the console has shown all of it.
const LINUX: Script = Script {
    before_ramdisk: &[("Linux version", "")],
    of_ramdisk: &[
        (
            "~ # ",
            "cd /tmp; seq 1 10000 > a; cat a a a a a a a a > b; cat b b b b > c\r",
        ),
        ("/tmp # ", "md5sum c; stty sane; poweroff -f\r"),
        ("90c024d8dbbfb0b0b9b8cde22f53fb4c  c", ""),
        POWERED_OFF,
    ],
};

/// The number of CPUs, and the MD5 of two files of 4.5 MiB, which two CPUs write and read at once.
const LINUX_SMP: Script = Script {
    before_ramdisk: &[("Linux version", "")],
    of_ramdisk: &[
        ("~ # ", "parallel; stty sane; poweroff -f\r"),
        ("2 processors", ""),
        ("85f48532365eddc2394cef71377f8e75", ""),
        ("85f48532365eddc2394cef71377f8e75", ""),
        POWERED_OFF,
    ],
};
