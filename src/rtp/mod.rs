//! RTP as the server needs it: packets, header extensions, RTCP, loss detection, retransmission rings and the little
//! codec knowledge that forwarding takes. Pure; time enters as `Instant`.
//!
//! | wire → type | [`header`], [`extension`], [`rtcp`], [`h264`], [`vp8`], [`vp9`], [`av1`] (through [`Codec`]) |
//! |---|---|
//! | per inbound stream | [`sequence`], [`reception`], [`twcc`] |
//! | per layer | [`ring`], [`frames`]: packets → what a decoder takes |

pub mod av1;
mod bits;
mod codec;
pub mod extension;
pub mod frames;
pub mod h264;
pub mod header;
mod packet;
pub mod parameters;
mod picture;
pub mod reception;
pub mod ring;
pub mod rtcp;
pub mod sequence;
pub mod twcc;
pub mod vp8;
pub mod vp9;

pub use codec::{Codec, MediaKind};
pub use extension::{Extension, ExtensionMap};
pub use frames::{Frame, FrameAssembler};
pub use header::{Fields, Header, HeaderError, HeaderWriter};
pub use packet::{Meta, PacketView};
pub use picture::{PictureIds, PictureOffsets};
pub use reception::{Arrival, Reception};
pub use ring::Ring;
pub use sequence::NtpClock;
