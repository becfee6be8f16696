//! The program's settings and its layout, as the contract has them.

use super::permissions::{Row, Stage, calm, check, hosts};
use super::schema::difference;
use super::*;

const OK: &str = "200";
const DENIED: &str = "403 permission_denied";

fn tile(x: f64, w: f64) -> Value {
    json!({"template": "custom", "tiles": [{"seat": 1, "x": x, "y": 0, "w": w, "h": 1}]})
}

/// Of the columns of a row: hosts and services, but no admin.
fn no_admins() -> [&'static str; 10] {
    let mut row = hosts(DENIED);
    (row[0], row[1]) = (OK, OK);
    row
}

#[tokio::test]
async fn layouts_by_roles() {
    let mut anybody = [OK; 10];
    (anybody[8], anybody[9]) = (DENIED, "401 unauthenticated");
    let table: Vec<Row> = vec![
        ("GET", "/layout", Value::Null, anybody),
        ("PUT", "/layout", json!({"template": "float"}), hosts(OK)),
        ("PUT", "/layout", tile(0.5, 0.6), hosts("422 invalid_argument")),
        ("PATCH", "/program", json!({"mode": "mixed"}), hosts(OK)),
        ("PATCH", "", json!({"layout": {"template": "float"}}), hosts(OK)),
    ];
    // A layout that can't be is refused before it is asked who wants it.
    let table = table.into_iter().map(|(method, path, body, mut outcomes)| {
        if outcomes[0] == "422 invalid_argument" {
            (outcomes[5], outcomes[6], outcomes[7]) = (outcomes[0], outcomes[0], outcomes[0]);
        }
        (method, path, body, outcomes)
    });
    check(&table.collect::<Vec<Row>>(), &calm()).await;

    let mut others = calm();
    others["policies"]["admin_may"] = json!(["settings"]);
    let table: Vec<Row> = vec![
        ("PUT", "/layout", json!({"template": "float"}), no_admins()),
        ("PATCH", "", json!({"layout": {"template": "float"}}), no_admins()),
        ("PATCH", "/program", json!({"mode": "mixed"}), hosts(OK)),
    ];
    check(&table, &others).await;
    others["policies"]["admin_may"] = json!(["layout"]);
    let table: Vec<Row> = vec![
        ("PUT", "/layout", json!({"template": "float"}), hosts(OK)),
        ("PATCH", "/program", json!({"mode": "mixed"}), no_admins()),
    ];
    check(&table, &others).await;
}

#[tokio::test]
async fn a_wrong_field_is_named_and_the_layout_in_force_stays() {
    let stage = Stage::new(calm()).await;
    let good = stage.set("host", "PUT", "/layout", tile(0.5, 0.5)).await;
    for (body, field) in [
        (tile(0.5, 0.6), "tiles[0].w"),
        (json!({"template": "pile"}), "template"),
        (
            json!({"template": "custom", "tiles": [{"seat": 10, "x": 0, "y": 0, "w": 1, "h": 1}]}),
            "tiles[0].seat",
        ),
        (
            json!({"template": "custom", "tiles": [{"seat": 300, "x": 0, "y": 0, "w": 1, "h": 1}]}),
            "tiles[0].seat",
        ),
        (
            json!({"template": "custom", "tiles": [{"seat": 1, "x": 0, "y": 0, "w": 1}]}),
            "tiles[0].h",
        ),
        (
            json!({"template": "custom", "tiles": [{"seat": 1, "x": "0", "y": 0, "w": 1, "h": 1}]}),
            "tiles[0].x",
        ),
        (
            json!({"background": {"image": "data:image/png;base64,AAAA"}}),
            "background.image",
        ),
        (
            json!({"watermarks": [{"text": "a", "x": 0.9, "y": 0, "w": 0.2, "h": 0.1}]}),
            "watermarks[0].w",
        ),
        (json!({"volumes": {"10": 0.5}}), "volumes.10"),
        (json!({"volumes": {"1": "loud"}}), "volumes.1"),
        (json!({"templates": "grid"}), "templates"),
        (json!({"template": "grid", "if_version": "new"}), "if_version"),
    ] {
        let answer = stage.say("host", "PUT", "/layout", body.clone()).await;
        let named = (
            answer.outcome(),
            answer.json["field"].as_str().unwrap_or_default().to_owned(),
        );
        assert_eq!(
            named,
            ("422 invalid_argument".to_owned(), field.to_owned()),
            "{body}: {}",
            answer.text
        );
    }
    for (body, field) in [
        (json!({"mode": "blended"}), "mode"),
        (json!({"video": {"width": 1280}}), "video.height"),
        (json!({"video": {"width": 1281, "height": 720}}), "video.width"),
        (json!({"video": {"width": 1920, "height": 1920}}), "video.width"),
        (json!({"video": {"width": "wide", "height": 720}}), "video.width"),
        (json!({"video": {"fps": 61}}), "video.fps"),
        (json!({"video": {"bitrate_kbps": 5}}), "video.bitrate_kbps"),
        (json!({"video": {"gop_ms": -1}}), "video.gop_ms"),
        (json!({"video": {"sei": "xml"}}), "video.sei"),
        (json!({"audio": {"channels": 3}}), "audio.channels"),
        (json!({"audio": {"codec": "opus"}}), "audio.codec"),
        (json!({"idle": "never"}), "idle"),
    ] {
        let answer = stage.say("host", "PATCH", "/program", body.clone()).await;
        let named = (
            answer.outcome(),
            answer.json["field"].as_str().unwrap_or_default().to_owned(),
        );
        assert_eq!(
            named,
            ("422 invalid_argument".to_owned(), field.to_owned()),
            "{body}: {}",
            answer.text
        );
        let body = json!({"program": body});
        let answer = stage.say("host", "PATCH", "", body.clone()).await;
        let named = (
            answer.outcome(),
            answer.json["field"].as_str().unwrap_or_default().to_owned(),
        );
        assert_eq!(
            named,
            ("422 invalid_argument".to_owned(), format!("program.{field}")),
            "{body}: {}",
            answer.text
        );
    }
    let now = stage.say("member", "GET", "/layout", Value::Null).await;
    assert_eq!(now.json, good.json);
}

#[tokio::test]
async fn layouts_change_one_after_the_other() {
    let stage = Stage::new(calm()).await;
    let first = stage.set("host", "PUT", "/layout", json!({"template": "float"})).await;
    let version = first.json["version"].as_u64().expect("a version");
    let again = stage.set("host", "PUT", "/layout", json!({"template": "float"})).await;
    assert_eq!(again.json["version"], version, "nothing has changed");
    let stale = json!({"template": "grid", "if_version": version - 1});
    let answer = stage.say("admin", "PUT", "/layout", stale).await;
    assert_eq!(
        (answer.outcome().as_str(), &answer.json["version"]),
        ("409 version_conflict", &json!(version))
    );
    let answer = stage
        .say(
            "admin",
            "PATCH",
            "/program",
            json!({"mode": "off", "if_version": version - 1}),
        )
        .await;
    assert_eq!(answer.outcome(), "409 version_conflict");
    let current = json!({"template": "grid", "if_version": version});
    let next = stage.set("admin", "PUT", "/layout", current).await;
    assert_eq!(next.json["version"], version + 1);
    assert_eq!(next.json["template"], "grid");
    // A repeat with the same key is the same answer, whatever the room is like by then.
    let put = |template: &str| {
        call("PUT", "/v1/rooms/demo/layout")
            .by("host")
            .header("idempotency-key", "k")
            .json(json!({"template": template}))
    };
    let once = put("screen").to(&stage.server).await;
    stage.set("host", "PUT", "/layout", json!({"template": "float"})).await;
    let twice = put("screen").to(&stage.server).await;
    assert_eq!((once.outcome().as_str(), &once.text), (OK, &twice.text));
    assert_eq!(
        put("grid").to(&stage.server).await.outcome(),
        "422 idempotency_key_reused"
    );
    let room = stage.say("member", "GET", "", Value::Null).await;
    assert_eq!(room.json["layout"]["template"], "float");
}

#[tokio::test]
async fn the_room_shows_how_its_program_is_made() {
    let settings = json!({
        "program": {"mode": "mixed", "video": {"width": 720, "height": 1280}, "idle": "always"},
        "layout": {"template": "screen", "labels": true, "volumes": {"3": 0.5}}});
    let stage = Stage::new(settings).await;
    let contract = stage.server.get("/openapi.json", "nobody").await.json;
    let room = stage.say("member", "GET", "", Value::Null).await;
    assert_eq!(difference(&contract, "GET", "/v1/rooms/{room}", &room), None);
    assert_eq!(
        room.json["program"]["video"],
        json!({"width": 720, "height": 1280, "fps": 30, "bitrate_kbps": "auto", "gop_ms": 2000, "sei": "none"})
    );
    assert_eq!(
        (&room.json["program"]["mode"], &room.json["program"]["idle"]),
        (&json!("mixed"), &json!("always"))
    );
    assert_eq!(
        (&room.json["layout"]["template"], &room.json["layout"]["labels"]),
        (&json!("screen"), &json!(true))
    );
    let layout = stage.say("member", "GET", "/layout", Value::Null).await;
    assert_eq!(layout.json["canvas"], json!({"width": 720, "height": 1280}));
    assert_eq!(layout.json["in_force"], json!([]), "nobody has come");

    // What is not named stays.
    let changed = stage
        .set("host", "PATCH", "/program", json!({"video": {"fps": 60}}))
        .await;
    assert_eq!(
        difference(&contract, "PATCH", "/v1/rooms/{room}/program", &changed),
        None
    );
    assert_eq!(changed.json["program"]["video"]["fps"], 60);
    assert_eq!(changed.json["program"]["video"]["width"], 720);
    let sizeless = json!({"video": {"width": "auto", "height": "auto"}});
    let changed = stage.set("host", "PATCH", "/program", sizeless).await;
    assert_eq!(changed.json["program"]["video"]["height"], "auto");
    let layout = stage.say("member", "GET", "/layout", Value::Null).await;
    assert_eq!(layout.json["canvas"], json!({"width": 1280, "height": 720}));
    let room = stage
        .set("host", "PATCH", "", json!({"layout": {"template": "grid"}}))
        .await;
    assert_eq!(
        (&room.json["layout"]["labels"], &room.json["layout"]["volumes"]),
        (&Value::Null, &json!({}))
    );

    for (part, body, field) in [
        ("layout", tile(0.5, 0.6), "layout.tiles[0].w"),
        ("layout", json!({"volumes": {"12": 1}}), "layout.volumes.12"),
        ("program", json!({"video": {"fps": 5}}), "program.video.fps"),
        ("program", json!({"video": {"sei": "xml"}}), "program.video.sei"),
    ] {
        let mut room = json!({"room": "demo", "host": {"user": "ann"}});
        room[part] = body;
        let answer = call("POST", "/v1/rooms").by("service").json(room).to(&server()).await;
        assert_eq!(
            (answer.outcome().as_str(), &answer.json["field"]),
            ("422 invalid_argument", &json!(field))
        );
    }
}
