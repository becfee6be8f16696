//! A whole node in this process: what its listeners answer, that the demo goes on air by the ordinary doors, and that it
//! stops in good order.

use costage::config::{Config, flag_entry};
use costage::serve::Server;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;
use tokio::time::{interval, timeout};

/// Far more than a loaded machine needs; only a failure takes this long.
const PATIENCE: Duration = Duration::from_secs(30);

/// A development node on free ports of loopback.
const SETTINGS: [&str; 5] = [
    "http.listen=127.0.0.1:0",
    "admin.listen=127.0.0.1:0",
    "media.base_port=0",
    "media.addresses=127.0.0.1",
    "media.workers=2",
];

fn config() -> Config {
    let entries: Vec<_> = SETTINGS.iter().map(|setting| flag_entry(setting).unwrap()).collect();
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

    timeout(PATIENCE, server.stop()).await.expect("the node stops");
    assert!(client().get(format!("{url}/healthz")).send().await.is_err());
}

/// What draining lets go on, what it refuses, and that it ends with the last peer.
#[tokio::test(flavor = "multi_thread")]
async fn a_draining_node_takes_nothing_new_and_waits_for_its_peers() {
    const OFFER: &str = include_str!("fixtures/sdp/chromium-publish.sdp");
    let mut server = Server::start(&config()).await.unwrap();
    let (url, admin) = (server.local_url(), format!("http://{}", server.admin()));
    let issue = json!({ "room": "*", "user": "backend", "role": "service" });
    let issued = client()
        .post(format!("{url}/v1/tokens"))
        .json(&issue)
        .send()
        .await
        .unwrap();
    let issued: Value = issued.json().await.unwrap();
    let token = issued["token"].as_str().expect("a token").to_owned();
    let post = |path: &str| client().post(format!("{url}{path}")).bearer_auth(&token);
    let room = json!({ "room": "r", "host": "ann" });
    assert_eq!(post("/v1/rooms").json(&room).send().await.unwrap().status(), 201);
    let whip = || {
        post("/v1/rooms/r/whip?user=ann")
            .header("content-type", "application/sdp")
            .body(OFFER)
    };
    let published = whip().send().await.unwrap();
    assert_eq!(published.status(), 201);
    let resource = published.headers()["location"].to_str().unwrap().to_owned();

    let look = async {
        let mut look = interval(Duration::from_millis(20));
        while text(format!("{url}/readyz")).await.0 != 503 {
            look.tick().await;
        }
        assert_eq!(text(format!("{admin}/readyz")).await.0, 503);
        assert_eq!(text(format!("{url}/healthz")).await.0, 200, "alive all the same");
        let other = json!({ "room": "other", "host": "ann" });
        for refused in [post("/v1/rooms").json(&other), whip()] {
            let refused = refused.send().await.unwrap();
            assert_eq!(refused.status(), 503);
            assert!(refused.headers().contains_key("retry-after"));
            assert_eq!(refused.json::<Value>().await.unwrap()["code"], "server_draining");
        }
        let seats = client().get(format!("{url}/v1/rooms/r/seats")).bearer_auth(&token);
        assert_eq!(seats.send().await.unwrap().status(), 200, "what runs goes on");
        let left = client().delete(&resource).bearer_auth(&token).send().await.unwrap();
        assert_eq!(left.status(), 200);
    };
    // The deadline is beyond PATIENCE: only the last peer's leaving ends it in time.
    let draining = async { tokio::join!(server.drain(PATIENCE * 2), look) };
    timeout(PATIENCE, draining)
        .await
        .expect("drained when the last peer left");
    timeout(PATIENCE, server.stop()).await.expect("the node stops");
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
    first.stop().await;
}

/// The soft and the hard limit of open files, as proc(5) shows them.
fn open_files(limits: &str) -> (&str, &str) {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
    let mut words = line.expect("the limit").split_whitespace();
    (words.next().unwrap(), words.next().unwrap())
}

#[test]
fn the_binary_takes_the_open_files_it_may_have() {
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -Sn 300 && ulimit -Hn 900 && exec \"$0\" \"$@\""]);
    command.args([env!("CARGO_BIN_EXE_costage"), "serve", "--dev"]);
    for setting in SETTINGS {
        command.args(["--set", setting]);
    }
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("COSTAGE_")) {
        command.env_remove(name);
    }
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    let listens = BufReader::new(child.stdout.take().unwrap()).read_line(&mut line);
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", child.id()));
    child.kill().unwrap();
    let end = child.wait_with_output().unwrap();
    let log = String::from_utf8_lossy(&end.stderr);
    assert!(listens.is_ok() && line.contains(" on http://"), "{line}{log}");
    assert_eq!(open_files(&limits.unwrap()), ("900", "900"), "{log}");
    let told: Vec<&str> = log.lines().filter(|line| line.contains("open files")).collect();
    assert!(
        matches!(told[..], [one] if one.contains("limit=900") && one.contains("before=300")),
        "{log}"
    );
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
    timeout(PATIENCE, server.stop()).await.expect("the node stops");
}
