//! What the mixing of programs may take of a node.

use super::*;
use crate::mix::layout::{Labels, Layout};
use crate::mix::picture::Size;
use crate::room::{ProgramMode, ProgramPatch, SettingsPatch, Side};

/// A picture of 640 × 360 is mixed of one camera for 0.123 core, and each further one adds 0.041.
const SIZE: (u16, u16) = (640, 360);

fn node_for(thousandths: u64) -> (Node, Workers) {
    let limits = Limits {
        mixing: Cores { thousandths },
        peers: 20,
        ..limits()
    };
    node_limited(1, lasting(), limits)
}

async fn watch(node: &Node, room: &RoomId) -> Result<Session, Refusal> {
    node.view(room, None, View::Program { leave_out: None }, view_offer())
        .await
}

/// Opus and H.264, which need not be mixed.
async fn host_on_air(node: &Node, workers: &Workers, room: &RoomId) -> PeerId {
    let h264 = "H264/90000\r\na=fmtp:96 packetization-mode=1;profile-level-id=42e01f";
    let offer = sdp::Offer::parse(&PUBLISH_OFFER.replace("VP8/90000", h264)).unwrap();
    let session = node
        .publish(room, &user("host"), SourceKind::Camera, offer)
        .await
        .unwrap();
    let peer = node.shared.registry.find(&session.id).unwrap().peer;
    workers.report(Event::Connected { peer }).await;
    for kind in [MediaKind::Audio, MediaKind::Video] {
        workers
            .report(Event::Media {
                peer,
                kind,
                flowing: true,
            })
            .await;
    }
    let (width, height) = SIZE;
    workers.report(Event::VideoSize { peer, width, height }).await;
    eventually("the host's size", || async {
        let snapshot = node.snapshot(room).await.unwrap();
        let camera = snapshot.sources.get(&(SeatIndex(0), SourceKind::Camera));
        camera.and_then(|camera| camera.width).map(|_| ())
    })
    .await;
    peer
}

async fn try_seat(node: &Node, room: &RoomId, index: u8) -> Result<Commanded, Refusal> {
    let command = Command::Seat {
        seat: SeatIndex(index),
        person: person(&format!("guest-{index}")),
        if_version: None,
    };
    node.command(room, &service(), command).await
}

async fn patch(node: &Node, room: &RoomId, program: ProgramPatch) -> Result<Commanded, Refusal> {
    let patch = SettingsPatch {
        program: Some(program),
        ..SettingsPatch::default()
    };
    node.command(room, &service(), Command::Update(Box::new(patch))).await
}

async fn lay_out(node: &Node, room: &RoomId, layout: Layout) -> Result<Commanded, Refusal> {
    let patch = SettingsPatch {
        layout: Some(layout),
        ..SettingsPatch::default()
    };
    node.command(room, &service(), Command::Update(Box::new(patch))).await
}

fn mode(mode: ProgramMode) -> ProgramPatch {
    ProgramPatch {
        mode: Some(mode),
        ..ProgramPatch::default()
    }
}

fn labelled() -> Layout {
    Layout {
        labels: Labels::Always,
        ..Layout::default()
    }
}

#[tokio::test]
async fn what_would_begin_a_mix_is_refused_where_there_is_no_room_for_it() {
    let (node, workers) = node_for(100);
    let room = demo(&node).await;
    host_on_air(&node, &workers, &room).await;
    try_seat(&node, &room, 1).await.expect("nobody watches");
    let refusal = watch(&node, &room).await.unwrap_err();
    assert_eq!(
        refusal.code,
        Code::CapacityExhausted,
        "who comes first would begin it: {refusal:?}"
    );
    let unseat = Command::UnseatUser {
        user: user("guest-1"),
        reason: None,
    };
    node.command(&room, &service(), unseat).await.unwrap();
    watch(&node, &room).await.expect("the host alone is not mixed");

    let refusal = try_seat(&node, &room, 1).await.unwrap_err();
    assert_eq!(refusal.code, Code::CapacityExhausted);
    assert!(
        refusal.detail.contains("about 0.17 cores") && refusal.detail.contains("0.10 of the 0.10"),
        "{}",
        refusal.detail
    );
    assert_eq!(
        code(patch(&node, &room, mode(ProgramMode::Mixed)).await),
        Code::CapacityExhausted
    );
    let refusal = lay_out(&node, &room, labelled()).await.unwrap_err();
    assert_eq!(refusal.code, Code::CapacityExhausted);
    assert!(refusal.retry_after.is_some() && refusal.version.is_some());
    let always = ProgramPatch {
        always: Some(true),
        ..mode(ProgramMode::Mixed)
    };
    assert_eq!(code(patch(&node, &room, always).await), Code::CapacityExhausted);
    let bitrate = ProgramPatch {
        video_bitrate_kbps: Some(Some(500)),
        ..ProgramPatch::default()
    };
    patch(&node, &room, bitrate).await.expect("begins nothing");
    patch(&node, &room, mode(ProgramMode::Passthrough)).await.unwrap();
    try_seat(&node, &room, 1)
        .await
        .expect("guests are not mixed by this mode");
    let refusal = patch(&node, &room, mode(ProgramMode::Auto)).await.unwrap_err();
    assert_eq!(refusal.code, Code::CapacityExhausted);
    assert_eq!(node.programs().mixed.get(), 0);
    assert_eq!(node.programs().overcommits.get(), 0);
}

#[tokio::test]
async fn requests_are_not_accepted_beyond_it() {
    let (node, workers) = node_for(170);
    let room = demo(&node).await;
    host_on_air(&node, &workers, &room).await;
    watch(&node, &room).await.unwrap();
    for name in ["bob", "eve"] {
        let apply = Command::Apply {
            user: Some(person(name)),
            wish: Default::default(),
        };
        node.command(&room, &service(), apply).await.unwrap();
    }
    let accept = |name: &str| Command::AcceptApplication {
        user: user(name),
        seat: None,
        request: None,
    };
    node.command(&room, &service(), accept("bob"))
        .await
        .expect("room for two");
    let refusal = node.command(&room, &service(), accept("eve")).await.unwrap_err();
    assert_eq!(refusal.code, Code::CapacityExhausted);
    assert!(refusal.detail.contains("about 0.21 cores"), "{}", refusal.detail);
    let seats = |names: &[&str]| Command::Assign {
        seats: (1..)
            .map(SeatIndex)
            .zip(names.iter().map(|name| Some(person(name))))
            .collect(),
        if_version: None,
    };
    let outcome = node.command(&room, &service(), seats(&["dan", "zoe"])).await;
    assert_eq!(code(outcome), Code::CapacityExhausted);
    let swapped = node.command(&room, &service(), seats(&["dan"])).await;
    swapped.expect("one for another");
}

#[tokio::test]
async fn rooms_share_what_there_is_and_give_it_back() {
    let (node, workers) = node_for(300);
    let room = demo(&node).await;
    host_on_air(&node, &workers, &room).await;
    watch(&node, &room).await.unwrap();
    patch(&node, &room, mode(ProgramMode::Mixed)).await.unwrap();
    try_seat(&node, &room, 1).await.unwrap();
    assert!(
        (node.programs().cores.get() - 0.164).abs() < 1e-9,
        "{}",
        node.programs().cores.get()
    );

    let other = node.create(&service(), id("other"), settings()).await.unwrap().0.id;
    host_on_air(&node, &workers, &other).await;
    watch(&node, &other).await.unwrap();
    patch(&node, &other, mode(ProgramMode::Mixed))
        .await
        .expect("0.123 of 0.136");
    let refusal = try_seat(&node, &other, 1).await.unwrap_err();
    assert!(refusal.detail.contains("0.14 of the 0.30"), "{}", refusal.detail);
    node.command(&room, &service(), Command::End).await.unwrap();
    try_seat(&node, &other, 1).await.expect("given back");
    patch(&node, &other, mode(ProgramMode::Off)).await.unwrap();
    assert!(node.programs().cores.get().abs() < 1e-9);
}

#[tokio::test]
async fn larger_and_faster_pictures_need_more_and_smaller_ones_are_never_refused() {
    let (node, workers) = node_for(200);
    let room = demo(&node).await;
    host_on_air(&node, &workers, &room).await;
    watch(&node, &room).await.unwrap();
    patch(&node, &room, mode(ProgramMode::Mixed)).await.unwrap();
    let fps = |fps| ProgramPatch {
        fps: Some(fps),
        ..ProgramPatch::default()
    };
    let sized = |width, height| ProgramPatch {
        width: Some(Side::Fixed(width)),
        height: Some(Side::Fixed(height)),
        ..ProgramPatch::default()
    };
    patch(&node, &room, fps(60)).await.expect("0.186");
    assert_eq!(
        code(patch(&node, &room, sized(1280, 720)).await),
        Code::CapacityExhausted
    );
    let snapshot = node.snapshot(&room).await.unwrap();
    assert_eq!(snapshot.settings.program.video.size, None, "nothing has changed");
    patch(&node, &room, fps(30)).await.unwrap();
    assert_eq!(
        code(patch(&node, &room, sized(1280, 720)).await),
        Code::CapacityExhausted
    );
    let outcome = patch(&node, &room, sized(800, 450)).await.expect("0.159");
    assert_eq!(outcome.snapshot.settings.program.video.size, Size::even(800, 450));
    let bad = patch(&node, &room, fps(61)).await.unwrap_err();
    assert_eq!(
        bad.code,
        Code::InvalidArgument,
        "what is wrong comes before what is missing"
    );
}

#[tokio::test]
async fn a_mix_that_becomes_necessary_by_itself_begins_all_the_same() {
    let (node, workers) = node_for(100);
    let room = demo(&node).await;
    host_on_air(&node, &workers, &room).await;
    watch(&node, &room).await.unwrap();
    assert_eq!(node.programs().overcommits.get(), 0);
    let dark = Command::SetFlags {
        seat: SeatIndex(0),
        patch: SeatFlagsPatch {
            video_muted: Some(true),
            ..Default::default()
        },
    };
    node.command(&room, &host(), dark)
        .await
        .expect("a host's camera goes off when it does");
    assert_eq!(node.programs().overcommits.get(), 1);
    eventually("mixed", || async { (node.programs().mixed.get() == 1).then_some(()) }).await;
    watch(&node, &room).await.expect("one more viewer takes nothing more");
    assert_eq!(code(try_seat(&node, &room, 1).await), Code::CapacityExhausted);
    assert_eq!((node.stats().publishers, node.stats().viewers), (1, 2));
}
