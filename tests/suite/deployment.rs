//! The files that myxi is deployed with say nothing that it does not know: every variable, flag and
//! metric that they name is there, and the settings that they give are valid ones. What their own
//! linters say of them, `scripts/lint-deploy` asks.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use myxi::config::Config;

/// Of the handlers in `examples`, and of the commands by hand; not of the gateway.
const OF_EXAMPLES: [&str; 1] = ["MYXI_GATEWAY"];

#[test]
fn every_variable_and_flag_is_one_of_the_gateways() {
    let help = Command::new(env!("CARGO_BIN_EXE_myxi")).args(["serve", "--help"]).output();
    let help = String::from_utf8(help.expect("myxi runs").stdout).expect("UTF-8");
    let known = variables(&help);
    assert!(known.len() > 25, "{known:?}");
    let mut named = BTreeSet::new();
    for (file, text) in files() {
        let mut unknown = variables(&text);
        named.extend(unknown.clone());
        unknown.retain(|name| !known.contains(name) && !OF_EXAMPLES.contains(&name.as_str()));
        assert!(unknown.is_empty(), "{file:?} names {unknown:?}");
    }
    assert!(named.len() > 12, "{named:?}");

    let page = read("docs/deploy.md");
    let flags = words(&page, "`--", |c| c.is_ascii_lowercase() || c == '-');
    let known = words(&help, "--", |c| c.is_ascii_lowercase() || c == '-');
    assert!(flags.len() > 5, "{flags:?}");
    for flag in flags {
        assert!(known.contains(&flag[1..]), "docs/deploy.md names {flag}");
    }
}

#[test]
fn every_metric_is_documented() {
    let metric = |c: char| c.is_ascii_lowercase() || c == '_';
    let documented = words(&read("docs/metrics.md"), "myxi_", metric);
    let mut named = 0;
    for (file, text) in files() {
        for name in words(&text, "myxi_", metric) {
            assert!(documented.contains(&name), "{file:?} names {name}");
            named += 1;
        }
    }
    assert!(named > 0);
}

#[test]
fn what_is_set_is_valid() {
    let compose = read("compose.yaml");
    let (_, gateway) = compose.split_once("\n  gateway:\n").expect("a gateway");
    let (gateway, _) = gateway.split_once("\n\n").expect("others");
    for (file, settings) in [
        ("compose.yaml", of_lines(gateway, ": ")),
        ("deploy/systemd/myxi.env", of_lines(&read("deploy/systemd/myxi.env"), "=")),
        ("deploy/kubernetes/fleet", of_pods("deploy/kubernetes/fleet/myxi.yaml")),
        ("deploy/kubernetes/sidecar", of_pods("deploy/kubernetes/sidecar/myxi.yaml")),
    ] {
        assert!(settings.len() >= 5, "{file}: {settings:?}");
        let flags: Vec<_> = settings.iter().map(|(name, value)| flag(name, value)).collect();
        let config = match Config::from_flags(flags.iter().map(String::as_str)) {
            Ok(config) => config,
            Err(problems) => panic!("{file}: {:#?}", problems.0),
        };
        let drain = config.drain.shutdown_delay + config.drain.drain_time;
        let asked = drain + config.application.timeout;
        let needed = asked + AFTER_THE_DRAIN;
        let (file, before) = its_end(file);
        let left = seconds(&file, before);
        assert!(left > needed, "{file}: killed after {left:?}, and needs {needed:?}");
        if file.contains("sidecar") {
            let waits = seconds(&file, "preStop: {sleep: {seconds: ");
            assert!(waits > asked, "{file}: asked for {asked:?}, and it waits {waits:?}");
        }
    }
}

/// For what the application and the broker have under way.
const AFTER_THE_DRAIN: Duration = Duration::from_secs(5);

/// Where it stands how long whoever reads this file waits for the gateway's end.
fn its_end(file: &str) -> (String, &'static str) {
    match file {
        "deploy/systemd/myxi.env" => ("deploy/systemd/myxi@.service".into(), "TimeoutStopSec="),
        "compose.yaml" => (file.to_owned(), "stop_grace_period: "),
        pods => (format!("{pods}/myxi.yaml"), "terminationGracePeriodSeconds: "),
    }
}

fn seconds(file: &str, before: &str) -> Duration {
    let text = read(file);
    let (_, rest) = text.split_once(before).unwrap_or_else(|| panic!("{file}: no {before}"));
    let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    Duration::from_secs(rest[..end].parse().expect("seconds"))
}

type Settings = Vec<(String, String)>;

/// `NAME: value` or `NAME=value`, a line each, with what is commented out for want of a need.
fn of_lines(text: &str, between: &str) -> Settings {
    let lines =
        text.lines().filter_map(|line| line.trim().trim_start_matches('#').split_once(between));
    let settings =
        lines.filter(|(name, value)| variables(name).contains(*name) && !value.is_empty());
    settings.map(|(name, value)| (name.to_owned(), value.trim().to_owned())).collect()
}

/// `- {name: NAME, value: "value"}`, or a `- name: NAME` whose value is of a Secret.
fn of_pods(file: &str) -> Settings {
    let (text, mut settings) = (read(file), Settings::new());
    for line in text.lines().map(str::trim) {
        let given = line.strip_prefix("- {name: ").and_then(|rest| rest.split_once(", value: \""));
        if let Some((name, value)) = given {
            settings.push((name.to_owned(), value.trim_end_matches("\"}").to_owned()));
        } else if let Some(name) = line.strip_prefix("- name: ").filter(|name| !name.is_empty()) {
            let secret =
                if name == "RABBITMQ_URL" { "amqp://myxi:secret@rabbitmq" } else { "secret" };
            settings.push((name.to_owned(), secret.into()));
        }
    }
    settings.retain(|(name, _)| variables(name).contains(name) && !OF_EXAMPLES.contains(&&**name));
    settings
}

fn flag(variable: &str, value: &str) -> String {
    let name = match variable {
        "MYXI_EXCHANGES" => "exchange".into(),
        _ => variable.trim_start_matches("MYXI_").to_lowercase().replace('_', "-"),
    };
    format!("--{name}={value}")
}

fn variables(text: &str) -> BTreeSet<String> {
    let part = |c: char| c.is_ascii_uppercase() || c == '_';
    words(text, "MYXI_", part).into_iter().chain(words(text, "RABBITMQ_URL", part)).collect()
}

/// What begins so and goes on in such characters.
fn words(text: &str, beginning: &str, part: impl Fn(char) -> bool) -> BTreeSet<String> {
    let found = text.match_indices(beginning).map(|(at, _)| {
        let rest = &text[at + beginning.len()..];
        let length = rest.find(|c| !part(c)).unwrap_or(rest.len());
        text[at..at + beginning.len() + length].to_owned()
    });
    found.filter(|word| word.len() > beginning.len() || beginning == "RABBITMQ_URL").collect()
}

/// Everything that names settings.
fn files() -> Vec<(PathBuf, String)> {
    let mut paths: Vec<_> = ["Dockerfile", "compose.yaml", "docs/deploy.md"].map(here).into();
    let mut directories = vec![here("deploy")];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).expect("a directory") {
            let path = entry.expect("an entry").path();
            if path.is_dir() { &mut directories } else { &mut paths }.push(path);
        }
    }
    let read = |path: &PathBuf| fs::read_to_string(path).expect("text");
    paths.into_iter().map(|path| (path.clone(), read(&path))).collect()
}

fn read(file: &str) -> String {
    fs::read_to_string(here(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

fn here(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(file)
}
