//! Rooms: created, ended, stopped, explained.

use super::*;

#[tokio::test]
async fn rooms_are_created_once_compared_listed_and_limited() {
    let (node, _workers) = node(1);
    let room = demo(&node).await;
    let (again, created) = node.create(&service(), room.clone(), settings()).await.unwrap();
    assert!(!created && again.version == 1);
    let other = Settings {
        max_guests: 3,
        ..settings()
    };
    assert_eq!(code(node.create(&service(), room.clone(), other).await), Code::Conflict);
    let member = Principal {
        person: person("host"),
        role: Role::Member,
    };
    assert_eq!(
        code(node.create(&member, id("x"), settings()).await),
        Code::PermissionDenied
    );
    let too_large = Settings {
        max_guests: 10,
        ..settings()
    };
    assert_eq!(
        code(node.create(&service(), id("x"), too_large).await),
        Code::InvalidArgument
    );

    for name in ["b", "a"] {
        node.create(&service(), id(name), settings()).await.unwrap();
    }
    assert_eq!(
        code(node.create(&service(), id("x"), settings()).await),
        Code::CapacityExhausted
    );
    let names = |snapshots: Vec<Snapshot>| snapshots.iter().map(|s| s.id.as_str().to_owned()).collect::<Vec<_>>();
    assert_eq!(names(node.list(None, 10).await), ["a", "b", "demo"]);
    assert_eq!(names(node.list(Some(id("a")), 1).await), ["b"]);
    assert_eq!(code(node.snapshot(&id("x")).await), Code::RoomNotFound);
    assert_eq!(node.stats().rooms, 3);
}

#[tokio::test]
async fn an_ended_room_stays_readable_and_its_id_begins_anew() {
    let (node, workers) = node(2);
    let room = demo(&node).await;
    let (_, host) = on_air(&node, &workers, &room, "host", 0).await;
    let stage = View::Stage { leave_out: None };
    let session = node.view(&room, None, stage, view_offer()).await.unwrap();
    let viewer = node.shared.registry.find(&session.id).unwrap().peer;
    workers.told();
    let ended = node.command(&room, &service(), Command::End).await.unwrap();
    assert_eq!(ended.snapshot.phase, Phase::Ended);
    let told = eventually_told(&workers, "forgotten", |told| {
        told.iter().any(|(_, told)| matches!(told, Told::Forget(_)))
    })
    .await;
    for peer in [host, viewer] {
        assert!(told.iter().any(|(_, told)| *told == Told::Close(peer)), "{told:?}");
    }
    assert!(node.resource(&session.id).await.is_none());
    assert_eq!(node.stats(), Stats::default());
    assert_eq!(node.snapshot(&room).await.unwrap().phase, Phase::Ended);
    let publish = node
        .publish(&room, &user("host"), SourceKind::Camera, publish_offer())
        .await;
    assert_eq!(code(publish), Code::RoomEnded);
    assert_eq!(
        code(
            node.view(&room, None, View::Program { leave_out: None }, view_offer())
                .await
        ),
        Code::RoomEnded
    );
    assert_eq!(
        code(node.command(&room, &service(), Command::End).await),
        Code::RoomEnded
    );

    let (fresh, created) = node.create(&service(), room, settings()).await.unwrap();
    assert!(created && fresh.epoch > ended.snapshot.epoch && fresh.phase == Phase::Idle);
}

#[tokio::test]
async fn a_room_whose_host_is_away_too_long_closes_its_peers() {
    let (node, workers) = node(1);
    let mut settings = settings();
    settings.policies.host_away_ms = 0;
    let room = node.create(&service(), id("demo"), settings).await.unwrap().0.id;
    seat(&node, &room, 1, "bob").await;
    let (_, bob) = on_air(&node, &workers, &room, "bob", 1).await;
    let (session, _) = on_air(&node, &workers, &room, "host", 0).await;
    workers.told();
    assert!(node.close(&session.id).await);
    assert_eq!(node.snapshot(&room).await.unwrap().phase, Phase::Ended);
    assert!(workers.told().iter().any(|(_, told)| *told == Told::Close(bob)));
}

#[tokio::test]
async fn stopping_closes_every_peer_and_stops_the_workers() {
    let (node, workers) = node(2);
    let room = demo(&node).await;
    let (_, host) = publish(&node, &room, "host", SourceKind::Camera).await;
    workers.told();
    node.stop().await;
    let mut stops = 0;
    let told = eventually("stopped", || {
        let told = workers.told();
        stops += told.iter().filter(|(_, told)| *told == Told::Stop).count();
        let closed = told.iter().any(|(_, told)| *told == Told::Close(host));
        async move { closed.then_some(()) }
    });
    told.await;
    eventually("both stopped", || {
        stops += workers.told().iter().filter(|(_, told)| *told == Told::Stop).count();
        let all = stops == 2;
        async move { all.then_some(()) }
    })
    .await;
    assert_eq!(node.stats(), Stats::default());
    assert_eq!(code(node.snapshot(&room).await), Code::RoomNotFound);
}

#[tokio::test]
async fn an_explanation_asks_the_worker_and_is_for_those_concerned() {
    let (node, workers) = node(2);
    let room = demo(&node).await;
    seat(&node, &room, 1, "bob").await;
    let explain = async |by: &Principal, index: u8| node.explain(&room, by, SeatIndex(index), SourceKind::Camera).await;
    let said = explain(&service(), 1).await.unwrap();
    assert_eq!(said.links.last().map(|link| link.link), Some(Link::Whip), "{said:?}");

    let (_, peer) = publish(&node, &room, "bob", SourceKind::Camera).await;
    let said = explain(&service(), 1).await.unwrap();
    assert_eq!(said.links.last().map(|link| link.link), Some(Link::Ice), "{said:?}");
    assert!(workers.told().iter().any(|(_, told)| *told == Told::Diagnose(peer)));

    let member = |name: &str| Principal {
        person: person(name),
        role: Role::Member,
    };
    assert!(explain(&member("bob"), 1).await.is_ok());
    assert_eq!(code(explain(&member("eve"), 1).await), Code::PermissionDenied);
    assert_eq!(code(explain(&member("bob"), 2).await), Code::PermissionDenied);
    assert_eq!(code(explain(&service(), 12).await), Code::SeatIndexInvalid);
}
