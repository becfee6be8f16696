//! How people are named in JSON.

use crate::room::{Person, Refusal, UserId};
use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use std::fmt;
use utoipa::ToSchema;

/// How a person is named wherever one appears.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Person)]
pub struct PersonOut {
    user: String,
    name: Option<String>,
    avatar_url: Option<String>,
}

impl From<&Person> for PersonOut {
    fn from(person: &Person) -> Self {
        let user = person.user.as_str().to_owned();
        PersonOut {
            user,
            name: person.name.clone(),
            avatar_url: person.avatar_url.clone(),
        }
    }
}

/// A user id, or a person with a name and a picture.
#[derive(Clone, Debug, ToSchema)]
#[schema(as = PersonOrUserId)]
#[serde(untagged)]
pub enum PersonIn {
    User(String),
    Person(PersonFields),
}

#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = PersonInput)]
pub struct PersonFields {
    #[schema(min_length = 1, max_length = 128)]
    pub user: String,
    /// At most 256 bytes.
    #[schema(max_length = 256)]
    pub name: Option<String>,
    /// `http` or `https`, at most 2048 bytes.
    #[schema(max_length = 2048)]
    pub avatar_url: Option<String>,
}

/// A user id, a person, or nobody. Describes what is read as an optional `PersonIn`.
#[derive(ToSchema)]
#[serde(untagged)]
#[schema(as = PersonOrNobody)]
#[allow(dead_code, reason = "describes another type")]
pub enum PersonOrNobody {
    User(String),
    Person(PersonFields),
    Nobody,
}

/// By hand, since an untagged enum would lose which field was wrong.
impl<'de> Deserialize<'de> for PersonIn {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = PersonIn;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a user id or an object {user, name, avatar_url}")
            }
            fn visit_str<E: de::Error>(self, user: &str) -> Result<PersonIn, E> {
                Ok(PersonIn::User(user.to_owned()))
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<PersonIn, A::Error> {
                PersonFields::deserialize(de::value::MapAccessDeserializer::new(map)).map(PersonIn::Person)
            }
        }
        deserializer.deserialize_any(Either)
    }
}

impl PersonIn {
    /// `field` is where it stands in the body.
    pub fn person(self, field: &str) -> Result<Person, Refusal> {
        match self {
            PersonIn::User(user) => {
                let user = UserId::parse(&user).map_err(|refusal| Refusal {
                    field: Some(field.into()),
                    ..refusal
                })?;
                Ok(Person {
                    user,
                    name: None,
                    avatar_url: None,
                })
            }
            PersonIn::Person(fields) => fields.person(&format!("{field}.")),
        }
    }
}

/// The longest name, in bytes: a label in a tile shows far less.
const NAME_BYTES: usize = 256;
/// The longest picture URL, in bytes: what every browser takes.
const URL_BYTES: usize = 2048;

impl PersonFields {
    /// `prefix` is put before the name of the field at fault.
    pub fn person(self, prefix: &str) -> Result<Person, Refusal> {
        let at = |field: &str| format!("{prefix}{field}");
        let user = UserId::parse(&self.user).map_err(|refusal| Refusal {
            field: Some(at("user")),
            ..refusal
        })?;
        check_name(self.name.as_deref(), &at("name"))?;
        check_picture(self.avatar_url.as_deref(), &at("avatar_url"))?;
        Ok(Person {
            user,
            name: self.name,
            avatar_url: self.avatar_url,
        })
    }
}

fn check_name(name: Option<&str>, field: &str) -> Result<(), Refusal> {
    match name {
        Some(name) if name.len() > NAME_BYTES || name.chars().any(char::is_control) => Err(Refusal::invalid(
            field,
            format!("a name has at most {NAME_BYTES} bytes and no control characters"),
        )),
        _ => Ok(()),
    }
}

fn check_picture(url: Option<&str>, field: &str) -> Result<(), Refusal> {
    let fine = |url: &str| {
        let web = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
        let plain = !url.chars().any(|c| c.is_control() || c.is_whitespace());
        web.is_some_and(|rest| !rest.is_empty()) && plain && url.len() <= URL_BYTES
    };
    match url {
        Some(url) if !fine(url) => Err(Refusal::invalid(
            field,
            format!("a picture is an http or https URL of at most {URL_BYTES} bytes"),
        )),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    #[test]
    fn people_come_in_two_forms() {
        let person = |json: Value| -> Result<Person, Option<String>> {
            let parsed: PersonIn = serde_json::from_value(json).map_err(|error| Some(error.to_string()))?;
            parsed.person("host").map_err(|refusal| refusal.field)
        };
        assert_eq!(
            person("bob".into()).map(|p| p.user.as_str().to_owned()),
            Ok("bob".into())
        );
        let eve = person(serde_json::json!({"user": "eve", "name": "Eve", "avatar_url": "https://x.example/e.png"}));
        assert_eq!(eve.map(|p| p.name), Ok(Some("Eve".into())));
        assert_eq!(person("a/b".into()).expect_err("no id").as_deref(), Some("host"));
        assert_eq!(
            person(serde_json::json!({"user": "me"})).expect_err("no id").as_deref(),
            Some("host.user")
        );
        let long = serde_json::json!({"user": "eve", "name": "x".repeat(257)});
        assert_eq!(person(long).expect_err("too long").as_deref(), Some("host.name"));
        for url in ["javascript:alert(1)", "https://", "https://a b", "//x"] {
            let body = serde_json::json!({"user": "eve", "avatar_url": url});
            assert_eq!(person(body).expect_err(url).as_deref(), Some("host.avatar_url"));
        }
        assert!(person(serde_json::json!({"user": "eve", "nmae": "x"})).is_err());
        assert!(person(7.into()).is_err());
    }
}
