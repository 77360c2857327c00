//! Settings from a file, from the environment and from code: what is taken, and what a refusal says.

use neurograph::blackbox::Kind;
use neurograph::config::{Changes, Origin, SETTINGS, Setting, Source};
use neurograph::{Config, Store, Token};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// What a file with this text is refused with.
fn refusal(text: &str) -> String {
    match Config::from_toml(text) {
        Ok(_) => panic!("{text:?} was taken"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn a_refusal_names_the_place_and_what_was_written_there_and_what_would_do() {
    let whole = "a whole number from 0 to 18446744073709551615 or \"unlimited\"";
    for (text, said) in [
        // Outside trials met these with "untagged enum", another crate's name, or silence.
        (
            "version = 1\n[guardian]\nmax_tokens = -5",
            format!("line 3, column 14: guardian.max_tokens is -5; it must be {whole}"),
        ),
        (
            "[guardian]\nmax_tokens = \"many\"",
            format!("line 2, column 14: guardian.max_tokens is \"many\"; it must be {whole}"),
        ),
        (
            "[guardian]\nmax_tokens = 18446744073709551616",
            format!(
                "line 2, column 14: guardian.max_tokens is 18446744073709551616; it must be {whole}"
            ),
        ),
        (
            "[wal]\nsegment_bytes = 1_048_576",
            "line 2, column 17: wal.segment_bytes is 1_048_576; it must be a whole number from \
             1069056 to 1073741824, a multiple of 4096"
                .into(),
        ),
        (
            "[wal]\nsync_records = 0",
            "line 2, column 16: wal.sync_records is 0; it must be a whole number from 1 to 1000000000"
                .into(),
        ),
        (
            "version = 99",
            "line 1, column 11: version is 99; it must be 1, the version that this build reads"
                .into(),
        ),
        (
            "version = \"1\"",
            "line 1, column 11: version is \"1\"; it must be 1, the version that this build reads"
                .into(),
        ),
        (
            "[guardian]\nmax_token = 1",
            "line 2, column 1: guardian.max_token is no setting; the nearest known key is \
             guardian.max_tokens"
                .into(),
        ),
        (
            "[wal]\nsync_interval = 100",
            "line 2, column 17: wal.sync_interval is 100; it must be a time from \"1ms\" to \"1m\" \
             (a whole number and ns, us, ms, s, m or h)"
                .into(),
        ),
        (
            "[wal]\ndurability = \"fast\"",
            "line 2, column 14: wal.durability is \"fast\"; it must be \"relaxed\", \"balanced\" or \
             \"strict\""
                .into(),
        ),
    ] {
        assert_eq!(refusal(text), said, "{text:?}");
    }
}

#[test]
fn each_documented_quota_opens_and_is_obeyed() {
    for quota in [0, 1, 5_000_000_000, 1 << 59, 1 << 60, u64::MAX] {
        let mut config = Config::bare();
        config.guardian.max_tokens = Some(quota);
        config.validate().unwrap_or_else(|error| panic!("{quota}: {error}"));
        let store = match Store::in_memory(config) {
            Ok(store) => store,
            Err(error) => panic!("{quota}: {error}"),
        };
        let created = store.session().create(&Token::builder().build().unwrap());
        assert_eq!(created.is_ok(), quota > 0, "{quota}: {created:?}");
    }
}

#[test]
fn a_quota_above_the_slots_is_refused_where_the_slots_were_set() {
    let mut config = Config::default();
    config.arena.max_slots = Some(5);
    let said = config.validate().unwrap_err().to_string();
    assert_eq!(
        said,
        "arena.max_slots is 5; it must be at least guardian.max_tokens, which is 10000000 by default"
    );
}

#[test]
fn all_that_is_wrong_is_told_at_once_in_the_order_of_the_file() {
    let text = "\u{feff}version = 2\r\n[guardian]\r\nmax_tokens = -5 # \u{e4}\r\nmax_memory = 1\r\n\
                low_water = 0.9\r\n[trace]\r\nmin_rate = 0.5\r\nslow_threshold = 100\r\n[walls]\r\n\
                durability = \"strict\"\r\n\"guardian.max_tokens\" = 5\r\n";
    let said = refusal(text);
    let said: Vec<_> = said.lines().collect();
    let expected = [
        "line 1, column 11: version is 2; it must be 1, the version that this build reads",
        "line 3, column 14: guardian.max_tokens is -5; it must be a whole number from 0 to \
         18446744073709551615 or \"unlimited\"",
        "line 4, column 1: guardian.max_memory is no setting; the nearest known key is \
         guardian.max_memory_bytes",
        "line 5, column 13: guardian.low_water is 0.9; it must be below guardian.memory_threshold, \
         which is 0.8 by default",
        "line 7, column 12: trace.min_rate is 0.5; it must be at most trace.max_rate, which is 0.1 by \
         default",
        "line 7, column 12: trace.min_rate is 0.5; it must be at most trace.base_rate, which is 0.01 \
         by default, while trace.adaptive is true",
        "line 8, column 18: trace.slow_threshold is 100; it must be a time from \"1ns\" on (a whole \
         number and ns, us, ms, s, m or h) or \"off\"",
        "line 10, column 1: walls.durability is no setting; the nearest known key is wal.durability",
        "line 11, column 1: walls.\"guardian.max_tokens\" is no setting; the nearest known key is \
         guardian.max_tokens",
    ];
    assert_eq!(said, expected);
    let error = Config::from_toml(text).unwrap_err();
    let first = &error.problems()[0];
    assert_eq!(first.origin, Origin::Toml { line: 1, column: 11 });
    assert_eq!((first.name.as_str(), first.value.as_str()), ("version", "2"));
}

#[test]
fn no_text_is_too_odd_for_a_typed_error() {
    for text in ["", "\u{feff}", "\r\n\r\n", "# only this", "[guardian]", "wal = {}", "version=1"] {
        assert!(Config::from_toml(text).is_ok(), "{text:?}");
    }
    for (text, said) in [
        ("guardian = 5", "line 1, column 12: guardian is 5; it must be a table of settings"),
        (
            "[[guardian]]\nmax_tokens = 1",
            "line 1, column 3: guardian is an array; it must be a table of settings",
        ),
        (
            "[guardian.max_tokens]\nsoft = 1",
            "line 1, column 11: guardian.max_tokens is a table; it must be a whole",
        ),
        (
            "guardian.max_tokens.soft = 1",
            "line 1, column 10: guardian.max_tokens is a table; it must be a whole",
        ),
        (
            "guardian = { max_tokens = 1, max_tokens = 2 }",
            "line 1, column 30: not TOML: duplicate key",
        ),
        ("[guardian]\nmax_tokens = 1\nmax_tokens = 2", "line 3, column 1: not TOML: duplicate key"),
        ("[wal]\n[guardian]\n[wal]", "line 3, column 2: not TOML: duplicate key"),
        ("[guardian]\nmax_tokens =", "line 2, column 13: not TOML: "),
        ("[guardian]\nmax_tokens 5", "line 2, column "),
        ("[guardian", "line 1, column "),
        ("guardian.max_tokens = [1, 2", "line 1, column "),
        (
            "[tokens]\npersist = true",
            "line 2, column 11: tokens.persist is true; it must be \"all\" or \"flagged\"",
        ),
        (
            "[tokens]\npersist = \"\"\"a\nb\"\"\"",
            "line 2, column 11: tokens.persist is \"\"\"a\\nb\"\"\"; it must be",
        ),
        (
            "[trace.sampler]\nbase_rate = 0.01",
            "line 2, column 1: trace.sampler.base_rate is no setting; the nearest known key is trace.base_rate",
        ),
        (
            "max_tokens = 5",
            "line 1, column 1: max_tokens is no setting; the nearest known key is guardian.max_tokens",
        ),
        (
            "[guadrian]",
            "line 1, column 2: guadrian is no setting; the nearest known key is guardian",
        ),
        (
            "versoin = 1",
            "line 1, column 1: versoin is no setting; the nearest known key is version",
        ),
        ("\"\" = 1", "line 1, column 1: \"\" is no setting; the nearest known key is "),
        (
            "trace.base_rate = nan",
            "line 1, column 19: trace.base_rate is nan; it must be 0, or a number from",
        ),
        (
            "trace.overhead_budget = 0",
            "line 1, column 25: trace.overhead_budget is 0; it must be a number from above 0 to 1",
        ),
    ] {
        let refused = refusal(text);
        assert!(refused.starts_with(said), "{text:?} gave {refused:?}, not {said:?}");
        assert_eq!(refused.lines().count(), 1, "{refused}");
    }
    assert!(refusal("\0").starts_with("line 1, column 1: not TOML: "));
    let deep = format!("guardian = {}1{}", "[".repeat(100_000), "]".repeat(100_000));
    assert!(refusal(&deep).starts_with("line 1, column "));
    let wide = format!("guardian.max_tokens = \"{}\"", "\u{e4}".repeat(100_000));
    assert!(refusal(&wide).chars().count() < 300);
}

#[test]
fn a_text_of_a_million_lines_is_read_and_its_messages_are_bounded() {
    let comments = "# nothing\n".repeat(1_000_000);
    let late = format!("{comments}[guardian]\nmax_tokens = -1\n");
    assert!(refusal(&late).starts_with("line 1000002, column 14: guardian.max_tokens is -1;"));
    let bad: String = (0..100_000).map(|n| format!("k{n} = 1\n")).collect();
    let error = Config::from_toml(&bad).unwrap_err();
    assert_eq!(error.problems().len(), 1000);
    assert_eq!(error.problems()[999].origin, Origin::Toml { line: 1000, column: 1 });
    assert!(error.to_string().ends_with("\nand 99000 more"));
}

#[test]
fn a_file_can_say_whatever_a_program_can() {
    let text = r#"
        [guardian]
        lease_credits_max = 7
        kernel_root = "/host"
        pressure_sources = { process = false, cgroup = false, stall = true }
        [arena]
        max_slots = 20_000_000
        huge_pages = false
        commit_ahead_bytes = 2097152
        [wal]
        enabled = false
        segment_bytes = 2097152
        log_bytes_max = 268435456
        reserved_bytes = 1048576
        spare_segments_max = 1
        ring_slots = 1024
        max_ahead_bytes = 4194304
        full_timeout = "0s"
        sync_timeout = "1m"
        [trace]
        enabled = false
        slow_threshold = "off"
        error_per_second = 3
        collector.ring_bytes = 65536
        collector.spans_per_second_max = 5000
        collector.shutdown_timeout = "1500ms"
        [blackbox]
        panic_hook = true
        bus_guard = false
        create_every = 0
        dump_dir = "/var/crash"
        recorder = { lanes = 4, events_per_lane = 64, keep_files = 1 }
    "#;
    let config = Config::from_toml(text).unwrap();
    let guardian = &config.guardian;
    assert_eq!((guardian.lease_credits_max, guardian.pressure_sources.stall), (7, true));
    assert_eq!(guardian.kernel_root, PathBuf::from("/host"));
    assert!(!guardian.pressure_sources.process && !guardian.pressure_sources.cgroup);
    assert_eq!((config.arena.max_slots, config.arena.huge_pages), (Some(20_000_000), false));
    let wal = &config.wal;
    assert_eq!((wal.enabled, wal.ring_slots, wal.spare_segments_max), (false, 1024, 1));
    assert_eq!((wal.reserved_bytes, wal.max_ahead_bytes), (1 << 20, 4 << 20));
    assert_eq!((wal.full_timeout, wal.sync_timeout), (Duration::ZERO, Duration::from_secs(60)));
    let sampler = &config.trace.sampler;
    assert_eq!((sampler.slow_threshold, sampler.error_per_second), (None, 3));
    let collector = &config.trace.collector;
    assert_eq!((collector.ring_bytes, collector.spans_per_second_max), (65536, Some(5000)));
    assert_eq!(collector.shutdown_timeout, Duration::from_millis(1500));
    assert_eq!(config.blackbox.dump_dir, Some(PathBuf::from("/var/crash")));
    assert_eq!((config.blackbox.recorder.lanes, config.blackbox.create_every), (4, 0));
    assert_eq!(Config::from_toml(&config.to_toml()).unwrap().to_toml(), config.to_toml());
}

#[test]
fn a_key_of_an_earlier_version_warns_and_is_no_error() {
    let text = "[guardian]\nevict_persistent = true\nevict = \"all\"";
    let (config, warnings) = Config::from_toml_with_warnings(text).unwrap();
    assert_eq!(config.guardian.evict, neurograph::guardian::Evict::All);
    let [warning] = &warnings[..] else { panic!("{warnings:?}") };
    assert_eq!(warning.name, "guardian.evict_persistent");
    let said = warning.to_string();
    let place = "line 2, column 1: guardian.evict_persistent: it has no effect: ";
    assert!(said.starts_with(place) && said.contains("guardian.evict = \"all\""), "{said}");
    assert!(Config::default().merge_toml("guardian.evict_persistent = 7").unwrap().len() == 1);
}

/// A field that a room adds to its config is to have a row: then files, messages and documents have it too.
#[test]
fn each_field_of_config_has_its_row_or_a_reason_to_have_none() {
    // Names that only a program can hold; what the layers remember.
    let without = ["blackbox.kinds", "layers"];
    let fields = fields_of(&format!("{:#?}", Config::default()));
    assert!(fields.len() > 50, "{fields:?}");
    for field in fields.iter().filter(|field| !without.contains(&field.as_str())) {
        let has_row = SETTINGS.iter().any(|setting| setting.field() == field);
        assert!(has_row, "{field} has no row in config/settings.rs");
    }
    for setting in SETTINGS {
        assert!(fields.iter().any(|field| field == setting.field()), "{}", setting.field());
    }
}

/// Paths of the fields in the long form of `Debug`, which has a field a line.
fn fields_of(debug: &str) -> Vec<String> {
    let (mut path, mut fields) = (Vec::new(), Vec::new());
    for line in debug.lines().skip(1) {
        let depth = (line.len() - line.trim_start().len()) / 4;
        // What stands deeper than its field is that field's value.
        let Some((name, value)) = line.trim().split_once(": ").filter(|_| depth == path.len() + 1)
        else {
            path.truncate(path.len() - usize::from(line.trim() == "}," && depth == path.len()));
            continue;
        };
        path.push(name.to_string());
        if !value.ends_with(" {") {
            fields.push(path.join("."));
            path.pop();
        }
    }
    fields
}

#[test]
fn trace_enabled_is_the_kill_switch_in_a_file_and_in_code() {
    let killed = Config::from_toml("[trace]\nenabled = false").unwrap();
    assert!(!killed.trace.sampler.enabled && killed.trace.installed);
    let without = Config::from_toml("[trace]\ninstalled = false").unwrap();
    assert!(without.trace.sampler.enabled && !without.trace.installed);
    let row = SETTINGS.iter().find(|setting| setting.name() == "trace.enabled").unwrap();
    assert_eq!((row.field(), row.changes()), ("trace.sampler.enabled", Changes::Running));
}

#[test]
fn each_layer_overrides_what_it_names_and_no_more() {
    let mut config = Config::default();
    let file = "[guardian]\nmax_tokens = 5_000\nlow_water = 0.7\n[wal]\nsync_records = 7";
    assert_eq!(config.merge_toml(file).unwrap(), []);
    config.merge_toml("[wal]\nsync_records = 8\nsync_interval = \"2s\"").unwrap();
    config.wal.sync_interval = Duration::from_secs(3);
    config.blackbox.create_every = 9;
    config.trace.sampler.base_rate = 0.01; // as it was
    let guardian = (config.guardian.max_tokens, config.guardian.memory_threshold);
    assert_eq!((guardian, config.wal.sync_records), ((Some(5_000), 0.8), 8));
    let named: Vec<_> = config.named().map(|(setting, source)| (setting.name(), source)).collect();
    assert_eq!(
        named,
        [
            ("guardian.max_tokens", Source::Toml),
            ("guardian.low_water", Source::Toml), // its default, but somebody wrote it
            ("wal.sync_records", Source::Toml),
            ("wal.sync_interval", Source::Code),
            ("blackbox.create_every", Source::Code),
        ]
    );
    assert_eq!(config.source("trace.base_rate"), Some(Source::Default));
    assert_eq!(config.source("trace.rate"), None);
    config.wal.sync_interval = Config::default().wal.sync_interval;
    assert_eq!(config.source("wal.sync_interval"), Some(Source::Code), "set back by code");
    config.validate().unwrap();
}

#[test]
fn a_bad_layer_changes_nothing_and_what_layers_demand_of_each_other_is_checked_once_all_are_in() {
    let mut config = Config::default();
    config.merge_toml("[trace]\nmax_rate = 0.005").unwrap();
    let said = "line 2, column 12: trace.max_rate is 0.005; it must be at least trace.base_rate, \
                which is 0.01 by default, while trace.adaptive is true";
    assert_eq!(config.validate().unwrap_err().to_string(), said);
    let before = config.to_toml();
    config.merge_toml("[trace]\nbase_rate = 0.001\nmin_rate = 2").unwrap_err();
    assert_eq!(config.to_toml(), before);
    config.trace.sampler.base_rate = 0.001;
    config.validate().unwrap();
    config.trace.sampler.base_rate = 0.2;
    let said = "trace.base_rate is 0.2; it must be at most trace.max_rate, which is 0.005, while \
                trace.adaptive is true";
    assert_eq!(config.validate().unwrap_err().to_string(), said);
}

#[test]
fn settings_of_code_are_refused_in_the_same_words() {
    type Spoil = fn(&mut Config);
    let cases: [(Spoil, &str); 17] = [
        (
            |c| c.guardian.memory_threshold = 1.5,
            "guardian.memory_threshold is 1.5; it must be a number from 0.1 to 1",
        ),
        (
            |c| c.guardian.low_water = f64::NAN,
            "guardian.low_water is nan; it must be a number from 0 to 1",
        ),
        (
            |c| c.wal.segment_bytes = 1 << 20,
            "wal.segment_bytes is 1048576; it must be a whole number from 1069056 to 1073741824, a multiple of 4096",
        ),
        (
            |c| c.wal.segment_bytes = 1 << 30,
            "wal.segment_bytes is 1073741824; it must be less, or wal.log_bytes_max, which is 4294967296, at least 4298702848: four times wal.segment_bytes (1073741824), wal.reserved_bytes (2097152) and the records of wal.ring_slots (16384)",
        ),
        (
            |c| c.wal.log_bytes_max = 1 << 20,
            "wal.log_bytes_max is 1048576; it must be at least 272171008: four times wal.segment_bytes (67108864), wal.reserved_bytes (2097152) and the records of wal.ring_slots (16384)",
        ),
        (
            |c| c.trace.collector.drain_interval = Duration::from_secs(1),
            "trace.collector.drain_interval is \"1s\"; it must be at most trace.collector.idle_interval, which is \"100ms\" by default",
        ),
        (
            |c| c.blackbox.recorder.lanes = 0,
            "blackbox.recorder.lanes is 0; it must be a whole number from 1 to 1024",
        ),
        (
            |c| c.blackbox.recorder.events_per_lane = 1 << 20,
            "blackbox.recorder.events_per_lane is 1048576; it must be less: with blackbox.recorder.lanes, which is 16, the recording would be larger than 1 GiB",
        ),
        (
            |c| c.arena.commit_ahead_bytes = 1 << 30,
            "arena.commit_ahead_bytes is 1073741824; it must be a whole number from 0 to 16777216",
        ),
        (
            |c| c.guardian.kernel_root = PathBuf::new(),
            "guardian.kernel_root is \"\"; it must be a path that is not empty",
        ),
        (
            |c| c.blackbox.dump_dir = Some(PathBuf::new()),
            "blackbox.dump_dir is \"\"; it must be `None`, or a path that is not empty",
        ),
        (
            |c| {
                c.blackbox.dump_dir = Some("/var/crash".into());
                c.blackbox.panic_hook = false;
            },
            "blackbox.dump_dir is \"/var/crash\"; it must be absent while blackbox.panic_hook is false",
        ),
        (
            |c| c.blackbox.kinds = vec![(Kind::new(64), "Mine"), (Kind::new(63), "Theirs")],
            "blackbox.kinds is a list with (63, \"Theirs\"); it must be a list of kinds that the flight recorder takes: numbers below 64 belong to the store",
        ),
        (
            |c| c.blackbox.kinds = vec![(Kind::new(16), "Mine")],
            "blackbox.kinds is a list with (16, \"Mine\"); it must be a list of kinds that the flight recorder takes: numbers below 64 belong to the store",
        ),
        (
            |c| c.blackbox.kinds = vec![(Kind::new(64), "")],
            "blackbox.kinds is a list with (64, \"\"); it must be a list of kinds that the flight recorder takes: a name has 1 to 48 bytes",
        ),
        (
            |c| c.blackbox.kinds = vec![(Kind::new(64), "Mine"), (Kind::new(64), "Other")],
            "blackbox.kinds is a list with (64, \"Other\"); it must be a list of kinds that the flight recorder takes: this number has a name already",
        ),
        (
            |c| c.blackbox.kinds = (64..64 + 234).map(|n| (Kind::new(n), "Many")).collect(),
            "blackbox.kinds is a list with (297, \"Many\"); it must be a list of kinds that the flight recorder takes: the table of names is full: 249 of the owner's own",
        ),
    ];
    for (spoil, said) in cases {
        let mut config = Config::default();
        spoil(&mut config);
        assert_eq!(config.validate().unwrap_err().to_string(), said);
        let opened = Store::in_memory(config).unwrap_err();
        assert_eq!(opened.to_string(), said);
    }
    let mut config = Config::default();
    config.blackbox.kinds = (64..64 + 233).map(|n| (Kind::new(n), "Many")).collect();
    config.validate().unwrap();
    let file = "blackbox.dump_dir = \"/var/crash\"\nblackbox.panic_hook = false";
    let said = "line 2, column 23: blackbox.panic_hook is false; it must be true while blackbox.dump_dir is \
                \"/var/crash\": the hook is what copies the recording";
    assert_eq!(refusal(file), said);
    let mut config = Config::default();
    config.guardian.memory_threshold = 0.0;
    config.wal.ring_slots = 1000;
    assert_eq!(config.validate().unwrap_err().problems().len(), 2);
}

#[test]
fn the_environment_is_read_where_a_program_asks_for_it() {
    const CHILD: &str = "NG_CHILD_OF_CONFIG";
    if std::env::var_os(CHILD).is_some() {
        let config = Config::from_env().unwrap();
        assert_eq!(config.guardian.max_tokens, Some(1_234));
        assert_eq!(config.guardian.max_memory_bytes, None);
        assert_eq!(config.source("guardian.max_tokens"), Some(Source::Environment));
        assert_eq!(Config::default().guardian.max_tokens, Some(10_000_000));
        let mut config =
            Config::from_toml("guardian.max_tokens = 5\narena.max_slots = 10").unwrap();
        config.merge_env().unwrap();
        let said = config.validate().unwrap_err().to_string();
        assert_eq!(
            said,
            "environment variable NEUROGRAPH_MAX_TOKENS: guardian.max_tokens is 1234; it must be at \
             most arena.max_slots, which is 10"
        );
        return;
    }
    let test = "the_environment_is_read_where_a_program_asks_for_it";
    let run = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(CHILD, "1")
        .env("NEUROGRAPH_MAX_TOKENS", "1_234")
        .env("NEUROGRAPH_MAX_MEMORY_BYTES", "unlimited")
        .output()
        .unwrap();
    assert!(run.status.success(), "{run:?}");
}

#[test]
fn the_published_settings_file_is_the_default() {
    let text = r#"
        version = 1
        [guardian]
        max_tokens = 10_000_000
        max_memory_bytes = 1_024_000_000
        memory_threshold = 0.8
        enable_aggressive_cleanup = true
        cleanup_policy = "oldest"
        [tokens]
        persist = "all"
        [wal]
        durability = "balanced"
        sync_records = 10_000
        sync_interval = "100ms"
        [trace]
        enabled = true
        base_rate = 0.01
        min_rate = 0.000001
        max_rate = 0.1
        spans_per_second = 1000
        slow_threshold = "100ms"
        overhead_budget = 0.01
    "#;
    let (config, warnings) = Config::from_toml_with_warnings(text).unwrap();
    assert_eq!((config.to_toml(), warnings), (Config::default().to_toml(), vec![]));
}

#[test]
fn each_setting_has_its_row_once_and_its_name_leads_to_its_field() {
    let mut sections = Vec::new();
    for setting in SETTINGS {
        let name = setting.name();
        assert_eq!(SETTINGS.iter().filter(|other| other.name() == name).count(), 1, "{name}");
        let section = name.rsplit_once('.').unwrap().0;
        if sections.last() != Some(&section) {
            // A TOML table is opened once.
            assert!(!sections.contains(&section), "{name} is apart from its section");
            sections.push(section);
        }
        let of_sampler = name.strip_prefix("trace.").map(|key| format!("trace.sampler.{key}"));
        let field = setting.field();
        assert!(
            field == name || name == "tokens.persist" || Some(field.into()) == of_sampler,
            "{name} stands for {field}"
        );
        assert!(setting.doc().ends_with('.') && !setting.range().is_empty(), "{name}");
        let text = format!("{name} = {}", setting.default());
        let config = Config::from_toml(&text).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(config.to_toml(), Config::default().to_toml(), "{name}");
    }
}

/// docs/SETTINGS.md as the table says. `NG_BLESS=1` writes it.
#[test]
fn the_document_of_settings_is_the_table() {
    let mut text = String::from(HEAD);
    let mut open = "";
    for setting in SETTINGS {
        let (section, _) = setting.name().split_once('.').unwrap();
        if section != open {
            text += &format!("\n## `[{section}]`\n\n{COLUMNS}");
            open = section;
        }
        let changes = match (setting.changes(), setting.call()) {
            (Changes::Never, _) => "never".into(),
            (_, Some(call)) => format!("`Store::{call}`"),
            (_, None) => "at open".into(),
        };
        let mut doc = setting.doc().to_string();
        if setting.field() != setting.name() {
            doc += &format!(" Field: `{}`.", setting.field());
        }
        if let Some(variable) = setting.variable() {
            doc += &format!(" Environment: `{variable}`.");
        }
        text += &format!(
            "| `{}` | {} | {} | `{}` | {changes} | {doc} |\n",
            setting.name(),
            setting.unit(),
            setting.range(),
            setting.default()
        );
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/SETTINGS.md");
    if std::env::var("NG_BLESS").is_ok_and(|value| value == "1") {
        std::fs::write(&path, &text).unwrap();
    }
    let there = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(there == text, "docs/SETTINGS.md is not what the table says; NG_BLESS=1 writes it");
}

const HEAD: &str = "# Settings

Every setting of a store, made from the table in `crates/neurograph/src/config/settings.rs`, which the parser and the
messages use too; a test keeps this page equal to it. A program sets the fields of `Config`; a file, which
`Config::from_toml` reads, has the same names; `Config::to_toml` writes all of them with their present values.

- A file is TOML: `version = 1`, which may be left out, and the tables below. An unknown key is an error that names the
  nearest known one; all errors are told at once, each with line and column.
- A time is text, a whole number and a unit: `\"100ms\"`, with `ns`, `us`, `ms`, `s`, `m` or `h`. A limit is a number or
  `\"unlimited\"`.
- Layers, each stronger than those before: the defaults, files (`merge_toml`), the environment (`merge_env`, where a
  program asks for it), code. Each overrides what it names and nothing else.
- The column *changes* tells when a new value takes force: at once by the call that is named, only *at open*, or *never*
  after the store was created. What a call changes is forgotten when the store is closed: the next open takes the settings
  that it is given.
";
const COLUMNS: &str =
    "| name | unit | range | default | changes | what it is |\n|---|---|---|---|---|---|\n";

/// A store has a call for each setting that the table says one of, and no other; each takes force at once.
#[test]
fn what_the_table_says_can_be_changed_by_a_call_is_changed_by_it_and_nothing_else_is() {
    let source = include_str!("../src/store.rs");
    let calls = source.split("pub fn set_").skip(1).map(|rest| rest.split('(').next().unwrap());
    let mut there: Vec<_> = calls.map(|name| format!("set_{name}")).collect();
    there.sort();
    let mut told: Vec<_> = SETTINGS.iter().filter_map(Setting::call).map(str::to_owned).collect();
    told.sort();
    told.dedup();
    assert_eq!(told, there);
    for setting in SETTINGS.iter().filter(|setting| setting.call().is_some()) {
        assert_eq!(setting.changes(), Changes::Running, "{}", setting.name());
    }

    let mut config = Config::bare();
    config.guardian.max_tokens = Some(0);
    config.guardian.max_memory_bytes = Some(0);
    let store = Store::in_memory(config).unwrap();
    let token = Token::builder().build().unwrap();
    store.session().create(&token).unwrap_err();
    store.set_limits(Some(1), None);
    let mut session = store.session();
    session.create(&token).unwrap();
    session.create(&token).unwrap_err();

    let mut config = Config::bare();
    config.guardian.max_tokens = Some(1_000);
    let store = Store::in_memory(config).unwrap();
    let mut session = store.session();
    for _ in 0..1_000 {
        session.create(&token).unwrap();
    }
    session.create(&token).unwrap_err();
    store.set_aggressive_cleanup(true);
    session.create(&token).unwrap();
    assert!(store.len() < 1_000, "a cleanup made room");
}

/// The fields that this crate documents: unit, numbers of the range and default are those of the table.
#[test]
fn the_docs_of_fields_say_what_the_table_says() {
    let source = include_str!("../src/config.rs");
    let mut checked = 0;
    for (section, of) in [
        ("arena", "ArenaSection"),
        ("wal", "WalSection"),
        ("trace", "TraceSection"),
        ("blackbox", "BlackboxSection"),
    ] {
        let body = source.split_once(&format!("pub struct {of} {{\n")).unwrap().1;
        let body = body.split_once("\n}").unwrap().0;
        for part in body.split("    pub ").collect::<Vec<_>>().windows(2) {
            let docs: Vec<_> =
                part[0].lines().filter_map(|l| l.trim().strip_prefix("/// ")).collect();
            let doc = docs.join(" ");
            let name = part[1].split_once(':').unwrap().0;
            let field = format!("{section}.{name}");
            let Some(setting) = SETTINGS.iter().find(|setting| setting.field() == field) else {
                // Whole configs of floor 0, and what only a program can hold.
                assert!(["sampler", "collector", "recorder", "kinds"].contains(&name), "{field}");
                continue;
            };
            says_what_the_table_says(&doc, setting);
            checked += 1;
        }
    }
    assert!(checked >= 20, "{checked}");
}

fn says_what_the_table_says(doc: &str, setting: &Setting) {
    let name = setting.name();
    let plain = doc.replace(',', "");
    let default = match setting.default().trim_matches('"') {
        "auto" | "" => "None".to_string(),
        other => other.to_string(),
    };
    let told = plain.rsplit_once("Default: ").map_or("", |(_, told)| told).to_lowercase();
    let told = told.replace(' ', "");
    assert!(told.starts_with(&default.to_lowercase()), "{name}: {doc:?} has not {default:?}");
    let number = setting.unit();
    if !number.is_empty() && number != "time" {
        let unit = number.split(' ').next().unwrap();
        assert!(doc.contains(&format!("Unit: {unit}")), "{name}: {doc:?} has no unit {number:?}");
    }
    let Some((_, range)) = plain.split_once("Range: ") else {
        assert!(number.is_empty(), "{name}: {doc:?} has no range");
        return;
    };
    let range = range.split_once(" Default").unwrap().0.replace(' ', "");
    let bounds = setting.range().split(';').next().unwrap().replace(['"', ','], "");
    for bound in bounds.split(' ').filter(|word| word.starts_with(|c: char| c.is_ascii_digit())) {
        assert!(range.contains(bound), "{name}: {doc:?} has not {bound:?} in its range");
    }
}
