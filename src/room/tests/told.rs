//! What a room tells, one line per notice: `recipients type what`. `*`: everybody.

use super::*;

impl Stage {
    /// Since it was asked last, but for the audience's count, which has a rhythm of its own.
    pub fn told(&mut self) -> Vec<String> {
        let notices = self.notices();
        let told = notices
            .iter()
            .filter(|notice| !matches!(notice.event, Event::Audience { .. }));
        told.map(line).collect()
    }

    /// Runs a command that has to succeed, and says what is told of it.
    pub fn tells(&mut self, by: &Principal, command: Command) -> Vec<String> {
        self.notices();
        self.run(by, command).unwrap();
        self.told()
    }
}

pub fn line(notice: &Notice) -> String {
    let to = match &notice.to {
        Recipients::Everybody => "*".to_owned(),
        Recipients::Users(users) => users.iter().map(UserId::as_str).collect::<Vec<_>>().join(","),
    };
    format!("{to} {}", what(&notice.event))
}

fn word(value: impl serde::Serialize) -> String {
    serde_json::to_string(&value).unwrap().trim_matches('"').to_owned()
}

fn at(seat: Option<SeatIndex>) -> String {
    seat.map_or(String::new(), |seat| format!(" seat {}", seat.0))
}

fn yes(accepted: bool) -> &'static str {
    if accepted { "yes" } else { "no" }
}

fn what(event: &Event) -> String {
    let who = |request: &Request| request.guest.user.as_str().to_owned();
    match event {
        Event::SeatsChanged {
            joined, left, moved, ..
        } => {
            let mut text = String::from("seats.changed");
            for (seat, person) in joined {
                text += &format!(" +{}{}", seat.0, person.user.as_str());
            }
            for gone in left {
                text += &format!(" -{}{} {}", gone.seat.0, gone.person.user.as_str(), word(gone.reason));
            }
            for step in moved {
                text += &format!(" {}>{}{}", step.from.0, step.to.0, step.person.user.as_str());
            }
            text
        }
        Event::SeatGranted { seat, .. } => format!("seat.granted {}", seat.0),
        Event::SeatKicked { seat, reason, .. } => format!("seat.kicked {} {}", seat.0, word(reason)),
        Event::SeatUpdated { seat, .. } => format!("seat.updated {}", seat.0),
        Event::SeatAsked { seat, audio, video } => format!("seat.asked {} {audio} {video}", seat.0),
        Event::SeatConnected { seat, resumed, .. } => {
            let name = if *resumed { "seat.resumed" } else { "seat.connected" };
            format!("{name} {}", seat.0)
        }
        Event::SeatSuspended { seat, .. } => format!("seat.suspended {}", seat.0),
        Event::SeatFirstFrame { seat } => format!("seat.first_frame {}", seat.0),
        Event::SeatMedia {
            seat,
            kind,
            audio,
            video,
        } => format!("seat.media {} {kind:?} {} {}", seat.0, word(audio), word(video)),
        Event::ApplicationReceived { request } => format!("application.received {}", who(request)),
        Event::ApplicationCancelled { request } => format!("application.cancelled {}", who(request)),
        Event::ApplicationResponded {
            accepted,
            seat,
            request,
            ..
        } => {
            assert_eq!(request.state == RequestState::Accepted, *accepted);
            format!("application.responded {}{}", yes(*accepted), at(*seat))
        }
        Event::ApplicationProcessed {
            request,
            accepted,
            seat,
        } => format!("application.processed {} {}{}", who(request), yes(*accepted), at(*seat)),
        Event::ApplicationNoResponse { reason, .. } => format!("application.no_response {}", word(reason)),
        Event::ApplicationClosed { request, reason } => {
            format!("application.closed {} {}", who(request), word(reason))
        }
        Event::InvitationReceived { request } => format!("invitation.received {}", who(request)),
        Event::InvitationCancelled { request } => format!("invitation.cancelled {}", who(request)),
        Event::InvitationResponded {
            request,
            accepted,
            seat,
            ..
        } => format!("invitation.responded {} {}{}", who(request), yes(*accepted), at(*seat)),
        Event::InvitationNoResponse { request, reason } => {
            format!("invitation.no_response {} {}", who(request), word(reason))
        }
        Event::InvitationClosed { request, reason } => {
            format!("invitation.closed {} {}", who(request), word(reason))
        }
        Event::HostAway { .. } => "host.away".to_owned(),
        Event::HostBack { .. } => "host.back".to_owned(),
        Event::HostChanged { host, previous } => {
            format!("host.changed {} {}", previous.user.as_str(), host.user.as_str())
        }
        Event::RoomUpdated { phase, .. } => format!("room.updated {}", word(phase)),
        Event::RoomEnded { reason } => format!("room.ended {}", word(reason)),
        Event::MemberJoined { member } => format!("member.joined {}", member.person.user.as_str()),
        Event::MemberUpdated { member } => format!(
            "member.updated {} {} {}{}",
            member.person.user.as_str(),
            word(member.role),
            word(member.presence),
            at(member.seat)
        ),
        Event::MemberLeft { member, reason } => {
            format!("member.left {} {}", member.person.user.as_str(), word(reason))
        }
        Event::Audience { count } => format!("audience {count}"),
        Event::Speaking { seats } => {
            let seats: Vec<String> = seats
                .iter()
                .map(|(seat, level)| format!("{}@{level}", seat.0))
                .collect();
            format!("speaking {}", seats.join(" "))
        }
        Event::StageSlots { viewer, slots } => format!("stage.slots {viewer} {}", slots.len()),
    }
}
