use super::super::room::tests::test_snapshot;
use super::*;
use crate::room::{Occupancy, Person, Seat, SeatFlags, SourceStatus, UserId};
use serde_json::{Value, json};
use std::io::Cursor;
use std::time::Instant;

fn read(value: Value) -> Result<Layout, Refusal> {
    let form: LayoutForm = serde_json::from_value(value).expect("the form of a layout");
    form.layout()
}

fn written(layout: &Layout) -> Value {
    serde_json::to_value(layout).expect("serialises")
}

fn image(kind: image::ImageFormat, width: u32, height: u32) -> String {
    let mut bytes = Cursor::new(Vec::new());
    let picture = image::RgbImage::from_pixel(width, height, image::Rgb([200, 30, 30]));
    picture.write_to(&mut bytes, kind).expect("it can be packed");
    let prefix = match kind {
        image::ImageFormat::Png => PNG_URL,
        _ => JPEG_URL,
    };
    format!("{prefix}{}", BASE64.encode(bytes.into_inner()))
}

/// Sound base64 of a file that ends too early.
fn half_an_image() -> String {
    let whole = image(image::ImageFormat::Png, 64, 64);
    whole[..PNG_URL.len() + 60].to_owned()
}

fn everything() -> Value {
    json!({
        "template": "custom",
        "tiles": [
            {"seat": 0, "source": "screen", "x": 0.0, "y": 0.0, "w": 0.7, "h": 1.0, "z": -3, "fit": "contain",
                "radius": 0.0, "border": 0.0, "border_color": "#ffffff"},
            {"seat": 3, "source": "camera", "x": 0.7, "y": 0.0, "w": 0.3, "h": 0.5, "z": 2, "fit": "stretch",
                "radius": 0.5, "border": 0.02, "border_color": "#ff8800"}],
        "background": {"color": "#010203", "image": image(image::ImageFormat::Jpeg, 16, 8)},
        "placeholder": {"color": "#a0b0c0", "image": image(image::ImageFormat::Png, 8, 8), "name": false},
        "labels": false,
        "watermarks": [
            {"text": "Live from here", "color": "#ffee00", "x": 0.1, "y": 0.9, "w": 0.3, "h": 0.05, "opacity": 0.5},
            {"image": image(image::ImageFormat::Png, 32, 32), "x": 0.9, "y": 0.0, "w": 0.1, "h": 0.1, "opacity": 1.0},
            {"clock": "hh:mm:ss", "utc_offset_minutes": -210, "color": "#ffffff",
                "x": 0.0, "y": 0.0, "w": 0.2, "h": 0.1, "opacity": 0.8}],
        "volumes": {"0": 1.0, "3": 0.5}
    })
}

#[test]
fn a_layout_is_written_as_it_was_read() {
    let layout = read(everything()).expect("a layout");
    assert_eq!(written(&layout), everything());
    assert_eq!(read(written(&layout)), Ok(layout.clone()));
    // and so does the store
    let kept: Layout = serde_json::from_value(everything()).expect("a layout");
    assert_eq!(kept, layout);
    assert_eq!((layout.volume(SeatIndex(3)), layout.volume(SeatIndex(1))), (0.5, 1.0));
}

#[test]
fn a_stored_image_is_unpacked_when_it_is_read() {
    let stored = |url: String| serde_json::from_value::<Layout>(json!({"background": {"image": url}}));
    let layout = stored(image(image::ImageFormat::Png, 4, 4)).expect("a layout");
    let kept = layout.background.image.expect("an image");
    let file = kept.bytes();
    let unpacked = crate::mix::overlay::Image::decode(ImageKind::Png, file).expect("an image");
    assert_eq!(*kept.unpacked(), unpacked);
    let cut = half_an_image();
    let why = stored(cut).expect_err("half an image").to_string();
    assert!(why.contains("background.image: it can't be read: "), "{why}");
}

#[test]
fn images_together_are_not_larger_than_a_room_may_keep() {
    let large = image(image::ImageFormat::Png, 1920, 1920);
    let mark = json!({"image": large, "x": 0, "y": 0, "w": 1, "h": 1});
    let two = json!({"background": {"image": large}, "watermarks": [mark]});
    assert!(read(two).is_ok());
    let three = json!({"background": {"image": large}, "placeholder": {"image": large}, "watermarks": [mark]});
    let refusal = read(three).expect_err("11 million pixels");
    assert_eq!(
        refusal.field.as_deref(),
        Some("watermarks[0].image"),
        "{}",
        refusal.detail
    );
}

#[test]
fn what_is_absent_is_as_in_a_new_room() {
    let plain = json!({"template": "grid", "background": {"color": "#101216", "image": null},
        "placeholder": {"color": "#2a2e38", "image": null, "name": true},
        "labels": null, "watermarks": [], "volumes": {}});
    assert_eq!(written(&Layout::default()), plain);
    assert_eq!(read(json!({})), Ok(Layout::default()));
    assert_eq!(read(json!({"template": "grid", "tiles": []})), Ok(Layout::default()));
    let tile = read(
        json!({"template": "custom", "tiles": [{"seat": 1, "x": 0, "y": 0, "w": 1, "h": 1},
        {"seat": 1, "source": "screen", "x": 0, "y": 0, "w": 1, "h": 1}]}),
    );
    let Ok(Layout {
        template: Template::Custom(tiles),
        ..
    }) = tile
    else {
        panic!("tiles")
    };
    let fits: Vec<_> = tiles.iter().map(|tile| (tile.source, tile.fit, tile.z)).collect();
    let usual = [
        (SourceKind::Camera, Fit::Crop, 0),
        (SourceKind::Screen, Fit::Contain, 0),
    ];
    assert_eq!(fits, usual);
    for template in ["float", "screen"] {
        assert_eq!(
            written(&read(json!({"template": template})).expect("a layout"))["template"],
            template
        );
    }
}

#[test]
fn what_is_wrong_is_named() {
    let tile = |change: Value| {
        let mut tile = json!({"seat": 1, "x": 0.5, "y": 0.5, "w": 0.5, "h": 0.5});
        for (name, value) in change.as_object().expect("fields") {
            tile[name] = value.clone();
        }
        json!({"template": "custom", "tiles": [{"seat": 0, "x": 0, "y": 0, "w": 1, "h": 1}, tile]})
    };
    let mark = |mark: Value| {
        let mut whole = json!({"x": 0, "y": 0, "w": 0.5, "h": 0.5});
        for (name, value) in mark.as_object().expect("fields") {
            whole[name] = value.clone();
        }
        json!({"watermarks": [whole]})
    };
    let far = image(image::ImageFormat::Png, 1921, 1);
    let cut = half_an_image();
    let disguised = image(image::ImageFormat::Jpeg, 8, 8).replace("jpeg", "png");
    for (layout, field) in [
        (json!({"template": "custom"}), "tiles"),
        (
            json!({"template": "grid", "tiles": [{"seat": 0, "x": 0, "y": 0, "w": 1, "h": 1}]}),
            "tiles",
        ),
        (tile(json!({"x": 0.6})), "tiles[1].w"),
        (tile(json!({"x": -0.1})), "tiles[1].x"),
        (tile(json!({"y": 1.5})), "tiles[1].y"),
        (tile(json!({"h": 0.51})), "tiles[1].h"),
        (tile(json!({"w": 0})), "tiles[1].w"),
        (tile(json!({"radius": 0.6})), "tiles[1].radius"),
        (tile(json!({"border": 0.3})), "tiles[1].border"),
        (tile(json!({"border_color": "red"})), "tiles[1].border_color"),
        (tile(json!({"seat": 0})), "tiles[1].seat"),
        (json!({"background": {"color": "#12345"}}), "background.color"),
        (json!({"background": {"color": "#+12345"}}), "background.color"),
        (json!({"background": {"color": "#ééé"}}), "background.color"),
        (
            json!({"background": {"image": "https://example.com/a.png"}}),
            "background.image",
        ),
        (
            json!({"background": {"image": "data:image/gif;base64,R0lGODlhAQABAAAAACw="}}),
            "background.image",
        ),
        (
            json!({"background": {"image": "data:image/png;base64,%%%"}}),
            "background.image",
        ),
        (json!({"background": {"image": far}}), "background.image"),
        (json!({"placeholder": {"image": cut}}), "placeholder.image"),
        (json!({"placeholder": {"image": disguised}}), "placeholder.image"),
        (json!({"placeholder": {"color": ""}}), "placeholder.color"),
        (mark(json!({"text": "a", "w": 1.1})), "watermarks[0].w"),
        (mark(json!({"text": ""})), "watermarks[0].text"),
        (mark(json!({"text": "a\nb"})), "watermarks[0].text"),
        (mark(json!({"text": "x".repeat(201)})), "watermarks[0].text"),
        (mark(json!({"text": "a", "opacity": 1.5})), "watermarks[0].opacity"),
        (mark(json!({"text": "a", "color": "blue"})), "watermarks[0].color"),
        (mark(json!({"text": "a", "clock": "hh:mm"})), "watermarks[0]"),
        (mark(json!({})), "watermarks[0]"),
        (
            mark(json!({"text": "a", "utc_offset_minutes": 60})),
            "watermarks[0].utc_offset_minutes",
        ),
        (
            mark(json!({"clock": "hh:mm", "utc_offset_minutes": 1441})),
            "watermarks[0].utc_offset_minutes",
        ),
        (
            mark(json!({"clock": "hh:mm", "utc_offset_minutes": -32768})),
            "watermarks[0].utc_offset_minutes",
        ),
        (mark(json!({"image": "data:,x"})), "watermarks[0].image"),
        (
            mark(json!({"image": image(image::ImageFormat::Png, 2, 2), "color": "#ffffff"})),
            "watermarks[0].color",
        ),
        (
            json!({"watermarks": vec![json!({"clock": "hh:mm", "x": 0, "y": 0, "w": 1, "h": 1}); 9]}),
            "watermarks",
        ),
        (json!({"volumes": {"1": 2.1}}), "volumes.1"),
        (json!({"volumes": {"1": -0.1}}), "volumes.1"),
        (json!({"volumes": {"01": 1}}), "volumes.01"),
        (json!({"volumes": {"bob": 1}}), "volumes.bob"),
    ] {
        let refusal = read(layout.clone())
            .err()
            .unwrap_or_else(|| panic!("{layout} was accepted"));
        assert_eq!(refusal.field.as_deref(), Some(field), "{layout}: {}", refusal.detail);
    }
}

fn seat(occupancy: Occupancy) -> Seat {
    let flags = SeatFlags::default();
    Seat { occupancy, flags }
}

#[test]
fn the_rectangles_in_force_are_of_whoever_has_come() {
    let now = Instant::now();
    let person = Person {
        user: UserId::parse("bob").expect("an id"),
        name: None,
        avatar_url: None,
    };
    let occupied = || {
        let person = person.clone();
        seat(Occupancy::Occupied { person, since: now })
    };
    let waiting = |person: Person| {
        seat(Occupancy::Reserved {
            person,
            request: None,
            until: None,
        })
    };
    let lost = |person: Person| seat(Occupancy::Held { person, until: None });
    let seats = vec![
        occupied(),
        waiting(person.clone()),
        lost(person.clone()),
        seat(Occupancy::Empty),
        occupied(),
    ];
    let mut snapshot = test_snapshot(now, seats);
    let status = SourceStatus::default();
    snapshot.sources = [
        ((SeatIndex(0), SourceKind::Camera), status.clone()),
        ((SeatIndex(4), SourceKind::Screen), status),
    ]
    .into();
    let in_force = serde_json::to_value(LayoutInForce::from(&snapshot)).expect("serialises");
    assert_eq!(in_force["version"], snapshot.version);
    assert_eq!(in_force["canvas"], json!({"width": 1280, "height": 720}));
    assert_eq!(in_force["template"], "grid");
    let shown = |value: &Value| -> Vec<(Value, Value)> {
        let list = value["in_force"].as_array().expect("a list");
        list.iter()
            .map(|tile| (tile["seat"].clone(), tile["source"].clone()))
            .collect()
    };
    // Whoever sends a screen and nothing else has that one tile.
    let present = [
        (json!(0), json!("camera")),
        (json!(2), json!("camera")),
        (json!(4), json!("screen")),
    ];
    assert_eq!(shown(&in_force), present);

    snapshot.settings.layout = read(json!({"template": "custom", "tiles": [
        {"seat": 4, "source": "screen", "x": 0, "y": 0, "w": 0.5, "h": 1},
        {"seat": 0, "x": 0.25, "y": 0.25, "w": 0.5, "h": 0.25, "z": -1},
        {"seat": 3, "x": 0, "y": 0, "w": 1, "h": 1}]}))
    .expect("a layout");
    snapshot.canvas = Size::even(400, 800);
    let in_force = serde_json::to_value(LayoutInForce::from(&snapshot)).expect("serialises");
    assert_eq!(in_force["canvas"], json!({"width": 400, "height": 800}));
    let tiles = json!([
        {"seat": 0, "source": "camera", "x": 0.25, "y": 0.25, "w": 0.5, "h": 0.25, "z": 0},
        {"seat": 4, "source": "screen", "x": 0.0, "y": 0.0, "w": 0.5, "h": 1.0, "z": 1}]);
    assert_eq!(in_force["in_force"], tiles);
}
