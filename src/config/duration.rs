//! Durations as Java's `Duration.parse` reads them (ISO 8601 with days and seconds): `PT1H`, `P1DT2H3M4.5S`.

const NANOS: i128 = 1_000_000_000;
/// The most digits behind the point: nanoseconds.
const FRACTION: usize = 9;

/// Whether the text is a duration that is zero or longer.
pub fn is_not_negative(text: &str) -> bool {
    nanos(text).is_some_and(|nanos| nanos >= 0)
}

/// The duration in nanoseconds; letters count in small and capital.
fn nanos(text: &str) -> Option<i128> {
    let text = text.to_ascii_uppercase();
    let (sign, text) = signed(&text);
    let text = text.strip_prefix('P')?;
    let (date, time) = match text.split_once('T') {
        Some((_, "")) => return None,
        Some((date, time)) => (date, time),
        None if text.is_empty() => return None,
        None => (text, ""),
    };
    let (days, rest) = component(date, 'D', 86_400)?;
    if !rest.is_empty() {
        return None;
    }
    let (hours, rest) = component(time, 'H', 3600)?;
    let (minutes, rest) = component(rest, 'M', 60)?;
    let nanos = (days + hours + minutes) * NANOS + seconds(rest)?;
    // Java keeps whole seconds in 64 bits.
    i64::try_from(nanos.div_euclid(NANOS)).ok()?;
    Some(sign * nanos)
}

/// A number in front of its letter, times what it stands for, and the text behind it; nothing is zero.
fn component(text: &str, letter: char, factor: i128) -> Option<(i128, &str)> {
    let Some((number, rest)) = text.split_once(letter) else { return Some((0, text)) };
    let (sign, digits) = signed(number);
    let value = sign * whole(digits)? * factor;
    i64::try_from(value).ok()?;
    Some((value, rest))
}

/// Seconds with a fraction, in nanoseconds.
fn seconds(text: &str) -> Option<i128> {
    if text.is_empty() {
        return Some(0);
    }
    let (sign, number) = signed(text.strip_suffix('S')?);
    let (whole_part, fraction) = number.split_once(['.', ',']).unwrap_or((number, ""));
    if fraction.len() > FRACTION || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let fraction: i128 = format!("{fraction:0<FRACTION$}").parse().ok()?;
    Some(sign * (whole(whole_part)? * NANOS + fraction))
}

fn signed(text: &str) -> (i128, &str) {
    match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    }
}

fn whole(digits: &str) -> Option<i128> {
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    digits.parse::<i64>().ok().map(i128::from)
}

#[cfg(test)]
mod tests {
    use super::is_not_negative;

    #[test]
    fn durations_are_read_as_java_reads_them() {
        // Apache Kafka 4.3.1 took and refused these as values of share.auto.offset.reset behind by_duration.
        for taken in ["PT1H", "P1DT2H3M4.5S", "pt1h", "P1D", "+P1D", "PT0S", "PT1,5S", "PT1.S", "PT-1H+61M"] {
            assert!(is_not_negative(taken), "{taken}");
        }
        for refused in [
            "",
            "-PT1H",
            "1h",
            "PT",
            "P",
            "P1Y",
            "P-1D",
            " PT1H",
            "PT1H1H",
            "P1DT",
            "PT1.5H",
            "PT.5S",
            "PT1M1H",
            "PT1.1234567891S",
            "P99999999999999999999D",
            "P106751991167301D",
            "P1W",
            "PT-0.5S",
            "PTH",
            "P1DT2H3",
        ] {
            assert!(!is_not_negative(refused), "{refused}");
        }
    }
}
