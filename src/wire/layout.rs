//! Who is where in the program's picture, and how loud: `layout` of a room, `PUT …/layout`. Fields of refusals are named
//! from the layout on: `tiles[2].w`.

use super::source_name;
use crate::forward::{SeatIndex, SourceKind};
use crate::mix::layout::{
    Area, Background, Color, CustomTile, Fit, Image, ImageKind, Labels, Layout, Mark, Misplaced, Placeholder, Template,
    Tile, Watermark,
};
use crate::mix::picture::Size;
use crate::room::{Refusal, Snapshot};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::{BTreeMap, BTreeSet};
use utoipa::ToSchema;

/// Marks are drawn on every frame: more than a logo, a title, a clock and a few others is a picture of its own.
const MOST_WATERMARKS: usize = 8;
/// Of a watermark's line: what can be read in a picture.
const MOST_CHARS: usize = 200;
/// A factor of 2 is 6 dB: more is noise of the room somebody sits in.
const MOST_VOLUME: f64 = 2.0;
/// UTC-12:00 to UTC+14:00 are in use; a day either way is enough for whatever comes.
const MOST_OFFSET_MINUTES: i16 = 24 * 60;
/// Without a size of its own, a program is this large until the host's is known (API.md).
const USUAL_CANVAS: (u16, u16) = (1280, 720);

/// Who is where in the program's picture, and how loud. It replaces the layout before, whole: what is absent is as in a
/// new room. Lengths are fractions of the canvas, colours `#rrggbb`, images `data:` URLs of PNG or JPEG.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
#[schema(as = Layout)]
pub struct LayoutForm {
    template: TemplateName,
    /// Of the template `custom`, and of no other: at most one for each source. A source that is not there has no tile.
    #[serde(skip_serializing_if = "Option::is_none")]
    tiles: Option<Vec<TileForm>>,
    background: BackgroundForm,
    placeholder: PlaceholderForm,
    /// Whether tiles carry names; `null`: from two tiles on.
    labels: Option<bool>,
    /// Above all tiles; at most 8.
    watermarks: Vec<WatermarkForm>,
    /// Seat number → factor, 0 to 2; who is not in it is as loud as they are.
    volumes: BTreeMap<String, f64>,
}

#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = Template)]
enum TemplateName {
    /// Everybody the same size.
    #[default]
    Grid,
    /// The host fills the canvas, the others are small along an edge.
    Float,
    /// A shared screen is large, people beside or below it; a grid while there is none.
    Screen,
    /// As `tiles` says.
    Custom,
}

#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Tile)]
struct TileForm {
    #[schema(maximum = 15)]
    seat: u8,
    #[serde(default)]
    source: SourceWord,
    x: f64,
    y: f64,
    w: f64,
    h: f64,
    /// What has more covers what has less; 0.
    #[serde(default)]
    z: i16,
    /// Absent: `crop` for a camera, `contain` for a screen.
    fit: Option<FitName>,
    /// Of the corners, as a fraction of the tile's shorter side, 0 to 0.5; 0.
    #[serde(default)]
    radius: f64,
    /// A line within the tile, as a fraction of its shorter side, 0 to 0.25; 0.
    #[serde(default)]
    border: f64,
    /// White.
    #[serde(default = "white")]
    border_color: String,
}

#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = TileSource)]
enum SourceWord {
    #[default]
    Camera,
    Screen,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = Fit)]
enum FitName {
    /// Fills the tile; what does not fit is cut off.
    Crop,
    /// Whole, with bars.
    Contain,
    Stretch,
}

#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
#[schema(as = Background)]
struct BackgroundForm {
    color: String,
    image: Option<String>,
}

/// What a tile shows without a picture.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
#[schema(as = Placeholder)]
struct PlaceholderForm {
    color: String,
    image: Option<String>,
    /// Whether it says who sits there.
    name: bool,
}

/// One of `text`, `image` and `clock`.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Watermark)]
struct WatermarkForm {
    /// One line.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 200)]
    text: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    image: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    clock: Option<ClockName>,
    /// Of the clock, east of Greenwich; 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    utc_offset_minutes: Option<i16>,
    /// Of text and clock; white.
    #[serde(skip_serializing_if = "Option::is_none")]
    color: Option<String>,
    x: f64,
    y: f64,
    w: f64,
    h: f64,
    /// 0 to 1; 1.
    #[serde(default = "opaque")]
    #[schema(minimum = 0, maximum = 1)]
    opacity: f64,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = ClockFormat)]
enum ClockName {
    #[serde(rename = "hh:mm")]
    Minutes,
    #[serde(rename = "hh:mm:ss")]
    Seconds,
}

fn white() -> String {
    color_text(Color::WHITE)
}

fn opaque() -> f64 {
    1.0
}

impl Default for BackgroundForm {
    fn default() -> Self {
        BackgroundForm::from(&Background::default())
    }
}

impl Default for PlaceholderForm {
    fn default() -> Self {
        PlaceholderForm::from(&Placeholder::default())
    }
}

/// Reading.
impl LayoutForm {
    /// Unpacks the images in it, which may take some 100 ms: not for a thread that others wait for.
    pub fn layout(self) -> Result<Layout, Refusal> {
        let mut images = Images::default();
        let mut volumes = BTreeMap::new();
        for (number, volume) in self.volumes {
            let field = format!("volumes.{number}");
            let seat = super::seat_index(&number, &field)?;
            volumes.insert(seat, between(&field, volume, 0.0, MOST_VOLUME)?);
        }
        let BackgroundForm { color, image } = self.background;
        let background = Background {
            color: color_of(&color, "background.color")?,
            image: image.map(|url| images.read(&url, "background.image")).transpose()?,
        };
        let PlaceholderForm { color, image, name } = self.placeholder;
        let placeholder = Placeholder {
            color: color_of(&color, "placeholder.color")?,
            image: image.map(|url| images.read(&url, "placeholder.image")).transpose()?,
            name,
        };
        let labels = match self.labels {
            None => Labels::FromTwoTiles,
            Some(true) => Labels::Always,
            Some(false) => Labels::Never,
        };
        Ok(Layout {
            template: template(self.template, self.tiles)?,
            background,
            placeholder,
            labels,
            watermarks: watermarks(self.watermarks, &mut images)?,
            volumes,
        })
    }
}

fn template(name: TemplateName, tiles: Option<Vec<TileForm>>) -> Result<Template, Refusal> {
    match (name, tiles) {
        (TemplateName::Custom, Some(tiles)) => custom(tiles),
        (TemplateName::Custom, None) => Err(Refusal::invalid("tiles", "the template custom needs tiles")),
        (_, Some(tiles)) if !tiles.is_empty() => {
            let detail = "tiles are of the template custom; the others place them themselves";
            Err(Refusal::invalid("tiles", detail))
        }
        (TemplateName::Grid, _) => Ok(Template::Grid),
        (TemplateName::Float, _) => Ok(Template::Float),
        (TemplateName::Screen, _) => Ok(Template::Screen),
    }
}

/// As many as there are sources: each has one tile at most.
fn custom(forms: Vec<TileForm>) -> Result<Template, Refusal> {
    let mut tiles = Vec::with_capacity(forms.len());
    let mut placed = BTreeSet::new();
    for (n, form) in forms.into_iter().enumerate() {
        let at = format!("tiles[{n}]");
        let tile = custom_tile(form, &at)?;
        if !placed.insert((tile.seat, tile.source)) {
            let detail = format!(
                "the {} of seat {} has a tile already",
                source_name(tile.source),
                tile.seat.0
            );
            return Err(Refusal::invalid(&format!("{at}.seat"), detail));
        }
        tiles.push(tile);
    }
    Ok(Template::Custom(tiles))
}

fn custom_tile(form: TileForm, at: &str) -> Result<CustomTile, Refusal> {
    let source = match form.source {
        SourceWord::Camera => SourceKind::Camera,
        SourceWord::Screen => SourceKind::Screen,
    };
    Ok(CustomTile {
        seat: SeatIndex(form.seat),
        source,
        area: area([form.x, form.y, form.w, form.h], at)?,
        z: form.z,
        fit: match form.fit {
            None => Fit::usual(source),
            Some(FitName::Crop) => Fit::Crop,
            Some(FitName::Contain) => Fit::Contain,
            Some(FitName::Stretch) => Fit::Stretch,
        },
        radius: between(&format!("{at}.radius"), form.radius, 0.0, 0.5)?,
        border: between(&format!("{at}.border"), form.border, 0.0, 0.25)?,
        border_color: color_of(&form.border_color, &format!("{at}.border_color"))?,
    })
}

fn watermarks(forms: Vec<WatermarkForm>, images: &mut Images) -> Result<Vec<Watermark>, Refusal> {
    if forms.len() > MOST_WATERMARKS {
        let detail = format!("there are {MOST_WATERMARKS} watermarks at most");
        return Err(Refusal::invalid("watermarks", detail));
    }
    let numbered = forms.into_iter().enumerate();
    numbered
        .map(|(n, form)| watermark(form, &format!("watermarks[{n}]"), images))
        .collect()
}

fn watermark(form: WatermarkForm, at: &str, images: &mut Images) -> Result<Watermark, Refusal> {
    let field = |name: &str| format!("{at}.{name}");
    let area = area([form.x, form.y, form.w, form.h], at)?;
    let opacity = between(&field("opacity"), form.opacity, 0.0, 1.0)?;
    let color = form.color.as_deref().map(|text| color_of(text, &field("color")));
    let color = color.transpose()?;
    if form.clock.is_none() && form.utc_offset_minutes.is_some() {
        return Err(Refusal::invalid(&field("utc_offset_minutes"), "that is a clock's"));
    }
    let mark = match (form.text, form.image, form.clock) {
        (Some(text), None, None) => Mark::Text {
            text: line(text, &field("text"))?,
            color: color.unwrap_or(Color::WHITE),
        },
        (None, Some(_), None) if color.is_some() => {
            return Err(Refusal::invalid(&field("color"), "an image has its own colours"));
        }
        (None, Some(url), None) => Mark::Image(images.read(&url, &field("image"))?),
        (None, None, Some(clock)) => Mark::Clock {
            seconds: matches!(clock, ClockName::Seconds),
            utc_offset_minutes: offset(form.utc_offset_minutes, &field("utc_offset_minutes"))?,
            color: color.unwrap_or(Color::WHITE),
        },
        _ => return Err(Refusal::invalid(at, "a watermark is one of text, image and clock")),
    };
    Ok(Watermark { mark, area, opacity })
}

fn offset(minutes: Option<i16>, field: &str) -> Result<i16, Refusal> {
    let minutes = minutes.unwrap_or(0);
    if minutes.saturating_abs() <= MOST_OFFSET_MINUTES {
        return Ok(minutes);
    }
    let detail = format!("{field} is at most {MOST_OFFSET_MINUTES} either way, not {minutes}");
    Err(Refusal::invalid(field, detail))
}

fn line(text: String, field: &str) -> Result<String, Refusal> {
    let short = (1..=MOST_CHARS).contains(&text.chars().count());
    if short && !text.chars().any(char::is_control) {
        return Ok(text);
    }
    let detail = format!("{field} is 1 to {MOST_CHARS} characters in one line");
    Err(Refusal::invalid(field, detail))
}

fn area([x, y, w, h]: [f64; 4], at: &str) -> Result<Area, Refusal> {
    Area::new(x, y, w, h).map_err(|Misplaced(field)| {
        let detail = "a rectangle has a width and a height and lies within the canvas, 0 to 1 both ways";
        Refusal::invalid(&format!("{at}.{field}"), detail)
    })
}

fn between(field: &str, value: f64, least: f64, most: f64) -> Result<f64, Refusal> {
    if (least..=most).contains(&value) {
        return Ok(value);
    }
    Err(Refusal::invalid(
        field,
        format!("{field} is {least} to {most}, not {value}"),
    ))
}

fn color_of(text: &str, field: &str) -> Result<Color, Refusal> {
    let digits = text.strip_prefix('#').filter(|digits| digits.len() == 6);
    let digits = digits.filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
    let number = digits.and_then(|digits| u32::from_str_radix(digits, 16).ok());
    let Some([0, red, green, blue]) = number.map(u32::to_be_bytes) else {
        return Err(Refusal::invalid(field, format!("a colour is #rrggbb, not {text:?}")));
    };
    Ok(Color::new(red, green, blue))
}

fn color_text(color: Color) -> String {
    let Color { red, green, blue } = color;
    format!("#{red:02x}{green:02x}{blue:02x}")
}

const PNG_URL: &str = "data:image/png;base64,";
const JPEG_URL: &str = "data:image/jpeg;base64,";

/// Bytes that the images of a layout unpack to: four as large as the canvas may be. A room keeps them while nobody watches, too.
const MOST_UNPACKED: usize = 32 << 20;

/// The images of a layout so far.
#[derive(Default)]
struct Images {
    /// Bytes.
    unpacked: usize,
}

impl Images {
    /// A picture in the text itself: the server fetches from no address that somebody names. It is unpacked here, once.
    fn read(&mut self, url: &str, field: &str) -> Result<Image, Refusal> {
        let refuse = |why: &str| Refusal::invalid(field, format!("{field}: {why}"));
        let png = url.strip_prefix(PNG_URL).map(|text| (ImageKind::Png, text));
        let jpeg = || url.strip_prefix(JPEG_URL).map(|text| (ImageKind::Jpeg, text));
        let (kind, text) = png.or_else(jpeg).ok_or_else(|| {
            refuse("an image is a URL that begins with data:image/png;base64, or data:image/jpeg;base64,")
        })?;
        let bytes = BASE64.decode(text).map_err(|_| refuse("that is not base64"))?;
        let image = Image::read(kind, bytes.into()).map_err(|error| refuse(&error.to_string()))?;
        self.unpacked += image.unpacked().bytes();
        if self.unpacked > MOST_UNPACKED {
            return Err(refuse(
                "the images of a layout have 8 million pixels at most, all together",
            ));
        }
        Ok(image)
    }
}

fn image_url(image: &Image) -> String {
    let prefix = match image.kind() {
        ImageKind::Png => PNG_URL,
        ImageKind::Jpeg => JPEG_URL,
    };
    format!("{prefix}{}", BASE64.encode(image.bytes()))
}

/// Writing.
impl From<&Layout> for LayoutForm {
    fn from(layout: &Layout) -> Self {
        let (template, tiles) = match &layout.template {
            Template::Grid => (TemplateName::Grid, None),
            Template::Float => (TemplateName::Float, None),
            Template::Screen => (TemplateName::Screen, None),
            Template::Custom(tiles) => (TemplateName::Custom, Some(tiles.iter().map(TileForm::from).collect())),
        };
        let volumes = layout.volumes.iter();
        LayoutForm {
            template,
            tiles,
            background: BackgroundForm::from(&layout.background),
            placeholder: PlaceholderForm::from(&layout.placeholder),
            labels: match layout.labels {
                Labels::FromTwoTiles => None,
                Labels::Always => Some(true),
                Labels::Never => Some(false),
            },
            watermarks: layout.watermarks.iter().map(WatermarkForm::from).collect(),
            volumes: volumes.map(|(seat, volume)| (seat.0.to_string(), *volume)).collect(),
        }
    }
}

impl From<&Background> for BackgroundForm {
    fn from(background: &Background) -> Self {
        BackgroundForm {
            color: color_text(background.color),
            image: background.image.as_ref().map(image_url),
        }
    }
}

impl From<&Placeholder> for PlaceholderForm {
    fn from(placeholder: &Placeholder) -> Self {
        PlaceholderForm {
            color: color_text(placeholder.color),
            image: placeholder.image.as_ref().map(image_url),
            name: placeholder.name,
        }
    }
}

impl From<&CustomTile> for TileForm {
    fn from(tile: &CustomTile) -> Self {
        TileForm {
            seat: tile.seat.0,
            source: match tile.source {
                SourceKind::Camera => SourceWord::Camera,
                // no tile is of the program, which the tiles make
                SourceKind::Screen | SourceKind::Program => SourceWord::Screen,
            },
            x: tile.area.x(),
            y: tile.area.y(),
            w: tile.area.w(),
            h: tile.area.h(),
            z: tile.z,
            fit: Some(match tile.fit {
                Fit::Crop => FitName::Crop,
                Fit::Contain => FitName::Contain,
                Fit::Stretch => FitName::Stretch,
            }),
            radius: tile.radius,
            border: tile.border,
            border_color: color_text(tile.border_color),
        }
    }
}

impl From<&Watermark> for WatermarkForm {
    fn from(watermark: &Watermark) -> Self {
        let Watermark { mark, area, opacity } = watermark;
        let mut form = WatermarkForm {
            text: None,
            image: None,
            clock: None,
            utc_offset_minutes: None,
            color: None,
            x: area.x(),
            y: area.y(),
            w: area.w(),
            h: area.h(),
            opacity: *opacity,
        };
        match mark {
            Mark::Text { text, color } => {
                form.text = Some(text.clone());
                form.color = Some(color_text(*color));
            }
            Mark::Image(image) => form.image = Some(image_url(image)),
            Mark::Clock {
                seconds,
                utc_offset_minutes,
                color,
            } => {
                form.clock = Some(if *seconds {
                    ClockName::Seconds
                } else {
                    ClockName::Minutes
                });
                form.utc_offset_minutes = Some(*utc_offset_minutes);
                form.color = Some(color_text(*color));
            }
        }
        form
    }
}

/// As it is outside, also in the store.
impl Serialize for Layout {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        LayoutForm::from(self).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Layout {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let layout = LayoutForm::deserialize(deserializer)?.layout();
        layout.map_err(|refusal| serde::de::Error::custom(refusal.detail))
    }
}

/// A layout, and the rectangles that come of it now.
#[derive(Debug, Serialize, ToSchema)]
pub struct LayoutInForce {
    version: u64,
    #[serde(flatten)]
    layout: LayoutForm,
    canvas: CanvasOut,
    /// In drawing order.
    in_force: Vec<TileInForce>,
}

/// In pixels; without the host's picture, and where none was asked for, 1280 × 720.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Canvas)]
struct CanvasOut {
    width: usize,
    height: usize,
}

/// In fractions of the canvas.
#[derive(Debug, Serialize, ToSchema)]
struct TileInForce {
    seat: u8,
    source: &'static str,
    x: f64,
    y: f64,
    w: f64,
    h: f64,
    /// The place in the drawing order: what has more covers what has less.
    z: usize,
}

impl From<&Snapshot> for LayoutInForce {
    fn from(snapshot: &Snapshot) -> Self {
        let (width, height) = USUAL_CANVAS;
        let canvas = snapshot.canvas.or(Size::even(width, height));
        let layout = &snapshot.settings.layout;
        let tiles = canvas.map(|canvas| layout.arrange(canvas, &snapshot.present()));
        let (width, height) = canvas.map_or((0, 0), |canvas| (canvas.width(), canvas.height()));
        let share = |pixels: u16, of: usize| f64::from(pixels) / u32::try_from(of).map_or(1.0, f64::from);
        let numbered = tiles.unwrap_or_default().into_iter().enumerate();
        let in_force = numbered.map(|(z, Tile { seat, source, rect, .. })| TileInForce {
            seat: seat.0,
            source: source_name(source),
            x: share(rect.x, width),
            y: share(rect.y, height),
            w: share(rect.width, width),
            h: share(rect.height, height),
            z,
        });
        LayoutInForce {
            version: snapshot.version,
            layout: LayoutForm::from(layout),
            canvas: CanvasOut { width, height },
            in_force: in_force.collect(),
        }
    }
}

#[cfg(test)]
mod tests;
