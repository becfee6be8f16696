//! The configuration for people: as a TOML file with a comment per knob, and as the README's table.

use super::Config;
use super::knobs::{KNOBS, Kind, Knob};
use std::fmt::Write;
use toml::Value;

/// Where `config print` breaks its comments.
const COMMENT_COLUMNS: usize = 100;

/// The configuration as a file that means the same, secrets masked, each knob under its documentation.
pub fn to_toml(config: &Config) -> String {
    let mut out = String::from("# Effective configuration of costage. Secrets are masked.\n");
    let mut section = "";
    for knob in KNOBS {
        let (in_section, name) = knob.key.split_once('.').unwrap_or(("", knob.key));
        if in_section != section {
            section = in_section;
            let _ = write!(out, "\n[{section}]\n");
        }
        let doc = format!("{} {}", knob.doc, knob.range());
        wrap(doc.trim_end(), &mut out);
        let value = literal(&(knob.read)(config));
        let default = literal(&(knob.read)(&Config::default()));
        if value != default {
            let _ = writeln!(out, "# Default: {default}");
        }
        let _ = writeln!(out, "{name} = {value}");
    }
    out
}

/// The table of all knobs, Markdown. A test holds the README to it.
pub fn reference_table() -> String {
    let mut out = String::from("| setting | default | meaning |\n|---|---|---|\n");
    let defaults = Config::default();
    for knob in KNOBS {
        let default = literal(&(knob.read)(&defaults));
        let doc = format!("{} {}", knob.doc, knob.range());
        let _ = writeln!(out, "| `{}` | `{default}` | {} |", knob.key, doc.trim_end());
    }
    out
}

impl Knob {
    fn range(&self) -> String {
        match self.kind {
            Kind::Integer { min, max } => format!("({min}..={max})"),
            Kind::Decimal { min, max } => format!("({min}..={max})"),
            _ => String::new(),
        }
    }
}

/// A TOML value on one line.
fn literal(value: &Value) -> String {
    match value {
        Value::Table(table) => {
            let members: Vec<String> = table.iter().map(|(id, value)| format!("{id} = {value}")).collect();
            match members[..] {
                [] => "{}".to_owned(),
                _ => format!("{{ {} }}", members.join(", ")),
            }
        }
        other => other.to_string(),
    }
}

fn wrap(text: &str, out: &mut String) {
    let mut column = usize::MAX;
    for word in text.split_whitespace() {
        let width = word.chars().count() + 1;
        if column.saturating_add(width) > COMMENT_COLUMNS {
            out.push_str(if column == usize::MAX { "#" } else { "\n#" });
            column = 1;
        }
        out.push(' ');
        out.push_str(word);
        column += width;
    }
    out.push('\n');
}
