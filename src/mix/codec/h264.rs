//! H.264 by openh264, whose build takes the source that its crate brings along.
//!
//! Enters: access units in Annex B, or I420 pictures. Leaves: the other. No clock: pictures are counted.

#![expect(unsafe_code, reason = "the library's interface is C")]

mod decoder;
mod encoder;
#[cfg(test)]
mod tests;

pub use decoder::H264Decoder;
pub use encoder::H264Encoder;

use crate::rtp::h264::nal_units;

/// NAL unit types (H.264 table 7-1).
const SLICE: u8 = 1;
const IDR_SLICE: u8 = 5;
const SPS: u8 = 7;
const PPS: u8 = 8;

const START_CODE: [u8; 4] = [0, 0, 0, 1];

fn nal_type(unit: &[u8]) -> Option<u8> {
    unit.first().map(|header| header & 0x1f)
}

/// Where `nasm` is missing, openh264's build goes on without its assembly and says nothing, and all of this takes two to
/// three times as long. This function exists in the assembly only: such a build does not link. After installing `nasm`,
/// `cargo clean -p openh264-sys2` has the library built anew.
fn need_assembly() {
    #[cfg(target_arch = "x86_64")]
    {
        // SAFETY: asks the processor whether it has the CPUID instruction; takes nothing and keeps nothing.
        unsafe extern "C" {
            safe fn WelsCPUIdVerify() -> std::ffi::c_int;
        }
        std::hint::black_box(WelsCPUIdVerify());
    }
}
