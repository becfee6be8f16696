//! What a peer connection receives, as it comes off the wire: before reordering, retransmission and de-encapsulation.

use rtc::interceptor::{Interceptor, Packet, StreamInfo, TaggedPacket};
use rtc::rtcp::payload_feedbacks::full_intra_request::FullIntraRequest;
use rtc::rtcp::payload_feedbacks::picture_loss_indication::PictureLossIndication;
use rtc::sansio::Protocol;
use rtc::shared::error::Error;
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Instant;
use tokio::sync::mpsc;

/// In front of every built-in stage.
pub const NEAREST_THE_WIRE: usize = 500;

pub struct Received {
    pub at: Instant,
    pub packet: Packet,
}

/// Keyframe requests by the SSRC they name. Shared, because the connection's driver counts and the sender reads.
#[derive(Clone, Default)]
pub struct KeyframeRequests(Arc<Mutex<HashMap<u32, u64>>>);

impl KeyframeRequests {
    pub fn count(&self, ssrc: u32) -> u64 {
        self.0.lock().unwrap().get(&ssrc).copied().unwrap_or_default()
    }

    fn note(&self, part: &dyn std::any::Any) {
        let mut requests = self.0.lock().unwrap();
        if let Some(request) = part.downcast_ref::<PictureLossIndication>() {
            *requests.entry(request.media_ssrc).or_default() += 1;
        } else if let Some(request) = part.downcast_ref::<FullIntraRequest>() {
            for entry in &request.fir {
                *requests.entry(entry.ssrc).or_default() += 1;
            }
        }
    }
}

/// One stage of the interceptor chain.
pub struct Tap {
    // Unbounded: a test lasts seconds, and holding the connection up would change what is measured.
    received: mpsc::UnboundedSender<Received>,
    requests: KeyframeRequests,
    // Emptied by the chain after each packet.
    read: VecDeque<TaggedPacket>,
    write: VecDeque<TaggedPacket>,
}

impl Tap {
    pub fn new(requests: KeyframeRequests) -> (Self, mpsc::UnboundedReceiver<Received>) {
        let (sender, receiver) = mpsc::unbounded_channel();
        let tap = Self {
            received: sender,
            requests,
            read: VecDeque::new(),
            write: VecDeque::new(),
        };
        (tap, receiver)
    }
}

impl Protocol<TaggedPacket, TaggedPacket, ()> for Tap {
    type Rout = TaggedPacket;
    type Wout = TaggedPacket;
    type Eout = ();
    type Error = Error;
    type Time = Instant;

    fn handle_read(&mut self, msg: TaggedPacket) -> Result<(), Error> {
        if let Packet::Rtcp(parts) = &msg.message.packet {
            parts.iter().for_each(|part| self.requests.note(part.as_any()));
        }
        // The test may be over.
        let _ = self.received.send(Received {
            at: msg.now,
            packet: msg.message.packet.clone(),
        });
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

impl Interceptor for Tap {
    fn bind_local_stream(&mut self, _: &StreamInfo) {}
    fn unbind_local_stream(&mut self, _: &StreamInfo) {}
    fn bind_remote_stream(&mut self, _: &StreamInfo) {}
    fn unbind_remote_stream(&mut self, _: &StreamInfo) {}
}
