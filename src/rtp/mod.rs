//! RTP as the server needs it: packets, header extensions, RTCP, loss detection, retransmission rings and the little
//! codec knowledge that forwarding takes. Pure; time enters as `Instant`.

mod codec;
mod extension;
mod packet;
pub mod parameters;

pub use codec::{Codec, MediaKind};
pub use extension::{Extension, ExtensionMap};
pub use packet::{Meta, PacketView};
