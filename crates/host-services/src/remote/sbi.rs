//! Remote fences on RISC-V, as calls of the firmware. (RISC-V Supervisor Binary Interface Specification, version 2.0,
//! chapters "RFENCE Extension" and "Hart list parameter".)

use nested_page_table::Invalidation;

/// Harts as the SBI names them: bit `n` of `bits` is hart `base + n`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct HartMask {
    /// The hart of bit 0.
    pub base: u64,
    /// The harts.
    pub bits: u64,
}

impl HartMask {
    /// The mask of `harts`. `None` if there are none, or if two of them are 64 or more apart: then call for each part.
    pub fn of(harts: impl IntoIterator<Item = u64>) -> Option<Self> {
        let mut mask: Option<Self> = None;
        for hart in harts {
            mask = Some(match mask {
                None => Self {
                    base: hart,
                    bits: 1,
                },
                Some(mask) => mask.with(hart)?,
            });
        }
        mask
    }

    fn with(self, hart: u64) -> Option<Self> {
        if let Some(bit) = hart.checked_sub(self.base) {
            let bit = u32::try_from(bit).ok()?;
            let bits = self.bits | 1_u64.checked_shl(bit)?;
            return Some(Self { bits, ..self });
        }
        // The new hart is the first.
        let shift = u32::try_from(self.base.checked_sub(hart)?).ok()?;
        let moved = self.bits.checked_shl(shift)?;
        let is_whole = moved.checked_shr(shift) == Some(self.bits);
        is_whole.then_some(Self {
            base: hart,
            bits: moved | 1,
        })
    }
}

/// A call of the firmware: `ecall` with `extension` in a7, `function` in a6, and the arguments in a0 to a4. It has
/// succeeded if a0 is 0 afterwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Call {
    /// The extension.
    pub extension: u64,
    /// The function.
    pub function: u64,
    /// a0 to a4.
    pub arguments: [u64; 5],
}

/// "RFNC".
const RFENCE: u64 = 0x5246_4e43;
/// Execute FENCE.I.
const REMOTE_FENCE_I: u64 = 0;
/// Execute HFENCE.GVMA for one VMID. Guest-physical addresses are not shifted.
const REMOTE_HFENCE_GVMA_VMID: u64 = 3;

/// The calls with which the firmware makes `harts` carry out `request`, one after another.
///
/// A range in which tables changed, and a request for everything, fence the whole VMID: a fence for an address need
/// only affect leaves. (Privileged Architecture 20250508, "Hypervisor Memory-Management Fence Instructions", and
/// "Supervisor Memory-Management Fence Instruction".) So such a request is one
/// call, with start 0 and size 0, which mean all addresses.
///
/// By the specification a call succeeds once the fence was sent. OpenSBI returns only after the harts have fenced: check that
/// your firmware does so too. The stores to the table must be visible before: the firmware's
/// interrupt needs `FENCE RW, RW` or a stronger one before the first call.
pub fn remote_fences(request: &Invalidation, harts: HartMask) -> impl Iterator<Item = Call> + '_ {
    let ranges = request.ranges();
    let is_whole = ranges.is_empty() || ranges.iter().any(|changed| changed.tables);
    let vmid = u64::from(request.space().vmid);
    let call = move |start, size| Call {
        extension: RFENCE,
        function: REMOTE_HFENCE_GVMA_VMID,
        arguments: [harts.bits, harts.base, start, size, vmid],
    };
    let each = (!is_whole).then_some(ranges).into_iter().flatten();
    let each = each.map(move |changed| call(changed.range.start().as_u64(), changed.range.size()));
    each.chain(is_whole.then(|| call(0, 0)))
}

/// The call with which the firmware makes `harts` execute FENCE.I: after stores to memory that a guest executes.
#[must_use]
pub const fn remote_fence_i(harts: HartMask) -> Call {
    Call {
        extension: RFENCE,
        function: REMOTE_FENCE_I,
        arguments: [harts.bits, harts.base, 0, 0, 0],
    }
}
