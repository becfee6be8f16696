//! The publisher's side of a source.
//!
//! Enters: decrypted RTP and RTCP, wishes for keyframes, permissions. Leaves: packets for the feeds ([`Ingested`]), news
//! ([`PublicationEvent`]) and RTCP for the publisher. Time base: the worker's `now`; NTP times are the node's
//! [`NtpClock`].
//!
//! **No holes by padding.** A padding-only packet carries nothing and is not passed on; those behind it are numbered one
//! lower, see [`Numbering`](numbering::Numbering). One that was lost and sent again comes too late for that: it is passed
//! on with an empty payload, so that a viewer who misses its number can be served.

mod feedback;
mod intake;
mod layer;
mod loudness;
mod news;
mod numbering;
mod sender_clock;
mod streams;
#[cfg(test)]
mod tests;

use super::{FeedDescription, FeedUpdate, LayerIndex, Permission, SourceId};
use crate::rtp::parameters::ReceiveParameters;
use crate::rtp::rtcp::{self, Block};
use crate::rtp::sequence::nearest;
use crate::rtp::{Codec, Extension, Header, MediaKind, NtpClock, PacketView};
use feedback::TransportFeedback;
use intake::Incoming;
use layer::{Layer, Track};
use news::Paced;
use sender_clock::SenderClock;
use std::collections::VecDeque;
use std::time::Instant;
use streams::{Known, Role, Streams};

/// A packet that passed the publisher's side: to be stored in the local feed and in every other worker's.
#[derive(Clone, Copy, Debug)]
pub struct Ingested<'p> {
    pub kind: MediaKind,
    pub layer: LayerIndex,
    pub packet: PacketView<'p>,
}

/// What the owner of a publication has to pass on.
#[derive(Clone, Debug, PartialEq)]
pub enum PublicationEvent {
    /// Goes to every feed of the source.
    Feed(FeedUpdate),
    /// A track's packets began, or none came for 1 s (SEATS.md row 15). Says what the publisher does: permitted or not.
    Media { kind: MediaKind, flowing: bool },
    /// The size of the largest layer, from its last keyframe.
    VideoSize { width: u16, height: u16 },
}

/// How one track of a publisher is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrackDiagnosis {
    pub codec: Codec,
    /// Neither muted nor locked.
    pub permitted: bool,
    /// Packets came within the last second.
    pub flowing: bool,
    pub last_packet: Option<Instant>,
    pub last_keyframe: Option<Instant>,
    /// The publisher makes keyframes when it likes.
    pub ignores_keyframe_requests: bool,
}

/// What happened to the publisher's packets, since the beginning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PublicationCounters {
    /// RTP packets and their bytes (plain), of whatever kind.
    pub packets: u64,
    pub bytes: u64,
    /// Passed on.
    pub ingested: u64,
    /// Dropped: no RTP, or RTCP that could not be read to its end.
    pub malformed: u64,
    /// Dropped: of no track or layer that was negotiated.
    pub unknown: u64,
    /// Dropped: muted or locked.
    pub forbidden: u64,
    /// Dropped: came before, or too late to be told from what came before.
    pub duplicates: u64,
    /// Taken out: padding only.
    pub padding: u64,
    /// Came by RTX, for the first time.
    pub repaired: u64,
    /// Packets asked for again.
    pub nacked: u64,
    /// PLI and FIR sent.
    pub keyframe_requests: u64,
}

/// One publisher's media: which stream is which, what is missing, and the feedback the publisher gets.
pub struct Publication {
    id: SourceId,
    feedback_ssrc: u32,
    cname: String,
    ntp_clock: NtpClock,
    /// Audio, then video, as far as there is one.
    tracks: Vec<Track>,
    streams: Streams,
    transport: Option<TransportFeedback>,
    reports: feedback::Reports,
    sender_clock: SenderClock,
    ignores_keyframe_requests: bool,
    video_size: Option<(u16, u16)>,
    size_news: Paced<(u16, u16)>,
    /// When news that wait are to be told.
    news_due: Option<Instant>,
    /// Drained by the worker after every batch. Of each thing there is at most one in 100 ms (see [`Paced`]; loudness and
    /// interruptions less often, but for a mute), of 16 layers at most some fifty in all, however much was received.
    events: VecDeque<PublicationEvent>,
    /// Packed extensions of the packet at hand.
    scratch: Vec<u8>,
    /// Sequence numbers for the NACK at hand.
    lost: Vec<u64>,
    counters: PublicationCounters,
}

impl Publication {
    /// `feedback_ssrc`: the SSRC the server's RTCP comes from. `clock`: the node's.
    pub fn new(
        id: SourceId,
        parameters: ReceiveParameters,
        permission: Permission,
        feedback_ssrc: u32,
        clock: NtpClock,
        now: Instant,
    ) -> Self {
        let audio = parameters
            .audio
            .map(|track| Track::new(MediaKind::Audio, track, permission.audio, now));
        let video = parameters
            .video
            .map(|track| Track::new(MediaKind::Video, track, permission.video, now));
        let tracks: Vec<Track> = audio.into_iter().chain(video).collect();
        let transport_cc = tracks.iter().any(|track| {
            let negotiated = track.parameters.extensions.id(Extension::TransportCc).is_some();
            track.parameters.feedback.transport_cc && negotiated
        });
        let mut publication = Publication {
            id,
            feedback_ssrc,
            cname: format!("costage-{feedback_ssrc:08x}"),
            ntp_clock: clock,
            tracks,
            streams: Streams::default(),
            transport: transport_cc.then(|| TransportFeedback::new(now)),
            reports: feedback::Reports::new(now),
            sender_clock: SenderClock::default(),
            ignores_keyframe_requests: false,
            video_size: None,
            size_news: Paced::default(),
            news_due: None,
            events: VecDeque::new(),
            scratch: vec![],
            lost: vec![],
            counters: PublicationCounters::default(),
        };
        publication.learn_announced();
        if publication
            .video()
            .is_some_and(|video| !video.takes_keyframe_requests())
        {
            publication.note_ignored_requests();
        }
        publication
    }

    /// The source this is the publisher of.
    pub fn id(&self) -> SourceId {
        self.id
    }

    pub fn description(&self) -> FeedDescription {
        let codec = |kind| self.track(kind).map(|track| track.parameters.codec);
        FeedDescription {
            audio: codec(MediaKind::Audio),
            video: codec(MediaKind::Video),
            layers: self.video().map_or(1, Track::layer_count),
        }
    }

    /// How each track is doing, for whoever looks for a fault.
    pub fn diagnose(&self, kind: MediaKind) -> Option<TrackDiagnosis> {
        let track = self.track(kind)?;
        let keyframe = |layer: &Layer| layer.broker.last_keyframe();
        Some(TrackDiagnosis {
            codec: track.parameters.codec,
            permitted: track.permitted,
            flowing: track.flowing,
            last_packet: track.layers.iter().filter_map(|layer| layer.last_packet).max(),
            last_keyframe: track.layers.iter().filter_map(keyframe).max(),
            ignores_keyframe_requests: kind == MediaKind::Video && self.ignores_keyframe_requests,
        })
    }

    pub fn counters(&self) -> PublicationCounters {
        self.counters
    }

    /// Takes one decrypted RTP packet (`index` = ROC ‖ SEQ of its SSRC). RTX is unwrapped; duplicates, padding-only,
    /// unknown and forbidden packets yield nothing and are counted.
    /// The result borrows from `packet`, whose header is overwritten. Events that are there afterwards come before it.
    pub fn handle_rtp<'p>(&mut self, packet: &'p mut [u8], index: u64, now: Instant) -> Option<Ingested<'p>> {
        self.counters.packets += 1;
        self.counters.bytes += packet.len() as u64;
        self.reports.note_bytes(packet.len());
        let Ok(header) = Header::parse(packet) else {
            self.counters.malformed += 1;
            return None;
        };
        let Some((track, repair)) = streams::track_of(&self.tracks, header.payload_type) else {
            self.counters.unknown += 1;
            return None;
        };
        let known = Known::parse(&header, packet, &self.tracks.get(track)?.parameters.extensions);
        if let Some(transport) = &mut self.transport {
            transport.record(&header, &known, now);
        }
        let Some(role) = self.role(&header, track, repair, &known, now) else {
            self.counters.unknown += 1;
            return None;
        };
        let mut payload = header.payload_range();
        let sequence = if role.repair {
            // RFC 4588 §4: the original sequence number, then the original payload
            let original = packet.get(payload.clone())?.first_chunk::<2>().copied();
            let top = self.tracks.get(track)?.layers.get(role.layer)?.reception.top();
            let (Some(original), Some(top)) = (original, top) else {
                self.counters.padding += 1;
                return None;
            };
            payload.start += 2;
            nearest(top, u16::from_be_bytes(original))
        } else {
            index
        };
        let incoming = Incoming {
            timestamp: header.timestamp,
            marker: header.marker,
            payload: packet.get(payload.clone())?,
            known,
        };
        let (kind, layer, mut meta) = self.admit(role, sequence, &incoming, now)?;
        self.counters.ingested += 1;

        // the packed extensions go in front of the payload, over the header, whose elements they were: packed, an
        // element is at most one byte longer, and the fixed header has room for that
        let start = payload.start.checked_sub(self.scratch.len()).unwrap_or_else(|| {
            meta.extensions_len = 0;
            self.scratch.clear();
            payload.start
        });
        packet.get_mut(start..payload.start)?.copy_from_slice(&self.scratch);
        let bytes: &'p [u8] = packet.get(start..payload.end)?;
        Some(Ingested {
            kind,
            layer,
            packet: PacketView { meta, bytes },
        })
    }

    /// Takes one decrypted compound RTCP packet.
    pub fn handle_rtcp(&mut self, compound: &[u8], now: Instant) {
        let mut blocks = rtcp::blocks(compound);
        for block in blocks.by_ref() {
            match block {
                Block::SenderReport { ssrc, ntp, rtp, .. } => self.handle_sender_report(ssrc, ntp, rtp, now),
                Block::Bye(ssrcs) => {
                    for ssrc in ssrcs {
                        self.handle_bye(ssrc, now);
                    }
                }
                _ => {}
            }
        }
        if blocks.malformed().is_some() {
            self.counters.malformed += 1;
        }
    }

    /// Some viewer needs a keyframe of this layer. Merged: at most one request per 500 ms, the first at once.
    pub fn request_keyframe(&mut self, layer: LayerIndex, _now: Instant) {
        if let Some(video) = self.track_mut(MediaKind::Video)
            && let Some(layer) = video.layers.get_mut(usize::from(layer.0))
        {
            layer.broker.request();
        }
    }

    /// Locks and mutes: what is not permitted is dropped here. Yields `FeedUpdate::Interrupted` for what stops.
    pub fn permit(&mut self, permission: Permission, now: Instant) {
        for track in &mut self.tracks {
            let permitted = match track.kind {
                MediaKind::Audio => permission.audio,
                MediaKind::Video => permission.video,
            };
            if std::mem::replace(&mut track.permitted, permitted) == permitted {
                continue;
            }
            for layer in &mut track.layers {
                // nobody waits for what was lost before a mute, nor for what came during it
                layer.reception.forget_missing();
                layer.reception.take_gave_up();
                if permitted {
                    layer.broker.request();
                }
            }
            if !permitted {
                let update = FeedUpdate::Interrupted { kind: track.kind };
                self.events.push_back(PublicationEvent::Feed(update));
                if let Some(level) = track.loudness.silence(now) {
                    self.events
                        .push_back(PublicationEvent::Feed(FeedUpdate::Loudness { level }));
                }
            }
        }
    }

    /// Finds what stopped, and tells what waited.
    pub fn handle_timeout(&mut self, now: Instant) {
        for track in 0..self.tracks.len() {
            let layers = self.tracks.get(track).map_or(0, |track| track.layers.len());
            for layer in 0..layers {
                let due = self.tracks[track].layers[layer].flow_timeout();
                if due.is_some_and(|due| due <= now) {
                    self.note_stopped(track, layer, now);
                }
            }
        }
        if self.news_due.is_some_and(|due| due <= now) {
            self.tell_news(now);
        }
    }

    pub fn poll_event(&mut self) -> Option<PublicationEvent> {
        self.events.pop_front()
    }

    fn track(&self, kind: MediaKind) -> Option<&Track> {
        self.tracks.iter().find(|track| track.kind == kind)
    }

    fn track_mut(&mut self, kind: MediaKind) -> Option<&mut Track> {
        self.tracks.iter_mut().find(|track| track.kind == kind)
    }

    fn video(&self) -> Option<&Track> {
        self.track(MediaKind::Video)
    }

    /// SSRCs of the description. With RIDs they come by RID, for descriptions name them in no particular order.
    fn learn_announced(&mut self) {
        for (index, track) in self.tracks.iter_mut().enumerate() {
            if !track.parameters.rids.is_empty() {
                continue;
            }
            let Some((media, rtx)) = track.parameters.ssrcs.first().copied() else {
                continue;
            };
            let role = Role {
                track: index,
                layer: 0,
                repair: false,
                retired: false,
            };
            self.streams.learn(media, role);
            if let Some(rtx) = rtx {
                self.streams.learn(rtx, Role { repair: true, ..role });
            }
            if let Some(layer) = track.layers.first_mut() {
                layer.ssrc = Some(media);
            }
        }
    }

    /// Says once that starts have to come from the ring.
    fn note_ignored_requests(&mut self) {
        if !std::mem::replace(&mut self.ignores_keyframe_requests, true) {
            let update = FeedUpdate::IgnoresKeyframeRequests;
            self.events.push_back(PublicationEvent::Feed(update));
        }
    }

    /// RFC 3550 §6.6: the stream ended; no need to wait for its silence.
    fn handle_bye(&mut self, ssrc: u32, now: Instant) {
        if let Some(role) = self.streams.role(ssrc).filter(|role| !role.repair && !role.retired) {
            self.note_stopped(role.track, role.layer, now);
        }
    }
}
