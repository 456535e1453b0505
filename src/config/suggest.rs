//! The known name that is nearest to a misspelt one.

use super::{broker, group, known, topic};

/// The nearest broker setting, where one is near enough to be what was meant.
pub fn broker_setting(name: &str) -> Option<&'static str> {
    let settings = broker::all().chain(broker::INTERNAL).map(|setting| setting.name);
    nearest(name, settings.chain(known::UNDESCRIBED.iter().copied()))
}

/// The nearest topic setting, where one is near enough to be what was meant.
pub fn topic_setting(name: &str) -> Option<&'static str> {
    nearest(name, topic::SETTINGS.iter().map(|entry| entry.setting.name))
}

/// The nearest setting of groups, where one is near enough to be what was meant.
pub fn group_setting(name: &str) -> Option<&'static str> {
    nearest(name, group::SETTINGS.iter().map(|entry| entry.setting.name))
}

/// A name is near when at most a quarter of it differs.
fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let allowed = (name.chars().count() / 4).max(2);
    known
        .filter(|candidate| candidate.len().abs_diff(name.len()) <= allowed)
        .map(|candidate| (distance(name, candidate), candidate))
        .filter(|(distance, _)| *distance <= allowed)
        .min()
        .map(|(_, candidate)| candidate)
}

/// How many characters must be inserted, dropped or exchanged to turn one text into the other (Levenshtein).
fn distance(left: &str, right: &str) -> usize {
    let mut row: Vec<usize> = (0..=right.chars().count()).collect();
    for (line, from) in left.chars().enumerate() {
        let mut diagonal = line;
        let mut previous = line + 1;
        for (cell, to) in row.iter_mut().skip(1).zip(right.chars()) {
            let replaced = diagonal + usize::from(from != to);
            diagonal = *cell;
            *cell = replaced.min(diagonal + 1).min(previous + 1);
            previous = *cell;
        }
        if let Some(first) = row.first_mut() {
            *first = line + 1;
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_are_levenshteins() {
        for (left, right, expected) in [
            ("", "", 0),
            ("", "abc", 3),
            ("abc", "", 3),
            ("kitten", "sitting", 3),
            ("flaw", "lawn", 2),
            ("same", "same", 0),
        ] {
            assert_eq!(distance(left, right), expected, "{left} {right}");
        }
    }

    #[test]
    fn a_slip_finds_its_name_and_nonsense_does_not() {
        assert_eq!(broker_setting("log.retention.hour"), Some("log.retention.hours"));
        assert_eq!(broker_setting("num.partition"), Some("num.partitions"));
        assert_eq!(broker_setting("num.io.thread"), Some("num.io.threads"));
        assert_eq!(broker_setting("zookeeper.connect"), None);
        assert_eq!(topic_setting("retention.sm"), Some("retention.ms"));
        assert_eq!(topic_setting("xyz"), None);
    }
}
