//! `GET /-/ready`: whether the inputs can accept requests. Destinations, collectors, groups and reloads do
//! not matter: the log bridges an outage of a destination, so clients must still reach narthex then.

/// The conditions that the inputs depend on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct InputFacts {
    /// The inputs accept nothing because the disk is full.
    pub disk_full: bool,
    /// The inputs accept nothing because the log is full and `log.when_full` is `refuse`.
    pub log_full: bool,
    /// A task that inputs need has ended.
    pub dead_task: Option<&'static str>,
}

/// Why the inputs can't accept requests; `None` if they can.
pub fn why_not_ready(facts: &InputFacts) -> Option<String> {
    if let Some(task) = facts.dead_task {
        return Some(format!("{task} has ended unexpectedly, so narthex ends, too"));
    }
    if facts.disk_full {
        return Some("the disk is full: free space on the file system of the data folder".into());
    }
    facts.log_full.then(|| "the log is full (log.max_size, with log.when_full: refuse)".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_for_not_being_ready_is_named() {
        assert_eq!(why_not_ready(&InputFacts::default()), None);
        for (facts, says) in [
            (InputFacts { disk_full: true, ..InputFacts::default() }, "the disk is full"),
            (InputFacts { log_full: true, ..InputFacts::default() }, "log.when_full: refuse"),
            (
                InputFacts { dead_task: Some("the groups' task"), ..InputFacts::default() },
                "groups' task has ended",
            ),
        ] {
            let why = why_not_ready(&facts).unwrap();
            assert!(why.contains(says), "{why}");
        }
    }
}
