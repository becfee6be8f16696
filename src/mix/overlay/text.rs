//! Lines of text. Enters what people call themselves, in any script; leaves a raster. The fonts are two that are built in,
//! so that names look the same on every machine and are legible on one without fonts, and the system's for the other scripts.

use super::super::blend::Raster;
use super::super::picture::Size;
use cosmic_text::fontdb::{Database, Source, Weight};
use cosmic_text::{
    Align, Attrs, Buffer, CacheKey, Color, Ellipsize, EllipsizeHeightLimit, Family, FontSystem, Metrics, Shaping,
    SwashCache, SwashImage, Wrap,
};
use std::sync::{Arc, OnceLock};

/// What is longer does not fit any canvas, and shaping costs time per character.
const MAX_CHARACTERS: usize = 200;

/// Bytes of drawn glyphs that are kept from one line to the next; with more of them it begins anew. A label's glyphs have 1 KiB
/// and less each, so that all of ten names in any script stay; those of a large watermark may have 640 KiB, and go.
const MAX_GLYPH_BYTES: usize = 4 << 20;

/// The name of the built-in font, as it calls itself.
const FAMILY: &str = "Ubuntu";

/// Of the size of the letters, from the top of a line to the next. Arabic and stacked accents need the room.
const LINE_HEIGHT: f32 = 1.3;

/// Draws lines of text; keeps glyphs.
#[derive(Debug)]
pub(super) struct Typesetter {
    fonts: FontSystem,
    glyphs: SwashCache,
}

impl Typesetter {
    pub fn new() -> Self {
        Typesetter {
            fonts: FontSystem::new_with_locale_and_db("en-US".to_owned(), database().clone()),
            glyphs: SwashCache::new(),
        }
    }

    /// One line, cut to `max_width` pixels with an ellipsis; `letters` is the size of the letters in pixels. `None`: nothing
    /// that could be seen.
    pub fn line(&mut self, text: &str, letters: f32, max_width: u16, color: [u8; 3]) -> Option<Raster> {
        let text = printable(text);
        if text.is_empty() || max_width < 2 {
            return None;
        }
        let mut buffer = Buffer::new(&mut self.fonts, Metrics::relative(letters, LINE_HEIGHT));
        buffer.set_wrap(Wrap::None);
        buffer.set_ellipsize(Ellipsize::End(EllipsizeHeightLimit::Lines(1)));
        buffer.set_size(Some(f32::from(max_width)), None);
        let attrs = Attrs::new().family(Family::Name(FAMILY));
        buffer.set_text(&text, &attrs, Shaping::Advanced, Some(Align::Left));
        buffer.shape_until_scroll(&mut self.fonts, false);
        let width = buffer.layout_runs().map(|run| run.line_w).fold(0.0, f32::max);
        let size = Size::even(pixels(width).min(max_width), pixels(letters * LINE_HEIGHT))?;
        let mut raster = Raster::clear(size);
        let [red, green, blue] = color;
        buffer.draw(
            &mut self.fonts,
            &mut self.glyphs,
            Color::rgb(red, green, blue),
            |x, y, _, _, color| {
                // glyphs may lean over the edges of their line
                if let (Ok(x), Ok(y)) = (usize::try_from(x), usize::try_from(y)) {
                    let rgb = [color.r(), color.g(), color.b()];
                    raster.lay(x, y, rgb, f32::from(color.a()) / 255.0);
                }
            },
        );
        if self.kept() > MAX_GLYPH_BYTES {
            self.glyphs = SwashCache::new();
        }
        Some(raster)
    }

    /// Bytes of drawn glyphs, and of the cache's entries for them.
    fn kept(&self) -> usize {
        let cache = &self.glyphs.image_cache;
        let drawn = cache.values().flatten().map(|image| image.data.len());
        drawn.sum::<usize>() + cache.len() * size_of::<(CacheKey, Option<SwashImage>)>()
    }
}

/// An even number of pixels that holds a length.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "float to integer saturates"
)]
fn pixels(length: f32) -> u16 {
    (length.ceil() as u16).saturating_add(1) & !1
}

/// On one line, without what controls terminals, and not endless. Every paragraph separator of Unicode's bidirectional
/// algorithm (UAX #9, class B) is among what is replaced: shaping asserts that a text is one paragraph, or that all run in
/// one direction.
fn printable(text: &str) -> String {
    const LINE_SEPARATOR: char = '\u{2028}';
    const PARAGRAPH_SEPARATOR: char = '\u{2029}';
    let breaks = |c: char| c.is_control() || matches!(c, LINE_SEPARATOR | PARAGRAPH_SEPARATOR);
    let one_line = text
        .chars()
        .take(MAX_CHARACTERS)
        .map(|c| if breaks(c) { ' ' } else { c });
    one_line.collect::<String>().trim().to_owned()
}

/// All fonts of the machine and the built-in ones, read once per process: directories of fonts take long to read.
fn database() -> &'static Database {
    static DATABASE: OnceLock<Database> = OnceLock::new();
    DATABASE.get_or_init(|| {
        let mut database = Database::new();
        database.load_system_fonts();
        // last, so that the machine's own font of the same family comes second
        for font in [
            epaint_default_fonts::UBUNTU_LIGHT,
            epaint_default_fonts::NOTO_EMOJI_REGULAR,
        ] {
            built_in(&mut database, font);
        }
        database
    })
}

fn built_in(database: &mut Database, font: &'static [u8]) {
    for id in database.load_font_source(Source::Binary(Arc::new(font))) {
        let Some(mut face) = database.face(id).cloned() else {
            continue;
        };
        // a family is only looked at in the weight that is asked for, and other scripts' fonts are regular
        face.weight = Weight::NORMAL;
        database.remove_face(id);
        database.push_face_info(face);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ink(raster: &Raster) -> usize {
        raster.pixels().iter().filter(|pixel| pixel[3] > 100).count()
    }

    #[test]
    fn names_of_all_scripts_leave_ink_within_their_width() {
        let mut typesetter = Typesetter::new();
        // whether there is a font for it or not: then it is the box that stands for a missing letter
        for name in [
            "Ada",
            "Zoë Ångström",
            "Михаил",
            "王小明",
            "محمد",
            "שרה",
            "😀",
            "\u{10FFFD}",
        ] {
            let line = typesetter.line(name, 20.0, 200, [255; 3]).expect(name);
            assert!(ink(&line) > 10, "{name} has {} pixels of ink", ink(&line));
            assert!(
                line.size().width() <= 200 && line.size().height() == 26,
                "{name}: {:?}",
                line.size()
            );
        }
    }

    #[test]
    fn a_long_name_ends_in_an_ellipsis() {
        let mut typesetter = Typesetter::new();
        let long = typesetter.line(&"name ".repeat(1000), 20.0, 100, [255; 3]).unwrap();
        assert!((70..=100).contains(&long.size().width()), "{:?}", long.size());
        let short = typesetter.line("name", 20.0, 100, [255; 3]).unwrap();
        assert!(short.size().width() < 60, "{:?}", short.size());
    }

    #[test]
    fn nothing_to_see_is_no_raster() {
        let mut typesetter = Typesetter::new();
        for name in ["", "  ", "\n\t\u{0}"] {
            assert!(typesetter.line(name, 20.0, 100, [255; 3]).is_none(), "{name:?}");
        }
        assert!(typesetter.line("name", 20.0, 0, [255; 3]).is_none());
        let broken = typesetter.line("two\nlines", 20.0, 200, [255; 3]).unwrap();
        assert_eq!(broken.size().height(), 26, "one line");
    }

    #[test]
    fn drawn_glyphs_are_kept_within_bounds() {
        let mut typesetter = Typesetter::new();
        let name: String = ('a'..='z').chain('À'..='ſ').collect();
        typesetter.line(&name, 28.0, 1920, [255; 3]);
        let label = typesetter.kept();
        assert!(
            (10_000..MAX_GLYPH_BYTES / 10).contains(&label),
            "{label} bytes of a label"
        );
        let mut forgotten = 0;
        for letters in 300..400_u16 {
            let before = typesetter.kept();
            typesetter.line("On air!", f32::from(letters), 1920, [255; 3]);
            let kept = typesetter.kept();
            assert!(kept <= MAX_GLYPH_BYTES, "{kept} bytes");
            forgotten += usize::from(kept < before);
        }
        assert!((2..50).contains(&forgotten), "{forgotten} times");
    }

    #[test]
    fn paragraphs_of_opposite_directions_are_one_line() {
        let mut typesetter = Typesetter::new();
        for separator in [
            '\n', '\r', '\u{1C}', '\u{1D}', '\u{1E}', '\u{85}', '\u{2028}', '\u{2029}',
        ] {
            for name in [
                format!("a{separator}א"),
                format!("א{separator}1"),
                format!("{separator}א"),
            ] {
                let line = typesetter.line(&name, 20.0, 200, [255; 3]).expect("ink");
                assert_eq!(line.size().height(), 26, "{name:?}");
            }
        }
    }

    /// What shaping has rules of its own for: directions, joining, marks, selectors, separators, what is not seen.
    fn any_name() -> impl Strategy<Value = String> {
        let range = |from: char, to: char| prop::char::range(from, to);
        let any_char = prop_oneof![
            6 => range('\u{202A}', '\u{202E}'),
            6 => range('\u{2066}', '\u{2069}'),
            4 => range('\u{2000}', '\u{2029}'),
            2 => range('\u{0}', '\u{A0}'),
            2 => range('\u{590}', '\u{5FF}'),
            2 => range('\u{600}', '\u{6FF}'),
            2 => range('\u{900}', '\u{DFF}'),
            2 => range('\u{300}', '\u{36F}'),
            1 => range('\u{1100}', '\u{11FF}'),
            1 => range('\u{FE00}', '\u{FE0F}'),
            1 => range('\u{1F1E6}', '\u{1F1FF}'),
            1 => range('\u{1F3FB}', '\u{1F64F}'),
            1 => range('\u{E0000}', '\u{E01EF}'),
            1 => prop::sample::select(vec!['\u{61C}', '\u{AD}', '\u{FEFF}', '\u{FFF9}', '\u{180E}', '\u{34F}']),
            2 => any::<char>(),
        ];
        let mixed = prop::collection::vec(any_char, 0..40).prop_map(String::from_iter);
        // deeper than the algorithm counts embeddings
        let nested = (range('\u{202A}', '\u{202E}'), 50..150_usize, mixed.clone())
            .prop_map(|(opening, depth, inner)| format!("{}{inner}", String::from(opening).repeat(depth)));
        prop_oneof![8 => mixed, 1 => nested]
    }

    proptest! {
        #[test]
        fn no_name_is_too_much(name in any_name(), letters in 6_u16..=400, max_width in prop_oneof![0_u16..300, any::<u16>()]) {
            let letters = if max_width > 2000 { 12 } else { letters };
            if let Some(line) = Typesetter::new().line(&name, f32::from(letters), max_width, [255; 3]) {
                prop_assert!(line.size().width() <= usize::from(max_width), "{:?} of {max_width}", line.size());
            }
        }
    }
}
