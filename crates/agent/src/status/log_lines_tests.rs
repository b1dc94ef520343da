//! Which lines are logged in the course of time.

use super::hold::Summary;
use super::log_lines::{LogLines, OVER_MS, REPEAT_MS};
use super::summary::{Detail, Kind, Level};

fn detail(kind: Kind, destination: &str, sentence: &str) -> Detail {
    Detail {
        level: kind.level(),
        kind,
        sentence: sentence.into(),
        destination: Some(destination.into()),
        short: String::new(),
        count: 0,
        about: String::new(),
        retries: None,
        first_ms: None,
        last_ms: None,
    }
}

fn summary(details: &[Detail]) -> Summary {
    let level = details.iter().map(|detail| detail.level).max().unwrap_or(Level::Ok);
    let (kind, sentence) = (Kind::Delivered, "Everything is delivered.".to_string());
    Summary { level, kind, sentence, since: 0, details: details.to_vec() }
}

/// The lines in the form that the tests compare: level, and state, destination and text.
fn next(log: &mut LogLines, details: &[Detail], now_ms: i64) -> Vec<(Level, String)> {
    let lines = log.next(&summary(details), now_ms).into_iter();
    lines
        .map(|line| {
            let mut text = line.text;
            if let Some(lasted) = line.lasted {
                text.push_str(&format!(" lasted={lasted}"));
            }
            if let Some(failed) = line.failed_requests {
                text.push_str(&format!(" failed={failed}"));
            }
            (line.level, text)
        })
        .collect()
}

#[test]
fn each_destination_has_its_own_lines_beside_a_worse_one() {
    let mut log = LogLines::default();
    let refusing = detail(Kind::Refusing, "g", "g is refusing samples: 4.");
    let failing = detail(Kind::DestinationFailing, "a", "a is failing: connection refused.");
    let first = next(&mut log, std::slice::from_ref(&refusing), 0);
    assert_eq!(first, [(Level::Error, "g is refusing samples: 4.".into())]);
    let second = next(&mut log, &[refusing.clone(), failing.clone()], 1000);
    assert_eq!(second, [(Level::Error, "a is failing: connection refused.".into())]);
    assert_eq!(next(&mut log, &[refusing, failing], 2000), []);
}

#[test]
fn a_state_is_logged_again_slowly_and_when_it_ends() {
    let mut log = LogLines::default();
    let failing = |retries: u64, waiting: u64| Detail {
        retries: Some(retries),
        ..detail(Kind::DestinationFailing, "a", &format!("a is failing: 429. {waiting} samples are waiting."))
    };
    assert_eq!(next(&mut log, &[failing(10, 1)], 0).len(), 1);
    // Half an hour with the same detail.
    let mut lines = Vec::new();
    for second in 1..1800u32 {
        let details = [failing(10 + u64::from(second), u64::from(second))];
        lines.extend(next(&mut log, &details, i64::from(second) * 1000));
    }
    assert_eq!(lines.len(), 5, "{lines:?}");
    let repeated = "a is failing: 429. 300 samples are waiting. lasted=5 min failed=300".to_string();
    assert_eq!(lines[0], (Level::Error, repeated));
    // The destination accepts requests again, and the samples that waited are delivered a little later. The
    // log treats both as one state.
    let late = detail(Kind::CatchingUp, "a", "a is catching up.");
    assert_eq!(next(&mut log, &[late], 1_799_500), []);
    assert_eq!(next(&mut log, &[], 1_801_000), [(Level::Ok, "Everything is delivered.".into())]);
    let over = next(&mut log, &[], 1_799_500 + OVER_MS);
    assert_eq!(over, [(Level::Ok, "catching up: over lasted=29 min 59 s failed=1799".into())]);
    assert_eq!(next(&mut log, &[], 1_900_000), []);
}

#[test]
fn a_worse_state_is_logged_at_once_and_flapping_is_not() {
    let mut log = LogLines::default();
    let retrying = detail(Kind::DestinationRetrying, "a", "a is failing.");
    let failing = detail(Kind::DestinationFailing, "a", "a is failing.");
    assert_eq!(next(&mut log, std::slice::from_ref(&retrying), 0)[0].0, Level::Warning);
    assert_eq!(next(&mut log, std::slice::from_ref(&failing), 1000)[0].0, Level::Error);
    for (second, details) in [(2, vec![retrying]), (3, vec![]), (4, vec![failing.clone()])] {
        let lines = next(&mut log, &details, second * 1000);
        assert!(lines.iter().all(|(level, _)| *level == Level::Ok), "{second}: {lines:?}");
    }
}

#[test]
fn events_are_repeated_only_if_there_were_new_ones() {
    let mut log = LogLines::default();
    let refused = |count: u64, last_ms: i64| {
        let text = format!("{count} samples were refused by g.");
        Detail { last_ms: Some(last_ms), ..detail(Kind::Refused, "g", &text) }
    };
    assert_eq!(next(&mut log, &[refused(4, 0)], 0).len(), 1);
    for minute in 1..20 {
        assert_eq!(next(&mut log, &[refused(4, 0)], minute * 60_000), [], "{minute}");
    }
    let at = 20 * 60_000;
    let lines = next(&mut log, &[refused(1_198_256, at)], at);
    let text = "1198256 samples were refused by g. lasted=20 min".to_string();
    assert_eq!(lines, [(Level::Error, text)]);
    let soon = at + REPEAT_MS - 1;
    assert_eq!(next(&mut log, &[refused(1_198_300, soon)], soon), []);
    let over = next(&mut log, &[], soon + OVER_MS);
    assert!(
        over.contains(&(Level::Ok, "refused: none in the last hour lasted=24 min 59 s".into())),
        "{over:?}"
    );
}
