//! Lays the image out as the ROM of a machine without other firmware.

use std::env;

fn main() {
    println!("cargo::rerun-if-changed=rom.ld");
    let folder = env::var("CARGO_MANIFEST_DIR").unwrap_or_default();
    if env::var("CARGO_CFG_TARGET_OS").as_deref() == Ok("none") {
        println!("cargo::rustc-link-arg-bins=-T{folder}/rom.ld");
        println!("cargo::rustc-link-arg-bins=--oformat=binary");
    }
}
