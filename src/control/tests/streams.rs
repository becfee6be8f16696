//! Event streams: opened, resumed, replaced, lost, closed.

use super::*;
use crate::events::{CloseReason, Next, Stream};
use crate::room::event::Event as Told;
use crate::room::{MemberRole, Notice, Presence};

async fn subscribe(node: &Node, room: &RoomId, who: &Principal) -> (Snapshot, Stream) {
    let subscription = node.subscribe(room, who, None).await.unwrap();
    (
        *subscription.snapshot.expect("begins with a snapshot"),
        subscription.stream,
    )
}

/// Reads until this comes; returns everything up to it.
async fn until(stream: &mut Stream, what: &str, wanted: impl Fn(&Told) -> bool) -> Vec<(u64, Arc<Notice>)> {
    let mut read = Vec::new();
    let patience = std::time::Duration::from_secs(20);
    let reading = async {
        while !read
            .iter()
            .any(|(_, notice): &(u64, Arc<Notice>)| wanted(&notice.event))
        {
            match stream.next().await {
                Next::Notices(notices) => read.extend(notices),
                Next::Close(reason) => panic!("closed as {reason:?} before {what}"),
            }
        }
    };
    tokio::time::timeout(patience, reading)
        .await
        .unwrap_or_else(|_| panic!("never: {what}"));
    read
}

/// Reads to the end.
async fn closed(stream: &mut Stream) -> (Vec<Told>, CloseReason) {
    let mut read = Vec::new();
    let patience = std::time::Duration::from_secs(20);
    let reading = async {
        loop {
            match stream.next().await {
                Next::Notices(notices) => read.extend(notices.iter().map(|(_, notice)| notice.event.clone())),
                Next::Close(reason) => return reason,
            }
        }
    };
    let reason = tokio::time::timeout(patience, reading).await.expect("closed");
    (read, reason)
}

async fn presence(node: &Node, room: &RoomId, name: &str) -> Option<Presence> {
    let members = node.members(room, &service()).await.unwrap();
    let found = members.iter().find(|member| member.person.user == user(name));
    found.map(|member| member.presence)
}

#[tokio::test]
async fn a_stream_goes_on_exactly_where_its_snapshot_ends() {
    let (node, _workers) = node(1);
    let room = demo(&node).await;
    let (node, room) = (&node, &room);
    // Commands and streams at once: whatever the order, the first event is the one behind the snapshot.
    let lock = |seat| async move {
        let patch = SeatFlagsPatch {
            locked: Some(true),
            ..Default::default()
        };
        let seat = SeatIndex(seat);
        node.command(room, &service(), Command::SetFlags { seat, patch })
            .await
            .unwrap();
    };
    let watch = |seat| async move {
        let (snapshot, mut stream) = subscribe(node, room, &service()).await;
        let read = until(&mut stream, "the ninth lock", |event| {
            matches!(event, Told::SeatUpdated { seat: SeatIndex(9), .. })
        });
        let read = if snapshot.seats[9].flags.locked {
            Vec::new()
        } else {
            read.await
        };
        let seqs: Vec<u64> = read.iter().map(|(_, notice)| notice.seq).collect();
        let expected: Vec<u64> = (snapshot.seq + 1..).take(seqs.len()).collect();
        assert_eq!(seqs, expected, "watcher {seat}");
        let mut before = snapshot.seq;
        for (prev, notice) in &read {
            assert_eq!(*prev, before);
            before = notice.seq;
        }
    };
    let both = |seat| async move { tokio::join!(lock(seat), watch(seat)) };
    tokio::join!(
        both(1),
        both(2),
        both(3),
        both(4),
        both(5),
        both(6),
        both(7),
        both(8),
        both(9)
    );
}

#[tokio::test]
async fn being_connected_is_being_in_the_room() {
    let (node, _workers) = node(1);
    let room = demo(&node).await;
    let (_, mut hosts) = subscribe(&node, &room, &host()).await;
    let (snapshot, stream) = subscribe(&node, &room, &member("bob")).await;
    assert_eq!(presence(&node, &room, "bob").await, Some(Presence::Online));
    until(
        &mut hosts,
        "bob joins",
        |event| matches!(event, Told::MemberJoined { member } if member.person.user == user("bob")),
    )
    .await;
    assert_eq!(snapshot.id, room);
    let not_confided = node.members(&room, &member("bob")).await;
    assert_eq!(code(not_confided), Code::PermissionDenied);
    let listed = node.members(&room, &host()).await.unwrap();
    let roles: Vec<_> = listed
        .iter()
        .map(|member| (member.person.user.as_str(), member.role))
        .collect();
    assert_eq!(roles, [("bob", MemberRole::Member), ("host", MemberRole::Host)]);

    // A service key's stream makes no member.
    let (_, service_stream) = subscribe(&node, &room, &service()).await;
    assert_eq!(node.members(&room, &service()).await.unwrap().len(), 2);
    drop(service_stream);

    drop(stream);
    eventually("suspended", || async {
        (presence(&node, &room, "bob").await == Some(Presence::Suspended)).then_some(())
    })
    .await;
    let (_, _again) = subscribe(&node, &room, &member("bob")).await;
    assert_eq!(presence(&node, &room, "bob").await, Some(Presence::Online));
}

#[tokio::test]
async fn a_stream_resumes_where_the_one_before_ended_or_starts_anew() {
    let (node, _workers) = node(1);
    let room = demo(&node).await;
    let (snapshot, stream) = subscribe(&node, &room, &member("bob")).await;
    drop(stream);
    seat(&node, &room, 3, "eve").await;
    let after = |epoch, seq| Some(Position { epoch, seq });
    let resume = |after| node.subscribe(&room, &BOB, after);
    static BOB: std::sync::LazyLock<Principal> = std::sync::LazyLock::new(|| member("bob"));

    let resumed = resume(after(snapshot.epoch, snapshot.seq)).await.unwrap();
    assert!(resumed.snapshot.is_none());
    let mut stream = resumed.stream;
    let read = until(&mut stream, "eve's seat", |event| {
        matches!(event, Told::SeatsChanged { .. })
    })
    .await;
    assert_eq!(read[0].0, snapshot.seq, "behind where the first one ended");

    for elsewhere in [
        after(snapshot.epoch + 1, snapshot.seq),
        after(snapshot.epoch, snapshot.seq + 1_000),
    ] {
        let anew = resume(elsewhere).await.unwrap();
        assert!(anew.snapshot.is_some_and(|anew| anew.seq > snapshot.seq));
    }
}

#[tokio::test]
async fn a_newer_stream_replaces_and_its_member_stays() {
    let (node, _workers) = node(1);
    let room = demo(&node).await;
    let (_, mut first) = subscribe(&node, &room, &member("bob")).await;
    let (_, mut second) = subscribe(&node, &room, &member("bob")).await;
    assert_eq!(closed(&mut first).await.1, CloseReason::Replaced);
    drop(first);
    assert_eq!(presence(&node, &room, "bob").await, Some(Presence::Online));
    seat(&node, &room, 1, "bob").await;
    until(&mut second, "the seat", |event| {
        matches!(event, Told::SeatGranted { .. })
    })
    .await;
    assert_eq!(presence(&node, &room, "bob").await, Some(Presence::Online));
}

#[tokio::test]
async fn whoever_is_removed_hears_it_and_stays_out_while_banned() {
    let (node, _workers) = node(1);
    let room = demo(&node).await;
    for ban in [None, Some(std::time::Duration::from_secs(60))] {
        let (_, mut stream) = subscribe(&node, &room, &member("bob")).await;
        seat(&node, &room, 1, "bob").await;
        let remove = Command::RemoveMember {
            user: user("bob"),
            ban,
            reason: Some("enough".into()),
        };
        node.command(&room, &service(), remove).await.unwrap();
        let (told, reason) = closed(&mut stream).await;
        assert_eq!(reason, CloseReason::Removed);
        let off = |event: &Told| matches!(event, Told::SeatsChanged { left, .. } if !left.is_empty());
        assert!(told.iter().any(off), "the removal is delivered first: {told:?}");
        assert_eq!(presence(&node, &room, "bob").await, None);
    }
    assert_eq!(code(node.subscribe(&room, &member("bob"), None).await), Code::Banned);

    let (_, mut eve) = subscribe(&node, &room, &member("eve")).await;
    let leave = Command::RemoveMember {
        user: user("eve"),
        ban: None,
        reason: None,
    };
    node.command(&room, &member("eve"), leave).await.unwrap();
    assert_eq!(closed(&mut eve).await.1, CloseReason::Removed);
    subscribe(&node, &room, &member("eve")).await;
}

/// The host, and in `external` mode every guest, leaves the room and not the seat.
#[tokio::test]
async fn whoever_leaves_the_room_and_keeps_the_seat_has_no_stream_either() {
    let (node, _workers) = node(1);
    let external = Settings {
        seat_mode: SeatMode::External,
        ..settings()
    };
    let (snapshot, _) = node.create(&service(), id("demo"), external).await.unwrap();
    let room = snapshot.id;
    seat(&node, &room, 1, "bob").await;
    for who in [host(), member("bob")] {
        let name = who.person.user.as_str();
        let (_, mut stream) = subscribe(&node, &room, &who).await;
        assert_eq!(presence(&node, &room, name).await, Some(Presence::Online));
        let leave = Command::RemoveMember {
            user: who.person.user.clone(),
            ban: None,
            reason: None,
        };
        node.command(&room, &who, leave).await.unwrap();
        let (told, reason) = closed(&mut stream).await;
        assert_eq!(reason, CloseReason::Removed, "{told:?}");
        drop(stream);
        assert_eq!(presence(&node, &room, name).await, Some(Presence::Gone));

        let (_, mut again) = subscribe(&node, &room, &who).await;
        seat(&node, &room, 3, "dan").await;
        until(&mut again, "dan's seat", |event| {
            matches!(event, Told::SeatsChanged { .. })
        })
        .await;
        assert_eq!(presence(&node, &room, name).await, Some(Presence::Online));
        let unseat = Command::UnseatUser {
            user: user("dan"),
            reason: None,
        };
        node.command(&room, &service(), unseat).await.unwrap();
    }
}

#[tokio::test]
async fn the_end_is_delivered_before_the_streams_close() {
    let (node, _workers) = node(1);
    let room = demo(&node).await;
    let (_, mut bob) = subscribe(&node, &room, &member("bob")).await;
    let (_, mut backend) = subscribe(&node, &room, &service()).await;
    node.command(&room, &service(), Command::End).await.unwrap();
    for stream in [&mut bob, &mut backend] {
        let (told, reason) = closed(stream).await;
        assert_eq!(reason, CloseReason::RoomEnded);
        assert!(matches!(told.last(), Some(Told::RoomEnded { .. })), "{told:?}");
    }
    assert_eq!(code(node.subscribe(&room, &member("bob"), None).await), Code::RoomEnded);
    assert_eq!(
        code(node.subscribe(&id("x"), &service(), None).await),
        Code::RoomNotFound
    );
}

#[tokio::test]
async fn a_node_that_stops_says_goodbye() {
    let (node, _workers) = node(1);
    let room = demo(&node).await;
    let (_, mut bob) = subscribe(&node, &room, &member("bob")).await;
    node.close_streams();
    assert_eq!(closed(&mut bob).await.1, CloseReason::GoingAway);
    node.stop().await;
}

#[tokio::test]
async fn viewers_count_as_audience_and_hear_of_their_slots() {
    let (node, workers) = node(1);
    let room = demo(&node).await;
    let (_, mut bob) = subscribe(&node, &room, &member("bob")).await;
    let stage = || View::Stage { leave_out: None };
    for name in [Some("bob"), Some("eve"), Some("eve"), None] {
        let user = name.map(user);
        node.view(&room, user.as_ref(), stage(), view_offer()).await.unwrap();
    }
    // Bob is a member, Eve is one person, and somebody without a name.
    until(&mut bob, "three in the audience", |event| {
        matches!(event, Told::Audience { count: 3 })
    })
    .await;

    let session = node
        .view(&room, Some(&user("bob")), stage(), view_offer())
        .await
        .unwrap();
    let peer = node.shared.registry.find(&session.id).unwrap().peer;
    let slots = vec![SlotReport {
        slot: 0,
        seat: SeatIndex(0),
        source: SourceKind::Camera,
        codec: None,
        state: SlotState::Live,
    }];
    workers.report(Event::Slots { peer, slots }).await;
    let read = until(&mut bob, "slots", |event| matches!(event, Told::StageSlots { .. })).await;
    let Some(Told::StageSlots { viewer, slots }) = read.last().map(|(_, notice)| &notice.event) else {
        panic!("{read:?}");
    };
    assert_eq!((viewer, slots.len()), (&session.id.0, 1));
}

#[tokio::test]
async fn media_and_voices_reach_the_room() {
    let (node, workers) = node(1);
    let room = demo(&node).await;
    let (_, mut bob) = subscribe(&node, &room, &member("bob")).await;
    let (session, peer) = on_air(&node, &workers, &room, "host", 0).await;
    let kind = MediaKind::Audio;
    workers
        .report(Event::Media {
            peer,
            kind,
            flowing: true,
        })
        .await;
    until(&mut bob, "sound", |event| {
        matches!(
            event,
            Told::SeatMedia {
                audio: crate::room::event::TrackState::On,
                ..
            }
        )
    })
    .await;
    workers.report(Event::Loudness { peer, level: 100 }).await;
    let read = until(&mut bob, "a voice", |event| matches!(event, Told::Speaking { .. })).await;
    let Some(Told::Speaking { seats }) = read.last().map(|(_, notice)| &notice.event) else {
        panic!("{read:?}");
    };
    assert_eq!(*seats, [(SeatIndex(0), -27)]);
    node.close(&session.id).await;
    until(&mut bob, "the host's absence", |event| {
        matches!(event, Told::HostAway { .. })
    })
    .await;
    assert!(node.snapshot(&room).await.unwrap().sources.is_empty());
}
