//! Why a program has to be mixed, as far as that can be told before anything flows: one answer for the program that acts on
//! it, for what is reserved for it, and for what people are told of it. Pure.

use super::elastic::Obstacle;
use crate::forward::{SeatIndex, SourceInfo, SourceKind};
use crate::mix::layout::{Alteration, Layout, Present};
use crate::mix::picture::Size;
use crate::room::HOST_SEAT;
use crate::rtp::{Codec, MediaKind};

/// What a program is made of, and how it is wanted, but for the mode.
#[derive(Clone, Copy, Debug)]
pub struct Conditions<'a> {
    pub layout: &'a Layout,
    /// The room's, without the program itself.
    pub sources: &'a [SourceInfo],
    /// The tiles there are: also of who is away for a moment.
    pub present: &'a [Present],
    /// Somebody listens without their own voice.
    pub listens: bool,
    /// As set.
    pub size: Option<Size>,
    /// Of the host's picture, in pixels; one that is not known is no reason.
    pub host_size: Option<(u16, u16)>,
}

/// Why the host's own packets can't be the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The host's camera is not connected.
    NotConnected,
    /// The host sends none: viewers get both, and the mixer makes up for it.
    Missing(MediaKind),
    /// The host's is not what viewers get.
    Codec(MediaKind, Codec),
    /// The host's, or locked.
    Muted(MediaKind),
    /// There is more to see or to hear than the host's camera.
    Shown(SeatIndex, SourceKind),
    Layout(Alteration),
    /// Somebody listens without their own voice.
    Listener,
    /// The host's picture has another one than is set.
    Size,
}

impl Reason {
    /// What it is to the program.
    pub(super) fn obstacle(self) -> Obstacle {
        match self {
            Reason::NotConnected => Obstacle::NotConnected,
            Reason::Missing(_) | Reason::Codec(..) => Obstacle::Format,
            Reason::Muted(MediaKind::Video) => Obstacle::Hidden,
            Reason::Muted(MediaKind::Audio) => Obstacle::Muted,
            Reason::Shown(..) | Reason::Layout(_) | Reason::Listener => Obstacle::Composing,
            Reason::Size => Obstacle::Size,
        }
    }
}

impl<'a> Conditions<'a> {
    /// The host's camera, if it is connected.
    pub fn host(&self) -> Option<&'a SourceInfo> {
        self.connected().find(|source| is_host(source))
    }

    /// All there are. None: the host's own packets would do.
    pub fn reasons(self) -> impl Iterator<Item = Reason> {
        let host = self.host();
        let missing = host.is_none().then_some(Reason::NotConnected);
        let is_other = |tile: &Present| *tile != HOST_TILE;
        let others = self.connected().map(tile).filter(is_other);
        let away = move |tile: &Present| !self.connected().any(|source| self::tile(source) == *tile);
        let absent = self.present.iter().copied().filter(is_other).filter(away);
        missing
            .into_iter()
            .chain(host.into_iter().flat_map(of_host))
            .chain(others.chain(absent).map(|tile| Reason::Shown(tile.seat, tile.source)))
            .chain(self.layout.alterations().map(Reason::Layout))
            .chain(self.listens.then_some(Reason::Listener))
            .chain(self.is_scaled().then_some(Reason::Size))
    }

    fn connected(&self) -> impl Iterator<Item = &'a SourceInfo> + use<'a> {
        self.sources.iter().filter(|source| source.connected)
    }

    fn is_scaled(&self) -> bool {
        let sizes = self.size.zip(self.host_size);
        sizes.is_some_and(|(set, (width, height))| (set.width(), set.height()) != (width.into(), height.into()))
    }
}

const HOST_TILE: Present = Present {
    seat: HOST_SEAT,
    source: SourceKind::Camera,
};

pub(super) fn is_host(source: &SourceInfo) -> bool {
    tile(source) == HOST_TILE
}

fn tile(source: &SourceInfo) -> Present {
    Present {
        seat: source.seat,
        source: source.kind,
    }
}

/// What viewers get.
pub fn codec(kind: MediaKind) -> Codec {
    match kind {
        MediaKind::Audio => Codec::Opus,
        MediaKind::Video => Codec::H264,
    }
}

fn of_host(host: &SourceInfo) -> impl Iterator<Item = Reason> + use<> {
    let of = |kind, sent, permitted: bool| match sent {
        None => Some(Reason::Missing(kind)),
        Some(other) if other != codec(kind) => Some(Reason::Codec(kind, other)),
        Some(_) => (!permitted).then_some(Reason::Muted(kind)),
    };
    let video = of(MediaKind::Video, host.video, host.permission.video);
    let audio = of(MediaKind::Audio, host.audio, host.permission.audio);
    [video, audio].into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::forward::SourceId;

    #[test]
    fn a_host_alone_is_passed_through_and_whatever_else_there_is_is_a_reason() {
        let host = SourceInfo::camera(SourceId(1), HOST_SEAT);
        let with = |change: fn(&mut SourceInfo)| {
            let mut changed = host.clone();
            change(&mut changed);
            vec![changed]
        };
        let layout = Layout::default();
        let alone = Conditions {
            layout: &layout,
            sources: std::slice::from_ref(&host),
            present: &[HOST_TILE],
            listens: false,
            size: None,
            host_size: Some((640, 360)),
        };
        let reasons = |conditions: Conditions| conditions.reasons().collect::<Vec<_>>();
        assert_eq!(reasons(alone), []);
        let (video, audio) = (MediaKind::Video, MediaKind::Audio);
        let cases: [(Vec<SourceInfo>, &[Reason]); 6] = [
            (vec![], &[Reason::NotConnected]),
            (with(|host| host.connected = false), &[Reason::NotConnected]),
            (
                with(|host| host.kind = SourceKind::Screen),
                &[Reason::NotConnected, Reason::Shown(HOST_SEAT, SourceKind::Screen)],
            ),
            (
                with(|host| (host.video, host.permission.video) = (Some(Codec::Vp9), false)),
                &[Reason::Codec(video, Codec::Vp9)],
            ),
            (
                with(|host| (host.audio, host.permission.video) = (None, false)),
                &[Reason::Muted(video), Reason::Missing(audio)],
            ),
            (
                vec![host.clone(), SourceInfo::camera(SourceId(2), SeatIndex(3))],
                &[Reason::Shown(SeatIndex(3), SourceKind::Camera)],
            ),
        ];
        for (sources, expected) in cases {
            let sources = &sources;
            assert_eq!(reasons(Conditions { sources, ..alone }), expected);
        }
        let guest = Present {
            seat: SeatIndex(3),
            ..HOST_TILE
        };
        let held = Conditions {
            present: &[HOST_TILE, guest],
            ..alone
        };
        let shown = Reason::Shown(guest.seat, guest.source);
        assert_eq!(reasons(held), [shown], "whose path is broken is shown all the same");
        let sources = &[host.clone(), SourceInfo::camera(SourceId(2), SeatIndex(3))];
        assert_eq!(reasons(Conditions { sources, ..held }), [shown], "once");
        let sized = |width, height, host_size| {
            let size = Size::even(width, height);
            reasons(Conditions {
                size,
                host_size,
                ..alone
            })
        };
        assert_eq!(sized(640, 360, alone.host_size), []);
        assert_eq!(sized(1280, 720, alone.host_size), [Reason::Size]);
        assert_eq!(sized(1280, 720, None), []);
        let listens = true;
        assert_eq!(reasons(Conditions { listens, ..alone }), [Reason::Listener]);
    }
}
