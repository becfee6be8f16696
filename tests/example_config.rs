//! The configuration in `deploy/` is one that a node starts with.

use costage::config::{Config, flag_entry, toml_entries};

#[test]
fn the_deployed_example_is_valid() {
    let mut entries = toml_entries(include_str!("../deploy/costage.toml"), "costage.toml").unwrap();
    entries.push(flag_entry("auth.keys.main=0123456789abcdef0123456789abcdef").unwrap());
    let config = Config::from_entries(false, &entries).unwrap();
    assert_eq!(config.check(), Ok(()));
    assert_eq!(config.http.public_url.as_deref(), Some("https://live.example.org"));
}
