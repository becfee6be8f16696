//! Whether a room's program has to be mixed, or is the host's own media. Pure.

use crate::forward::{SourceInfo, SourceKind};
use crate::mix::layout::Layout;
use crate::room::{HOST_SEAT, ProgramMode, ProgramSettings};
use crate::rtp::Codec;
use std::time::{Duration, Instant};

/// How long nothing has to be composed before the mixer ends: a guest whose connection breaks for a moment comes back to
/// the same picture.
const NOTHING_TO_COMPOSE: Duration = Duration::from_secs(10);
/// How long nobody has watched before the mixer ends: a page that reloads finds it running.
const NOBODY_WATCHES: Duration = Duration::from_secs(2);

/// How long the host is shown after a mixer ended by itself: what ended it may end the next one, too.
const REST: Duration = Duration::from_secs(1);

/// From a host's transport being up to their first packets, on a slow device.
const HOST_BEGINS: Duration = Duration::from_millis(500);

/// What the decision is made from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Facts<'a> {
    pub settings: &'a ProgramSettings,
    pub layout: &'a Layout,
    /// All seats' sources.
    pub sources: &'a [SourceInfo],
    /// The host's picture and sound are coming in.
    pub host_flows: bool,
    /// There has been seated media: the program exists until the room ends.
    pub begun: bool,
    pub viewers: usize,
    /// Somebody hears the program without the voice of a seat whose media is there.
    pub left_out: bool,
}

/// How the program is made now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Making {
    Off,
    /// Nothing is made while nobody watches.
    Unwatched,
    /// Of the host's own packets.
    Passthrough,
    Mixed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Demand {
    /// It is mixed, and somebody watches.
    Mixed,
    /// Nothing is there but a host of whom nothing comes, perhaps since they have just come.
    Awaited,
    /// It could be the host's media by now.
    Composed,
    Unwatched,
    /// The program is off, untouched by the operator's wish, or not there yet.
    None,
}

fn demand(facts: Facts) -> Demand {
    if !facts.begun {
        return Demand::None;
    }
    let composed = match facts.settings.mode {
        ProgramMode::Off | ProgramMode::Passthrough => return Demand::None,
        ProgramMode::Mixed => true,
        ProgramMode::Auto => !is_host_alone(facts),
    };
    let awaited = facts.settings.mode == ProgramMode::Auto && !composed && !facts.host_flows;
    let watched = facts.viewers > 0 || facts.settings.always;
    match (watched, composed) {
        (false, _) => Demand::Unwatched,
        (true, false) if awaited => Demand::Awaited,
        (true, true) => Demand::Mixed,
        (true, false) => Demand::Composed,
    }
}

/// The program can be the host's own packets.
fn is_host_alone(facts: Facts) -> bool {
    let mut connected = facts.sources.iter().filter(|source| source.connected);
    let (Some(host), None) = (connected.next(), connected.next()) else {
        return false;
    };
    let is_camera = host.seat == HOST_SEAT && host.kind == SourceKind::Camera;
    // viewers get both: what a host does not send, or may not, the mixer makes up for
    let is_whole = host.video == Some(Codec::H264) && host.audio == Some(Codec::Opus);
    let is_permitted = host.permission.video && host.permission.audio;
    is_camera && is_whole && is_permitted && facts.layout.is_default() && !facts.left_out
}

/// When a mixer runs.
#[derive(Debug, Default)]
pub(super) struct Mixing {
    running: bool,
    /// Since when it is not needed, and until when it goes on.
    unneeded: Option<(Instant, Instant)>,
    /// Since when a host is awaited.
    awaited: Option<Instant>,
    /// No other mixer is begun before.
    rests_until: Option<Instant>,
}

impl Mixing {
    /// Whether the mixer runs from now on.
    pub fn decide(&mut self, facts: Facts, now: Instant) -> bool {
        let demand = demand(facts);
        let awaited = (demand == Demand::Awaited).then(|| self.awaited.unwrap_or(now));
        self.awaited = awaited;
        let linger = match demand {
            Demand::Mixed => None,
            // who has just come is not taken for somebody without a camera
            Demand::Awaited if self.running || awaited.is_some_and(|since| now >= since + HOST_BEGINS) => None,
            Demand::Awaited => Some(Duration::ZERO),
            Demand::Composed => Some(NOTHING_TO_COMPOSE),
            Demand::Unwatched => Some(NOBODY_WATCHES),
            Demand::None => Some(Duration::ZERO),
        };
        self.unneeded = linger.filter(|_| self.running).map(|linger| {
            let since = self.unneeded.map_or(now, |(since, _)| since);
            (since, since + linger)
        });
        self.running = match (linger, self.unneeded) {
            (None, _) => true,
            (Some(_), Some((_, until))) => now < until,
            (Some(_), None) => false,
        };
        self.rests_until = self.rests_until.filter(|until| now < *until);
        self.running && self.rests_until.is_none()
    }

    /// The mixer ended though it was needed.
    pub fn handle_end(&mut self, now: Instant) {
        self.rests_until = Some(now + REST);
    }

    /// When the decision may be another one.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let awaited = self.awaited.filter(|_| !self.running).map(|since| since + HOST_BEGINS);
        let unneeded = self.unneeded.filter(|_| self.running).map(|(_, until)| until);
        self.rests_until.into_iter().chain(awaited).chain(unneeded).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::forward::{Permission, SeatIndex, SourceId};
    use std::sync::Arc;

    fn source(seat: u8, kind: SourceKind) -> SourceInfo {
        SourceInfo {
            id: SourceId(u64::from(seat)),
            seat: SeatIndex(seat),
            kind,
            user: Arc::from("somebody"),
            worker: 0,
            audio: Some(Codec::Opus),
            video: Some(Codec::H264),
            layers: 1,
            permission: Permission {
                audio: true,
                video: true,
            },
            connected: true,
        }
    }

    /// Whether it is mixed from the beginning on.
    fn mixed(mode: ProgramMode, sources: &[SourceInfo]) -> bool {
        let settings = ProgramSettings {
            mode,
            ..ProgramSettings::default()
        };
        let facts = Facts {
            settings: &settings,
            layout: &Layout::default(),
            sources,
            host_flows: true,
            begun: true,
            viewers: 1,
            left_out: false,
        };
        Mixing::default().decide(facts, Instant::now())
    }

    #[test]
    fn a_host_alone_is_not_mixed_anything_else_is() {
        let host = source(0, SourceKind::Camera);
        let awaited = SourceInfo {
            connected: false,
            ..source(1, SourceKind::Camera)
        };
        let dark = SourceInfo {
            permission: Permission {
                audio: true,
                video: false,
            },
            ..host.clone()
        };
        let hushed = SourceInfo {
            permission: Permission {
                audio: false,
                video: true,
            },
            ..host.clone()
        };
        let mute = SourceInfo {
            audio: None,
            ..host.clone()
        };
        let other_codec = SourceInfo {
            video: Some(Codec::Vp8),
            ..host.clone()
        };
        let auto = |sources: &[SourceInfo]| mixed(ProgramMode::Auto, sources);
        assert!(!auto(std::slice::from_ref(&host)));
        assert!(!auto(&[host.clone(), awaited]), "nobody's media yet");
        assert!(auto(&[host.clone(), source(1, SourceKind::Camera)]));
        assert!(auto(&[host.clone(), source(0, SourceKind::Screen)]));
        assert!(auto(&[source(0, SourceKind::Screen)]));
        assert!(auto(&[source(1, SourceKind::Camera)]));
        assert!(auto(&[dark]));
        assert!(auto(&[hushed]), "silence is to be made");
        assert!(auto(&[mute]));
        assert!(auto(&[other_codec]));
        assert!(auto(&[]), "the host is away: a slate");
        assert!(mixed(ProgramMode::Mixed, std::slice::from_ref(&host)));
        for mode in [ProgramMode::Passthrough, ProgramMode::Off] {
            assert!(!mixed(mode, &[host.clone(), source(1, SourceKind::Camera)]));
        }
    }

    #[test]
    fn a_host_alone_who_listens_without_their_own_voice_is_mixed() {
        let sources = [source(0, SourceKind::Camera)];
        let mut settings = ProgramSettings::default();
        for (mode, mixed) in [(ProgramMode::Auto, true), (ProgramMode::Passthrough, false)] {
            settings.mode = mode;
            let facts = Facts {
                settings: &settings,
                layout: &Layout::default(),
                sources: &sources,
                host_flows: true,
                begun: true,
                viewers: 1,
                left_out: true,
            };
            assert_eq!(Mixing::default().decide(facts, Instant::now()), mixed, "{mode:?}");
        }
    }

    #[test]
    fn the_mixer_ends_a_while_after_it_is_needed_and_at_once_when_it_is_off() {
        let (start, mut mixing) = (Instant::now(), Mixing::default());
        let host = [source(0, SourceKind::Camera)];
        let two = [source(0, SourceKind::Camera), source(1, SourceKind::Camera)];
        let mut settings = ProgramSettings::default();
        let mut decide = |settings: &ProgramSettings, sources: &[SourceInfo], viewers: usize, after_ms: u64| {
            let facts = Facts {
                settings,
                layout: &Layout::default(),
                sources,
                host_flows: true,
                begun: true,
                viewers,
                left_out: false,
            };
            let runs = mixing.decide(facts, start + Duration::from_millis(after_ms));
            (runs, mixing.poll_timeout().map(|at| (at - start).as_millis()))
        };
        assert_eq!(decide(&settings, &two, 0, 0), (false, None), "nobody watches");
        assert_eq!(decide(&settings, &two, 1, 0), (true, None));
        assert_eq!(decide(&settings, &host, 1, 1_000), (true, Some(11_000)));
        assert_eq!(decide(&settings, &two, 1, 9_000), (true, None), "the guest is back");
        assert_eq!(decide(&settings, &host, 1, 20_000), (true, Some(30_000)));
        assert_eq!(decide(&settings, &host, 1, 29_999), (true, Some(30_000)));
        assert_eq!(decide(&settings, &host, 1, 30_000), (false, None));
        assert_eq!(decide(&settings, &two, 1, 40_000), (true, None));
        assert_eq!(decide(&settings, &two, 0, 41_000), (true, Some(43_000)));
        assert_eq!(decide(&settings, &two, 0, 43_000), (false, None));
        settings.always = true;
        assert_eq!(decide(&settings, &two, 0, 44_000), (true, None));
        settings.mode = ProgramMode::Off;
        assert_eq!(decide(&settings, &two, 1, 44_000), (false, None));
    }

    #[test]
    fn a_host_of_whom_nothing_comes_is_waited_for_a_moment() {
        let (start, mut mixing) = (Instant::now(), Mixing::default());
        let host = [source(0, SourceKind::Camera)];
        let mut decide = |host_flows: bool, after_ms: u64| {
            let facts = Facts {
                settings: &ProgramSettings::default(),
                layout: &Layout::default(),
                sources: &host,
                host_flows,
                begun: true,
                viewers: 1,
                left_out: false,
            };
            let runs = mixing.decide(facts, start + Duration::from_millis(after_ms));
            (runs, mixing.poll_timeout().map(|at| (at - start).as_millis()))
        };
        assert_eq!(decide(false, 0), (false, Some(500)));
        assert_eq!(decide(false, 499), (false, Some(500)));
        assert_eq!(decide(true, 499), (false, None), "the camera was slow");
        assert_eq!(decide(false, 2_000), (false, Some(2_500)));
        assert_eq!(decide(false, 2_500), (true, None), "the camera is off");
        assert_eq!(decide(false, 30_000), (true, None));
        assert_eq!(decide(true, 40_000), (true, Some(50_000)));
    }

    #[test]
    fn a_mixer_that_ended_by_itself_is_followed_by_another_one_in_a_while() {
        let (start, mut mixing) = (Instant::now(), Mixing::default());
        let two = [source(0, SourceKind::Camera), source(1, SourceKind::Camera)];
        let facts = Facts {
            settings: &ProgramSettings::default(),
            layout: &Layout::default(),
            sources: &two,
            host_flows: true,
            begun: true,
            viewers: 1,
            left_out: false,
        };
        let at = |ms| start + Duration::from_millis(ms);
        assert!(mixing.decide(facts, at(0)));
        mixing.handle_end(at(100));
        assert!(!mixing.decide(facts, at(100)));
        assert_eq!(mixing.poll_timeout(), Some(at(1_100)));
        assert!(!mixing.decide(facts, at(1_099)));
        assert!(mixing.decide(facts, at(1_100)));
        assert_eq!(mixing.poll_timeout(), None);
    }

    #[test]
    fn there_is_no_program_before_the_first_seated_media() {
        let settings = ProgramSettings {
            mode: ProgramMode::Mixed,
            always: true,
            ..ProgramSettings::default()
        };
        let facts = Facts {
            settings: &settings,
            layout: &Layout::default(),
            sources: &[],
            host_flows: false,
            begun: false,
            viewers: 1,
            left_out: false,
        };
        assert!(!Mixing::default().decide(facts, Instant::now()));
    }
}
