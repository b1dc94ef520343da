//! Which refusals are repeats of what an earlier try may have written.

use super::*;
use ::model::Kinds;

const REPEAT: Verdict = Verdict::Refused { fits_a_repeat: true };
const NOW: Duration = Duration::from_secs(1);

/// Sends until all is settled; the first requests have these outcomes and all others the last one. Gives how many
/// points were refused or presumed to be, and of how many of these an earlier try may have written them.
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
fn only_a_try_whose_answer_was_lost_makes_a_repeat() {
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
fn what_is_refused_at_once_is_no_repeat() {
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
fn repeats_after_a_restart_are_those_that_were_in_the_log_before() {
    let mut queue = started(1);
    queue.main().expect_repeats(Position { segment: 0, offset: 1, index: 0 });
    push(&mut queue, chunk(0, 0..5));
    push(&mut queue, chunk(1, 0..7));
    assert_eq!(refused(&mut queue, &[Verdict::RefusedWhole]), (12, 5));
}

#[test]
fn repeats_after_a_restart_are_at_most_what_can_be_under_way() {
    let mut queue = Tested::new(Settings { max_shards: 2, max_points: 3, ..settings() }, &[]);
    queue.main().expect_repeats(Position { segment: 9, offset: 0, index: 0 });
    for number in 0..4 {
        push(&mut queue, chunk(number, 0..4));
    }
    assert_eq!(refused(&mut queue, &[Verdict::RefusedWhole]), (16, 6));
}
