//! What is more than the node can mix is refused, and what runs goes on.

use crate::card::arranged;
use crate::node::{Node, ROOM};
use crate::publisher::{Publisher, Show};
use crate::turn;
use crate::watcher::Watcher;
use costage::mix::layout::Layout;
use costage::mix::picture::Size;
use reqwest::Method;
use serde_json::{Value, json};
use std::time::Duration;

const FPS: u32 = 30;

fn path(below: &str) -> String {
    format!("/v1/rooms/{ROOM}/{below}")
}

/// A problem that says what is missing, and when to ask again.
async fn refused(node: &Node, method: Method, below: &str, body: Value) -> String {
    let token = node.token("backend", "service").await;
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let request = client.request(method, node.room_url(below)).bearer_auth(token);
    let response = request.json(&body).send().await.unwrap();
    assert_eq!(response.status().as_u16(), 503, "{below}");
    let wait = response.headers().get("retry-after").expect("when to ask again");
    let wait: u64 = wait.to_str().unwrap().parse().unwrap();
    assert!(wait > 0);
    let problem: Value = response.json().await.unwrap();
    assert_eq!(problem["code"], "capacity_exhausted", "{problem}");
    assert!(problem["version"].is_u64(), "{problem}");
    problem["detail"].as_str().expect("what is missing").to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_more_than_the_node_can_mix_is_refused_and_what_runs_goes_on() {
    let _turn = turn().await;
    let node = Node::with_settings(2, &["program.cores=0.5"], json!({}), &[]).await;
    let _host = Publisher::start(&node, Show::new(0, 640, 360, FPS)).await;
    let mut watcher = Watcher::start(&node, "zoe", FPS).await;
    let size = Size::even(640, 360).unwrap();
    let is = |watcher: &Watcher| arranged(&watcher.shot.picture, &Layout::default(), &[0], size).map(|_| ());
    watcher.until("the host", is).await;

    let video = |width: u16, height: u16, fps: u8| json!({ "width": width, "height": height, "fps": fps });
    let large = json!({ "mode": "mixed", "video": video(1280, 720, 60) });
    let why = refused(&node, Method::PATCH, "program", large).await;
    assert!(
        why.contains("about 0.57 cores") && why.contains("0.50 of the 0.50"),
        "{why}"
    );
    let program = node.call(Method::GET, &format!("/v1/rooms/{ROOM}"), None).await["program"].clone();
    assert_eq!(program["mode"], "auto", "{program}");
    watcher.all_of(Duration::from_millis(500), "the host goes on", is).await;

    let half = json!({ "mode": "mixed", "video": video(1280, 720, 30) });
    node.call(Method::PATCH, &path("program"), Some(half)).await;
    let seat = |number: u8| {
        (
            path(&format!("seats/{number}")),
            json!({ "user": format!("guest-{number}") }),
        )
    };
    for number in 1..=4 {
        let (path, user) = seat(number);
        node.call(Method::PUT, &path, Some(user)).await;
    }
    let why = refused(&node, Method::PUT, "seats/5", seat(5).1).await;
    assert!(why.contains("about 0.52 cores"), "{why}");
    refused(&node, Method::POST, "invitations", json!({ "user": "guest-5" })).await;
    let whole = json!({ "seats": { "1": "a", "2": "b", "3": "c", "4": "d", "5": "e" } });
    refused(&node, Method::PUT, "seats", whole).await;
    refused(&node, Method::PATCH, "program", json!({ "video": { "fps": 60 } })).await;
    watcher
        .until("the mixed program, which nobody had to leave", |watcher| {
            is(watcher)?;
            let mixed = watcher.shot.picture.size() == Size::even(1280, 720).unwrap();
            mixed.then_some(()).ok_or("the host's own picture".to_owned())
        })
        .await;

    assert!(node.metric("costage_program_lane_packets_total").await > 10.0);
    assert_eq!(node.metric("costage_program_cores_limit").await, 0.5);
    let reserved = node.metric("costage_program_cores_reserved").await;
    assert!((reserved - 0.476).abs() < 1e-9, "{reserved}");
    assert_eq!(node.metric("costage_program_overcommits_total").await, 0.0);

    let small = json!({ "video": video(640, 360, 30) });
    node.call(Method::PATCH, &path("program"), Some(small)).await;
    let (path, user) = seat(5);
    node.call(Method::PUT, &path, Some(user)).await;
    node.stop().await;
}
