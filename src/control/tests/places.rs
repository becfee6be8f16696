//! Places for peers: whoever has a seat has one.

use super::*;

async fn view(node: &Node, room: &RoomId) -> Result<Session, Refusal> {
    node.view(room, None, View::Stage { leave_out: None }, view_offer())
        .await
}

async fn try_seat(node: &Node, room: &RoomId, index: u8, name: &str) -> Result<Commanded, Refusal> {
    let command = Command::Seat {
        seat: SeatIndex(index),
        person: person(name),
        if_version: None,
    };
    node.command(room, &service(), command).await
}

#[tokio::test]
async fn a_taken_seat_keeps_a_place_for_its_publisher() {
    let (node, workers) = node(1);
    let room = demo(&node).await;
    seat(&node, &room, 1, "bob").await;
    seat(&node, &room, 2, "eve").await;
    for _ in 0..4 {
        view(&node, &room).await.unwrap();
    }
    assert_eq!(code(view(&node, &room).await), Code::CapacityExhausted);
    let refusal = try_seat(&node, &room, 3, "dan").await.unwrap_err();
    assert_eq!(refusal.code, Code::CapacityExhausted);
    let lock = Command::SetFlags {
        seat: SeatIndex(1),
        patch: SeatFlagsPatch {
            audio_locked: Some(true),
            ..Default::default()
        },
    };
    node.command(&room, &service(), lock).await.expect("takes no place");
    // Those who have seats find their places.
    on_air(&node, &workers, &room, "bob", 1).await;
    publish(&node, &room, "eve", SourceKind::Camera).await;
    assert_eq!((node.stats().publishers, node.stats().viewers), (2, 4));
    let screen = node
        .publish(&room, &user("eve"), SourceKind::Screen, publish_offer())
        .await;
    assert_eq!(
        code(screen),
        Code::CapacityExhausted,
        "a second transport has no place kept"
    );
}

#[tokio::test]
async fn a_place_is_free_again_with_its_seat() {
    let (node, _workers) = node(1);
    let room = demo(&node).await;
    for index in 1..=6 {
        seat(&node, &room, index, &format!("guest-{index}")).await;
    }
    assert_eq!(code(try_seat(&node, &room, 7, "dan").await), Code::CapacityExhausted);
    assert_eq!(code(view(&node, &room).await), Code::CapacityExhausted);
    let unseat = Command::UnseatUser {
        user: user("guest-1"),
        reason: None,
    };
    node.command(&room, &service(), unseat).await.unwrap();
    try_seat(&node, &room, 7, "dan")
        .await
        .expect("the place of the one who left");
    node.command(&room, &service(), Command::End).await.unwrap();
    let other = node.create(&service(), id("other"), settings()).await.unwrap().0.id;
    for _ in 0..6 {
        view(&node, &other).await.expect("nothing is kept for an ended room");
    }
}

#[tokio::test]
async fn the_host_who_is_away_comes_back_to_a_full_node() {
    let (node, workers) = node(1);
    let room = demo(&node).await;
    let (session, _) = on_air(&node, &workers, &room, "host", 0).await;
    assert!(node.close(&session.id).await);
    for _ in 0..5 {
        view(&node, &room).await.unwrap();
    }
    assert_eq!(code(view(&node, &room).await), Code::CapacityExhausted);
    on_air(&node, &workers, &room, "host", 0).await;
}
