//! Requests that are left to chance get the same answers.

use crate::generator::{Generator, mutate};
use crate::pair::{Pair, Push};

/// How many sessions of how many requests.
const SESSIONS: u64 = 150;
const REQUESTS: usize = 6;

#[tokio::test]
async fn generated_requests_get_the_same_status_and_leave_the_same_series() {
    let Some(pair) = Pair::new().await else { return };
    let (mut wrong, mut statuses, mut types) = (Vec::new(), std::collections::BTreeMap::new(), 0);
    for session in 0..SESSIONS {
        let mut generator = Generator(fastrand::Rng::with_seed(session));
        pair.wipe().await;
        let mut history = String::new();
        for _ in 0..REQUESTS {
            let push = generator.push();
            let (real, ours) = pair.send(&push).await;
            history.push_str(&format!("{}\n", push.show()));
            *statuses.entry(real.0).or_insert(0) += 1;
            if (real.0, ours.0) == (400, 200) && real.1.contains("} is not a ") {
                // Another type than in another group; see `differences`. From here on the two differ.
                types += 1;
                break;
            }
            if real.0 != ours.0 {
                wrong.push(format!("session {session}:\n{history}real: {real:?}\nours: {ours:?}\n"));
                break;
            }
            let (real, ours) = pair.series().await;
            if real != ours {
                let only_real: Vec<_> = real.difference(&ours).collect();
                let only_ours: Vec<_> = ours.difference(&real).collect();
                wrong.push(format!(
                    "session {session}:\n{history}only real: {only_real:#?}\nonly ours: {only_ours:#?}\n"
                ));
                break;
            }
        }
    }
    let shown: Vec<&String> = wrong.iter().take(8).collect();
    for text in &shown {
        eprintln!("{text}\n");
    }
    assert!(wrong.is_empty(), "{} of {SESSIONS} sessions differ", wrong.len());
    assert!(types < 20, "{types} sessions end early");
    // Both sides of the matter were asked for.
    assert!(statuses[&200] > 200 && statuses[&400] > 100 && statuses[&202] > 50, "{statuses:?}");
}

#[tokio::test]
async fn damaged_bodies_are_refused_where_the_real_one_refuses_them_or_read_as_prometheus_does() {
    let Some(pair) = Pair::new().await else { return };
    let (mut wrong, mut lenient, mut same) = (Vec::new(), 0, [0; 2]);
    for seed in 0..600 {
        let mut generator = Generator(fastrand::Rng::with_seed(1000 + seed));
        if seed % 10 == 0 {
            pair.wipe().await;
        }
        let body = generator.body();
        let mut push = Push::new("PUT", "/metrics/job/a", "");
        push.body = mutate(&body, &mut generator.0);
        let (real, ours) = pair.send(&push).await;
        match (real.0, ours.0) {
            (200, 200) => same[0] += 1,
            (400, 400) => same[1] += 1,
            (400, 200) if real.1.starts_with("text format parsing error") => lenient += 1,
            _ => wrong.push(format!("{}\nreal: {real:?}\nours: {ours:?}", push.show())),
        }
    }
    for text in wrong.iter().take(8) {
        eprintln!("{text}\n");
    }
    assert!(wrong.is_empty(), "{} differ", wrong.len());
    assert!(same[0] > 100 && same[1] > 300 && lenient < 30, "{same:?} {lenient}");
}
