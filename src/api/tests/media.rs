//! WHIP and WHEP, up to the media workers.

use super::*;

const PUBLISH: &str = "v=0\r\no=- 4611731400430051336 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0 1\r\n\
m=audio 9 UDP/TLS/RTP/SAVPF 111\r\nc=IN IP4 0.0.0.0\r\na=ice-ufrag:puba\r\na=ice-pwd:pubpwdpubpwdpubpwdpubpwd\r\n\
a=fingerprint:sha-256 00:01:02:03:04:05:06:07:08:09:0A:0B:0C:0D:0E:0F:10:11:12:13:14:15:16:17:18:19:1A:1B:1C:1D:1E:1F\r\n\
a=setup:actpass\r\na=mid:0\r\na=sendonly\r\na=rtcp-mux\r\na=rtpmap:111 opus/48000/2\r\na=ssrc:1001 cname:x\r\n\
m=video 9 UDP/TLS/RTP/SAVPF 96\r\nc=IN IP4 0.0.0.0\r\na=ice-ufrag:puba\r\na=ice-pwd:pubpwdpubpwdpubpwdpubpwd\r\n\
a=fingerprint:sha-256 00:01:02:03:04:05:06:07:08:09:0A:0B:0C:0D:0E:0F:10:11:12:13:14:15:16:17:18:19:1A:1B:1C:1D:1E:1F\r\n\
a=setup:actpass\r\na=mid:1\r\na=sendonly\r\na=rtcp-mux\r\na=rtpmap:96 VP8/90000\r\na=rtcp-fb:96 nack pli\r\n\
a=ssrc:1002 cname:x\r\n";

fn watch() -> String {
    let offer = PUBLISH.replace("sendonly", "recvonly").replace("puba", "view");
    let h264 = "H264/90000\r\na=fmtp:96 packetization-mode=1;profile-level-id=42e01f";
    offer
        .replace("VP8/90000", h264)
        .split_inclusive("\r\n")
        .filter(|line| !line.starts_with("a=ssrc:"))
        .collect()
}

/// What a trickling client sends: its credentials and a candidate.
fn fragment(ufrag: &str) -> String {
    format!(
        "a=ice-ufrag:{ufrag}\r\na=ice-pwd:pubpwdpubpwdpubpwdpubpwd\r\nm=audio 9 UDP/TLS/RTP/SAVPF 0\r\na=mid:0\r\n\
         a=candidate:1 1 udp 2130706431 127.0.0.1 40000 typ host\r\na=end-of-candidates\r\n"
    )
}

fn post(path: &str, offer: &str) -> Call {
    call("POST", &format!("/v1/rooms/demo/{path}")).body("application/sdp", offer)
}

/// The path of a `Location`.
fn path_of(answer: &Answer) -> String {
    let location = answer
        .header("location")
        .strip_prefix("http://sfu.example:8080")
        .expect("an absolute location");
    location.to_owned()
}

fn trickle(path: &str, body: &str) -> Call {
    call("PATCH", path).body("application/trickle-ice-sdpfrag", body)
}

/// `demo` with its host live.
async fn live() -> (Server, String) {
    let server = server_with(|options| options.dev = true).with_demo().await;
    let published = post("whip", PUBLISH).by("host").to(&server).await;
    assert_eq!(published.outcome(), "201", "{}", published.text);
    // The fake worker is told right after the answer; its news make the phase live.
    for _ in 0..10_000 {
        let peer = server.publishers.lock().expect("no panic").first().copied();
        if let Some(peer) = peer {
            server
                .events
                .send(Event::Connected { peer })
                .await
                .expect("a control plane");
            break;
        }
        tokio::task::yield_now().await;
    }
    for _ in 0..10_000 {
        if server.get("/v1/rooms/demo", "host").await.json["phase"] == "live" {
            return (server, path_of(&published));
        }
        tokio::task::yield_now().await;
    }
    panic!("the room never went live");
}

/// Browsers' offers of a large stage are longer than what is taken by default.
#[tokio::test]
async fn an_offer_may_be_as_long_as_the_limit_says() {
    let most = crate::transport::sdp::MAX_TEXT;
    let server = server_with(|options| options.limits.sdp_bytes = most).with_gus().await;
    let padded = |bytes: usize| {
        let line = "a=x-padding:0123456789\r\n";
        PUBLISH.to_owned() + &line.repeat((bytes - PUBLISH.len()) / line.len())
    };
    for (bytes, outcome) in [(70_000, "201"), (most, "201"), (most + 1_000, "413 payload_too_large")] {
        let answer = post("whip", &padded(bytes)).by("guest").to(&server).await;
        assert_eq!(answer.outcome(), outcome, "{bytes} bytes: {}", answer.text);
    }
}

#[tokio::test]
async fn publishing_takes_a_seat_and_an_offer() {
    let server = server().with_gus().await;
    let table = [
        (post("whip", PUBLISH).by("nobody"), "401 unauthenticated"),
        (post("whip", PUBLISH).by("stranger"), "403 permission_denied"),
        (post("whip", PUBLISH).by("member"), "403 not_seated"),
        (post("whip?user=gus", PUBLISH).by("member"), "403 permission_denied"),
        (post("whip?source=window", PUBLISH).by("guest"), "422 invalid_argument"),
        (post("whip", "hello").by("guest"), "400 sdp_invalid"),
        (post("whip", "").by("guest"), "400 sdp_invalid"),
        (post("whip", &"x".repeat(70_000)).by("guest"), "413 payload_too_large"),
        (
            post("whip", &PUBLISH.replace("VP8", "VP3").replace("opus", "speex")).by("guest"),
            "422 codec_unsupported",
        ),
        (
            call("POST", "/v1/rooms/demo/whip")
                .body("application/json", "{}")
                .by("guest"),
            "415 unsupported_media_type",
        ),
        (
            call("POST", "/v1/rooms/nope/whip")
                .body("application/sdp", PUBLISH)
                .by("service"),
            "404 room_not_found",
        ),
    ];
    for (number, (call, outcome)) in table.into_iter().enumerate() {
        let answer = call.to(&server).await;
        assert_eq!(answer.outcome(), outcome, "row {number}: {}", answer.text);
    }
    let published = post("whip?source=camera&encoder=x", PUBLISH)
        .by("guest")
        .to(&server)
        .await;
    assert_eq!(published.outcome(), "201", "{}", published.text);
    assert_eq!(published.header("content-type"), "application/sdp");
    assert!(published.text.starts_with("v=0") && published.text.contains("a=ice-lite"));
    assert!(published.header("etag").starts_with('"') && published.header("etag").len() > 2);
    assert_eq!(published.header("accept-patch"), "application/trickle-ice-sdpfrag");
    assert!(path_of(&published).starts_with("/v1/whip/"));
    assert_eq!(
        post("whip?user=gus&source=screen", PUBLISH)
            .by("service")
            .to(&server)
            .await
            .outcome(),
        "201"
    );
    // A repeat replaces.
    let again = post("whip", PUBLISH).by("guest").to(&server).await;
    assert_eq!(again.outcome(), "201");
    assert_ne!(path_of(&again), path_of(&published));
    assert_eq!(
        call("DELETE", &path_of(&published))
            .by("guest")
            .to(&server)
            .await
            .outcome(),
        "404 not_found"
    );
}

#[tokio::test]
async fn a_publishers_resource_follows_the_rules() {
    let (server, path) = live().await;
    let etag = |answer: &Answer| answer.header("etag").to_owned();
    let published = post("whip", PUBLISH).by("host").to(&server).await;
    let (path, tag) = (
        Some(path_of(&published))
            .filter(|new| *new != path)
            .expect("a new resource"),
        etag(&published),
    );
    let body = fragment("puba");
    let table = [
        (trickle(&path, &body).by("nobody"), "401 unauthenticated"),
        (
            trickle(&path, &body).by("member").header("if-match", &tag),
            "403 permission_denied",
        ),
        (trickle(&path, &body).by("host"), "428 precondition_required"),
        (
            trickle(&path, &body).by("host").header("if-match", "\"other\""),
            "412 precondition_failed",
        ),
        (
            trickle(&path, "nonsense").by("host").header("if-match", &tag),
            "400 sdp_invalid",
        ),
        (
            call("PATCH", &path)
                .body("text/plain", "x")
                .by("host")
                .header("if-match", &tag),
            "415 unsupported_media_type",
        ),
        (call("GET", &path).by("host"), "405 method_not_allowed"),
        (call("PUT", &path).by("host"), "405 method_not_allowed"),
        (
            call("DELETE", &path).by("host").header("if-match", "\"other\""),
            "412 precondition_failed",
        ),
        (call("DELETE", &path).by("member"), "403 permission_denied"),
        (call("DELETE", &path).by("nobody"), "401 unauthenticated"),
        (
            call("DELETE", &path.replace("whip", "whep")).by("host"),
            "404 not_found",
        ),
        (call("DELETE", "/v1/whip/unknown").by("host"), "404 not_found"),
        (trickle(&path, &body).by("host").header("if-match", &tag), "204"),
        (trickle(&path, &body).by("service").header("if-match", &tag), "204"),
    ];
    for (number, (call, outcome)) in table.into_iter().enumerate() {
        let answer = call.to(&server).await;
        assert_eq!(answer.outcome(), outcome, "row {number}: {}", answer.text);
    }
    let restarted = trickle(&path, &fragment("pubb"))
        .by("host")
        .header("if-match", "*")
        .to(&server)
        .await;
    assert_eq!(restarted.outcome(), "200", "{}", restarted.text);
    assert_eq!(restarted.header("content-type"), "application/trickle-ice-sdpfrag");
    assert!(restarted.text.contains("a=ice-ufrag:"));
    assert_ne!(etag(&restarted), tag);
    assert_eq!(
        trickle(&path, &fragment("pubb"))
            .by("host")
            .header("if-match", &tag)
            .to(&server)
            .await
            .outcome(),
        "412 precondition_failed"
    );
    let ended = call("DELETE", &path)
        .by("host")
        .header("if-match", &etag(&restarted))
        .to(&server)
        .await;
    assert_eq!(ended.outcome(), "200");
    assert_eq!(
        call("DELETE", &path).by("host").to(&server).await.outcome(),
        "404 not_found"
    );
}

#[tokio::test]
async fn watching_needs_something_to_watch() {
    let server = server_with(|options| options.dev = true).with_demo().await;
    let early = post("whep/program", &watch()).to(&server).await;
    assert_eq!(early.outcome(), "409 nothing_to_play", "{}", early.text);
    assert!(early.header("retry-after").parse::<u32>().is_ok_and(|wait| wait >= 1));
    assert!(early.json["retry_after_ms"].as_u64().is_some());
    let (server, _) = live().await;
    let offer = watch();
    let table = [
        (post("whep/program", &offer).by("nobody"), "201"),
        (post("whep/program?minus=me", &offer).by("member"), "201"),
        (post("whep/program?minus=me", &offer).by("host"), "201"),
        (
            post("whep/program?minus=you", &offer).by("host"),
            "422 invalid_argument",
        ),
        (
            post("whep/program", &offer).header("authorization", "Bearer x.y.z"),
            "401 unauthenticated",
        ),
        (post("whep/program", &offer).by("stranger"), "403 permission_denied"),
        (post("whep/stage", &offer).by("nobody"), "401 unauthenticated"),
        (post("whep/stage", &offer).by("member"), "201"),
        (post("whep/seats/0", &offer).by("member"), "201"),
        (
            post("whep/seats/0?source=screen", &offer).by("member"),
            "409 nothing_to_play",
        ),
        (post("whep/seats/3", &offer).by("member"), "409 nothing_to_play"),
        (post("whep/seats/x", &offer).by("member"), "422 seat_index_invalid"),
        (post("whep/program", "x").by("nobody"), "400 sdp_invalid"),
        (
            post("whep/program", &offer.replace("H264", "VP8")).by("nobody"),
            "422 codec_unsupported",
        ),
        (post("whep/stage", &offer.replace("H264", "VP8")).by("member"), "201"),
    ];
    for (number, (call, outcome)) in table.into_iter().enumerate() {
        let answer = call.to(&server).await;
        assert_eq!(answer.outcome(), outcome, "row {number}: {}", answer.text);
    }
    call("PATCH", "/v1/rooms/demo")
        .by("host")
        .json(json!({"public_program": false}))
        .to(&server)
        .await;
    assert_eq!(
        post("whep/program", &offer).to(&server).await.outcome(),
        "401 unauthenticated"
    );
    assert_eq!(
        post("whep/program", &offer).by("member").to(&server).await.outcome(),
        "201"
    );
}

#[tokio::test]
async fn a_viewers_resource_belongs_to_the_viewer() {
    let (server, _) = live().await;
    let anonymous = post("whep/program", &watch()).to(&server).await;
    let path = path_of(&anonymous);
    assert!(path.starts_with("/v1/whep/"));
    let slots = call("GET", &path).to(&server).await;
    assert_eq!(
        (slots.outcome().as_str(), slots.header("etag")),
        ("200", anonymous.header("etag"))
    );
    assert!(slots.json.is_array(), "{}", slots.text);
    let layers = |path: &str, body: Value| call("PATCH", &format!("{path}/layers")).json(body);
    let wish = json!({"slots": {"0": {"max_height": 360, "paused": false}}});
    assert_eq!(layers(&path, wish.clone()).to(&server).await.outcome(), "204");
    let none = layers(&path, json!({"slots": {"7": {}}})).to(&server).await;
    assert_eq!(
        (none.outcome().as_str(), none.json["field"].as_str()),
        ("422 invalid_argument", Some("slots.7"))
    );
    assert_eq!(
        layers("/v1/whep/unknown", wish.clone()).to(&server).await.outcome(),
        "404 not_found"
    );
    assert_eq!(call("DELETE", &path).to(&server).await.outcome(), "200");
    assert_eq!(layers(&path, wish.clone()).to(&server).await.outcome(), "404 not_found");

    let known = path_of(&post("whep/stage", &watch()).by("member").to(&server).await);
    assert_eq!(call("GET", &known).to(&server).await.outcome(), "401 unauthenticated");
    assert_eq!(
        call("GET", &known).by("guest").to(&server).await.outcome(),
        "403 permission_denied"
    );
    assert_eq!(
        call("GET", &known).by("stranger").to(&server).await.outcome(),
        "403 permission_denied"
    );
    for who in ["member", "service", "host"] {
        assert_eq!(
            layers(&known, wish.clone()).by(who).to(&server).await.outcome(),
            "204",
            "{who}"
        );
    }
    assert_eq!(call("DELETE", &known).by("service").to(&server).await.outcome(), "200");
}
