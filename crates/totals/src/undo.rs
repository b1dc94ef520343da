//! Changes that are undone if their commit fails. Pure.
//!
//! Requests that are answered need this: a client sends a request again that was answered with an error, so nothing of
//! it may stay. [`Totals::begin_changes`] begins, [`Totals::flush_changes`] has what to commit, and then
//! [`Totals::end_changes`] or [`Totals::undo_changes`] says how the commit went.

use crate::flush::{Begin, Flush, Part};
use crate::table::{Handle, Now, Totals};
use crate::value::Total;
use std::collections::HashSet;

/// What changed since [`Totals::begin_changes`].
#[derive(Debug, Default)]
pub(crate) struct Undo {
    series: Vec<(Handle, Before)>,
    requests: Vec<u128>,
    /// How many totals were superseded before.
    superseded: usize,
}

/// What a series was.
#[derive(Debug)]
enum Before {
    /// It was not there.
    Nothing,
    State {
        total: Total,
        mark: [u64; 2],
        is_changed: bool,
    },
}

impl Totals {
    /// From now on, what series were before they change is remembered.
    pub(crate) fn begin_changes(&mut self) {
        // Changes are there only if the last ones were interrupted by a panic.
        self.undo_changes();
        self.undo = Some(Undo { superseded: self.superseded.len(), ..Undo::default() });
    }

    /// Whether the request with this hash was applied within the last minutes.
    pub fn is_applied(&self, request: u128) -> bool {
        self.requests.contains(request)
    }

    /// Remembers that a request is applied, as long as its commit does not fail. The journal has it, too.
    pub fn set_applied(&mut self, request: u128, now: Now) {
        if self.requests.insert(request, now.wall_ms)
            && let Some(undo) = &mut self.undo
        {
            undo.requests.push(request);
        }
    }

    /// Notes what a series is before it changes for the first time.
    pub(crate) fn remember(&mut self, handle: Handle) {
        if self.undo.is_none() {
            return;
        }
        let Some(series) = self.get_mut(handle).filter(|series| !series.is_remembered) else { return };
        series.is_remembered = true;
        let (total, mark, is_changed) = (series.total.clone(), series.mark, series.is_changed);
        if let Some(undo) = &mut self.undo {
            undo.series.push((handle, Before::State { total, mark, is_changed }));
        }
    }

    /// Notes that a series is new.
    pub(crate) fn remember_new(&mut self, handle: Handle) {
        let Some(undo) = &mut self.undo else { return };
        undo.series.push((handle, Before::Nothing));
        if let Some(series) = self.get_mut(handle) {
            series.is_remembered = true;
        }
    }

    /// The samples of all changes, and their entry of the journal. `None`: nothing changed.
    pub(crate) fn flush_changes(&mut self, now: Now, begin: Begin) -> Option<Flush> {
        let undo = self.undo.take()?;
        let mut part = Part::new(self.next_round(now, begin));
        self.take_superseded(&mut part, usize::MAX);
        for (handle, _) in &undo.series {
            if let Some(series) = self.get_mut(*handle).filter(|series| series.is_changed) {
                part.add(*handle, series, now.monotonic);
            }
        }
        undo.requests.iter().for_each(|request| part.applied(*request, now.wall_ms));
        let is_empty = undo.requests.is_empty();
        self.undo = Some(undo);
        let flush = self.finish_part(part);
        (!flush.is_empty() || !is_empty).then_some(flush)
    }

    /// The changes are committed.
    pub(crate) fn end_changes(&mut self) {
        for (handle, _) in self.undo.take().unwrap_or_default().series {
            if let Some(series) = self.get_mut(handle) {
                series.is_remembered = false;
            }
        }
    }

    /// The changes are not committed, and [`Totals::retract`] was called: puts everything back as it was.
    pub(crate) fn undo_changes(&mut self) {
        let Some(undo) = self.undo.take() else { return };
        undo.requests.iter().for_each(|request| self.requests.remove(*request));
        let is_new = |before: &Before| matches!(before, Before::Nothing);
        let new = undo.series.iter().filter(|(_, before)| is_new(before)).map(|(handle, _)| *handle);
        let new: HashSet<Handle> = new.collect();
        for handle in &new {
            let _ = self.remove(*handle);
        }
        let restored = self.restore_superseded(undo.superseded, &new);
        for (handle, before) in undo.series {
            let handle = restored.get(&handle).copied().unwrap_or(handle);
            if let (Some(series), Before::State { total, mark, is_changed }) = (self.get_mut(handle), before)
            {
                series.is_remembered = false;
                (series.total, series.mark, series.is_changed) = (total, mark, is_changed);
            }
        }
    }
}
