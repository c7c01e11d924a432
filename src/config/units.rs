//! Durations (`1500ms`, `3s`), sizes (`64KiB`, `200MB`) and counts, as people write them.
//! An error says what was given and what to write instead.

use std::{ops::RangeInclusive, time::Duration};

/// `Instant::now()` plus a duration must not overflow, whatever somebody writes: a
/// thousand years are enough.
const DURATION_MAX_DAYS: u64 = 365_000;

/// In milliseconds, the smallest unit.
const DURATION_UNITS: [(&str, u64); 6] = [
    ("ms", 1),
    ("s", 1_000),
    ("m", 60_000),
    ("h", 3_600_000),
    ("d", 86_400_000),
    // A plain integer.
    ("", 1_000),
];

const SIZE_UNITS: [(&str, u64); 8] = [
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("B", 1),
    // A plain integer.
    ("", 1),
];

pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let advice = "write for example 1500ms, 3s, 1m or 1h";
    let millis = with_unit(text, &DURATION_UNITS)
        .ok_or_else(|| format!("{text:?} is not a duration; {advice}"))?;
    if millis > DURATION_MAX_DAYS * 86_400_000 {
        return Err(format!("{text:?} is too long; {advice}"));
    }
    Ok(Duration::from_millis(millis))
}

pub(super) fn duration_above_zero(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        Duration::ZERO => Err(format!("{text:?} is too short; write 1ms or more")),
        duration => Ok(duration),
    }
}

/// In bytes.
pub(super) fn size(text: &str) -> Result<u64, String> {
    with_unit(text, &SIZE_UNITS).ok_or_else(|| {
        format!("{text:?} is not a size; write for example 64KiB, 1MiB, 200MB or 65536 (bytes)")
    })
}

/// `least` and `most` as one would write them.
pub(super) fn size_within(text: &str, least: &str, most: &str) -> Result<u64, String> {
    let (bytes, range) = (size(text)?, size(least)?..=size(most)?);
    if !range.contains(&bytes) {
        return Err(format!("{text:?} is out of range; write {least} to {most}"));
    }
    Ok(bytes)
}

pub(super) fn count_within(text: &str, range: RangeInclusive<u32>) -> Result<usize, String> {
    let count = text.parse().ok().filter(|count| range.contains(count));
    count.map(|count: u32| count as usize).ok_or_else(|| {
        let (least, most) = range.into_inner();
        format!("{text:?} is not a number in range; write {least} to {most}")
    })
}

/// A whole number and a unit; nothing that a unit does not name, nothing that overflows.
fn with_unit(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let unit = unit.trim_start();
    let (_, factor) = units.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit))?;
    number.parse::<u64>().ok()?.checked_mul(*factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_in_every_unit() {
        for (text, millis) in [
            ("1500ms", 1_500),
            ("3s", 3_000),
            ("3", 3_000),
            ("1m", 60_000),
            ("1h", 3_600_000),
            ("2d", 172_800_000),
            ("0", 0),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
    }

    #[test]
    fn what_is_no_duration_says_what_to_write() {
        for text in ["", "s", "3sec", "-1s", "1.5s", "1h30m", "99999999999999999999s", "١s"] {
            let error = duration(text).expect_err(text);
            assert!(error.contains("3s, 1m or 1h"), "{error}");
        }
        assert!(duration("365001d").is_err(), "an Instant would overflow");
        assert!(duration_above_zero("0ms").is_err());
    }

    #[test]
    fn sizes_are_read_in_every_unit() {
        for (text, bytes) in [
            ("64KiB", 65_536),
            ("64kib", 65_536),
            ("1 MiB", 1 << 20),
            ("2GiB", 2 << 30),
            ("200MB", 200_000_000),
            ("1KB", 1_000),
            ("1GB", 1_000_000_000),
            ("7B", 7),
            ("65536", 65_536),
        ] {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn what_is_no_size_says_what_to_write() {
        for text in ["", "KiB", "64K", "1.5MB", "-1", "18446744073709551615KB"] {
            let error = size(text).expect_err(text);
            assert!(error.contains("64KiB, 1MiB, 200MB"), "{error}");
        }
        let error = size_within("1B", "1KiB", "16MiB").expect_err("too small");
        assert_eq!(error, "\"1B\" is out of range; write 1KiB to 16MiB");
    }

    #[test]
    fn counts_stay_in_range() {
        assert_eq!(count_within("1000", 1..=1000), Ok(1000));
        for text in ["0", "1001", "many", "", "-1", "4294967296"] {
            let error = count_within(text, 1..=1000).expect_err(text);
            assert!(error.ends_with("write 1 to 1000"), "{error}");
        }
    }
}
