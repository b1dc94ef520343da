//! Messages about older entries from the spool: what a delivery did with them.

use crate::spool::PARKED_RETRY;

#[derive(Default)]
pub(crate) struct Older {
    pub(crate) refused: Vec<String>,
    pub(crate) parked: Vec<String>,
    pub(crate) parked_dropped: usize,
    pub(crate) replaced: usize,
    pub(crate) damaged: usize,
}

impl Older {
    /// Writes the messages.
    pub(crate) fn tell(self, notes: &mut Vec<String>) {
        let pushes = |count: usize| if count == 1 { "1 push".to_string() } else { format!("{count} pushes") };
        let were = |count: usize| if count == 1 { "was" } else { "were" };
        if let Some(reason) = self.refused.first() {
            let count = self.refused.len();
            let (pushes, were) = (pushes(count), were(count));
            notes.push(format!("{pushes} that waited {were} refused and deleted: {reason}"));
        }
        if let Some(reason) = self.parked.first() {
            let count = self.parked.len();
            let minutes = PARKED_RETRY.as_secs() / 60;
            let (pushes, were) = (pushes(count), were(count));
            notes.push(format!(
                "the target takes others but keeps failing on {pushes} that waited, which {were} parked and will \
                 be tried again every {minutes} min: {reason}"
            ));
        }
        for (count, what) in [
            (self.parked_dropped, "deleted, because too many are parked"),
            (self.replaced, "deleted, because the target has a newer push of the same group"),
        ] {
            if count > 0 {
                notes.push(format!("{} that had been parked {} {what}", pushes(count), were(count)));
            }
        }
        if self.damaged > 0 {
            let (pushes, were) = (pushes(self.damaged), were(self.damaged));
            notes.push(format!("{pushes} that waited {were} damaged on disk and deleted"));
        }
    }
}
