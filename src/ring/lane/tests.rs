use super::*;
use crate::event::{Exchange, RawBody};

fn id(offset: u64) -> Entry {
    Entry { offset, hash: offset }
}

/// Of the keys of its events.
fn append(lane: &mut Lane, offset: u64, keys: &[&str]) {
    let body = RawBody::Json(b"{}");
    let events = (0..).zip(keys).map(|(place, key)| {
        let position = Position::behind(id(offset), place);
        RawEvent::new(key.as_bytes(), body, position, None, 10).expect("valid")
    });
    lane.append(id(offset), offset, &events.collect::<Vec<_>>());
}

fn here(lane: &Lane, position: Position) -> Cursor {
    match lane.find(position) {
        Place::Here(cursor) => cursor,
        other => panic!("{other:?}"),
    }
}

fn offsets(events: &[Arc<RingEvent>]) -> Vec<u64> {
    events.iter().map(|event| event.position().entry().offset).collect()
}

fn filled() -> Lane {
    let mut lane = Lane::default();
    append(&mut lane, 5, &[]);
    append(&mut lane, 6, &["a", "b", "a"]);
    append(&mut lane, 8, &["b"]);
    append(&mut lane, 9, &["c"]);
    append(&mut lane, 10, &["a"]);
    lane
}

#[test]
fn what_came_since_comes_in_the_order_of_the_log() {
    let lane = filled();
    for (from, keys, found) in [
        (Position::end_of(id(5)), &["a", "b"][..], &[6, 6, 6, 8, 10][..]),
        (Position::behind(id(6), 0), &["a"], &[6, 10]),
        (Position::behind(id(6), 2), &["a", "c", "d"], &[9, 10]),
        (Position::before(id(8)), &["b"], &[8]),
        (Position::end_of(id(10)), &["a"], &[]),
    ] {
        let span = lane.since(keys, here(&lane, from), 100_000).expect("all there");
        assert_eq!(offsets(&span.events), found, "{from:?}");
        assert!(span.is_all);
        assert_eq!(span.cursor.position, Position::end_of(id(10)));
    }
}

#[test]
fn part_by_part_it_is_the_same() {
    let lane = filled();
    for bytes in [0, 300, 500, 1_000] {
        let (mut found, mut cursor) = (Vec::new(), here(&lane, Position::end_of(id(5))));
        loop {
            let span = lane.since(&["a", "b"], cursor, bytes).expect("all there");
            found.extend(offsets(&span.events));
            cursor = span.cursor;
            if span.is_all {
                break;
            }
            assert!(!span.events.is_empty(), "it goes on");
        }
        assert_eq!(found, [6, 6, 6, 8, 10], "{bytes}");
    }
}

#[test]
fn the_latest_of_each_key_are_found_where_they_fit() {
    let lane = filled();
    let latest = |keys: &[&str], number| {
        let span = lane.latest(keys, number, 1_000).expect("all there");
        span.map(|span| offsets(&span.events))
    };
    assert_eq!(latest(&["a"], 1), Some(vec![10]));
    assert_eq!(latest(&["a", "b", "d"], 2), Some(vec![6, 6, 8, 10]));
    assert_eq!(latest(&["a"], 0), Some(vec![]));
    assert!(lane.latest(&["a"], 3, 100).expect("all there").is_none());
}

#[test]
fn a_position_is_known_by_its_entry() {
    let mut lane = filled();
    let other = Entry { offset: 8, hash: 0 };
    for (position, place) in [
        (Position::end_of(id(4)), Place::Before),
        (Position::before(other), Place::Unknown),
        (Position::before(id(7)), Place::Unknown),
        (Position::before(id(11)), Place::Ahead),
    ] {
        assert_eq!(lane.find(position), place, "{position:?}");
    }
    lane.forget_oldest();
    here(&lane, Position::end_of(id(5)));
    assert_eq!(lane.find(Position::before(id(5))), Place::Before);
    assert_eq!(Lane::default().find(Position::before(id(5))), Place::Ahead);
}

#[test]
fn nobody_is_led_across_what_is_gone() {
    let mut lane = filled();
    let cursor = here(&lane, Position::end_of(id(5)));
    let behind = here(&lane, Position::end_of(id(6)));
    lane.forget_oldest();
    assert!(lane.since(&["a"], cursor, 1_000).is_ok(), "nothing of it was behind the cursor");
    lane.forget_oldest();
    assert_eq!(lane.since(&["a"], cursor, 1_000).err(), Some(Lost));
    assert!(lane.since(&["a"], behind, 1_000).is_ok());
    lane.interrupt(None);
    assert_eq!(lane.since(&["a"], behind, 1_000).err(), Some(Lost));
    // Of the log that is made anew, though its offsets are less.
    append(&mut lane, 0, &["a"]);
    assert_eq!(lane.since(&["a"], behind, 1_000).err(), Some(Lost));
}

#[test]
fn nothing_is_left_of_what_is_forgotten() {
    let mut lane = filled();
    let frame = |event: &Arc<RingEvent>| event.frame(&Exchange::new("w").expect("valid"));
    lane.keys.iter().flat_map(|(_, key)| &key.events).for_each(|event| drop(frame(event)));
    while lane.oldest().is_some() {
        lane.forget_oldest();
    }
    assert_eq!((lane.events.len(), lane.by_key.len(), lane.keys.len()), (1, 1, 1));
    lane.forget_oldest();
    assert_eq!((lane.size(), lane.events.len(), lane.by_key.len()), (0, 0, 0));
}
