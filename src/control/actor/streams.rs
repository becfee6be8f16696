//! The room's event streams: who opens one, who lost theirs.
//!
//! Being connected is being in the room: the member joins in the turn that asks for the stream, and the stream opens when
//! that turn ends, exactly behind what the snapshot of the turn shows. A service key's stream makes no member.

use super::turn::Answer;
use super::{Actor, Reply};
use crate::control::{Position, Subscription};
use crate::events::{Lost, Reader};
use crate::room::{Code, PresenceNews, Principal, Refusal, Role, Snapshot};
use std::time::Instant;

impl Actor {
    pub(super) fn subscribe(
        &mut self,
        by: &Principal,
        after: Option<Position>,
        reply: Reply<Result<Subscription, Refusal>>,
        now: Instant,
    ) {
        if let Err(refusal) = self.room.may_enter(by, now) {
            let version = Some(self.room.version());
            let _ = reply.send(Err(Refusal { version, ..refusal }));
            return;
        }
        let reader = if by.role == Role::Service {
            Reader::Service
        } else {
            let (person, role) = (by.person.clone(), by.role);
            self.room.handle_presence(PresenceNews::Joined { person, role }, now);
            Reader::User(by.person.user.clone())
        };
        self.settle(now);
        let answer = Answer::Subscribed {
            reply,
            reader,
            after: after.filter(|position| position.epoch == self.key.0),
            snapshot: Box::new(self.room.snapshot(now)),
        };
        self.close_turn(Some(answer), now);
    }

    /// At the end of the turn: everything up to the snapshot's `seq` is published by now, and nothing behind it.
    pub(super) fn open_stream(
        &mut self,
        reader: Reader,
        after: Option<Position>,
        snapshot: Box<Snapshot>,
    ) -> Result<Subscription, Refusal> {
        let resumed = after.and_then(|position| self.hub.open(reader.clone(), position.seq));
        if let Some(stream) = resumed {
            return Ok(Subscription { snapshot: None, stream });
        }
        if let Some(stream) = self.hub.open(reader, snapshot.seq) {
            let snapshot = Some(snapshot);
            return Ok(Subscription { snapshot, stream });
        }
        debug_assert!(false, "a snapshot's seq is where the log is");
        tracing::error!(
            room = self.id.as_str(),
            seq = snapshot.seq,
            "a stream cannot start at its snapshot"
        );
        Err(self.refusal(
            Code::CapacityExhausted,
            "the room's events are not to be had now: try again",
        ))
    }

    /// Whoever is about to open a stream again is not lost.
    pub(super) fn hear_lost(&mut self, now: Instant) {
        for Lost(user) in self.hub.take_lost() {
            if !self.turns.iter().any(|turn| turn.admits(&user)) {
                self.room.handle_presence(PresenceNews::Lost { user }, now);
            }
        }
    }
}
