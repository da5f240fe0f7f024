//! The file that describes a guest, in the format that axvisor's users have.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use nested_paging::guest_vm::{MapType, MemoryRegion, PassthroughRegion, Population, VmConfig};
use nested_paging::{GuestPhysAddr, HostPhysAddr};
use toml::de::{DeTable, DeValue};

use crate::options::Leaf;
use crate::report::Failure;

/// What a hypervisor has to know of a guest to start it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VmFile {
    /// `base.id`, which serves as VMID.
    pub id: u16,
    /// `base.name`.
    pub name: String,
    /// `base.cpu_num`.
    pub cpus: usize,
    /// `kernel.entry_point`.
    pub entry_point: GuestPhysAddr,
    /// `kernel.kernel_load_addr`.
    pub kernel_load_addr: GuestPhysAddr,
    /// `kernel.dtb_load_addr`.
    pub dtb_load_addr: GuestPhysAddr,
    /// `kernel.ramdisk_load_addr`.
    pub ramdisk_load_addr: Option<GuestPhysAddr>,
    memory_regions: Vec<[u64; 4]>,
    passthrough_devices: Vec<(String, [u64; 3])>,
}

impl VmFile {
    /// The guest that `text` describes.
    ///
    /// # Errors
    ///
    /// When it is no TOML, a key is missing, or a value is not what it should be.
    pub fn parse(text: &str) -> Result<Self, Failure> {
        let document = DeTable::parse(text).map_err(|error| error.to_string())?;
        let base = section(document.get_ref(), "base")?;
        let kernel = section(document.get_ref(), "kernel")?;
        let devices = section(document.get_ref(), "devices")?;
        let address = |key| Ok::<_, Failure>(GuestPhysAddr::new(number(value(kernel, key)?)?));
        let id = number(value(base, "id")?)?;
        Ok(Self {
            id: u16::try_from(id).map_err(|_| format!("id {id} is no VMID"))?,
            name: text_of(value(base, "name")?)?,
            cpus: number(value(base, "cpu_num")?)? as usize,
            entry_point: address("entry_point")?,
            kernel_load_addr: address("kernel_load_addr")?,
            dtb_load_addr: address("dtb_load_addr")?,
            ramdisk_load_addr: match kernel.contains_key("ramdisk_load_addr") {
                true => Some(address("ramdisk_load_addr")?),
                false => None,
            },
            memory_regions: rows(value(kernel, "memory_regions")?)?
                .map(numbers)
                .collect::<Result<_, _>>()?,
            passthrough_devices: rows(value(devices, "passthrough_devices")?)?
                .map(passthrough_device)
                .collect::<Result<_, _>>()?,
        })
    }

    /// Where the guest has its RAM, and how much of it.
    pub(crate) fn memory(&self) -> impl Iterator<Item = (GuestPhysAddr, u64)> {
        let regions = self.memory_regions.iter();
        regions.map(|&[gpa, size, ..]| (GuestPhysAddr::new(gpa), size))
    }

    /// The machine that the file describes, with a table in `format`. RAM is allocated when the guest
    /// first uses it, by leaves of up to the size of `leaf`.
    ///
    /// # Errors
    ///
    /// When a map type is unknown.
    pub fn config<F>(&self, format: F, leaf: Leaf) -> Result<VmConfig<'_, F>, Failure> {
        let mut config = VmConfig::new(self.id, &self.name, format);
        let population = Population::OnFirstUse {
            around: leaf.size(),
        };
        for &[gpa, size, flags, number] in &self.memory_regions {
            let map_type = MapType::from_configuration(number)
                .ok_or_else(|| format!("{number} is no map type"))?;
            let gpa = GuestPhysAddr::new(gpa);
            let region = MemoryRegion::new("memory_regions", gpa, size, flags, map_type);
            config.memory_regions.push(match map_type {
                MapType::Alloc => region.with_population(population),
                MapType::Identical | MapType::Reserved => region,
            });
        }
        for (name, [gpa, hpa, size]) in &self.passthrough_devices {
            let (gpa, hpa) = (GuestPhysAddr::new(*gpa), HostPhysAddr::new(*hpa));
            let device = PassthroughRegion::new(name, gpa, hpa, *size);
            config.passthrough_regions.push(device);
        }
        Ok(config)
    }
}

/// `[name, gpa, hpa, length, irq]`, of which the last is optional and not used here.
fn passthrough_device(row: &[Value<'_>]) -> Result<(String, [u64; 3]), Failure> {
    match row {
        [name, gpa, hpa, length] | [name, gpa, hpa, length, _] => {
            let numbers = [number(gpa)?, number(hpa)?, number(length)?];
            Ok((text_of(name)?, numbers))
        }
        _ => Err(format!("{row:?}: not [name, gpa, hpa, length, irq]")),
    }
}

type Value<'a> = toml::Spanned<DeValue<'a>>;

fn section<'a, 'd>(document: &'a DeTable<'d>, name: &str) -> Result<&'a DeTable<'d>, Failure> {
    match value(document, name)?.get_ref() {
        DeValue::Table(table) => Ok(table),
        _ => Err(format!("{name} is no section")),
    }
}

fn value<'a, 'd>(table: &'a DeTable<'d>, key: &str) -> Result<&'a Value<'d>, Failure> {
    table.get(key).ok_or_else(|| format!("{key} is missing"))
}

fn rows<'a, 'd>(value: &'a Value<'d>) -> Result<impl Iterator<Item = &'a [Value<'d>]>, Failure> {
    let DeValue::Array(rows) = value.get_ref() else {
        return Err(format!("{value:?} is no list"));
    };
    Ok(rows.iter().map(|row| match row.get_ref() {
        DeValue::Array(row) => &row[..],
        _ => &[],
    }))
}

fn numbers<const N: usize>(row: &[Value<'_>]) -> Result<[u64; N], Failure> {
    let numbers: Vec<u64> = row.iter().map(number).collect::<Result<_, _>>()?;
    let numbers = <[u64; N]>::try_from(numbers);
    numbers.map_err(|found| format!("{found:x?}: not {N} numbers"))
}

fn number(value: &Value<'_>) -> Result<u64, Failure> {
    let DeValue::Integer(integer) = value.get_ref() else {
        return Err(format!("{value:?} is no number"));
    };
    let number = u64::from_str_radix(integer.as_str(), integer.radix());
    number.map_err(|error| format!("{integer}: {error}"))
}

fn text_of(value: &Value<'_>) -> Result<String, Failure> {
    match value.get_ref() {
        DeValue::String(text) => Ok(text.to_string()),
        _ => Err(format!("{value:?} is no text")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"
[base]
id = 3
name = "linux"
cpu_num = 2
[kernel]
entry_point = 0x8020_0000
kernel_load_addr = 0x8020_0000
dtb_load_addr = 0x8200_0000
memory_regions = [[0x8000_0000, 0x1000_0000, 0x7, 0]]
[devices]
passthrough_devices = [["uart", 0x1000_0000, 0x1001_0000, 0x100, 10]]
"#;

    #[test]
    fn a_file_becomes_a_machine() {
        let file = VmFile::parse(TEXT).unwrap();
        let config = file.config((), Leaf::Page).unwrap();
        assert_eq!((config.vmid, config.name), (3, "linux"));
        assert_eq!(file.cpus, 2);
        let ram = &config.memory_regions[0];
        assert_eq!((ram.gpa.as_u64(), ram.size), (0x8000_0000, 0x1000_0000));
        assert_eq!((ram.flags, ram.map_type), (7, MapType::Alloc));
        assert_eq!(ram.population, Population::ON_FIRST_USE);
        assert_eq!(config.passthrough_regions[0].hpa.as_u64(), 0x1001_0000);
        assert_eq!(file.ramdisk_load_addr, None);
    }

    #[test]
    fn what_is_missing_or_wrong_is_named() {
        for (from, to, message) in [
            ("[devices]", "[gadgets]", "devices is missing"),
            ("id = 3", "id = 65536", "id 65536 is no VMID"),
            ("0x7, 0]", "0x7]", "[80000000, 10000000, 7]: not 4 numbers"),
            ("name = \"linux\"", "name = 1", "is no text"),
        ] {
            let error = VmFile::parse(&TEXT.replace(from, to)).unwrap_err();
            assert!(error.contains(message), "{error}");
        }
    }
}
