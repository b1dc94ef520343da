//! Points in time as text. In narthex they are milliseconds since 1970.

const DAY_MS: i64 = 86_400_000;

/// Parses `2006-01-02T15:04:05Z` (with or without a fraction of a second) or seconds since 1970.
pub fn parse(text: &str) -> Result<i64, String> {
    let wrong = || format!("{text:?} is no time; write 2006-01-02T15:04:05Z, or seconds since 1970");
    if let Ok(seconds) = text.parse::<f64>() {
        let millis = (seconds * 1000.0).round();
        // A larger float cannot represent milliseconds exactly.
        return if millis.abs() < 9e15 { Ok(millis as i64) } else { Err(wrong()) };
    }
    let (date, time) = text.strip_suffix('Z').and_then(|text| text.split_once('T')).ok_or_else(wrong)?;
    let numbers = |text: &str, by: char| -> Option<[u32; 3]> {
        let numbers: Vec<u32> = text.split(by).map_while(|part| digits(part)?.parse().ok()).collect();
        (text.split(by).count() == 3).then(|| numbers.try_into().ok()).flatten()
    };
    let (clock, fraction) = time.split_once('.').unwrap_or((time, "0"));
    let [year, month, day] = numbers(date, '-').ok_or_else(wrong)?;
    let [hour, minute, second] = numbers(clock, ':').ok_or_else(wrong)?;
    let days_known = (1..=12).contains(&month) && day >= 1 && day <= days_in(year, month) && year <= 9999;
    if !days_known || hour > 23 || minute > 59 || second > 59 {
        return Err(wrong());
    }
    let fraction = digits(fraction).ok_or_else(wrong)?;
    let fraction: f64 = format!("0.{fraction}").parse().map_err(|_| wrong())?;
    let seconds = i64::from(hour * 3600 + minute * 60 + second);
    Ok(days_from(year, month, day) * DAY_MS + seconds * 1000 + (fraction * 1000.0).round() as i64)
}

/// Formats a time in UTC, with milliseconds.
pub fn show(millis: i64) -> String {
    let (days, rest) = (millis.div_euclid(DAY_MS), millis.rem_euclid(DAY_MS));
    // Timestamps can have any value. If the year has more than four digits, the number is more useful.
    if !(-719_528..2_932_897).contains(&days) {
        return format!("{millis} ms");
    }
    let (year, month, day) = date(days);
    let (hour, minute, second) = (rest / 3_600_000, rest / 60_000 % 60, rest / 1000 % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z", rest % 1000)
}

/// The text if it has only digits: Rust also reads signs and exponents as parts of numbers.
fn digits(text: &str) -> Option<&str> {
    (!text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())).then_some(text)
}

fn days_in(year: u32, month: u32) -> u32 {
    match month {
        2 if year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400)) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days from 1970 to January 1 of the year.
fn days_to(year: u32) -> i64 {
    // Leap days in the years before this one. Year 0 was a leap year, so 1 is added.
    let over = i64::from(year) - 1;
    let leap = over.div_euclid(4) - over.div_euclid(100) + over.div_euclid(400) + 1;
    365 * i64::from(year) + leap - 719_528
}

fn days_from(year: u32, month: u32, day: u32) -> i64 {
    let months: u32 = (1..month).map(|month| days_in(year, month)).sum();
    days_to(year) + i64::from(months + day) - 1
}

/// Year, month and day of a number of days since 1970. For the years 0 to 9999.
fn date(days: i64) -> (u32, u32, u32) {
    let mut year = ((days + 719_528) / 366) as u32;
    while days_to(year + 1) <= days {
        year += 1;
    }
    let mut left = (days - days_to(year)) as u32;
    let mut month = 1;
    while left >= days_in(year, month) {
        left -= days_in(year, month);
        month += 1;
    }
    (year, month, left + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_parsed_and_formatted() {
        for (text, millis) in [
            ("1970-01-01T00:00:00.000Z", 0),
            ("2024-02-29T23:59:59.999Z", 1_709_251_199_999),
            ("2000-03-01T00:00:00.000Z", 951_868_800_000),
            ("1969-12-31T23:59:59.999Z", -1),
            ("2100-03-01T00:00:00.000Z", 4_107_542_400_000),
            ("0000-01-01T00:00:00.000Z", -62_167_219_200_000),
            ("9999-12-31T23:59:59.000Z", 253_402_300_799_000),
        ] {
            assert_eq!(parse(text), Ok(millis), "{text}");
            assert_eq!(show(millis), text);
        }
        assert_eq!(parse("1700000000.5"), Ok(1_700_000_000_500));
        assert_eq!(parse("2023-11-14T22:13:20Z"), Ok(1_700_000_000_000));
        assert_eq!(show(i64::MAX), "9223372036854775807 ms");
    }

    #[test]
    fn dates_round_trip_over_a_thousand_years() {
        for day in -200_000..200_000 {
            let (year, month, of) = date(day);
            assert_eq!(days_from(year, month, of), day);
        }
    }

    #[test]
    fn invalid_times_are_refused() {
        for text in [
            "",
            "soon",
            "2023-02-29T00:00:00Z",
            "2023-01-01",
            "2023-01-01T24:00:00Z",
            "2023-01-01T00:00:00.Z",
            "2023-01-01T00:00:00.5e3Z",
            "2023-01-01T00:00:+5Z",
            "+2023-01-01T00:00:00Z",
            "1e300",
            "nan",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
