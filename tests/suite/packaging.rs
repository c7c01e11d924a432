//! What is handed out: the crate holds what it is built from and nothing else, and a release is made of
//! one version only.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use crate::support::TempDir;

#[test]
fn the_crate_holds_what_it_is_built_from() {
    let mut command = Command::new(cargo());
    command.args(["package", "--list", "--allow-dirty", "--offline"]).current_dir(here());
    let packed: BTreeSet<_> = printed(&mut command).lines().map(PathBuf::from).collect();

    let mut needed = needed(Tests::Too);
    needed.insert("README.md".into());
    let missing: Vec<_> = needed.difference(&packed).collect();
    assert!(missing.is_empty(), "not in the crate: {missing:?}");

    let size = |file: &PathBuf| fs::metadata(here().join(file)).map_or(0, |file| file.len());
    let size: u64 = packed.iter().map(size).sum();
    assert!(size < 2 << 20, "it has {size} bytes");
}

/// An engine that builds images is seldom there: its context is made as `.dockerignore` has it.
#[test]
fn the_images_are_given_what_they_are_built_from() {
    let directory = TempDir::new("context");
    let ignored = fs::read_to_string(here().join(".dockerignore")).expect("text");
    let let_in: Vec<_> = ignored.lines().filter_map(|line| line.strip_prefix('!')).collect();
    let listed = printed(Command::new("git").arg("ls-files").args(&let_in).current_dir(here()));
    for file in listed.lines() {
        let copy = directory.path().join(file);
        fs::create_dir_all(copy.parent().expect("a directory")).expect("made");
        fs::copy(here().join(file), copy).expect("copied");
    }
    let is_there = |file: &Path| directory.path().join(file).exists();
    let missing: Vec<_> = needed(Tests::Not).into_iter().filter(|file| !is_there(file)).collect();
    assert!(missing.is_empty(), "not in the context: {missing:?}");

    // A target whose path Cargo.toml does not name is looked for, whatever is built.
    let host = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let mut fetch = Command::new(cargo());
    fetch.args(["fetch", "--locked", "--offline", "--target", &host]);
    printed(fetch.current_dir(directory.path()));

    for dockerfile in ["Dockerfile", "examples/python/Dockerfile"] {
        let text = fs::read_to_string(here().join(dockerfile)).expect("text");
        let copies = text.lines().filter_map(|line| line.strip_prefix("COPY "));
        for copy in copies.filter(|copy| !copy.starts_with("--from")) {
            let mut sources: Vec<_> =
                copy.split(' ').filter(|word| !word.starts_with("--")).collect();
            sources.pop().expect("where to");
            let missing: Vec<_> =
                sources.into_iter().filter(|file| !is_there(Path::new(file))).collect();
            assert!(missing.is_empty(), "{dockerfile} copies what is not there: {missing:?}");
        }
    }
}

/// Whether it is built with its unit tests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tests {
    Too,
    Not,
}

/// What the program is built from, whoever builds it.
fn needed(tests: Tests) -> BTreeSet<PathBuf> {
    let mut needed = BTreeSet::from(["build.rs", "Cargo.toml", "Cargo.lock"].map(PathBuf::from));
    for directory in ["src", "proto"] {
        needed.extend(files(&here().join(directory)).into_iter().map(inside));
    }
    let included: BTreeSet<_> = needed.iter().flat_map(|file| includes(file, tests)).collect();
    assert!(included.iter().any(|file| file.starts_with("clients")), "{included:?}");
    needed.extend(included);
    needed
}

fn cargo() -> String {
    std::env::var("CARGO").unwrap_or_else(|_| "cargo".into())
}

/// Files that `include_str!` and `include_bytes!` name; the unit tests of a file are at its end.
fn includes(file: &Path, tests: Tests) -> Vec<PathBuf> {
    let text = fs::read_to_string(here().join(file)).unwrap_or_default();
    let built = text.split("#[cfg(test)]").next().expect("a part");
    let text = if tests == Tests::Too { &*text } else { built };
    let behind = |macro_name| text.split(macro_name).skip(1);
    let named = behind("include_str!(\"").chain(behind("include_bytes!(\""));
    let directory = here().join(file.parent().expect("a directory"));
    let found = |name: &str| directory.join(name).canonicalize().expect("it is there");
    named.filter_map(|rest| rest.split('"').next()).map(|name| inside(found(name))).collect()
}

/// In a repository of its own that has what a release looks at.
#[test]
fn a_release_is_of_one_version_and_of_what_is_committed() {
    let directory = TempDir::new("release");
    let root = directory.path();
    let version = env!("CARGO_PKG_VERSION");
    for file in [
        "scripts/release",
        "Cargo.toml",
        "Cargo.lock",
        "CHANGELOG.md",
        "clients/js/package.json",
        "clients/js/package-lock.json",
        "deploy/helm/myxi/Chart.yaml",
        "deploy/kubernetes/fleet/myxi.yaml",
        "deploy/kubernetes/sidecar/myxi.yaml",
    ] {
        let copy = root.join(file);
        fs::create_dir_all(copy.parent().expect("a directory")).expect("made");
        fs::copy(here().join(file), copy).expect("copied");
    }
    let git = |arguments: &[&str]| {
        let mut git = Command::new("git");
        let who = ["-c", "user.name=somebody", "-c", "user.email=somebody@example.com"];
        printed(git.args(who).args(arguments).current_dir(root));
    };
    let tag = |name: &str| {
        git(&["add", "--all"]);
        git(&["commit", "--quiet", "--allow-empty", "--message", "A version"]);
        git(&["tag", "--force", name]);
    };
    let release = |tag: &str| {
        let mut release = Command::new("bash");
        release.args(["scripts/release", tag, "--dry-run"]).current_dir(root);
        release.output().expect("bash")
    };
    let refused = |tag: &str, why: &[&str]| {
        let Output { status, stderr, .. } = release(tag);
        let told = String::from_utf8_lossy(&stderr).into_owned();
        assert_eq!(status.code(), Some(1), "{told}");
        assert_eq!(told.lines().count(), 1 + why.len(), "{told}");
        for why in why {
            assert!(told.contains(why), "{why}: {told}");
        }
    };
    git(&["init", "--quiet"]);
    let changes = root.join("CHANGELOG.md");
    fs::write(&changes, format!("# Changelog\n\n## {version}\n")).expect("written");
    let good = format!("v{version}");
    tag(&good);
    let made = String::from_utf8(release(&good).stdout).expect("text");
    assert_eq!(made.lines().count(), 6, "{made}");
    assert!(made.contains(&format!("myxi-{version}.crate\n")), "{made}");

    refused(
        "v999.0.0",
        &[
            "no tag v999.0.0",
            "Cargo.toml",
            "Cargo.lock",
            "package.json",
            "package-lock.json",
            "(version)",
            "(appVersion)",
            "fleet",
            "sidecar",
            "no section 999.0.0",
        ],
    );
    fs::write(root.join("new"), "").expect("written");
    refused(&good, &["not committed"]);
    git(&["add", "--all"]);
    git(&["commit", "--quiet", "--message", "One more"]);
    refused(&good, &["another commit"]);
    let package = root.join("clients/js/package.json");
    let other = fs::read_to_string(&package).expect("text").replace(version, "999.0.0");
    fs::write(&package, other).expect("written");
    tag(&good);
    refused(&good, &["clients/js/package.json says 999.0.0"]);
}

fn printed(command: &mut Command) -> String {
    let output = command.output().expect("it runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let entries =
        fs::read_dir(directory).expect("a directory").map(|entry| entry.expect("one").path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

fn inside(path: PathBuf) -> PathBuf {
    path.strip_prefix(here()).expect("a file of this directory").to_owned()
}

fn here() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
