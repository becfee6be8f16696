//! Why a room's program is mixed, or is the host's own packets, in words: everything that stands in the way of the host's
//! packets, not only the first. Pure: facts in, sentences' parts out; the decision itself is the program's.

use crate::forward::SourceKind;
use crate::mix::layout::Alteration;
use crate::program::{self, Conditions, Obstacle, Reason};
use crate::room::ProgramMode;
use crate::rtp::{Codec, MediaKind};

/// What a program is made of, and how it is wanted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Facts<'a> {
    pub mode: ProgramMode,
    pub conditions: Conditions<'a>,
    /// The host's picture and sound are coming in.
    pub host_flows: bool,
    /// What the program itself says is in the way of the host's packets.
    pub obstacle: Option<Obstacle>,
}

/// What has to be composed, each without a full stop. Empty: nothing, the host's own packets would do.
pub(super) fn obstacles(facts: Facts) -> Vec<String> {
    let mut found: Vec<String> = facts.conditions.reasons().map(in_words).collect();
    let is_of_host = |reason| matches!(reason, Reason::NotConnected | Reason::Missing(_) | Reason::Muted(_));
    if !facts.host_flows && !facts.conditions.reasons().any(is_of_host) {
        found.push(NOTHING_COMES.to_owned());
    }
    found
}

const NOTHING_COMES: &str = "nothing comes of the host's picture or sound";
const OTHER_SIZE: &str = "the host's picture has another size than is set for the program";

fn in_words(reason: Reason) -> String {
    let what = |kind| match kind {
        MediaKind::Audio => "sound",
        MediaKind::Video => "picture",
    };
    let said = match reason {
        Reason::NotConnected => "the host's camera is not connected",
        Reason::Missing(kind) => return format!("the host sends no {}", what(kind)),
        Reason::Codec(kind, codec) => {
            let (codec, wanted) = (codec_name(codec), codec_name(program::codec(kind)));
            return format!("the host's {} is {codec}, not {wanted}", what(kind));
        }
        Reason::Muted(MediaKind::Audio) => "the host's microphone is muted or locked",
        Reason::Muted(MediaKind::Video) => "the host's camera is muted or locked",
        Reason::Shown(seat, SourceKind::Screen) => return format!("the screen of seat {} is shown, too", seat.0),
        Reason::Shown(seat, _) => return format!("the camera of seat {} is shown, too", seat.0),
        Reason::Layout(Alteration::Tiles) => "the layout places its tiles itself",
        Reason::Layout(Alteration::Labels) => "the layout has a label on every tile",
        Reason::Layout(Alteration::Watermark) => "the layout has a watermark",
        Reason::Layout(Alteration::HostVolume) => "the layout changes the host's volume",
        Reason::Listener => "somebody listens without their own voice",
        Reason::Size => OTHER_SIZE,
    };
    said.to_owned()
}

/// Why it is mixed now.
pub(super) fn mixed(facts: Facts) -> String {
    let obstacles = obstacles(facts);
    match facts.mode {
        ProgramMode::Mixed => "its mode is \"mixed\"".to_owned(),
        _ if obstacles.is_empty() => match facts.obstacle {
            Some(Obstacle::Size) => OTHER_SIZE,
            Some(Obstacle::Format) => "the host's pictures come in another order than they are shown in",
            Some(Obstacle::Silent) => NOTHING_COMES,
            _ => "something had to be composed a moment ago; the host's packets are forwarded again soon",
        }
        .to_owned(),
        _ => obstacles.join("; "),
    }
}

/// Why it is not.
pub(super) fn forwarded(facts: Facts) -> String {
    let obstacles = obstacles(facts);
    match facts.mode {
        ProgramMode::Mixed => "the mixer is about to begin, as its mode is \"mixed\"".to_owned(),
        ProgramMode::Passthrough if obstacles.is_empty() => "its mode is \"passthrough\"".to_owned(),
        ProgramMode::Passthrough => {
            let missing = obstacles.join("; ");
            format!("its mode is \"passthrough\", although {missing}")
        }
        _ if obstacles.is_empty() => "nothing has to be composed".to_owned(),
        _ => format!("the mixer is about to begin, for {}", obstacles.join("; ")),
    }
}

/// As people know it.
pub(super) fn codec_name(codec: Codec) -> &'static str {
    match codec {
        Codec::Opus => "Opus",
        Codec::H264 => "H.264",
        Codec::Vp8 => "VP8",
        Codec::Vp9 => "VP9",
        Codec::Av1 => "AV1",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::forward::{SeatIndex, SourceId, SourceInfo};
    use crate::mix::layout::{Labels, Layout};
    use crate::room::HOST_SEAT;

    fn source(seat: u8, kind: SourceKind) -> SourceInfo {
        SourceInfo {
            kind,
            ..SourceInfo::camera(SourceId(u64::from(seat)), SeatIndex(seat))
        }
    }

    fn facts<'a>(mode: ProgramMode, layout: &'a Layout, sources: &'a [SourceInfo]) -> Facts<'a> {
        Facts {
            mode,
            conditions: Conditions {
                layout,
                sources,
                present: &[],
                listens: false,
                size: None,
                host_size: None,
            },
            host_flows: true,
            obstacle: None,
        }
    }

    #[test]
    fn every_obstacle_is_named() {
        let host = source(0, SourceKind::Camera);
        let labelled = Layout {
            labels: Labels::Always,
            volumes: [(HOST_SEAT, 0.5)].into(),
            ..Layout::default()
        };
        let plain = Layout::default();
        let changed = |change: fn(&mut SourceInfo)| {
            let mut changed = host.clone();
            change(&mut changed);
            vec![changed]
        };
        let cases: Vec<(&Layout, Vec<SourceInfo>, &[&str])> = vec![
            (&plain, vec![host.clone()], &[]),
            (
                &plain,
                changed(|host| host.connected = false),
                &["the host's camera is not connected"],
            ),
            (
                &plain,
                changed(|host| host.video = Some(Codec::Vp9)),
                &["the host's picture is VP9, not H.264"],
            ),
            (
                &plain,
                changed(|host| (host.audio, host.permission.video) = (None, false)),
                &["the host's camera is muted or locked", "the host sends no sound"],
            ),
            (
                &plain,
                vec![
                    source(0, SourceKind::Camera),
                    source(0, SourceKind::Screen),
                    source(3, SourceKind::Camera),
                ],
                &[
                    "the screen of seat 0 is shown, too",
                    "the camera of seat 3 is shown, too",
                ],
            ),
            (
                &labelled,
                vec![host.clone()],
                &[
                    "the layout has a label on every tile",
                    "the layout changes the host's volume",
                ],
            ),
        ];
        for (layout, sources, expected) in cases {
            let facts = facts(ProgramMode::Auto, layout, &sources);
            assert_eq!(obstacles(facts), expected);
        }
    }

    #[test]
    fn what_the_operator_wants_is_a_reason_of_its_own() {
        let layout = Layout::default();
        let both = [source(0, SourceKind::Camera), source(2, SourceKind::Camera)];
        let said = |mode, sources: &[SourceInfo]| {
            let facts = facts(mode, &layout, sources);
            (mixed(facts), forwarded(facts))
        };
        let (why, _) = said(ProgramMode::Mixed, &both);
        assert_eq!(why, "its mode is \"mixed\"");
        let (_, why) = said(ProgramMode::Passthrough, &both);
        assert_eq!(
            why,
            "its mode is \"passthrough\", although the camera of seat 2 is shown, too"
        );
        let (still, why) = said(ProgramMode::Auto, &both[..1]);
        assert_eq!(why, "nothing has to be composed");
        assert!(still.starts_with("something had to be composed a moment ago"));
        let settings = Facts {
            obstacle: Some(Obstacle::Size),
            ..facts(ProgramMode::Auto, &layout, &both[..1])
        };
        assert!(mixed(settings).contains("another size"));
        let (why, about) = said(ProgramMode::Auto, &both);
        assert_eq!(why, "the camera of seat 2 is shown, too");
        assert!(about.ends_with(&why));
    }
}
