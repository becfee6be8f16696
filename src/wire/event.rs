//! The JSON of events: a [`Notice`] → the contract's envelope, `{room, epoch, version, seq, prev, at, type, actor, data}`.
//!
//! Decided where the contract is silent:
//! - A message for one person names them in `to`, so that service keys and webhooks know who was given a seat or kicked.
//! - A deadline without limit is absent, as in the seat list.
//! - `data` names people under `user`, `host`, `previous` or `by`, each `{user, name, avatar_url}`; requests and members
//!   are under `request` and `member`, as the calls return them. `by` of an answer is who answered, of a deed who did it.
//! - `seats.changed` has the whole list as `GET …/seats` returns it, so that nobody has to add up changes.
//! - `speaking` is a list of `{seat, audio_level}`, loudest first; in between, the seat list says how loud it is.
//!   `seat.kicked` has the words of whoever did it in `note`.
//! - What `room.updated` does not carry is read from the room.
//! - A stream's first message has `data: {room, you}`: the room as `GET` gives it to that caller, which has one's own
//!   requests that wait, and the caller's person, role and seat. Its `prev` and `actor` are `null`.

use super::time::with_deadline;
use super::{MemberOut, Moment, PersonOut, RequestOut, RoomOut, SlotOut, Urls, rfc3339, seat_list, source_name};
use crate::room::event::{Departure, Event, Movement};
use crate::room::{Notice, Person, Principal, Recipients, Request, Role, SeatFlags, Snapshot, UserId};
use bytes::Bytes;
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::time::{Duration, Instant};
use utoipa::ToSchema;

/// The contract's name of an event.
pub fn name(notice: &Notice) -> &'static str {
    match &notice.event {
        Event::SeatsChanged { .. } => "seats.changed",
        Event::SeatGranted { .. } => "seat.granted",
        Event::SeatKicked { .. } => "seat.kicked",
        Event::SeatUpdated { .. } => "seat.updated",
        Event::SeatAsked { .. } => "seat.asked",
        Event::SeatConnected { resumed: false, .. } => "seat.connected",
        Event::SeatConnected { resumed: true, .. } => "seat.resumed",
        Event::SeatSuspended { .. } => "seat.suspended",
        Event::SeatFirstFrame { .. } => "seat.first_frame",
        Event::SeatMedia { .. } => "seat.media",
        Event::ApplicationReceived { .. } => "application.received",
        Event::ApplicationCancelled { .. } => "application.cancelled",
        Event::ApplicationResponded { .. } => "application.responded",
        Event::ApplicationProcessed { .. } => "application.processed",
        Event::ApplicationNoResponse { .. } => "application.no_response",
        Event::ApplicationClosed { .. } => "application.closed",
        Event::InvitationReceived { .. } => "invitation.received",
        Event::InvitationCancelled { .. } => "invitation.cancelled",
        Event::InvitationResponded { .. } => "invitation.responded",
        Event::InvitationNoResponse { .. } => "invitation.no_response",
        Event::InvitationClosed { .. } => "invitation.closed",
        Event::HostAway { .. } => "host.away",
        Event::HostBack { .. } => "host.back",
        Event::HostChanged { .. } => "host.changed",
        Event::RoomUpdated { .. } => "room.updated",
        Event::RoomEnded { .. } => "room.ended",
        Event::MemberJoined { .. } => "member.joined",
        Event::MemberUpdated { .. } => "member.updated",
        Event::MemberLeft { .. } => "member.left",
        Event::Audience { .. } => "audience",
        Event::Speaking { .. } => "speaking",
        Event::StageSlots { .. } => "stage.slots",
    }
}

/// The event's `data`. `base`: of absolute URLs.
pub fn data(notice: &Notice, base: &str, moment: Moment) -> Value {
    let actor = notice.actor.as_ref().map(PersonOut::from);
    match &notice.event {
        Event::SeatsChanged {
            seats,
            sources,
            voices,
            joined,
            left,
            moved,
        } => json!({
            "seats": seat_list(seats, sources, voices, moment),
            "joined": joined.iter().map(|(seat, person)| json!({"seat": seat.0, "user": user(person)})).collect::<Vec<_>>(),
            "left": left.iter().map(departure).collect::<Vec<_>>(),
            "moved": moved.iter().map(movement).collect::<Vec<_>>(),
        }),
        Event::SeatGranted {
            seat,
            connect_by,
            media,
        } => {
            let whip_url = Urls::new(&notice.room, base).whip;
            let data = json!({"seat": seat.0, "whip_url": whip_url, "media": media});
            with_deadline(data, "connect_by", *connect_by, moment)
        }
        Event::SeatKicked { seat, reason, note } => {
            json!({"seat": seat.0, "by": actor, "reason": reason, "note": note})
        }
        Event::SeatUpdated { seat, flags } => {
            let SeatFlags {
                locked,
                audio_locked,
                video_locked,
                audio_muted,
                video_muted,
            } = flags;
            json!({"seat": seat.0, "locked": locked, "audio_locked": audio_locked, "video_locked": video_locked,
                "audio_muted": audio_muted, "video_muted": video_muted})
        }
        Event::SeatAsked { seat, audio, video } => {
            json!({"seat": seat.0, "by": actor, "audio": audio, "video": video})
        }
        Event::SeatConnected { seat, person, .. } => json!({"seat": seat.0, "user": user(person)}),
        Event::SeatSuspended { seat, person, until } => {
            let data = json!({"seat": seat.0, "user": user(person)});
            with_deadline(data, "until", *until, moment)
        }
        Event::SeatFirstFrame { seat } => json!({"seat": seat.0}),
        Event::SeatMedia {
            seat,
            kind,
            audio,
            video,
        } => json!({"seat": seat.0, "source": source_name(*kind), "audio": audio, "video": video}),
        Event::HostAway { host, until } => with_deadline(json!({"host": user(host)}), "until", *until, moment),
        Event::HostBack { host } => json!({"host": user(host)}),
        Event::HostChanged { host, previous } => json!({"host": user(host), "previous": user(previous)}),
        Event::RoomUpdated { phase, max_guests } => json!({"phase": phase, "max_guests": max_guests}),
        Event::RoomEnded { reason } => json!({"reason": reason}),
        Event::MemberJoined { member } | Event::MemberUpdated { member } => {
            json!({"member": MemberOut::new(member, moment)})
        }
        Event::MemberLeft { member, reason } => json!({"member": MemberOut::new(member, moment), "reason": reason}),
        Event::Audience { count } => json!({"count": count}),
        Event::Speaking { seats } => {
            let rows = seats
                .iter()
                .map(|(seat, level)| json!({"seat": seat.0, "audio_level": level}));
            json!({"seats": rows.collect::<Vec<_>>()})
        }
        Event::StageSlots { viewer, slots } => {
            let slots: Vec<SlotOut> = slots.iter().map(SlotOut::from).collect();
            json!({"viewer": viewer, "slots": slots})
        }
        requests => request_data(requests, notice.actor.as_ref(), moment),
    }
}

/// Of the events of applications and invitations.
fn request_data(event: &Event, actor: Option<&Person>, moment: Moment) -> Value {
    let out = |request: &Request| RequestOut::new(request, moment);
    let by = |request: &Request| request.processed_by.as_ref().or(actor).map(PersonOut::from);
    match event {
        Event::ApplicationReceived { request }
        | Event::ApplicationCancelled { request }
        | Event::InvitationReceived { request }
        | Event::InvitationCancelled { request } => json!({"request": out(request)}),
        Event::ApplicationResponded {
            request,
            accepted,
            seat,
            reason,
        }
        | Event::InvitationResponded {
            request,
            accepted,
            seat,
            reason,
        } => json!({"request": out(request), "accepted": accepted, "seat": seat.map(|seat| seat.0), "by": by(request),
            "reason": reason}),
        Event::ApplicationProcessed {
            request,
            accepted,
            seat,
        } => json!({"request": out(request), "accepted": accepted, "seat": seat.map(|seat| seat.0), "by": by(request)}),
        Event::ApplicationNoResponse { request, reason }
        | Event::ApplicationClosed { request, reason }
        | Event::InvitationNoResponse { request, reason }
        | Event::InvitationClosed { request, reason } => json!({"request": out(request), "reason": reason}),
        // Every other event is in `data`; an arm for each here would say it twice.
        _ => Value::Null,
    }
}

fn user(person: &Person) -> PersonOut {
    person.into()
}

fn departure(departure: &Departure) -> Value {
    json!({"seat": departure.seat.0, "user": user(&departure.person), "reason": departure.reason})
}

fn movement(movement: &Movement) -> Value {
    json!({"from": movement.from.0, "to": movement.to.0, "user": user(&movement.person)})
}

/// One message of an event stream, or the body of a webhook.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = EventMessage)]
pub struct Message {
    room: String,
    epoch: u64,
    /// Of the room once this had happened.
    version: u64,
    /// One counter per room and epoch, the same in streams, webhooks and Room.
    seq: u64,
    /// The `seq` of the message before on this stream; `null` in a `snapshot`, absent in webhooks.
    #[serde(skip_serializing_if = "Prev::is_absent")]
    #[schema(value_type = Option<u64>)]
    prev: Prev,
    #[schema(format = DateTime)]
    at: String,
    /// `snapshot`, `seats.changed`, `seat.granted`, …
    r#type: &'static str,
    /// The user id of the only person this is for; absent otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    to: Option<String>,
    /// Who caused it; `null`: time, media or the server itself.
    actor: Option<PersonOut>,
    #[schema(value_type = Object)]
    data: Value,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Prev {
    Seq(u64),
    /// There is none before.
    First,
    Absent,
}

impl Prev {
    fn is_absent(&self) -> bool {
        matches!(self, Prev::Absent)
    }
}

/// The envelope as one line of JSON. `prev`: the `seq` of the message before for this receiver; `None` (webhooks): left
/// out.
pub fn message(notice: &Notice, prev: Option<u64>, base: &str, moment: Moment) -> String {
    line(&Message {
        room: notice.room.as_str().to_owned(),
        epoch: notice.epoch,
        version: notice.version,
        seq: notice.seq,
        prev: prev.map_or(Prev::Absent, Prev::Seq),
        at: rfc3339(moment.at(notice.at)),
        r#type: name(notice),
        to: only_recipient(notice).map(|user| user.as_str().to_owned()),
        actor: notice.actor.as_ref().map(PersonOut::from),
        data: data(notice, base, moment),
    })
}

fn only_recipient(notice: &Notice) -> Option<&UserId> {
    match &notice.to {
        Recipients::Users(users) if users.len() == 1 => users.first(),
        _ => None,
    }
}

fn line(message: &Message) -> String {
    serde_json::to_string(message).expect("a message is plain data")
}

/// Whose stream begins.
#[derive(Debug, Serialize)]
struct You {
    #[serde(flatten)]
    person: PersonOut,
    /// `service`, `host`, `admin` or `member`.
    role: &'static str,
    seat: Option<u8>,
}

/// The first message of a stream that does not go on where another ended.
pub fn snapshot(snapshot: &Snapshot, base: &str, reader: &Principal) -> String {
    let room = RoomOut::new(snapshot, base, reader);
    line(&Message {
        room: snapshot.id.as_str().to_owned(),
        epoch: snapshot.epoch,
        version: snapshot.version,
        seq: snapshot.seq,
        prev: Prev::First,
        at: rfc3339(Moment::of(snapshot).at(snapshot.now)),
        r#type: "snapshot",
        to: None,
        actor: None,
        data: json!({"room": room, "you": you(snapshot, reader)}),
    })
}

fn you(snapshot: &Snapshot, reader: &Principal) -> You {
    let user = &reader.person.user;
    let person = PersonOut::from(&reader.person);
    let role = match reader.role {
        // A service key is no member, whatever its `sub` is called.
        Role::Service => {
            return You {
                person,
                role: "service",
                seat: None,
            };
        }
        _ if snapshot.settings.host.user == *user => "host",
        _ if snapshot.confides_in(reader) => "admin",
        _ => "member",
    };
    let mut seats = (0..=u8::MAX).zip(&snapshot.seats);
    let own = seats.find(|(_, seat)| seat.occupancy.person().is_some_and(|person| person.user == *user));
    You {
        person,
        role,
        seat: own.map(|(number, _)| number),
    }
}

/// How many messages are kept for others who are due the same. Three events in a burst, for the audience and for the
/// hosts, who mostly have another `prev`.
const KEPT_MAX: usize = 8;

/// Together, in bytes: four seat lists of the longest names and pictures.
const KEPT_BYTES: usize = 256 * 1024;

/// For how long a message is as good as a new one: what its `…_in_ms` are off by at most. A crowd of a thousand is woken
/// within a few milliseconds.
const FRESH: Duration = Duration::from_millis(50);

/// The messages rendered last in one room: a crowd gets the same text, rendered once.
#[derive(Debug, Default)]
pub struct Rendered {
    kept: VecDeque<Kept>,
}

#[derive(Debug)]
struct Kept {
    seq: u64,
    prev: u64,
    base: String,
    at: Instant,
    text: Bytes,
}

impl Rendered {
    /// [`message`], of now or of a moment ago.
    pub fn message(&mut self, notice: &Notice, prev: u64, base: &str, moment: Moment) -> Bytes {
        let same = |kept: &Kept| kept.seq == notice.seq && kept.prev == prev && kept.base == base;
        self.kept
            .retain(|kept| moment.now.saturating_duration_since(kept.at) < FRESH);
        if let Some(kept) = self.kept.iter().find(|kept| same(kept)) {
            return kept.text.clone();
        }
        let text = Bytes::from(message(notice, Some(prev), base, moment));
        if notice.to == Recipients::Everybody {
            self.keep(Kept {
                seq: notice.seq,
                prev,
                base: base.to_owned(),
                at: moment.now,
                text: text.clone(),
            });
        }
        text
    }

    fn keep(&mut self, kept: Kept) {
        self.kept.push_back(kept);
        let bytes = |kept: &VecDeque<Kept>| kept.iter().map(|kept| kept.text.len()).sum::<usize>();
        while self.kept.len() > KEPT_MAX || bytes(&self.kept) > KEPT_BYTES {
            self.kept.pop_front();
        }
    }
}

#[cfg(test)]
mod tests;
