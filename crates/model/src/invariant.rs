//! Invariants: conditions that only a bug in narthex can break.
//!
//! [`invariant!`](crate::invariant!) panics in a debug build, so that tests find the bug. A release build
//! counts and logs it, and the caller continues without the data that it can't handle: it refuses the batch,
//! or does not move a position. Input from outside is never checked with this macro; it leads to an error.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

static BROKEN: AtomicU64 = AtomicU64::new(0);
static PANICS: AtomicBool = AtomicBool::new(cfg!(debug_assertions));

/// Number of broken invariants since the process started.
pub fn broken() -> u64 {
    BROKEN.load(Ordering::Relaxed)
}

/// Counts a broken invariant, or panics in a debug build.
#[doc(hidden)]
#[cold]
pub fn count(sentence: &str, details: std::fmt::Arguments<'_>) {
    BROKEN.fetch_add(1, Ordering::Relaxed);
    assert!(!PANICS.load(Ordering::Relaxed), "broken invariant: {sentence}{details}");
}

/// From now on, broken invariants are counted and logged as in a release build. For tests of how callers
/// react. The setting holds for the whole process.
#[doc(hidden)]
pub fn count_only() {
    PANICS.store(false, Ordering::Relaxed);
}

/// Checks a condition that only a bug in narthex can break, and returns whether it holds. The sentence says
/// what has to hold. Fields, such as `segment = 3`, identify the case.
///
/// ```
/// let (series, references) = (7, 8);
/// if !model::invariant!(series < references, "each series has a reference", series = series) {
///     return; // refuse the batch
/// }
/// ```
#[macro_export]
macro_rules! invariant {
    ($holds:expr, $sentence:literal $(, $field:ident = $value:expr)* $(,)?) => {{
        let holds: bool = $holds;
        if !holds {
            $crate::invariant::count(
                $sentence,
                format_args!(concat!("" $(, ", ", stringify!($field), " = {}")*) $(, $value)*),
            );
            // The log writes at most one line a minute for each place in the code.
            $crate::tracing::error!($($field = %$value,)* "a mistake in narthex, please report it: not true that {}", $sentence);
        }
        holds
    }};
}

#[cfg(test)]
mod tests {
    #[test]
    fn an_invariant_that_holds_is_true_and_not_counted() {
        let before = super::broken();
        assert!(invariant!(1 < 2, "one is less than two"));
        assert_eq!(super::broken(), before);
    }

    #[test]
    #[should_panic(expected = "broken invariant: one is less than two, left = 3, right = 2")]
    fn a_broken_invariant_panics_in_a_debug_build() {
        let _ = invariant!(3 < 2, "one is less than two", left = 3, right = 2);
    }
}
