//! Where settings come from: each source becomes a list of entries with its origin kept.

use super::Config;
use super::knobs::{KNOBS, Kind, Knob};
use std::fmt;
use toml::{Table, Value};

pub const ENVIRONMENT_PREFIX: &str = "COSTAGE_";

/// How far a typing error may be from a known name to be taken for it (Jaro-Winkler, 1 = equal).
const NEAREST_SIMILARITY: f64 = 0.7;

/// Where a setting was said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    File(String),
    /// The variable's name.
    Environment(String),
    Flag,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => f.write_str(path),
            Self::Environment(variable) => write!(f, "environment variable {variable}"),
            Self::Flag => f.write_str("--set"),
        }
    }
}

/// Why a configuration is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Problem {
    Syntax {
        origin: Origin,
        reason: String,
    },
    Unknown {
        key: String,
        origin: Origin,
        nearest: Option<String>,
    },
    Invalid {
        key: String,
        origin: Origin,
        reason: String,
    },
    /// Settings that are right one by one and impossible together.
    Contradiction(String),
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Syntax { origin, reason } => write!(f, "{origin}: {}", reason.trim_end()),
            Self::Unknown { key, origin, nearest } => {
                write!(f, "{origin}: there is no setting `{key}`")?;
                match nearest {
                    Some(nearest) => write!(f, "; did you mean `{nearest}`?"),
                    None => Ok(()),
                }
            }
            Self::Invalid { key, origin, reason } => write!(f, "{origin}: {key} {reason}"),
            Self::Contradiction(reason) => f.write_str(reason),
        }
    }
}

/// A value as it was said.
#[derive(Clone, Debug, PartialEq)]
enum Given {
    Toml(Value),
    /// From the environment or a flag, where everything is text.
    Text(String),
}

/// One setting said somewhere.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    key: String,
    origin: Origin,
    given: Given,
}

/// The entries of a configuration file, known or not.
pub fn toml_entries(text: &str, path: &str) -> Result<Vec<Entry>, Problem> {
    let origin = Origin::File(path.to_owned());
    let table: Table = text.parse().map_err(|error: toml::de::Error| Problem::Syntax {
        origin: origin.clone(),
        reason: error.to_string(),
    })?;
    let mut entries = Vec::new();
    flatten(None, table, &origin, &mut entries);
    Ok(entries)
}

/// A table whose name leads on to knobs is walked into; everything else is an entry.
fn flatten(prefix: Option<&str>, table: Table, origin: &Origin, entries: &mut Vec<Entry>) {
    for (name, value) in table {
        let key = prefix.map_or(name.clone(), |prefix| format!("{prefix}.{name}"));
        let leads_on = KNOBS.iter().any(|knob| knob.key.starts_with(&format!("{key}.")));
        match value {
            Value::Table(inner) if leads_on => flatten(Some(&key), inner, origin, entries),
            value => entries.push(Entry {
                key,
                origin: origin.clone(),
                given: Given::Toml(value),
            }),
        }
    }
}

/// The entries of all `COSTAGE_…` variables; others are none of ours.
pub fn environment_entries(variables: impl IntoIterator<Item = (String, String)>) -> Vec<Entry> {
    let mut entries: Vec<Entry> = variables
        .into_iter()
        .filter(|(name, _)| name.starts_with(ENVIRONMENT_PREFIX))
        .map(|(name, text)| {
            let knob = KNOBS.iter().find(|knob| knob.environment() == name);
            Entry {
                key: knob.map_or_else(|| name.clone(), |knob| knob.key.to_owned()),
                origin: Origin::Environment(name),
                given: Given::Text(text),
            }
        })
        .collect();
    // The order of the environment is nobody's intention.
    entries.sort_by(|a, b| a.key.cmp(&b.key));
    entries
}

/// The entry of one `--set section.key=value`.
pub fn flag_entry(flag: &str) -> Result<Entry, Problem> {
    let (key, text) = flag.split_once('=').ok_or_else(|| Problem::Syntax {
        origin: Origin::Flag,
        reason: format!("`{flag}` is not of the form section.key=value"),
    })?;
    Ok(Entry {
        key: key.trim().to_owned(),
        origin: Origin::Flag,
        given: Given::Text(text.trim().to_owned()),
    })
}

impl Entry {
    pub(super) fn apply(&self, config: &mut Config) -> Result<(), Problem> {
        let invalid = |reason| Problem::Invalid {
            key: self.key.clone(),
            origin: self.origin.clone(),
            reason,
        };
        if let Some(knob) = Knob::find(&self.key) {
            let value = knob.kind.check(&self.given).map_err(invalid)?;
            return (knob.write)(config, &value).map_err(invalid);
        }
        if let Some((knob, id)) = self.map_member() {
            let Given::Text(text) = &self.given else {
                return Err(self.unknown());
            };
            return knob.insert(config, id, text).map_err(invalid);
        }
        Err(self.unknown())
    }

    /// `auth.keys.ID`: one member of a table.
    fn map_member(&self) -> Option<(&'static Knob, &str)> {
        let (key, id) = self.key.rsplit_once('.')?;
        let knob = Knob::find(key).filter(|knob| knob.kind == Kind::Map)?;
        Some((knob, id))
    }

    fn unknown(&self) -> Problem {
        let environment = matches!(self.origin, Origin::Environment(_));
        let sections = KNOBS.iter().filter_map(|knob| knob.key.split_once('.'));
        let names: Vec<String> = if environment {
            KNOBS.iter().map(Knob::environment).collect()
        } else if self.key.contains('.') {
            KNOBS.iter().map(|knob| knob.key.to_owned()).collect()
        } else {
            // A bare name is a misspelt section, or a key whose section was forgotten.
            sections
                .flat_map(|(section, key)| [section.to_owned(), format!("{section}.{key}")])
                .collect()
        };
        Problem::Unknown {
            key: self.key.clone(),
            origin: self.origin.clone(),
            nearest: nearest(&self.key, names),
        }
    }
}

/// The known name most like `key`, if any is alike at all. A name's last part counts as well as the whole.
fn nearest(key: &str, names: Vec<String>) -> Option<String> {
    let similarity = |name: &str| {
        let last = name.rsplit('.').next().unwrap_or(name);
        let key_last = key.rsplit('.').next().unwrap_or(key);
        strsim::jaro_winkler(key, name).max(strsim::jaro_winkler(key_last, last) * 0.99)
    };
    names
        .into_iter()
        .map(|name| (similarity(&name), name))
        .filter(|(similarity, _)| *similarity >= NEAREST_SIMILARITY)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| name)
}

impl Knob {
    fn insert(&self, config: &mut Config, id: &str, text: &str) -> Result<(), String> {
        // Read shows masks instead of secrets: a scratch configuration takes the new member through the same checks.
        let mut scratch = Config::default();
        let member = Table::from_iter([(id.to_owned(), Value::String(text.to_owned()))]);
        (self.write)(&mut scratch, &Value::Table(member))?;
        config.auth.keys.append(&mut scratch.auth.keys);
        Ok(())
    }
}

impl Kind {
    /// The value in the knob's type and range, or what is wrong with it.
    fn check(self, given: &Given) -> Result<Value, String> {
        match given {
            Given::Toml(value) => self.check_toml(value),
            Given::Text(text) => self.check_text(text),
        }
    }

    fn check_toml(self, value: &Value) -> Result<Value, String> {
        let strings_only = |array: &[Value]| array.iter().all(Value::is_str);
        match (self, value) {
            (Self::Flag, Value::Boolean(_)) | (Self::Text, Value::String(_)) => Ok(value.clone()),
            (Self::Integer { .. }, Value::Integer(number)) => self.in_range(*number),
            (Self::Decimal { min, max }, Value::Float(number)) => within(*number, min, max),
            // so few that no digit is lost
            (Self::Decimal { min, max }, Value::Integer(number)) => within(*number as f64, min, max),
            (Self::List, Value::Array(array)) if strings_only(array) => Ok(value.clone()),
            (Self::List, Value::String(text)) => self.check_text(text),
            (Self::Map, Value::Table(table)) if table.values().all(Value::is_str) => Ok(value.clone()),
            _ => Err(format!("must be {}, not {}", self.noun(), said(value))),
        }
    }

    fn check_text(self, text: &str) -> Result<Value, String> {
        let parts = || text.split(',').map(str::trim).filter(|part| !part.is_empty());
        match self {
            Self::Flag => text.parse().map(Value::Boolean).map_err(|_| self.misread(text)),
            Self::Integer { .. } => text
                .parse()
                .map_err(|_| self.misread(text))
                .and_then(|number| self.in_range(number)),
            Self::Decimal { min, max } => text
                .parse()
                .map_err(|_| self.misread(text))
                .and_then(|number| within(number, min, max)),
            Self::Text => Ok(Value::String(text.to_owned())),
            Self::List => Ok(Value::Array(
                parts().map(|part| Value::String(part.to_owned())).collect(),
            )),
            Self::Map => parts()
                .map(|part| {
                    let (id, value) = part.split_once('=').ok_or("must be a list of id=value")?;
                    Ok((id.to_owned(), Value::String(value.to_owned())))
                })
                .collect::<Result<Table, String>>()
                .map(Value::Table),
        }
    }

    fn in_range(self, number: i64) -> Result<Value, String> {
        match self {
            Self::Integer { min, max } if !(min..=max).contains(&number) => {
                Err(format!("must be {min}..={max}, not {number}"))
            }
            _ => Ok(Value::Integer(number)),
        }
    }

    fn misread(self, text: &str) -> String {
        format!("must be {}, not `{text}`", self.noun())
    }

    fn noun(self) -> &'static str {
        match self {
            Self::Flag => "true or false",
            Self::Integer { .. } => "a whole number",
            Self::Decimal { .. } => "a number",
            Self::Text => "a string",
            Self::List => "a list of strings",
            Self::Map => "a table of strings",
        }
    }
}

fn within(number: f64, min: f64, max: f64) -> Result<Value, String> {
    if (min..=max).contains(&number) {
        Ok(Value::Float(number))
    } else {
        Err(format!("must be {min}..={max}, not {number}"))
    }
}

/// What stands there, without repeating what may be a secret.
fn said(value: &Value) -> String {
    match value {
        Value::String(_) => "a string".to_owned(),
        Value::Integer(number) => format!("the number {number}"),
        Value::Float(number) => format!("the number {number}"),
        Value::Boolean(flag) => flag.to_string(),
        Value::Datetime(_) => "a date".to_owned(),
        Value::Array(_) => "a list of other things".to_owned(),
        Value::Table(_) => "a table".to_owned(),
    }
}
