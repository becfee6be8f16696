//! The room's program: started when it has to be mixed, told what the room wants of it, stopped when it need not be.

use super::{Actor, Media};
use crate::control::program::{Facts, Making};
use crate::forward::{SeatIndex, SourceId, SourceInfo, SourceKind, View};
use crate::program::{Handle, Plan, Seated};
use crate::room::{Desired, HOST_SEAT, ProgramMode, SourceStatus, UserId};
use crate::rtp::Codec;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

/// A program that is being mixed.
pub(super) struct Mixed {
    handle: Handle,
    source: SourceId,
    /// What it was told last.
    plan: Plan,
}

impl Actor {
    /// Starts, tells or stops the mixer. Returns the program as a source of the room, once it shows something.
    pub(super) fn settle_program(
        &mut self,
        desired: &Desired,
        sources: &[SourceInfo],
        now: Instant,
    ) -> Option<SourceInfo> {
        let seated = sources.iter().any(|source| source.connected);
        self.program_begun |= seated;
        if self.mixed.as_ref().is_some_and(|mixed| mixed.handle.has_ended()) {
            tracing::error!(room = self.id.as_str(), "the program's thread has ended by itself");
            self.mixed = None;
            self.mixing.handle_end(now);
        }
        let listeners = self.listeners(sources);
        let settings = self.room.settings();
        let facts = Facts {
            settings: &settings.program,
            layout: &settings.layout,
            sources,
            host_flows: self.host_camera().is_some_and(|camera| camera.video && camera.audio),
            begun: self.program_begun && !desired.ended,
            viewers: self.program_viewers(),
            left_out: !listeners.is_empty(),
        };
        if !self.mixing.decide(facts, now) {
            // its thread ends by itself
            self.mixed = None;
            return None;
        }
        let plan = self.plan(sources, listeners, now);
        match &mut self.mixed {
            Some(mixed) if mixed.plan == plan => {}
            Some(mixed) => {
                mixed.plan = plan.clone();
                mixed.handle.plan(plan);
            }
            None => self.start_mixing(plan),
        }
        let mixed = self.mixed.as_ref()?;
        // a program that is to be mixed shows nothing else meanwhile
        let shows = mixed.handle.status().live || self.room.settings().program.mode == ProgramMode::Mixed;
        shows.then(|| mixed.info())
    }

    /// Whose camera the program shows for the first time.
    pub(super) fn report_drawn(&mut self, now: Instant) {
        let Some(mixed) = &self.mixed else { return };
        let drawn = mixed.handle.status().drawn;
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

    fn start_mixing(&mut self, plan: Plan) {
        let source = self.shared.registry.next_source();
        match self.shared.programs.start(source, plan.clone()) {
            Ok(handle) => {
                tracing::info!(room = self.id.as_str(), source = source.0, "program is mixed");
                self.mixed = Some(Mixed { handle, source, plan });
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
                audio_muted: seat.flags.audio_muted || seat.flags.audio_locked,
            })
        });
        Plan {
            settings: snapshot.settings.program,
            sources: sources.into(),
            host_size: self.host_size(),
            people: seated.collect(),
            present: snapshot.present(),
            layout: snapshot.settings.layout,
            listeners,
        }
    }

    /// The seats whose voices are left out of the program for somebody, in their order.
    fn listeners(&self, sources: &[SourceInfo]) -> Vec<SeatIndex> {
        let left_out = self.peers.values().filter_map(|peer| match &peer.media {
            Media::Viewer {
                view: View::Program { leave_out },
                ..
            } => leave_out.as_ref(),
            Media::Viewer { .. } | Media::Publisher { .. } => None,
        });
        let seats = left_out.filter_map(|user| {
            let mut theirs = sources.iter().filter(|source| source.user == *user);
            theirs.find(|source| source.connected && source.audio.is_some())
        });
        let seats: BTreeSet<SeatIndex> = seats.map(|source| source.seat).collect();
        seats.into_iter().collect()
    }

    pub(super) fn making(&self) -> Making {
        if self.room.settings().program.mode == ProgramMode::Off {
            Making::Off
        } else if self.mixed.as_ref().is_some_and(|mixed| mixed.handle.status().live) {
            Making::Mixed
        } else if self.program_viewers() == 0 {
            Making::Unwatched
        } else {
            Making::Passthrough
        }
    }

    fn program_viewers(&self) -> usize {
        let views_program = |media: &Media| {
            let Media::Viewer { view, .. } = media else {
                return false;
            };
            matches!(view, View::Program { .. })
        };
        self.peers.values().filter(|peer| views_program(&peer.media)).count()
    }

    /// What comes in of the host's camera.
    fn host_camera(&self) -> Option<&SourceStatus> {
        let desired = self.room.desired();
        let (peer, _) = self.actual.publications.iter().find(|(_, known)| {
            let seat = desired.seats.get(&known.user).map(|(seat, _)| *seat);
            seat == Some(HOST_SEAT) && known.kind == SourceKind::Camera
        })?;
        match &self.peers.get(peer)?.media {
            Media::Publisher { status, .. } => Some(status),
            Media::Viewer { .. } => None,
        }
    }

    fn host_size(&self) -> Option<(u16, u16)> {
        let camera = self.host_camera()?;
        camera.width.zip(camera.height)
    }
}

impl Mixed {
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
pub(super) async fn changed(mixed: &mut Option<Mixed>) {
    match mixed {
        Some(mixed) => mixed.handle.changed().await,
        None => std::future::pending().await,
    }
}
