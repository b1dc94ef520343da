//! Files and folders of the simulated file system. Each has a view (what reads return), its durable state
//! (what is on disk), and the changes between the two.

use std::collections::BTreeMap;
use std::ffi::OsString;

#[derive(Debug)]
pub(super) enum Node {
    File(Regular),
    Dir(Dir),
}

impl Node {
    pub(super) fn lose_power(&mut self, rng: &mut fastrand::Rng) {
        match self {
            Node::File(file) => {
                let kept = rng.usize(..=file.changes.len());
                file.changes.truncate(kept);
                file.settle(rng);
                file.view.clone_from(&file.durable);
            }
            Node::Dir(dir) => {
                dir.sync_some(rng);
                dir.changes.clear();
                dir.view.clone_from(&dir.durable);
            }
        }
    }
}

/// A change of a file that may not be on disk yet.
#[derive(Debug)]
pub(super) enum Change {
    Write(u64, Vec<u8>),
    Len(u64),
}

#[derive(Debug, Default)]
pub(super) struct Regular {
    pub(super) view: Vec<u8>,
    pub(super) durable: Vec<u8>,
    pub(super) changes: Vec<Change>,
}

impl Regular {
    pub(super) fn change(&mut self, change: Change) {
        match &change {
            Change::Write(offset, bytes) => put(&mut self.view, *offset, bytes),
            Change::Len(len) => self.view.resize(*len as usize, 0),
        }
        self.changes.push(change);
    }

    pub(super) fn sync(&mut self) {
        for change in self.changes.drain(..) {
            match change {
                Change::Write(offset, bytes) => put(&mut self.durable, offset, &bytes),
                Change::Len(len) => self.durable.resize(len as usize, 0),
            }
        }
    }

    /// A failed sync: each pending change reaches the disk or is lost now, because no later sync writes it
    /// again.
    pub(super) fn sync_some(&mut self, rng: &mut fastrand::Rng) {
        self.settle(rng);
    }

    /// Applies each write to the disk wholly, partly or not at all. Changes of length always apply.
    fn settle(&mut self, rng: &mut fastrand::Rng) {
        for change in self.changes.drain(..) {
            match change {
                Change::Len(len) => self.durable.resize(len as usize, 0),
                Change::Write(offset, bytes) => {
                    let end = offset as usize + bytes.len();
                    if self.durable.len() < end {
                        self.durable.resize(end, 0);
                    }
                    let tear = rng.usize(..=bytes.len());
                    let (head, tail) = bytes.split_at(tear);
                    match rng.u8(..8) {
                        0 => {}
                        1 | 2 => put(&mut self.durable, offset, head),
                        3 => put(&mut self.durable, offset + tear as u64, tail),
                        // The file ends inside the write, as on a file system that updates the length after
                        // the data.
                        4 if end == self.durable.len() => {
                            put(&mut self.durable, offset, head);
                            self.durable.truncate(offset as usize + tear);
                        }
                        _ => put(&mut self.durable, offset, &bytes),
                    }
                }
            }
        }
    }
}

fn put(file: &mut Vec<u8>, offset: u64, bytes: &[u8]) {
    let from = offset as usize;
    let to = from + bytes.len();
    if bytes.is_empty() {
        return;
    }
    if file.len() < to {
        file.resize(to, 0);
    }
    if let Some(place) = file.get_mut(from..to) {
        place.copy_from_slice(bytes);
    }
}

#[derive(Debug, Default)]
pub(super) struct Dir {
    pub(super) view: BTreeMap<OsString, u64>,
    durable: BTreeMap<OsString, u64>,
    /// Pending changes: names and their new nodes (`None` for a removal). A rename is two of them in one
    /// step.
    changes: Vec<Vec<(OsString, Option<u64>)>>,
}

impl Dir {
    /// Adds a name to the view and to the disk.
    pub(super) fn plant(&mut self, name: OsString, node: u64) {
        self.view.insert(name.clone(), node);
        self.durable.insert(name, node);
    }

    pub(super) fn change(&mut self, name: OsString, node: Option<u64>) {
        self.change_all(vec![(name, node)]);
    }

    pub(super) fn rename(&mut self, from: OsString, to: OsString, node: u64) {
        self.change_all(vec![(from, None), (to, Some(node))]);
    }

    fn change_all(&mut self, change: Vec<(OsString, Option<u64>)>) {
        apply(&mut self.view, &change);
        self.changes.push(change);
    }

    pub(super) fn sync(&mut self) {
        self.changes.drain(..).for_each(|change| apply(&mut self.durable, &change));
    }

    /// Applies the first few changes to the disk.
    pub(super) fn sync_some(&mut self, rng: &mut fastrand::Rng) {
        let kept = rng.usize(..=self.changes.len());
        self.changes.drain(..kept).for_each(|change| apply(&mut self.durable, &change));
    }
}

fn apply(names: &mut BTreeMap<OsString, u64>, change: &[(OsString, Option<u64>)]) {
    for (name, node) in change {
        match node {
            Some(node) => names.insert(name.clone(), *node),
            None => names.remove(name),
        };
    }
}
