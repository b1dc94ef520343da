//! Which refusals are repeats of samples that an earlier try may have written.

use super::*;
use ::model::Kinds;

const REPEAT: Verdict = Verdict::Refused { fits_a_repeat: true };
const NOW: Duration = Duration::from_secs(1);

/// Sends until all points are settled. The first requests have these outcomes, all others the last one.
/// Returns how many points were refused or presumed refused, and how many of these an earlier try may have
/// written.
fn refused(queue: &mut Tested, outcomes: &[Verdict]) -> (usize, usize) {
    let mut now = NOW;
    let mut outcomes = outcomes.iter().copied().peekable();
    let (mut all, mut maybe) = (0, 0);
    while queue.pending() > 0 {
        now = now.max(queue.next_wakeup().unwrap());
        let request = queue.poll(now).unwrap();
        let outcome = *outcomes.peek().unwrap();
        if outcomes.len() > 1 {
            outcomes.next();
        }
        for fate in answer(queue, request, outcome, now) {
            if let Fate::Refused { maybe_written }
            | Fate::Presumed { maybe_written }
            | Fate::Partial { maybe_written } = fate
            {
                all += 1;
                maybe += usize::from(maybe_written);
            }
        }
    }
    (all, maybe)
}

#[test]
fn only_a_try_with_a_lost_answer_makes_a_repeat() {
    let retry = |reached| Verdict::Failed { reached, retry_after: None };
    for (reached, maybe) in
        [(Reached::Nothing, 0), (Reached::Receiver, 0), (Reached::NoAnswer, 40), (Reached::Gateway, 40)]
    {
        for last in [REPEAT, Verdict::RefusedWhole, Verdict::Partial { refused: Kinds::default() }] {
            let mut queue = started(1);
            push(&mut queue, chunk(0, 0..40));
            assert_eq!(refused(&mut queue, &[retry(reached), last]), (40, maybe), "{reached:?} {last:?}");
        }
    }
}

#[test]
fn refusal_at_the_first_try_is_no_repeat() {
    let mut queue = started(1);
    push(&mut queue, chunk(0, 0..40));
    assert_eq!(refused(&mut queue, &[REPEAT]), (40, 0));
}

#[test]
fn a_request_refused_for_another_point_may_have_been_written() {
    let mut queue = started(1);
    push(&mut queue, chunk(0, 0..40));
    let other = Verdict::Refused { fits_a_repeat: false };
    assert_eq!(refused(&mut queue, &[other, REPEAT]), (40, 40));
}

#[test]
fn repeats_after_a_restart_were_in_the_log_before() {
    let mut queue = started(1);
    queue.main().expect_repeats(Position { segment: 0, offset: 1, index: 0 });
    push(&mut queue, chunk(0, 0..5));
    push(&mut queue, chunk(1, 0..7));
    assert_eq!(refused(&mut queue, &[Verdict::RefusedWhole]), (12, 5));
}

#[test]
fn repeats_after_a_restart_are_bounded_by_requests_under_way() {
    let mut queue = Tested::new(Settings { max_shards: 2, max_points: 3, ..settings() }, &[]);
    queue.main().expect_repeats(Position { segment: 9, offset: 0, index: 0 });
    for number in 0..4 {
        push(&mut queue, chunk(number, 0..4));
    }
    assert_eq!(refused(&mut queue, &[Verdict::RefusedWhole]), (16, 6));
}
