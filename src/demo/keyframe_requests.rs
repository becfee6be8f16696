//! Notices keyframe requests among the RTCP that a peer connection receives.

use rtc::interceptor::{Interceptor, Packet, StreamInfo, TaggedPacket};
use rtc::rtcp::payload_feedbacks::full_intra_request::FullIntraRequest;
use rtc::rtcp::payload_feedbacks::picture_loss_indication::PictureLossIndication;
use rtc::sansio::Protocol;
use rtc::shared::error::Error;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// How many keyframes were asked for (PLI, RFC 4585 section 6.3.1; FIR, RFC 5104 section 4.3.1).
#[derive(Clone, Debug, Default)]
pub(super) struct KeyframeRequests(Arc<AtomicU64>);

impl KeyframeRequests {
    pub(super) fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
    /// The stage of the interceptor chain that counts them, and lets everything pass.
    ///
    /// Counted here and not at the track: the connection hands a compound packet to the track its first part names,
    /// which for a report without blocks is none.
    pub(super) fn interceptor(&self) -> impl Interceptor + use<> {
        Counting {
            requests: self.clone(),
            read: VecDeque::new(),
            write: VecDeque::new(),
        }
    }
}

struct Counting {
    requests: KeyframeRequests,
    // Emptied by the chain after each packet.
    read: VecDeque<TaggedPacket>,
    write: VecDeque<TaggedPacket>,
}

impl Protocol<TaggedPacket, TaggedPacket, ()> for Counting {
    type Rout = TaggedPacket;
    type Wout = TaggedPacket;
    type Eout = ();
    type Error = Error;
    type Time = Instant;

    fn handle_read(&mut self, msg: TaggedPacket) -> Result<(), Error> {
        if let Packet::Rtcp(parts) = &msg.message.packet {
            let asks = |part: &dyn std::any::Any| part.is::<PictureLossIndication>() || part.is::<FullIntraRequest>();
            if parts.iter().any(|part| asks(part.as_any())) {
                self.requests.0.fetch_add(1, Ordering::Relaxed);
            }
        }
        self.read.push_back(msg);
        Ok(())
    }
    fn poll_read(&mut self) -> Option<TaggedPacket> {
        self.read.pop_front()
    }
    fn handle_write(&mut self, msg: TaggedPacket) -> Result<(), Error> {
        self.write.push_back(msg);
        Ok(())
    }
    fn poll_write(&mut self) -> Option<TaggedPacket> {
        self.write.pop_front()
    }
}

impl Interceptor for Counting {
    fn bind_local_stream(&mut self, _: &StreamInfo) {}
    fn unbind_local_stream(&mut self, _: &StreamInfo) {}
    fn bind_remote_stream(&mut self, _: &StreamInfo) {}
    fn unbind_remote_stream(&mut self, _: &StreamInfo) {}
}
