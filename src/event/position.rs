//! Where somebody stands in an exchange's log. Clients keep positions as text that says nothing
//! to them; a replica that is given one later, this one or another, knows by it what they have
//! seen.

use std::fmt;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Serialize, Serializer};

/// Offset, hash and number of events, each big-endian.
const BYTES: usize = 18;

/// BYTES in base64.
const CHARACTERS: usize = 24;

/// An entry of a log, as it is known again. Offsets are used anew in a log that was made anew;
/// the hash tells its entries from the old ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    pub offset: u64,
    pub hash: u64,
}

/// Between two events, or two entries, of a log. Ordered within one log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    entry: Entry,
    /// So many events of the entry lie behind.
    events: u16,
}

impl Position {
    pub fn before(entry: Entry) -> Self {
        Self { entry, events: 0 }
    }

    /// Behind the event that has this place in the entry, from 0.
    pub fn behind(entry: Entry, place: u16) -> Self {
        Self { entry, events: place.saturating_add(1) }
    }

    /// Behind the entry, whatever it holds.
    pub fn end_of(entry: Entry) -> Self {
        Self { entry, events: u16::MAX }
    }

    pub fn entry(&self) -> Entry {
        self.entry
    }

    /// Reads what [`fmt::Display`] writes.
    pub fn parse(text: &str) -> Option<Self> {
        // Longer text is none, and not worth its decoding.
        let text = (text.len() == CHARACTERS).then_some(text)?;
        let bytes: [u8; BYTES] = URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok()?;
        let (offset, rest) = bytes.split_first_chunk()?;
        let (events, hash) = rest.split_first_chunk()?;
        let hash = u64::from_be_bytes(hash.try_into().ok()?);
        let entry = Entry { offset: u64::from_be_bytes(*offset), hash };
        Some(Self { entry, events: u16::from_be_bytes(*events) })
    }

    fn bytes(&self) -> [u8; BYTES] {
        let mut bytes = [0; BYTES];
        bytes[..8].copy_from_slice(&self.entry.offset.to_be_bytes());
        bytes[8..10].copy_from_slice(&self.events.to_be_bytes());
        bytes[10..].copy_from_slice(&self.entry.hash.to_be_bytes());
        bytes
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [0; CHARACTERS];
        let written = URL_SAFE_NO_PAD.encode_slice(self.bytes(), &mut text);
        let text = written.ok().and_then(|length| str::from_utf8(&text[..length]).ok());
        f.write_str(text.ok_or(fmt::Error)?)
    }
}

impl Serialize for Position {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENTRY: Entry = Entry { offset: 1 << 40, hash: u64::MAX - 7 };

    #[test]
    fn its_text_says_all_of_it() {
        let places = [0, 1, 255, u16::MAX - 1];
        let behind = places.map(|place| Position::behind(ENTRY, place));
        for position in behind.into_iter().chain([Position::before(ENTRY)]) {
            let text = position.to_string();
            assert_eq!(text.len(), CHARACTERS, "{text}");
            assert_eq!(Position::parse(&text), Some(position));
        }
    }

    #[test]
    fn what_is_none_is_none() {
        let text = Position::end_of(ENTRY).to_string();
        let other =
            ["", "0", &text[1..], &format!("{text}A"), &text.replace('A', "="), &"ü".repeat(12)];
        for text in other {
            assert_eq!(Position::parse(text), None, "{text}");
        }
    }

    #[test]
    fn an_entry_is_passed_event_by_event() {
        let next = Entry { offset: ENTRY.offset + 1, hash: 0 };
        let way = [
            Position::before(ENTRY),
            Position::behind(ENTRY, 0),
            Position::behind(ENTRY, 255),
            Position::end_of(ENTRY),
            Position::before(next),
        ];
        assert!(way.is_sorted_by(|one, other| one < other));
    }
}
