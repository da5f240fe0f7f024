//! A plan for programs.

use std::io::Write;

use guest_addr::{Address, AddressSpace};
use mapping_flags::MappingFlags;
use region_planner::Mapping;
use serde::{Serialize, Serializer};

use crate::plan::{Planned, unique_sources};
use crate::problem::Failure;
use crate::warning::Warning;

/// Writes `planned` as one JSON object, region by region.
pub(crate) fn write(planned: &Planned<'_, '_>, output: &mut impl Write) -> Result<(), Failure> {
    let cost = &planned.cost;
    let document = Document {
        vm: Vm {
            id: planned.config.id,
            name: &planned.config.name,
        },
        arch: planned.mode.architecture().to_string(),
        mode: planned.mode.to_string(),
        regions: Sequence(|| planned.plan.mappings().map(Region)),
        warnings: Sequence(|| planned.warnings().map(WarningObject)),
        tables: Tables {
            levels: cost.levels,
            root_bytes: cost.root_bytes,
            frames: cost.frames,
            leaves: Leaves {
                size_4k: cost.leaves.size_4k,
                size_2m: cost.leaves.size_2m,
                size_1g: cost.leaves.size_1g,
            },
        },
    };
    write_document(&document, output)
}

/// Writes any answer as one JSON document.
pub(crate) fn write_document(
    document: &impl Serialize,
    output: &mut impl Write,
) -> Result<(), Failure> {
    serde_json::to_writer_pretty(&mut *output, document)
        .map_err(|error| Failure::Output(error.into()))?;
    writeln!(output)?;
    Ok(())
}

#[derive(Serialize)]
struct Document<'p, R: Serialize, W: Serialize> {
    vm: Vm<'p>,
    arch: String,
    mode: String,
    regions: R,
    warnings: W,
    tables: Tables,
}

#[derive(Serialize)]
struct Vm<'p> {
    id: u64,
    name: &'p str,
}

#[derive(Serialize)]
struct Tables {
    levels: u8,
    root_bytes: u64,
    frames: u64,
    leaves: Leaves,
}

#[derive(Serialize)]
struct Leaves {
    #[serde(rename = "4K")]
    size_4k: u64,
    #[serde(rename = "2M")]
    size_2m: u64,
    #[serde(rename = "1G")]
    size_1g: u64,
}

/// An array whose elements are made one by one.
pub(super) struct Sequence<F>(pub(super) F);

impl<F, I> Serialize for Sequence<F>
where
    F: Fn() -> I,
    I: Iterator,
    I::Item: Serialize,
{
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq((self.0)())
    }
}

/// A number as a string, since many readers of JSON keep only 53 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hexadecimal(pub(crate) u64);

impl Serialize for Hexadecimal {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{:#x}", self.0))
    }
}

fn hexadecimal<S: AddressSpace>(address: Address<S>) -> Hexadecimal {
    Hexadecimal(address.as_u64())
}

struct Region<'p, 'a>(Mapping<'p, 'a>);

impl Serialize for Region<'_, '_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Object<F: Serialize, N: Serialize> {
            gpa: Hexadecimal,
            hpa: Option<Hexadecimal>,
            size: Hexadecimal,
            kind: &'static str,
            flags: F,
            sources: N,
        }
        let mapping = &self.0;
        let object = Object {
            gpa: hexadecimal(mapping.guest().start()),
            hpa: mapping.host().map(hexadecimal),
            size: Hexadecimal(mapping.guest().size()),
            kind: mapping.kind().name(),
            flags: Sequence(|| flag_names(mapping.flags())),
            sources: Sequence(|| unique_sources(mapping)),
        };
        object.serialize(serializer)
    }
}

/// In bit order, as the flags are declared.
fn flag_names(flags: MappingFlags) -> impl Iterator<Item = &'static str> {
    flags.iter_names().map(|(name, _)| name)
}

struct WarningObject(Warning);

impl Serialize for WarningObject {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Object<'w> {
            code: &'static str,
            message: &'w str,
            sources: &'w [String],
            #[serde(skip_serializing_if = "Option::is_none")]
            bytes: Option<u64>,
        }
        let Warning {
            code,
            message,
            sources,
            bytes,
        } = &self.0;
        let object = Object {
            code: code.name(),
            message,
            sources,
            bytes: *bytes,
        };
        object.serialize(serializer)
    }
}
