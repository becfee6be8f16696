//! A whole node in this process: what its listeners answer, that the demo goes on air by the ordinary doors, and that it
//! stops in good order.

use costage::config::{Config, flag_entry};
use costage::serve::Server;
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::{interval, timeout};

const DRAIN: Duration = Duration::from_secs(10);
/// Far more than a loaded machine needs; only a failure takes this long.
const PATIENCE: Duration = Duration::from_secs(30);

/// A development node on free ports of loopback.
fn config() -> Config {
    let settings = [
        "http.listen=127.0.0.1:0",
        "admin.listen=127.0.0.1:0",
        "media.base_port=0",
        "media.addresses=127.0.0.1",
        "media.workers=2",
    ];
    let entries: Vec<_> = settings.iter().map(|setting| flag_entry(setting).unwrap()).collect();
    Config::from_entries(true, &entries).unwrap()
}

fn client() -> reqwest::Client {
    reqwest::Client::builder().no_proxy().build().unwrap()
}

async fn text(url: String) -> (u16, String) {
    let response = client().get(url).send().await.unwrap();
    (response.status().as_u16(), response.text().await.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn listeners_answer_and_the_node_stops() {
    let server = Server::start(&config()).await.unwrap();
    let (url, admin) = (server.local_url(), format!("http://{}", server.admin()));

    for page in ["/", "/publish"] {
        let (status, body) = text(format!("{url}{page}")).await;
        assert!(
            status == 200 && body.starts_with("<!doctype html>"),
            "{page}: {status} {body}"
        );
    }
    for base in [&url, &admin] {
        assert_eq!(text(format!("{base}/healthz")).await.0, 200);
        assert_eq!(text(format!("{base}/readyz")).await.0, 200);
    }
    let (status, metrics) = text(format!("{admin}/metrics")).await;
    assert_eq!(status, 200);
    for line in ["costage_rooms 0", "costage_publishers{worker=\"1\"} 0"] {
        assert!(metrics.lines().any(|l| l == line), "{line} missing in\n{metrics}");
    }
    assert_eq!(
        text(format!("{url}/metrics")).await.0,
        404,
        "metrics are for the admin listener"
    );

    timeout(PATIENCE, server.stop(DRAIN)).await.expect("the node stops");
    assert!(client().get(format!("{url}/healthz")).send().await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_taken_port_is_told_with_its_setting() {
    let first = Server::start(&config()).await.unwrap();
    let mut second = config();
    second.http.listen = first.http();
    let error = Server::start(&second)
        .await
        .err()
        .expect("the port is taken")
        .to_string();
    assert!(
        error.contains("http.listen") && error.contains(&first.http().to_string()),
        "{error}"
    );
    first.stop(DRAIN).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_demo_goes_on_air() {
    let config = config();
    let mut server = Server::start(&config).await.unwrap();
    let url = server.local_url();
    let room = server.play_demo(&config);

    let body = json!({ "room": room, "user": "test", "role": "service" });
    let issued = client()
        .post(format!("{url}/v1/tokens"))
        .json(&body)
        .send()
        .await
        .unwrap();
    let issued: Value = issued.json().await.unwrap();
    let token = issued["token"].as_str().expect("a token").to_owned();

    let live = async {
        let mut look = interval(Duration::from_millis(50));
        loop {
            look.tick().await;
            let request = client().get(format!("{url}/v1/rooms/{room}")).bearer_auth(&token);
            let snapshot: Value = request.send().await.unwrap().json().await.unwrap();
            let camera = &snapshot["seats"][0]["sources"]["camera"];
            if snapshot["phase"] == "live" && camera["width"] == 1280 {
                return snapshot;
            }
        }
    };
    let snapshot = timeout(PATIENCE, live).await.expect("the demo is on air");
    assert_eq!(snapshot["host"]["user"], "demo-host");
    assert_eq!(snapshot["public_program"], true);
    assert_eq!(snapshot["seats"][0]["state"], "occupied");

    let (_, metrics) = text(format!("http://{}/metrics", server.admin())).await;
    let publishers = metrics.lines().filter(|line| line.starts_with("costage_publishers{"));
    let publishers: u64 = publishers
        .filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok())
        .sum();
    assert_eq!(publishers, 1);
    timeout(PATIENCE, server.stop(DRAIN)).await.expect("the node stops");
}
