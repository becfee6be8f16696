//! The room's program: started when somebody watches, told what the room wants of it, stopped when nobody does.

use super::{Actor, Media};
use crate::control::program::{Facts, Making};
use crate::control::reconcile::{Publication, sources};
use crate::control::why;
use crate::forward::{SeatIndex, SourceId, SourceInfo, SourceKind, View};
use crate::program::{self as made, Conditions, Handle, Plan, Seated, Step};
use crate::room::{Desired, HOST_SEAT, ProgramMode, SourceStatus, UserId};
use crate::rtp::Codec;
use crate::worker::PeerId;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

/// A program that is being made.
pub(super) struct Program {
    handle: Handle,
    source: SourceId,
    /// What it was told last.
    plan: Plan,
}

impl Actor {
    /// Starts, tells or stops the program's thread. Returns the program as a source of the room.
    pub(super) fn settle_program(
        &mut self,
        desired: &Desired,
        sources: &[SourceInfo],
        now: Instant,
    ) -> Option<SourceInfo> {
        let seated = sources.iter().any(|source| source.connected);
        self.program_begun |= seated;
        if self.program.as_ref().is_some_and(|program| program.handle.has_ended()) {
            tracing::error!(room = self.id.as_str(), "the program's thread has ended by itself");
            self.program = None;
            self.running.handle_end(now);
        }
        self.settle_size(now);
        let listeners = self.listeners(sources);
        let settings = self.room.settings();
        let facts = Facts {
            settings: &settings.program,
            begun: self.program_begun && !desired.ended,
            viewers: self.program_viewers(),
        };
        if !self.running.decide(facts, now) {
            // its thread ends by itself
            self.program = None;
            return None;
        }
        let plan = self.plan(sources, listeners, now);
        match &mut self.program {
            Some(program) if program.plan == plan => {}
            Some(program) => {
                program.plan = plan.clone();
                program.handle.plan(plan);
            }
            None => self.start_program(plan),
        }
        Some(self.program.as_ref()?.info())
    }

    /// Whose camera the program shows for the first time.
    pub(super) fn report_drawn(&mut self, now: Instant) {
        let Some(program) = &self.program else { return };
        let drawn = program.handle.status().drawn;
        let publications = || self.actual.publications.values();
        let first = publications().filter(|known| {
            let camera = known.kind == SourceKind::Camera;
            camera && drawn.contains(&known.source) && !self.told.drawn.contains(&known.source)
        });
        let users: Vec<UserId> = first.map(|known| known.user.clone()).collect();
        let told = publications().map(|known| known.source);
        self.told.drawn = told
            .filter(|source| drawn.contains(source) || self.told.drawn.contains(source))
            .collect();
        for user in users {
            self.room.handle_first_frame(&user, now);
        }
        self.gather();
    }

    fn start_program(&mut self, plan: Plan) {
        let source = self.shared.registry.next_source();
        match self.shared.programs.start(source, plan.clone()) {
            Ok(handle) => {
                tracing::info!(room = self.id.as_str(), source = source.0, "program runs");
                self.program = Some(Program { handle, source, plan });
            }
            // the viewers go on seeing the host; the next turn tries again
            Err(error) => tracing::error!(room = self.id.as_str(), %error, "the program's thread does not start"),
        }
    }

    fn plan(&self, sources: &[SourceInfo], listeners: Vec<SeatIndex>, now: Instant) -> Plan {
        let snapshot = self.room.snapshot(now);
        let seated = snapshot.seats.iter().zip(0..).filter_map(|(seat, index)| {
            let person = seat.occupancy.person()?;
            Some(Seated {
                seat: SeatIndex(index),
                name: person.name.as_deref().unwrap_or(person.user.as_str()).into(),
                user: person.user.as_str().into(),
                audio_muted: seat.flags.audio_muted || seat.flags.audio_locked,
                video_muted: seat.flags.video_muted || seat.flags.video_locked,
            })
        });
        Plan {
            settings: snapshot.settings.program,
            sources: sources.into(),
            size: self.program_size.size(),
            people: seated.collect(),
            present: snapshot.present(),
            layout: snapshot.settings.layout,
            listeners,
            // viewers, the only ones there are, begin with what is kept since the last one
            needs_keyframes: false,
        }
    }

    /// The seats whose voices are left out of the program for somebody, in their order.
    pub(super) fn listeners(&self, sources: &[SourceInfo]) -> Vec<SeatIndex> {
        let left_out = self.peers.values().filter_map(|peer| match &peer.media {
            Media::Viewer {
                view: View::Program { leave_out },
                ..
            } => leave_out.as_ref(),
            Media::Viewer { .. } | Media::Publisher { .. } => None,
        });
        let seats = left_out.filter_map(|user| {
            // who is to be connected, too: from the first packet on
            let mut theirs = sources.iter().filter(|source| source.user == *user);
            theirs.find(|source| source.audio.is_some())
        });
        let seats: BTreeSet<SeatIndex> = seats.map(|source| source.seat).collect();
        seats.into_iter().collect()
    }

    /// How it is made now, and why so, in words.
    pub(super) fn making_explained(&self) -> (Making, String) {
        let (desired, settings) = (self.room.desired(), self.room.settings());
        let sources = sources(&desired, &self.actual);
        let present = self.program.as_ref().map_or(&[][..], |program| &program.plan.present);
        let facts = why::Facts {
            mode: settings.program.mode,
            conditions: Conditions {
                layout: &settings.layout,
                sources: &sources,
                present,
                listens: !self.listeners(&sources).is_empty(),
                size: settings.program.video.size,
                // which of the host's encodings it would be is the program's to know
                host_size: None,
            },
            host_flows: self.host_camera().is_some_and(|camera| camera.video && camera.audio),
            obstacle: match self.program.as_ref().map(|program| program.handle.status().making) {
                Some(made::Making::Mixed(obstacle)) => obstacle,
                _ => None,
            },
        };
        let making = self.making();
        let why = match making {
            Making::Mixed => why::mixed(facts),
            Making::Passthrough => why::forwarded(facts),
            Making::Off | Making::Unwatched => String::new(),
        };
        (making, why)
    }

    pub(super) fn making(&self) -> Making {
        let made = self.program.as_ref().map(|program| program.handle.status().making);
        match (self.room.settings().program.mode, made) {
            (ProgramMode::Off, _) => Making::Off,
            (_, Some(made::Making::Mixed(_))) => Making::Mixed,
            (_, Some(made::Making::Passthrough | made::Making::Awaited)) => Making::Passthrough,
            (_, None) if self.program_viewers() == 0 => Making::Unwatched,
            (_, None) => Making::Passthrough,
        }
    }

    /// How it is made, where that is less than what is set.
    pub(super) fn program_step(&self) -> Option<Step> {
        self.program.as_ref().and_then(|program| program.handle.status().step)
    }

    pub(super) fn program_viewers(&self) -> usize {
        let views_program = |media: &Media| {
            let Media::Viewer { view, .. } = media else {
                return false;
            };
            matches!(view, View::Program { .. })
        };
        self.peers.values().filter(|peer| views_program(&peer.media)).count()
    }

    /// The host's camera, as a worker has it.
    fn host_publication(&self) -> Option<(&PeerId, &Publication)> {
        let desired = self.room.desired();
        self.actual.publications.iter().find(|(_, known)| {
            let seat = desired.seats.get(&known.user).map(|(seat, _)| *seat);
            seat == Some(HOST_SEAT) && known.kind == SourceKind::Camera
        })
    }

    /// What comes in of the host's camera.
    fn host_camera(&self) -> Option<&SourceStatus> {
        let (peer, _) = self.host_publication()?;
        match &self.peers.get(peer)?.media {
            Media::Publisher { status, .. } => Some(status),
            Media::Viewer { .. } => None,
        }
    }

    fn settle_size(&mut self, now: Instant) {
        let camera = self.host_camera().filter(|camera| camera.video);
        let host = camera.and_then(|camera| camera.width.zip(camera.height));
        let fixed = self.room.settings().program.video.size;
        self.program_size
            .settle(fixed, host, self.making() == Making::Mixed, now);
        self.room.handle_canvas(self.program_size.size());
    }

    pub(super) fn host_size(&self) -> Option<(u16, u16)> {
        let camera = self.host_camera()?;
        camera.width.zip(camera.height)
    }

    /// Of how many encodings the program has the choice.
    pub(super) fn host_layers(&self) -> u8 {
        self.host_publication().map_or(1, |(_, known)| known.layers)
    }

    /// In pixels, where it is known.
    pub(super) fn source_size(&self, source: SourceId) -> Option<(u16, u16)> {
        let mut publications = self.actual.publications.iter();
        let (peer, _) = publications.find(|(_, known)| known.source == source)?;
        match &self.peers.get(peer)?.media {
            Media::Publisher { status, .. } => status.width.zip(status.height),
            Media::Viewer { .. } => None,
        }
    }
}

impl Program {
    fn info(&self) -> SourceInfo {
        SourceInfo {
            id: self.source,
            seat: HOST_SEAT,
            kind: SourceKind::Program,
            user: Arc::from(""),
            worker: self.handle.port(),
            audio: Some(Codec::Opus),
            video: Some(Codec::H264),
            layers: 1,
            permission: crate::forward::Permission {
                audio: true,
                video: true,
            },
            connected: true,
        }
    }
}

/// Returns once the program's status may be another one, or it has ended. Cancel-safe.
pub(super) async fn changed(program: &mut Option<Program>) {
    match program {
        Some(program) => program.handle.changed().await,
        None => std::future::pending().await,
    }
}
