//! Why a room's program is mixed, or is the host's own packets, in words: everything that stands in the way of the host's
//! packets, not only the first. Pure: facts in, sentences' parts out; the decision itself is the program's.

use crate::forward::{SourceInfo, SourceKind};
use crate::mix::layout::{Layout, Template};
use crate::program::Obstacle;
use crate::room::{HOST_SEAT, ProgramMode};
use crate::rtp::Codec;

/// What a program is made of, and how it is wanted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Facts<'a> {
    pub mode: ProgramMode,
    pub layout: &'a Layout,
    /// All seats' sources.
    pub sources: &'a [SourceInfo],
    /// The host's picture and sound are coming in.
    pub host_flows: bool,
    /// Somebody listens without their own voice.
    pub left_out: bool,
    /// What the program itself says is in the way of the host's packets.
    pub obstacle: Option<Obstacle>,
}

/// What has to be composed, each without a full stop. Empty: nothing, the host's own packets would do.
pub(super) fn obstacles(facts: Facts) -> Vec<String> {
    let mut found = Vec::new();
    let connected = || facts.sources.iter().filter(|source| source.connected);
    let is_host = |source: &SourceInfo| source.seat == HOST_SEAT && source.kind == SourceKind::Camera;
    match connected().find(|source| is_host(source)) {
        Some(host) => of_host(host, facts.host_flows, &mut found),
        None => found.push("the host's camera is not connected".to_owned()),
    }
    for other in connected().filter(|source| !is_host(source)) {
        let what = match other.kind {
            SourceKind::Screen => "screen",
            SourceKind::Camera | SourceKind::Program => "camera",
        };
        found.push(format!("the {what} of seat {} is shown, too", other.seat.0));
    }
    of_layout(facts, &mut found);
    if facts.left_out {
        found.push("somebody listens without their own voice".to_owned());
    }
    found
}

fn of_host(host: &SourceInfo, flows: bool, found: &mut Vec<String>) {
    for (device, what, codec, wanted, permitted) in [
        ("camera", "picture", host.video, Codec::H264, host.permission.video),
        ("microphone", "sound", host.audio, Codec::Opus, host.permission.audio),
    ] {
        match codec {
            None => found.push(format!("the host sends no {what}")),
            Some(codec) if codec != wanted => {
                let (codec, wanted) = (codec_name(codec), codec_name(wanted));
                found.push(format!("the host's {what} is {codec}, not {wanted}"));
            }
            Some(_) if !permitted => found.push(format!("the host's {device} is muted or locked")),
            Some(_) => {}
        }
    }
    let is_whole = host.video.is_some() && host.audio.is_some();
    if is_whole && host.permission.video && host.permission.audio && !flows {
        found.push("nothing comes of the host's picture or sound".to_owned());
    }
}

fn of_layout(facts: Facts, found: &mut Vec<String>) {
    let layout = facts.layout;
    let lines = [
        (
            matches!(layout.template, Template::Custom(_)),
            "the layout places its tiles itself",
        ),
        (layout.labelled(1), "the layout has a label on every tile"),
        (!layout.watermarks.is_empty(), "the layout has a watermark"),
        (layout.volume(HOST_SEAT) != 1.0, "the layout changes the host's volume"),
    ];
    found.extend(
        lines
            .iter()
            .filter(|(holds, _)| *holds)
            .map(|(_, why)| (*why).to_owned()),
    );
}

/// Why it is mixed now.
pub(super) fn mixed(facts: Facts) -> String {
    let obstacles = obstacles(facts);
    match facts.mode {
        ProgramMode::Mixed => "its mode is \"mixed\"".to_owned(),
        _ if obstacles.is_empty() => match facts.obstacle {
            Some(Obstacle::Size) => "the host's picture has another size than is set for the program",
            Some(Obstacle::Format) => "the host's pictures come in another order than they are shown in",
            Some(Obstacle::Silent) => "nothing comes of the host's picture or sound",
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
    use crate::control::composed::is_host_alone;
    use crate::forward::{SeatIndex, SourceId};
    use crate::mix::layout::Labels;

    fn source(seat: u8, kind: SourceKind) -> SourceInfo {
        SourceInfo {
            kind,
            ..SourceInfo::camera(SourceId(u64::from(seat)), SeatIndex(seat))
        }
    }

    fn facts<'a>(mode: ProgramMode, layout: &'a Layout, sources: &'a [SourceInfo]) -> Facts<'a> {
        Facts {
            mode,
            layout,
            sources,
            host_flows: true,
            left_out: false,
            obstacle: None,
        }
    }

    #[test]
    fn every_obstacle_is_named_and_whatever_has_one_is_mixed() {
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
            assert_eq!(is_host_alone(layout, &sources), expected.is_empty(), "{expected:?}");
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
