//! What [`Elastic`](super::Elastic) is told and what it says.

use super::Numbers;
use crate::forward::SourceId;
use crate::rtp::MediaKind;
use std::time::{Duration, Instant};

/// The host's camera, as far as passing through depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Host {
    /// Another source, or the same one begun anew, is another one here.
    pub source: SourceId,
    /// The picture is muted, by whoever.
    pub hidden: bool,
    /// The sound is.
    pub muted: bool,
    /// There is Opus, and H.264 without reordered frames ([`crate::rtp::h264::may_reorder`]).
    pub suits: bool,
    /// The picture has the program's size.
    pub fits: bool,
}

/// What is so, and what is wanted. Twice equals once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// The host is never passed through.
    pub forced: bool,
    /// There is more to show or to hear than the host as it is.
    pub composing: bool,
    /// Consumers who start at keyframes: HLS, FLV, RTMP, recordings.
    pub needs_keyframes: bool,
    /// `None`: not connected.
    pub host: Option<Host>,
}

/// Why the host is not passed through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Obstacle {
    /// The mode says so.
    Forced,
    Composing,
    NotConnected,
    /// The picture is muted.
    Hidden,
    /// The sound is.
    Muted,
    /// Not H.264 in order, or no Opus.
    Format,
    Size,
    /// No picture or no sound comes.
    Silent,
    KeyframesApart,
}

/// The mixer decodes the host's pictures so far and waits for the others' first ones: no longer than this.
pub(super) const PREPARE_MAX: Duration = Duration::from_secs(1);
/// When nothing comes of the host, half of a second is over already.
pub(super) const PREPARE_SILENT: Duration = Duration::from_millis(300);

impl Obstacle {
    /// How long the mixer may take to get ready, while what comes of the host is the program: not at all where nothing may be
    /// seen of it.
    pub(super) fn preparation(self) -> Duration {
        match self {
            Obstacle::NotConnected | Obstacle::Hidden => Duration::ZERO,
            Obstacle::Silent => PREPARE_SILENT,
            Obstacle::Forced
            | Obstacle::Composing
            | Obstacle::Muted
            | Obstacle::Format
            | Obstacle::Size
            | Obstacle::KeyframesApart => PREPARE_MAX,
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Without anything to compose for so long, the program goes back to the host.
    pub return_after: Duration,
    /// Between two keyframes, where consumers need them.
    pub gop: Duration,
    /// Of the mixer's pictures, one to the next.
    pub frame: Duration,
}

/// A packet of the host's camera or microphone.
#[derive(Clone, Copy, Debug)]
pub struct HostPacket<P> {
    pub source: SourceId,
    pub kind: MediaKind,
    /// [`crate::rtp::Meta::sequence`], `timestamp`, `starts_keyframe`.
    pub sequence: u64,
    pub timestamp: u32,
    pub starts_keyframe: bool,
    /// When this frame is due, on the program's clock.
    pub moment: Instant,
    /// Sound: how long it plays. Not looked at for video.
    pub duration: Duration,
    pub packet: P,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output<P> {
    /// Send a packet of the host's.
    Forward {
        kind: MediaKind,
        numbers: Numbers,
        packet: P,
    },
    /// Mix. The first picture is a keyframe at `video_from`, the first sound begins at `audio_from`.
    StartMixing {
        video_from: Instant,
        audio_from: Instant,
    },
    /// Mix no further than to these moments (exclusive), and say when they are reached
    /// ([`Elastic::mixed_until`](super::Elastic::mixed_until)).
    StopMixing {
        video_to: Instant,
        audio_to: Instant,
    },
    /// The last `StopMixing` does not apply: go on, with a keyframe.
    KeepMixing,
    RequestKeyframe,
}

/// What happened so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Host's packets that came too late, twice, or with impossible times.
    pub refused: u64,
    pub to_mixer: u64,
    pub to_host: u64,
    /// Returns that were called off.
    pub called_off: u64,
}
