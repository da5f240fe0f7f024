//! A plan for programs.

use std::io::Write;

use guest_addr::{Address, AddressSpace};
use mapping_flags::MappingFlags;
use region_planner::Mapping;
use serde::{Serialize, Serializer};

use crate::dependencies::{Dependencies, Needed, Supplied};
use crate::plan::{Planned, unique_sources};
use crate::problem::Failure;
use crate::warning::Warning;

/// A plan, region by region.
pub(crate) fn plan<'p>(
    planned: &'p Planned<'p, '_>,
    dependencies: Dependencies,
) -> impl Serialize + use<'p> {
    Document {
        vm: Vm::of(planned),
        arch: planned.mode.architecture().to_string(),
        mode: planned.mode.to_string(),
        regions: Sequence(|| planned.plan.mappings().map(Region)),
        warnings: Sequence(|| planned.warnings().map(WarningObject)),
        tables: Tables::of(planned),
        dependencies: match dependencies {
            Dependencies::Omitted => None,
            Dependencies::Explained => {
                Some(Sequence(|| planned.dependencies.iter().map(dependency)))
            }
        },
    }
}

fn dependency<'p>(needed: &'p (Needed, Supplied)) -> impl Serialize + use<'p> {
    let (needed, supplied) = needed;
    DependencyObject {
        device: &needed.device,
        property: needed.kind.property(),
        target: &needed.target,
        supplied: supplied.name(),
    }
}

/// What a device needs.
#[derive(Serialize)]
struct DependencyObject<'p> {
    device: &'p str,
    property: &'static str,
    target: &'p str,
    supplied: &'static str,
}

/// Writes any answer as one JSON document.
pub(crate) fn write_document(
    document: &(impl Serialize + ?Sized),
    output: &mut impl Write,
) -> Result<(), Failure> {
    serde_json::to_writer_pretty(&mut *output, document)
        .map_err(|error| Failure::Output(error.into()))?;
    writeln!(output)?;
    Ok(())
}

#[derive(Serialize)]
struct Document<'p, R: Serialize, W: Serialize, D: Serialize> {
    vm: Vm<'p>,
    arch: String,
    mode: String,
    regions: R,
    warnings: W,
    tables: Tables,
    #[serde(skip_serializing_if = "Option::is_none")]
    dependencies: Option<D>,
}

/// Which machine an answer is about.
#[derive(Debug, Serialize)]
pub(crate) struct Vm<'p> {
    pub(crate) id: u64,
    pub(crate) name: &'p str,
}

impl<'p> Vm<'p> {
    pub(crate) fn of(planned: &'p Planned<'_, '_>) -> Self {
        let config = planned.config;
        Self {
            id: config.id,
            name: &config.name,
        }
    }
}

/// What the page tables cost.
#[derive(Debug, Serialize)]
pub(crate) struct Tables {
    levels: u8,
    root_bytes: u64,
    frames: u64,
    leaves: Leaves,
}

impl Tables {
    pub(crate) fn of(planned: &Planned<'_, '_>) -> Self {
        let cost = &planned.cost;
        Self {
            levels: cost.levels,
            root_bytes: cost.root_bytes,
            frames: cost.frames,
            leaves: Leaves {
                size_4k: cost.leaves.size_4k,
                size_2m: cost.leaves.size_2m,
                size_1g: cost.leaves.size_1g,
            },
        }
    }
}

#[derive(Debug, Serialize)]
struct Leaves {
    #[serde(rename = "4K")]
    size_4k: u64,
    #[serde(rename = "2M")]
    size_2m: u64,
    #[serde(rename = "1G")]
    size_1g: u64,
}

/// An array whose elements are made one by one.
pub(crate) struct Sequence<F>(pub(crate) F);

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

/// The same of an address.
pub(crate) fn hexadecimal<S: AddressSpace>(address: Address<S>) -> Hexadecimal {
    Hexadecimal(address.as_u64())
}

/// A mapping.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Region<'p, 'a>(pub(crate) Mapping<'p, 'a>);

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
pub(crate) fn flag_names(flags: MappingFlags) -> impl Iterator<Item = &'static str> {
    flags.iter_names().map(|(name, _)| name)
}

/// A warning.
#[derive(Debug)]
pub(crate) struct WarningObject(pub(crate) Warning);

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
