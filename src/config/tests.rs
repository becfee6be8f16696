use super::*;

const SECRET: &str = "0123456789abcdef0123456789abcdef";

fn file(text: &str) -> Vec<Entry> {
    toml_entries(text, "costage.toml").expect("valid TOML")
}

fn dev(entries: &[Entry]) -> Config {
    Config::from_entries(true, entries).expect("valid configuration")
}

fn problems(entries: &[Entry]) -> Vec<String> {
    let problems = Config::from_entries(true, entries).expect_err("refused");
    problems.iter().map(Problem::to_string).collect()
}

#[test]
fn later_layers_win() {
    let mut entries = file("[media]\nbase_port = 40000\ntick_us = 1500\n[log]\nformat = \"json\"");
    entries.extend(environment_entries([
        ("COSTAGE_MEDIA_BASE_PORT".to_owned(), "41000".to_owned()),
        ("HOME".to_owned(), "/root".to_owned()),
    ]));
    entries.push(flag_entry("media.tick_us=2000").unwrap());
    let config = dev(&entries);
    assert_eq!(config.media.base_port, 41_000);
    assert_eq!(config.media.tick_us, 2_000);
    assert_eq!(config.log.format, LogFormat::Json);
    assert_eq!(config.limits, Config::default().limits);
}

#[test]
fn lists_read_alike_from_file_and_environment() {
    let from_file = dev(&file(
        "[media]\naddresses = [\"10.0.0.1\", \"fd00::1\"]\nadvertise = [\"192.0.2.1:50100\", \"192.0.2.2\"]",
    ));
    let variables = [
        ("COSTAGE_MEDIA_ADDRESSES", "10.0.0.1, fd00::1"),
        ("COSTAGE_MEDIA_ADVERTISE", "192.0.2.1:50100,192.0.2.2"),
    ];
    let owned = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert_eq!(from_file, dev(&environment_entries(owned)));
    let first = from_file.media.advertise[0];
    assert_eq!(
        (first.address.to_string(), first.base_port),
        ("192.0.2.1".to_owned(), Some(50_100))
    );
    assert_eq!(from_file.media.advertise[1].base_port, None);
}

#[test]
fn unknown_names_are_refused_with_the_nearest() {
    let mut entries = file("[media]\nbase_prot = 1\n[htpp]\nlisten = \"x\"\n");
    entries.extend(environment_entries([(
        "COSTAGE_MEDIA_TIK_US".to_owned(),
        "1".to_owned(),
    )]));
    entries.push(flag_entry("workers=3").unwrap());
    let told = problems(&entries);
    let expected = [
        "costage.toml: there is no setting `htpp`; did you mean `http`?",
        "costage.toml: there is no setting `media.base_prot`; did you mean `media.base_port`?",
        "environment variable COSTAGE_MEDIA_TIK_US: there is no setting `COSTAGE_MEDIA_TIK_US`; \
         did you mean `COSTAGE_MEDIA_TICK_US`?",
        "--set: there is no setting `workers`; did you mean `media.workers`?",
    ];
    for one in expected {
        assert!(told.iter().any(|t| t == one), "{one:?} missing in {told:#?}");
    }
    assert_eq!(told.len(), expected.len());
}

#[test]
fn wrong_types_and_ranges_are_told_all_at_once() {
    let mut entries = file("[media]\nbase_port = \"50000\"\ntick_us = 1000000\ntcp = 1\n[http]\nlisten = \"nowhere\"");
    entries.push(flag_entry("media.gso=perhaps").unwrap());
    entries.push(flag_entry("log.format=xml").unwrap());
    entries.push(flag_entry("media.ice_servers=http://example.org").unwrap());
    let told = problems(&entries).join("\n");
    for part in [
        "media.base_port must be a whole number, not a string",
        "media.tick_us must be 0..=20000, not 1000000",
        "media.tcp must be true or false, not the number 1",
        "http.listen `nowhere`: invalid socket address",
        "media.gso must be true or false, not `perhaps`",
        "log.format `xml` is neither",
        "is no stun:, stuns:, turn: or turns: URL",
    ] {
        assert!(told.contains(part), "{part:?} missing in\n{told}");
    }
}

#[test]
fn decimals_may_be_whole() {
    let cores = |entries: &[Entry]| Config::from_entries(true, entries).map(|config| config.program.cores);
    assert_eq!(cores(&file("[program]\ncores = 1.5")), Ok(1.5));
    assert_eq!(cores(&file("[program]\ncores = 2")), Ok(2.0));
    assert_eq!(cores(&[flag_entry("program.cores=0.5").unwrap()]), Ok(0.5));
    for (wrong, why) in [
        ("-1", "must be 0..=1024, not -1"),
        ("NaN", "must be 0..=1024, not NaN"),
        ("many", "must be a number, not `many`"),
    ] {
        let told = problems(&[flag_entry(&format!("program.cores={wrong}")).unwrap()]);
        assert_eq!(told, [format!("--set: program.cores {why}")]);
    }
}

#[test]
fn broken_toml_names_the_place() {
    let problem = toml_entries("[media\nbase_port = 1", "costage.toml")
        .unwrap_err()
        .to_string();
    assert!(
        problem.starts_with("costage.toml: TOML parse error at line 1"),
        "{problem}"
    );
}

#[test]
fn without_keys_only_dev_starts() {
    let refused = Config::default().check().unwrap_err();
    assert_eq!(dev(&[]).check(), Ok(()));
    assert!(matches!(&refused[..], [Problem::Contradiction(reason)] if reason.contains("auth.keys")));
    let (id, secret) = DEV_KEY;
    assert_eq!(dev(&[]).auth.keys.get(id).map(Secret::expose), Some(secret));
    assert!(dev(&[]).http.listen.ip().is_loopback());
}

#[test]
fn keys_come_from_file_environment_and_flags() {
    let mut entries = file(&format!("[auth.keys]\nold = \"{SECRET}\""));
    entries.push(flag_entry(&format!("auth.keys.new=={SECRET}")).unwrap());
    let config = Config::from_entries(false, &entries).unwrap();
    let keys: Vec<(&str, &str)> = config
        .auth
        .keys
        .iter()
        .map(|(id, s)| (id.as_str(), s.expose()))
        .collect();
    assert_eq!(keys, [("new", format!("={SECRET}").as_str()), ("old", SECRET)]);

    let variable = ("COSTAGE_AUTH_KEYS".to_owned(), format!("a={SECRET},b={SECRET}"));
    let config = Config::from_entries(false, &environment_entries([variable])).unwrap();
    assert_eq!(config.auth.keys.keys().collect::<Vec<_>>(), ["a", "b"]);

    let short = Config::from_entries(false, &file("[auth.keys]\nmain = \"hunter2\"")).unwrap_err();
    let told = short[0].to_string();
    assert!(told.contains("at least 32") && !told.contains("hunter2"), "{told}");
}

#[test]
fn levels_are_levels() {
    let set = |level: &str| Config::from_entries(true, &[flag_entry(&format!("log.level={level}")).unwrap()]);
    for good in ["info", "WARN", "off,costage::worker=trace", "info, costage=debug"] {
        assert!(set(good).is_ok(), "{good}");
    }
    for wrong in ["loud", "", "costage", "info,costage=loud", "info,,debug"] {
        let told = set(wrong).expect_err(wrong)[0].to_string();
        assert!(told.contains("log.level"), "{told}");
    }
}

#[test]
fn contradictions_are_refused() {
    for flags in [
        &["media.own_candidates=false"][..],
        &["media.base_port=65530", "media.workers=8"],
    ] {
        let entries: Vec<Entry> = flags.iter().map(|flag| flag_entry(flag).unwrap()).collect();
        assert_eq!(dev(&entries).check().unwrap_err().len(), 1, "{flags:?}");
    }
}

#[test]
fn dev_keeps_nothing_unless_a_file_is_named() {
    assert_eq!(dev(&[]).store.path, "");
    assert_eq!(dev(&file("[store]\npath = \"mine.redb\"")).store.path, "mine.redb");
    assert_eq!(Config::default().store.path, "costage.redb");
    assert!(Config::default().webhooks.allow.is_empty() && !dev(&[]).webhooks.allow.is_empty());
}

#[test]
fn webhooks_are_signed_and_their_secret_is_not_told() {
    let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    let set = |flags: &[&str]| {
        let entries: Vec<Entry> = flags.iter().map(|flag| flag_entry(flag).unwrap()).collect();
        Config::from_entries(true, &entries)
    };
    let url = "webhooks.url=https://backend.example/hooks";
    assert_eq!(set(&[url]).unwrap().check().unwrap_err().len(), 1, "unsigned");
    let config = set(&[url, &format!("webhooks.secret={secret}"), "webhooks.allow=10.1.2.0/24"]).unwrap();
    assert_eq!(config.check(), Ok(()));
    assert!(!to_toml(&config).contains(secret) && !format!("{config:?}").contains(secret));
    for wrong in [
        "webhooks.url=backend.example",
        "webhooks.url=https://bob:pw@backend.example",
        "webhooks.secret=hunter2",
        "webhooks.allow=here",
    ] {
        let told = set(&[wrong]).expect_err(wrong)[0].to_string();
        assert!(told.contains("webhooks.") && !told.contains("hunter2"), "{told}");
    }
}

#[test]
fn the_printed_configuration_reads_back_as_itself() {
    let text = to_toml(&Config::default());
    assert_eq!(Config::from_entries(false, &file(&text)), Ok(Config::default()));
}

#[test]
fn printing_masks_secrets_and_documents_every_knob() {
    let mut entries = vec![flag_entry(&format!("auth.keys.main={SECRET}")).unwrap()];
    entries.push(flag_entry("media.ice_servers=turn:turn.example.org bob hunter2").unwrap());
    let config = Config::from_entries(false, &entries).unwrap();
    let printed = to_toml(&config);
    assert!(!printed.contains(SECRET) && !printed.contains("hunter2"), "{printed}");
    assert!(!format!("{config:?}").contains(SECRET));
    assert!(!format!("{config:?}").contains("hunter2"));
    for knob in KNOBS {
        let name = knob.key.rsplit('.').next().unwrap();
        assert!(
            printed.lines().any(|line| line.starts_with(&format!("{name} = "))),
            "{}",
            knob.key
        );
        assert!(knob.doc.len() > 20, "{} has no documentation", knob.key);
    }
}

#[test]
fn whatever_description_the_limit_lets_in_is_read() {
    let knob = KNOBS.iter().find(|knob| knob.key == "limits.sdp_bytes").unwrap();
    let most = i64::try_from(crate::transport::sdp::MAX_TEXT).unwrap();
    assert!(matches!(knob.kind, Kind::Integer { max, .. } if max == most));
}

#[test]
fn every_field_has_a_knob() {
    // A Debug print names every field; what looks like a field and has no knob was forgotten.
    let printed = format!("{:#?}", Config::default());
    let indent = |line: &str| line.len() - line.trim_start().len();
    let mut section = String::new();
    for line in printed.lines() {
        let Some((name, _)) = line.trim_start().split_once(": ") else {
            continue;
        };
        match indent(line) {
            4 => section = name.to_owned(),
            8 => {
                let key = format!("{section}.{name}");
                assert!(Knob::find(&key).is_some(), "{key} has no knob");
            }
            _ => {}
        }
    }
}

#[test]
fn the_readme_has_the_same_table() {
    let readme = include_str!("../../README.md");
    let table = reference_table();
    assert!(
        readme.contains(&table),
        "the README's configuration table differs; it should be:\n{table}"
    );
}
