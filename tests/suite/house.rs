//! The map in `src/lib.rs` is true: it names every room, and for each all that it imports.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

type Imports = BTreeSet<String>;

#[test]
fn the_map_names_every_room_and_its_imports() {
    let map = map();
    let (rooms, code) = (map.iter().map(|(room, _)| room.clone()), code());
    assert_eq!(rooms.collect::<Imports>(), code.keys().cloned().collect());
    for (room, imports) in &map {
        assert_eq!(&code[room], imports, "what {room} imports is on the left");
    }
}

#[test]
fn imports_run_one_way() {
    let mut above = Imports::new();
    for (room, imports) in map() {
        let others: Vec<_> = imports.difference(&above).collect();
        assert!(others.is_empty(), "{room} imports what stands below it: {others:?}");
        above.insert(room);
    }
}

/// The rows of the table, from above.
fn map() -> Vec<(String, Imports)> {
    let text = fs::read_to_string(src().join("lib.rs")).expect("lib.rs");
    let rows = text.lines().filter_map(|line| line.strip_prefix("//! | `"));
    rows.map(|row| {
        let cells: Vec<_> = row.trim_end_matches(" |").split(" | ").collect();
        let [room, _, imports] = cells[..] else { panic!("no row: {row}") };
        let imports = imports.split(' ').filter(|name| *name != "–").map(Into::into);
        (room.trim_end_matches('`').into(), imports.collect())
    })
    .collect()
}

/// What each room's files import from others.
fn code() -> BTreeMap<String, Imports> {
    let mut rooms = BTreeMap::<String, Imports>::new();
    for file in files(&src()) {
        let inside = file.strip_prefix(src()).expect("a file of src").with_extension("");
        let first = inside.iter().next().and_then(|name| name.to_str()).expect("a name");
        // The map itself, the door for tests, and the program.
        if ["lib", "internals", "main"].contains(&first) || inside.ends_with("tests") {
            continue;
        }
        let text = fs::read_to_string(&file).expect("a file");
        // Tests know whom they like.
        let text = text.split("#[cfg(test)]\nmod tests {").next().expect("a beginning");
        let imports = rooms.entry(first.into()).or_default();
        imports.extend(imported(text).filter(|name| name != first));
    }
    rooms
}

/// Every `crate::name`, also where it is one of several in braces.
fn imported(text: &str) -> impl Iterator<Item = String> {
    text.split("crate::").skip(1).flat_map(|rest| match rest.strip_prefix('{') {
        Some(list) => first_names(list),
        None => vec![name(rest)],
    })
}

fn first_names(list: &str) -> Vec<String> {
    let (mut names, mut depth, mut rest) = (vec![name(list)], 0, list);
    while let Some(at) = rest.find(['{', '}', ',']) {
        let (mark, behind) = (&rest[at..=at], &rest[at + 1..]);
        match mark {
            "{" => depth += 1,
            "}" if depth == 0 => break,
            "}" => depth -= 1,
            _ if depth == 0 => names.push(name(behind)),
            _ => {}
        }
        rest = behind;
    }
    names.retain(|name| !name.is_empty());
    names
}

fn name(text: &str) -> String {
    let text = text.trim_start();
    let end = text.find(|c: char| !c.is_ascii_lowercase() && c != '_').unwrap_or(text.len());
    text[..end].into()
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).expect("a directory").map(|entry| entry.expect("one"));
    entries
        .flat_map(|entry| match entry.path() {
            path if path.is_dir() => files(&path),
            path if path.extension().is_some_and(|kind| kind == "rs") => vec![path],
            _ => Vec::new(),
        })
        .collect()
}

fn src() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}
