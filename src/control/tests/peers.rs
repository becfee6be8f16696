//! Publishers and viewers: admitted, replaced, muted, limited, restarted, gone.

use super::*;

#[tokio::test]
async fn the_seat_is_the_permission_to_publish() {
    let (node, workers) = node(2);
    let room = demo(&node).await;
    let refused = node
        .publish(&room, &user("bob"), SourceKind::Camera, publish_offer())
        .await;
    assert_eq!(code(refused), Code::NotSeated);
    assert_eq!(node.stats().publishers, 0, "a refused peer takes no place");
    seat(&node, &room, 1, "bob").await;
    let (session, bob) = on_air(&node, &workers, &room, "bob", 1).await;
    assert!(session.answer.contains("a=ice-lite") && session.answer.contains(&session.etag));
    let resource = node.resource(&session.id).await.unwrap();
    assert_eq!(
        (resource.publisher, resource.user, resource.etag),
        (true, Some(user("bob")), session.etag)
    );
    workers.told();

    let unseat = Command::UnseatUser {
        user: user("bob"),
        reason: None,
    };
    node.command(&room, &service(), unseat).await.unwrap();
    let told = workers.told();
    assert!(
        told.iter().any(|(_, told)| *told == Told::Close(bob)),
        "closed before the reply: {told:?}"
    );
    assert!(node.resource(&session.id).await.is_none());
    assert_eq!(node.stats().publishers, 0);
    let refused = node
        .publish(&room, &user("bob"), SourceKind::Camera, publish_offer())
        .await;
    assert_eq!(code(refused), Code::NotSeated);
}

#[tokio::test]
async fn a_mute_is_in_force_before_the_reply() {
    let (handle, commands) = worker::Handle::fake();
    let (_events, received) = mpsc::channel(16);
    let node = Node::start(vec![handle], received, dtls::Fingerprint([7; 32]), limits(), lasting());
    let room = demo(&node).await;
    let (_, host) = publish(&node, &room, "host", SourceKind::Camera).await;
    let patch = SeatFlagsPatch {
        audio_muted: Some(true),
        ..Default::default()
    };
    let caller = node.clone();
    let muting = tokio::spawn(async move {
        let seat = SeatIndex(0);
        caller
            .command(&room, &service(), Command::SetFlags { seat, patch })
            .await
    });
    let done = eventually("permit", || async {
        commands.try_commands().find_map(|command| match command {
            worker::Command::Permit { peer, permission, done } => {
                assert_eq!((peer, permission.audio, permission.video), (host, false, true));
                done
            }
            _ => None,
        })
    })
    .await;
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert!(
        !muting.is_finished(),
        "the worker has not said that the mute is in force"
    );
    done.send(()).unwrap();
    assert!(muting.await.unwrap().unwrap().snapshot.seats[0].flags.audio_muted);
}

/// A worker that hangs holds nobody up for ever, and nothing counts as in force before it says so.
#[tokio::test]
async fn a_worker_that_does_not_answer_is_told_of() {
    let (handle, commands) = worker::Handle::fake();
    let (_events, received) = mpsc::channel(16);
    let node = Node::start(vec![handle], received, dtls::Fingerprint([7; 32]), limits(), lasting());
    let room = demo(&node).await;
    publish(&node, &room, "host", SourceKind::Camera).await;
    let patch = SeatFlagsPatch {
        audio_muted: Some(true),
        ..Default::default()
    };
    let seat = SeatIndex(0);
    let by = service();
    let mute = || node.command(&room, &by, Command::SetFlags { seat, patch });
    let refusal = mute().await.expect_err("nobody confirmed it");
    assert_eq!(refusal.code, Code::CapacityExhausted);
    assert!(
        refusal.retry_after.is_some() && refusal.version.is_some(),
        "{refusal:?}"
    );
    assert!(node.snapshot(&room).await.is_ok(), "the room goes on");

    let permit = commands.try_commands().find_map(|command| match command {
        worker::Command::Permit { done, .. } => done,
        _ => None,
    });
    let asking_again = mute();
    permit.expect("told to mute").send(()).expect("still waited for");
    assert!(
        asking_again.await.expect("in force by now").snapshot.seats[0]
            .flags
            .audio_muted
    );
}

#[tokio::test]
async fn every_worker_knows_every_source() {
    let (node, workers) = node(3);
    let room = demo(&node).await;
    let (_, host) = on_air(&node, &workers, &room, "host", 0).await;
    let connected = |told: &Told| match told {
        Told::Sources(sources) => sources.iter().any(|source| source.connected),
        _ => false,
    };
    let told = eventually_told(&workers, "every worker told", |told| {
        (0..3).all(|worker| told.iter().any(|(at, told)| *at == worker && connected(told)))
    })
    .await;
    assert!(told.iter().any(|(_, told)| *told == Told::Publish(host, ON)));
    for (_, told) in told.iter().filter(|(_, told)| connected(told)) {
        let Told::Sources(sources) = told else { continue };
        let source = &sources[0];
        assert_eq!(
            (sources.len(), source.seat, source.kind),
            (1, SeatIndex(0), SourceKind::Camera)
        );
        assert_eq!((&*source.user, source.permission, source.layers), ("host", ON, 1));
    }
    workers
        .report(Event::Media {
            peer: host,
            kind: MediaKind::Video,
            flowing: true,
        })
        .await;
    workers
        .report(Event::VideoSize {
            peer: host,
            width: 1280,
            height: 720,
        })
        .await;
    let status = eventually("status", || async {
        let snapshot = node.snapshot(&room).await.unwrap();
        let status = snapshot.sources.get(&(SeatIndex(0), SourceKind::Camera)).cloned();
        status.filter(|status| status.height == Some(720))
    })
    .await;
    assert_eq!(
        (status.audio, status.video, status.codec),
        (false, true, Some(crate::rtp::Codec::Vp8))
    );
}

#[tokio::test]
async fn a_repeated_publish_replaces_and_keeps_the_seat_occupied() {
    let (node, workers) = node(1);
    let room = demo(&node).await;
    let (first, old) = on_air(&node, &workers, &room, "host", 0).await;
    let (_, screen) = publish(&node, &room, "host", SourceKind::Screen).await;
    workers.told();
    let (second, new) = publish(&node, &room, "host", SourceKind::Camera).await;
    assert!(new != old && first.id != second.id);
    let told = workers.told();
    assert!(told.iter().any(|(_, told)| *told == Told::Close(old)));
    assert!(!told.iter().any(|(_, told)| *told == Told::Close(screen)));
    assert!(node.resource(&first.id).await.is_none());
    assert_eq!(node.snapshot(&room).await.unwrap().phase, Phase::Live);
    // The late word of the old one is nobody's.
    workers
        .report(Event::Closed {
            peer: old,
            reason: CloseReason::PeerClosed,
        })
        .await;
    workers
        .report(Event::Closed {
            peer: new,
            reason: CloseReason::ConsentExpired,
        })
        .await;
    eventually("host away", || async {
        (node.snapshot(&room).await.unwrap().phase == Phase::HostAway).then_some(())
    })
    .await;
    assert!(node.resource(&second.id).await.is_none());
}

#[tokio::test]
async fn deleting_the_resource_holds_the_seat() {
    let (node, workers) = node(1);
    let room = demo(&node).await;
    seat(&node, &room, 1, "bob").await;
    let (session, bob) = on_air(&node, &workers, &room, "bob", 1).await;
    assert!(node.close(&session.id).await);
    assert!(workers.told().iter().any(|(_, told)| *told == Told::Close(bob)));
    let snapshot = node.snapshot(&room).await.unwrap();
    assert!(matches!(snapshot.seats[1].occupancy, Occupancy::Held { .. }));
    assert!(snapshot.sources.is_empty());
    assert!(!node.close(&session.id).await);
}

#[tokio::test]
async fn nothing_to_play_until_somebody_plays() {
    let (node, workers) = node(2);
    let room = demo(&node).await;
    for view in [
        View::Program { leave_out: None },
        View::Seat {
            seat: SeatIndex(1),
            kind: SourceKind::Camera,
        },
    ] {
        let refusal = node.view(&room, None, view, view_offer()).await.unwrap_err();
        assert_eq!(
            (refusal.code, refusal.retry_after.is_some()),
            (Code::NothingToPlay, true)
        );
    }
    let nowhere = View::Seat {
        seat: SeatIndex(10),
        kind: SourceKind::Camera,
    };
    assert_eq!(
        code(node.view(&room, None, nowhere, view_offer()).await),
        Code::SeatIndexInvalid
    );
    assert_eq!(node.stats().viewers, 0);
    node.view(&room, None, View::Stage { leave_out: None }, view_offer())
        .await
        .unwrap();
    on_air(&node, &workers, &room, "host", 0).await;
    let session = node
        .view(
            &room,
            Some(&user("eve")),
            View::Program { leave_out: None },
            view_offer(),
        )
        .await
        .unwrap();
    let screen = View::Seat {
        seat: SeatIndex(0),
        kind: SourceKind::Screen,
    };
    assert_eq!(
        code(node.view(&room, None, screen, view_offer()).await),
        Code::NothingToPlay
    );
    assert_eq!((node.stats().publishers, node.stats().viewers), (1, 2));
    let views = |told: &[(usize, Told)]| {
        let views = told.iter().filter(|(_, told)| matches!(told, Told::View(..)));
        views.map(|(worker, _)| *worker).collect::<Vec<_>>()
    };
    let told = eventually_told(&workers, "two viewers", |told| views(told).len() == 2).await;
    let mut placed = views(&told);
    placed.sort_unstable();
    assert_eq!(placed, [0, 1], "viewers spread over the workers");

    let peer = node.shared.registry.find(&session.id).unwrap().peer;
    let slots = vec![SlotReport {
        slot: 0,
        seat: SeatIndex(0),
        source: SourceKind::Camera,
        codec: None,
        state: SlotState::Live,
    }];
    workers
        .report(Event::Slots {
            peer,
            slots: slots.clone(),
        })
        .await;
    let resource = eventually("slots", || async {
        node.resource(&session.id)
            .await
            .filter(|resource| !resource.slots.is_empty())
    })
    .await;
    assert_eq!((resource.slots, resource.user), (slots, Some(user("eve"))));
    assert_eq!(node.prefer(&session.id, 0, LayerPreference::default()).await, Ok(true));
    assert_eq!(node.prefer(&session.id, 1, LayerPreference::default()).await, Ok(false));

    let off = room::SettingsPatch {
        program: Some(room::ProgramPatch {
            mode: Some(room::ProgramMode::Off),
            ..room::ProgramPatch::default()
        }),
        ..room::SettingsPatch::default()
    };
    node.command(&room, &service(), Command::Update(Box::new(off)))
        .await
        .unwrap();
    let told = workers.told();
    let closed: Vec<_> = told.iter().filter(|(_, told)| matches!(told, Told::Close(_))).collect();
    assert!(
        matches!(closed[..], [(_, Told::Close(closed))] if *closed == peer),
        "who watches the program, and nobody else: {closed:?}"
    );
}

#[tokio::test]
async fn whoever_is_removed_watches_no_longer_and_while_banned_not_again() {
    let (node, workers) = node(2);
    let room = demo(&node).await;
    on_air(&node, &workers, &room, "host", 0).await;
    let views = [
        View::Program { leave_out: None },
        View::Stage { leave_out: None },
        View::Seat {
            seat: SeatIndex(0),
            kind: SourceKind::Camera,
        },
    ];
    let watch = async |name: Option<&str>, view: &View| -> Result<PeerId, Refusal> {
        let who = name.map(user);
        let session = node.view(&room, who.as_ref(), view.clone(), view_offer()).await?;
        Ok(node.shared.registry.find(&session.id).unwrap().peer)
    };
    let anonymous = watch(None, &views[0]).await.unwrap();
    let eve = watch(Some("eve"), &views[1]).await.unwrap();
    let remove = |who: &Principal, ban| {
        let (who, user) = (who.clone(), user("bob"));
        let reason = None;
        let command = Command::RemoveMember { user, ban, reason };
        let (node, room) = (&node, &room);
        async move { node.command(room, &who, command).await.unwrap() }
    };
    let minute = Some(std::time::Duration::from_secs(60));
    for (who, ban, closed) in [
        (member("bob"), None, false),
        (host(), None, true),
        (service(), minute, true),
    ] {
        let mut bobs = Vec::new();
        for view in &views[..2] {
            bobs.push(watch(Some("bob"), view).await.unwrap());
        }
        workers.told();
        remove(&who, ban).await;
        let told: Vec<Told> = workers.told().into_iter().map(|(_, told)| told).collect();
        for peer in &bobs {
            assert_eq!(told.contains(&Told::Close(*peer)), closed, "{who:?} {ban:?}: {told:?}");
        }
        for peer in [anonymous, eve] {
            assert!(!told.contains(&Told::Close(peer)), "others are not meant");
        }
        assert_eq!(node.stats().viewers, if closed { 2 } else { 4 });
        if !closed {
            for peer in bobs {
                let reason = CloseReason::PeerClosed;
                workers.report(Event::Closed { peer, reason }).await;
            }
            eventually("two are left", || async { (node.stats().viewers == 2).then_some(()) }).await;
        }
    }
    for view in &views {
        let refusal = watch(Some("bob"), view).await.unwrap_err();
        assert_eq!((refusal.code, refusal.retry_after.is_some()), (Code::Banned, true));
    }
    assert_eq!(node.stats().viewers, 2, "who is refused takes no place");
    watch(None, &views[0]).await.unwrap();
    remove(&host(), Some(std::time::Duration::ZERO)).await;
    watch(Some("bob"), &views[0]).await.unwrap();
}

#[tokio::test]
async fn peers_are_limited_and_a_drained_node_takes_none() {
    let (node, _workers) = node(2);
    let room = demo(&node).await;
    let view = || node.view(&room, None, View::Stage { leave_out: None }, view_offer());
    let mut sessions = Vec::new();
    for _ in 0..6 {
        sessions.push(view().await.unwrap());
    }
    let refusal = view().await.unwrap_err();
    assert_eq!(
        (refusal.code, refusal.retry_after.is_some()),
        (Code::CapacityExhausted, true)
    );
    assert!(node.close(&sessions[0].id).await);
    view().await.unwrap();
    node.drain();
    assert!(node.close(&sessions[1].id).await);
    assert_eq!(code(view().await), Code::ServerDraining);
    let publish = node
        .publish(&room, &user("host"), SourceKind::Camera, publish_offer())
        .await;
    assert_eq!(code(publish), Code::ServerDraining);
    assert_eq!(
        code(node.create(&service(), id("x"), settings()).await),
        Code::ServerDraining
    );
    assert!(!node.create(&service(), room.clone(), settings()).await.unwrap().1);
}

#[tokio::test]
async fn patch_tells_trickling_from_a_restart() {
    let (node, workers) = node(1);
    let room = demo(&node).await;
    let (session, host) = publish(&node, &room, "host", SourceKind::Camera).await;
    workers.told();
    let fragment = |ice| sdp::Fragment {
        ice,
        candidates: 1,
        mid: None,
    };
    let own = publish_offer().remote().ice.clone();
    for ice in [None, Some(own)] {
        assert!(matches!(
            node.patch(&session.id, fragment(ice)).await,
            Some(Patched::Trickled)
        ));
    }
    assert_eq!(node.resource(&session.id).await.unwrap().etag, session.etag);
    let fresh = ice::Credentials {
        ufrag: "fresh".into(),
        pwd: "freshfreshfreshfreshfresh".into(),
    };
    let restarted = node.patch(&session.id, fragment(Some(fresh.clone()))).await;
    let Some(Patched::Restarted { fragment: body, etag }) = restarted else {
        panic!("{restarted:?}");
    };
    assert!(etag != session.etag && body.contains(&etag));
    assert_eq!(node.resource(&session.id).await.unwrap().etag, etag);
    let restart = Told::Restart(host, fresh.clone());
    eventually_told(&workers, "restart", |told| {
        told.iter().any(|(_, told)| *told == restart)
    })
    .await;
    assert!(matches!(
        node.patch(&session.id, fragment(Some(fresh))).await,
        Some(Patched::Trickled)
    ));
    let unknown = ResourceId("unknown".into());
    assert!(node.patch(&unknown, fragment(None)).await.is_none());
}
