//! The program's size where nobody asked for one: the host's, and it stays; and what `/explain` says of it all.

use crate::card::{arranged, tiles};
use crate::node::Node;
use crate::publisher::{Publisher, Show};
use crate::turn;
use crate::watcher::Watcher;
use costage::mix::layout::Layout;
use costage::mix::picture::Size;
use reqwest::Method;
use serde_json::{Value, json};
use std::time::Duration;

const FPS: u32 = 15;

async fn layout_of(node: &Node) -> Value {
    node.call(Method::GET, &node.room_url("layout"), None).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_program_has_the_hosts_size_and_keeps_it() {
    let _turn = turn().await;
    let (large, small) = (Size::even(640, 360).unwrap(), Size::even(320, 180).unwrap());
    let node = Node::start(2, &["amy"]).await;
    assert_eq!(layout_of(&node).await["canvas"], json!({"width": 1280, "height": 720}));
    let host = Publisher::start(&node, Show::new(0, 640, 360, FPS)).await;
    let of_host = json!({"width": 640, "height": 360});
    while layout_of(&node).await["canvas"] != of_host {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // as long as a size has to stay, and some
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    host.leave(&node).await;

    let _host = Publisher::start(&node, Show::new(0, 320, 180, FPS)).await;
    let _guest = Publisher::start(&node, Show::new(1, 320, 180, FPS)).await;
    let mut watcher = Watcher::start(&node, "zoe", FPS).await;
    watcher
        .until("both, on a canvas of the host's first size", |watcher| {
            let picture = &watcher.shot.picture;
            if picture.size() != large {
                return Err(format!("{:?}", picture.size()));
            }
            arranged(picture, &Layout::default(), &[0, 1], small).map(|_| ())
        })
        .await;
    let layout = layout_of(&node).await;
    assert_eq!(layout["canvas"], of_host);
    let drawn = tiles(&Layout::default(), large, &[0, 1]);
    let in_force = layout["in_force"].as_array().unwrap();
    assert_eq!(in_force.len(), drawn.len());
    for (told, drawn) in in_force.iter().zip(&drawn) {
        assert_eq!(told["x"], f64::from(drawn.rect.x) / 640.0);
        assert_eq!(told["h"], f64::from(drawn.rect.height) / 360.0);
    }

    let said = node.call(Method::GET, &node.room_url("explain?seat=0"), None).await;
    let links = said["links"].as_array().unwrap();
    let program = links.iter().find(|link| link["link"] == "program").unwrap();
    assert_eq!(
        program["sentence"],
        "The program is mixed: the camera of seat 1 is shown, too."
    );
    watcher.finish().await;
    node.stop().await;
}
