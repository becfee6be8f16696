//! Why a seat is black or silent, in sentences: the chain from the seat to the program, link by link. Pure: facts in,
//! sentences out. The first link that is broken is the answer; those behind it can't be judged and say so by their absence.

use super::program::Making;
use super::why::codec_name;
use crate::forward::{SeatIndex, SourceKind, TrackDiagnosis};
use crate::mix::codec::is_decoded;
use crate::mix::compose::Quality;
use crate::mix::layout::{Layout, Present};
use crate::mix::picture::Size;
use crate::program::Step;
use crate::room::{HOST_SEAT, Occupancy, Phase, Seat};
use crate::rtp::Codec;
use crate::worker::Diagnosis;
use std::time::{Duration, Instant};

/// How long ICE and DTLS may take before it is worth a word; on a bad line they need two round trips of retries.
const SLOW_CONNECT: Duration = Duration::from_secs(5);
/// A keyframe older than this is worth a word where the publisher makes them when it likes.
const OLD_KEYFRAME: Duration = Duration::from_secs(4);

/// Everything that is known of one source of one seat.
#[derive(Clone, Debug)]
pub(super) struct Facts<'a> {
    pub phase: Phase,
    pub index: SeatIndex,
    pub kind: SourceKind,
    pub seat: &'a Seat,
    /// Somebody has POSTed to WHIP for this source; what the worker says of it, if it answers.
    pub publication: Option<Option<Diagnosis>>,
    pub making: Making,
    /// Why it is made so; empty while none is made.
    pub why: &'a str,
    /// How the program is made, where that is less than what is set.
    pub step: Option<Step>,
    pub layout: &'a Layout,
    /// Whose tiles there are.
    pub present: &'a [Present],
    pub now: Instant,
}

/// One link of the chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Link {
    Seat,
    Permission,
    Whip,
    Ice,
    Dtls,
    Packets,
    Keyframe,
    Decode,
    Program,
    ZOrder,
}

/// How a link is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    Good,
    /// Not yet, or on purpose: nothing is broken.
    Waiting,
    Broken,
}

/// One sentence of the explanation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explained {
    pub link: Link,
    pub health: Health,
    pub sentence: String,
}

/// The chain as far as it goes, and the sentence that matters most.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    pub seat: SeatIndex,
    pub kind: SourceKind,
    pub summary: String,
    pub links: Vec<Explained>,
}

pub(super) fn explain(facts: &Facts) -> Explanation {
    let mut links = Vec::new();
    if seat(facts, &mut links) {
        match publication(facts) {
            None => links.push(not_published(facts)),
            Some(diagnosis) => {
                if transport(facts, diagnosis, &mut links) {
                    media(facts, diagnosis, &mut links);
                    program(facts, &mut links);
                }
            }
        }
    }
    let first = |health| links.iter().find(|link: &&Explained| link.health == health);
    let matters = first(Health::Broken).or_else(|| first(Health::Waiting));
    let summary = matters.map_or_else(
        || {
            format!(
                "Everything of the {} of seat {} is well.",
                name(facts.kind),
                facts.index.0
            )
        },
        |link| link.sentence.clone(),
    );
    Explanation {
        seat: facts.index,
        kind: facts.kind,
        summary,
        links,
    }
}

fn name(kind: SourceKind) -> &'static str {
    match kind {
        SourceKind::Camera => "camera",
        SourceKind::Screen => "screen",
        SourceKind::Program => "program",
    }
}

fn link(link: Link, health: Health, sentence: impl Into<String>) -> Explained {
    Explained {
        link,
        health,
        sentence: sentence.into(),
    }
}

/// Whole seconds, as people say them.
fn seconds(duration: Duration) -> String {
    match duration.as_secs() {
        0 => "less than a second".to_owned(),
        1 => "1 second".to_owned(),
        n => format!("{n} seconds"),
    }
}

/// The worker's word on the source, where it is published.
fn publication<'a>(facts: &'a Facts) -> Option<&'a Diagnosis> {
    facts.publication.as_ref()?.as_ref()
}

fn not_published(facts: &Facts) -> Explained {
    match facts.publication {
        Some(_) => link(
            Link::Whip,
            Health::Broken,
            "The media worker of this source does not answer, or has just let go of it.",
        ),
        None => link(
            Link::Whip,
            Health::Waiting,
            match facts.kind {
                SourceKind::Camera => "Nothing is published: no WHIP POST has come from this person.",
                SourceKind::Screen => "No screen is shared: no WHIP POST with source=screen has come from this person.",
                SourceKind::Program => "The program is nobody's: the room makes it.",
            },
        ),
    }
}

/// `true`: somebody is there who may publish.
fn seat(facts: &Facts, links: &mut Vec<Explained>) -> bool {
    let number = facts.index.0;
    if facts.phase == Phase::Ended {
        links.push(link(
            Link::Seat,
            Health::Broken,
            "The room has ended; nobody publishes.",
        ));
        return false;
    }
    let left = |until: Option<Instant>| match until {
        Some(until) => format!("for another {}", seconds(until.saturating_duration_since(facts.now))),
        None => "without limit".to_owned(),
    };
    let (health, sentence) = match &facts.seat.occupancy {
        Occupancy::Empty if facts.seat.flags.locked => (Health::Broken, format!("Seat {number} is locked and empty.")),
        Occupancy::Empty => (Health::Broken, format!("Nobody is on seat {number}.")),
        Occupancy::Reserved { person, until, .. } => (
            Health::Waiting,
            format!(
                "Seat {number} is reserved for {}, whose transport is awaited {}.",
                person.user.as_str(),
                left(*until)
            ),
        ),
        Occupancy::Held { person, until } => (
            Health::Waiting,
            format!(
                "{} lost the connection; seat {number} is kept {}.",
                person.user.as_str(),
                left(*until)
            ),
        ),
        Occupancy::Occupied { person, .. } => (Health::Good, format!("{} is on seat {number}.", person.user.as_str())),
    };
    links.push(link(Link::Seat, health, sentence));
    if facts.seat.occupancy == Occupancy::Empty {
        return false;
    }
    links.push(permission(facts));
    true
}

fn permission(facts: &Facts) -> Explained {
    let flags = facts.seat.flags;
    let mut closed = Vec::new();
    for (device, locked, muted) in [
        ("microphone", flags.audio_locked, flags.audio_muted),
        ("camera", flags.video_locked, flags.video_muted),
    ] {
        match (locked, muted) {
            (true, _) => closed.push(format!("the {device} is locked by a host")),
            (false, true) => closed.push(format!("the {device} is muted")),
            (false, false) => {}
        }
    }
    if closed.is_empty() {
        return link(Link::Permission, Health::Good, "Sound and picture are permitted.");
    }
    let sentence = format!("On purpose nothing is forwarded of it: {}.", closed.join(", "));
    link(Link::Permission, Health::Waiting, sentence)
}

/// `true`: media can come in.
fn transport(facts: &Facts, diagnosis: &Diagnosis, links: &mut Vec<Explained>) -> bool {
    links.push(link(
        Link::Whip,
        Health::Good,
        format!("The {} was announced by a WHIP POST.", name(facts.kind)),
    ));
    let waited = diagnosis.at.saturating_duration_since(diagnosis.admitted);
    let health = if waited > SLOW_CONNECT {
        Health::Broken
    } else {
        Health::Waiting
    };
    let Some(path) = diagnosis.path else {
        let sentence = format!(
            "No ICE connectivity check has arrived in {}: UDP and TCP to the media ports are blocked on the way, or the \
             server advertises an address the publisher can't reach (media.advertise).",
            seconds(waited)
        );
        links.push(link(Link::Ice, health, sentence));
        return false;
    };
    links.push(link(
        Link::Ice,
        Health::Good,
        format!("ICE works: the publisher is at {path}."),
    ));
    if !diagnosis.connected {
        let sentence = format!("The DTLS handshake is not done after {}.", seconds(waited));
        links.push(link(Link::Dtls, health, sentence));
        return false;
    }
    links.push(link(
        Link::Dtls,
        Health::Good,
        "DTLS is done and the certificate verified.",
    ));
    true
}

fn media(facts: &Facts, diagnosis: &Diagnosis, links: &mut Vec<Explained>) {
    if diagnosis.audio.is_none() && diagnosis.video.is_none() {
        let sentence = "The publisher's offer holds neither sound nor picture.";
        links.push(link(Link::Packets, Health::Broken, sentence));
    }
    for (what, track) in [("sound", diagnosis.audio), ("picture", diagnosis.video)] {
        if let Some(track) = track {
            links.push(packets(what, &track, diagnosis.at));
        } else if facts.kind == SourceKind::Camera {
            let sentence = format!("The publisher's offer holds no {what}.");
            links.push(link(Link::Packets, Health::Waiting, sentence));
        }
    }
    if let Some(video) = diagnosis.video.filter(|video| video.flowing && video.permitted) {
        links.push(keyframe(&video, diagnosis.at));
    }
}

fn packets(what: &str, track: &TrackDiagnosis, at: Instant) -> Explained {
    if track.flowing {
        return link(Link::Packets, Health::Good, format!("Packets of {what} arrive."));
    }
    let sentence = match track.last_packet {
        Some(last) => format!(
            "No packet of {what} has come for {}: the device is off, or the publisher's line is down.",
            seconds(at.saturating_duration_since(last))
        ),
        None => format!("No packet of {what} has come yet: the device has not been switched on."),
    };
    link(Link::Packets, Health::Waiting, sentence)
}

fn keyframe(video: &TrackDiagnosis, at: Instant) -> Explained {
    let age = video.last_keyframe.map(|last| at.saturating_duration_since(last));
    let (health, sentence) = match age {
        None if video.ignores_keyframe_requests => (
            Health::Waiting,
            "No keyframe has come yet, and the publisher makes them when it likes.".to_owned(),
        ),
        None => (
            Health::Broken,
            "No keyframe has come yet, though one was asked for: nothing can be decoded.".to_owned(),
        ),
        Some(age) if video.ignores_keyframe_requests && age > OLD_KEYFRAME => (
            Health::Good,
            format!(
                "The last keyframe is {} old and the publisher ignores requests: new viewers start from memory.",
                seconds(age)
            ),
        ),
        Some(age) => (Health::Good, format!("The last keyframe came {} ago.", seconds(age))),
    };
    link(Link::Keyframe, health, sentence)
}

/// Why a picture that comes in is not seen.
fn undecoded(codec: Codec) -> String {
    let able = [Codec::H264, Codec::Vp8].into_iter().filter(|codec| is_decoded(*codec));
    let able: Vec<&str> = able.map(codec_name).collect();
    format!(
        "The picture is {}, and the program decodes {} only: its tile shows a placeholder; the stage shows the picture.",
        codec_name(codec),
        able.join(" and ")
    )
}

fn program(facts: &Facts, links: &mut Vec<Explained>) {
    let why = facts.why;
    let codec = publication(facts)
        .and_then(|diagnosis| diagnosis.video)
        .map(|video| video.codec);
    let host = facts.index == HOST_SEAT && facts.kind == SourceKind::Camera;
    let (health, sentence) = match (facts.making, codec) {
        (Making::Mixed, Some(codec)) if !is_decoded(codec) => (Health::Broken, undecoded(codec)),
        (Making::Mixed, _) => (Health::Good, "The program decodes it.".to_owned()),
        (Making::Passthrough, Some(codec)) if host && codec != Codec::H264 => {
            let codec = codec_name(codec);
            let sentence =
                format!("The picture is {codec}, not H.264: the stage shows it, and the program can't forward it.");
            (Health::Waiting, sentence)
        }
        _ => (
            Health::Good,
            "Nothing has to be decoded: packets are forwarded.".to_owned(),
        ),
    };
    links.push(link(Link::Decode, health, sentence));
    let waits = |sentence: &str| (Health::Waiting, sentence.to_owned());
    let good = |sentence: &str| (Health::Good, sentence.to_owned());
    let (health, sentence) = match facts.making {
        Making::Off => waits("The room's program is off; the stage shows this source."),
        Making::Unwatched => waits("Nobody watches the program, so none is made."),
        Making::Mixed => mixed(facts.step, why),
        Making::Passthrough if host => good(&format!("The program is this camera, forwarded untouched: {why}.")),
        Making::Passthrough => waits(&format!(
            "The program is the host's camera, forwarded untouched: {why}; the stage shows this source."
        )),
    };
    links.push(link(Link::Program, health, sentence));
    if facts.making == Making::Mixed {
        links.push(z_order(facts));
    } else if host && facts.making == Making::Passthrough {
        links.push(link(Link::ZOrder, Health::Good, "Nothing lies above it."));
    }
}

fn mixed(step: Option<Step>, why: &str) -> (Health, String) {
    let Some(Step { quality, fps, size }) = step else {
        return (Health::Good, format!("The program is mixed: {why}."));
    };
    let (width, height) = (size.width(), size.height());
    let filter = match quality {
        Quality::Good => "",
        Quality::Fast => ", with the fast scaling filter",
    };
    let sentence = format!(
        "The program is mixed with less than is set, because this server can't keep up or could not a while ago: \
         {width} × {height} at {fps} pictures a second{filter}."
    );
    (Health::Waiting, sentence)
}

/// Whether another tile hides it. Which does not depend on the canvas' size, but for rounding.
fn z_order(facts: &Facts) -> Explained {
    let canvas = Size::even(1280, 720).expect("neither is 0");
    let tiles = facts.layout.arrange(canvas, facts.present);
    let own = tiles
        .iter()
        .position(|tile| tile.seat == facts.index && tile.source == facts.kind);
    let Some((own, above)) = own.and_then(|own| tiles.get(own..)?.split_first()) else {
        return link(Link::ZOrder, Health::Waiting, "The layout has no tile for it.");
    };
    match above.iter().find(|tile| tile.rect.contains(own.rect)) {
        Some(tile) => {
            let sentence = format!("The tile of seat {} covers it.", tile.seat.0);
            link(Link::ZOrder, Health::Waiting, sentence)
        }
        None => link(Link::ZOrder, Health::Good, "Nothing covers its tile."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::room::{Person, SeatFlags, UserId};
    use std::sync::LazyLock;

    static DEFAULT: LazyLock<Layout> = LazyLock::new(Layout::default);

    fn bob() -> Person {
        Person {
            user: UserId::parse("bob").unwrap(),
            name: None,
            avatar_url: None,
        }
    }

    fn seat(occupancy: Occupancy) -> Seat {
        Seat {
            occupancy,
            flags: SeatFlags::default(),
        }
    }

    fn track(codec: Codec, now: Instant) -> TrackDiagnosis {
        TrackDiagnosis {
            codec,
            permitted: true,
            flowing: true,
            last_packet: Some(now),
            last_keyframe: Some(now),
            ignores_keyframe_requests: false,
        }
    }

    fn well(now: Instant) -> Diagnosis {
        Diagnosis {
            at: now,
            admitted: now,
            path: Some("192.0.2.7:4711".parse().unwrap()),
            connected: true,
            audio: Some(track(Codec::Opus, now)),
            video: Some(track(Codec::H264, now)),
        }
    }

    fn facts<'a>(seat: &'a Seat, publication: Option<Option<Diagnosis>>, now: Instant) -> Facts<'a> {
        Facts {
            phase: Phase::Live,
            index: SeatIndex(3),
            kind: SourceKind::Camera,
            seat,
            publication,
            making: Making::Passthrough,
            why: "nothing has to be composed",
            step: None,
            layout: &DEFAULT,
            present: &[],
            now,
        }
    }

    fn last(explanation: &Explanation) -> (Link, Health) {
        let last = explanation.links.last().unwrap();
        (last.link, last.health)
    }

    #[test]
    fn the_chain_ends_where_it_breaks() {
        let now = Instant::now();
        let later = now + Duration::from_secs(7);
        let empty = seat(Occupancy::Empty);
        let said = explain(&facts(&empty, None, now));
        assert_eq!(said.summary, "Nobody is on seat 3.");
        assert_eq!(said.links.len(), 1);

        let occupied = seat(Occupancy::Occupied {
            person: bob(),
            since: now,
        });
        assert_eq!(
            last(&explain(&facts(&occupied, None, now))),
            (Link::Whip, Health::Waiting)
        );
        assert_eq!(
            last(&explain(&facts(&occupied, Some(None), now))),
            (Link::Whip, Health::Broken)
        );

        let lost = Diagnosis {
            at: later,
            path: None,
            ..well(now)
        };
        let said = explain(&facts(&occupied, Some(Some(lost)), later));
        assert_eq!(last(&said), (Link::Ice, Health::Broken));
        assert!(
            said.summary
                .starts_with("No ICE connectivity check has arrived in 7 seconds")
        );

        let shaking = Diagnosis {
            connected: false,
            ..well(now)
        };
        let said = explain(&facts(&occupied, Some(Some(shaking)), now));
        assert_eq!(last(&said), (Link::Dtls, Health::Waiting));
    }

    #[test]
    fn a_good_chain_has_every_link_and_says_so() {
        let now = Instant::now();
        let host = seat(Occupancy::Occupied {
            person: bob(),
            since: now,
        });
        let facts = Facts {
            index: HOST_SEAT,
            ..facts(&host, Some(Some(well(now))), now)
        };
        let said = explain(&facts);
        assert_eq!(said.summary, "Everything of the camera of seat 0 is well.");
        let mut links: Vec<Link> = said.links.iter().map(|link| link.link).collect();
        links.dedup();
        use Link::*;
        assert_eq!(
            links,
            [
                Seat, Permission, Whip, Ice, Dtls, Packets, Keyframe, Decode, Program, ZOrder
            ]
        );
    }

    #[test]
    fn a_mixed_program_is_explained_by_its_tiles() {
        let now = Instant::now();
        let guest = seat(Occupancy::Occupied {
            person: bob(),
            since: now,
        });
        let place = |seat: u8| Present {
            seat: SeatIndex(seat),
            source: SourceKind::Camera,
        };
        let mut diagnosis = well(now);
        let all = [place(0), place(3)];
        let facts = |present, diagnosis| Facts {
            making: Making::Mixed,
            why: "seats 0 and 3",
            present,
            ..facts(&guest, Some(Some(diagnosis)), now)
        };
        let said = explain(&facts(&all, diagnosis));
        assert_eq!(last(&said), (Link::ZOrder, Health::Good));
        assert_eq!(said.summary, "Everything of the camera of seat 3 is well.");
        let said = explain(&facts(&all[..1], diagnosis));
        assert_eq!(last(&said), (Link::ZOrder, Health::Waiting));
        assert_eq!(said.summary, "The layout has no tile for it.");
        let mixed = said.links.iter().find(|link| link.link == Link::Program);
        assert_eq!(
            mixed.map(|link| link.sentence.as_str()),
            Some("The program is mixed: seats 0 and 3.")
        );
        for (codec, beginning) in [
            (Codec::Av1, "The picture is AV1, and the program decodes H.264"),
            (Codec::Vp9, "The picture is VP9, and the program decodes H.264"),
        ] {
            diagnosis.video = Some(track(codec, now));
            let said = explain(&facts(&all, diagnosis));
            assert!(said.summary.starts_with(beginning), "{}", said.summary);
            assert!(said.summary.contains("a placeholder"), "{}", said.summary);
        }
    }

    #[test]
    fn a_program_that_can_not_keep_up_says_what_it_is_made_with() {
        let now = Instant::now();
        let guest = seat(Occupancy::Occupied {
            person: bob(),
            since: now,
        });
        let facts = Facts {
            making: Making::Mixed,
            step: Some(Step {
                quality: Quality::Fast,
                fps: 20,
                size: Size::even(1280, 720).unwrap(),
            }),
            present: &[Present {
                seat: SeatIndex(3),
                source: SourceKind::Camera,
            }],
            ..facts(&guest, Some(Some(well(now))), now)
        };
        let said = explain(&facts);
        assert_eq!(
            said.summary,
            "The program is mixed with less than is set, because this server can't keep up or could not a while ago: \
             1280 × 720 at 20 pictures a second, with the fast scaling filter."
        );
        assert_eq!(last(&said), (Link::ZOrder, Health::Good), "and the tile is there");
    }

    #[test]
    fn silence_has_a_reason() {
        let now = Instant::now();
        let mut muted = seat(Occupancy::Occupied {
            person: bob(),
            since: now,
        });
        muted.flags.audio_locked = true;
        muted.flags.video_muted = true;
        let said = explain(&facts(&muted, Some(Some(well(now))), now));
        assert_eq!(
            said.summary,
            "On purpose nothing is forwarded of it: the microphone is locked by a host, the camera is muted."
        );

        muted.flags = SeatFlags::default();
        let mut quiet = well(now);
        quiet.audio = Some(TrackDiagnosis {
            flowing: false,
            last_packet: None,
            ..track(Codec::Opus, now)
        });
        let said = explain(&facts(&muted, Some(Some(quiet)), now));
        assert_eq!(
            said.summary,
            "No packet of sound has come yet: the device has not been switched on."
        );

        let mut black = well(now);
        black.video = Some(TrackDiagnosis {
            last_keyframe: None,
            ..track(Codec::Vp8, now)
        });
        let said = explain(&facts(&muted, Some(Some(black)), now));
        assert!(
            said.summary.starts_with("No keyframe has come yet, though"),
            "{}",
            said.summary
        );
    }
}
