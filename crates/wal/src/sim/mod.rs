//! A hostile file system in memory, for tests of code that stores data.
//!
//! It guarantees exactly what a real file system guarantees, and no more:
//!
//! - Data that was not synced is lost, kept, or torn at any byte by [`SimFilesystem::power_cut`]. A file that
//!   has grown may have zeros instead of its data. Changes of length take effect in order.
//! - A creation, rename or removal of a name is undone by a power cut unless its folder was synced. Of
//!   several such changes, the first few may survive.
//! - After a failed sync, each write since the last sync is either on disk or lost. Later syncs do not change
//!   that, although reads return all of the data until the power cut.
//! - Reads and writes transfer fewer bytes than requested, or are interrupted, if the test enables that.
//! - The disk becomes full, or an operation fails, when the test says so.
//!
//! All random choices follow from the seed.

mod node;

use crate::fs::{File, Filesystem, Metadata};
use node::{Change, Dir, Node, Regular};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::path::{Component, Path};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// An operation that can be made to fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Op {
    /// `File::read_at`.
    Read,
    /// `File::write_at`. A failed write still writes some of the bytes.
    Write,
    /// `File::sync_data`.
    Sync,
    /// `File::set_len` and `File::allocate`.
    SetLen,
    /// `Filesystem::create_new`, `create_dir_all` and `hard_link`.
    Create,
    /// `Filesystem::open`.
    Open,
    /// `Filesystem::rename`.
    Rename,
    /// `Filesystem::remove_file` and `remove_dir`.
    Remove,
    /// `Filesystem::sync_dir`.
    SyncDir,
}

impl Op {
    const fn changes_disk(self) -> bool {
        !matches!(self, Op::Read | Op::Open)
    }
}

/// A file system in memory. Clones refer to the same one.
#[derive(Debug, Clone)]
pub struct SimFilesystem(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    rng: fastrand::Rng,
    /// By number; the root folder is 0.
    nodes: BTreeMap<u64, Node>,
    next_node: u64,
    /// Number of power cuts. Handles that were opened before a power cut are invalid.
    power_cuts: u64,
    dead: bool,
    dies_after: Option<u64>,
    space: Option<u64>,
    max_transfer: Option<usize>,
    faults: Vec<Failing>,
    counts: BTreeMap<Op, u64>,
}

#[derive(Debug)]
struct Failing {
    op: Op,
    after: u64,
    times: u64,
}

/// A change of the disk's behaviour in the middle of a test.
#[derive(Debug, Clone)]
pub enum Fault {
    /// See [`SimFilesystem::fail`].
    Fail { op: Op, after: u64, times: u64 },
    /// Little space is left: see [`SimFilesystem::set_space`].
    Full { bytes: u64 },
    /// See [`SimFilesystem::set_max_transfer`].
    Short { bytes: Option<usize> },
    /// See [`SimFilesystem::die_after`].
    DieAfter { operations: u64 },
    /// See [`SimFilesystem::heal`]. Has no effect on a machine that has stopped.
    Heal,
}

impl Fault {
    pub fn apply(&self, fs: &SimFilesystem) {
        match *self {
            Fault::Fail { op, after, times } => fs.fail(op, after, times),
            Fault::Full { bytes } => fs.set_space(Some(bytes)),
            Fault::Short { bytes } => fs.set_max_transfer(bytes),
            Fault::DieAfter { operations } => fs.die_after(operations),
            Fault::Heal if fs.is_dead() => {}
            Fault::Heal => fs.heal(),
        }
    }
}

impl SimFilesystem {
    /// Makes an empty file system. The same seed leads to the same random choices.
    pub fn new(seed: u64) -> Self {
        SimFilesystem(Arc::new(Mutex::new(State {
            rng: fastrand::Rng::with_seed(seed),
            nodes: BTreeMap::from([(0, Node::Dir(Dir::default()))]),
            next_node: 1,
            power_cuts: 0,
            dead: false,
            dies_after: None,
            space: None,
            max_transfer: None,
            faults: Vec::new(),
            counts: BTreeMap::new(),
        })))
    }

    /// Limits the space: `bytes` more fit, and if none are left no file can be created. `None` removes the
    /// limit.
    pub fn set_space(&self, bytes: Option<u64>) {
        self.lock().space = bytes;
    }

    /// Makes each read or write transfer between 1 and `bytes` bytes, or be interrupted. `None` restores full
    /// transfers.
    pub fn set_max_transfer(&self, bytes: Option<usize>) {
        self.lock().max_transfer = bytes;
    }

    /// Makes operations of one kind fail (`EIO`): the next `after` succeed, then `times` fail.
    pub fn fail(&self, op: Op, after: u64, times: u64) {
        self.lock().faults.push(Failing { op, after, times });
    }

    /// Undoes [`SimFilesystem::fail`], [`SimFilesystem::die_after`] and the limits.
    pub fn heal(&self) {
        let mut state = self.lock();
        state.faults.clear();
        (state.space, state.max_transfer, state.dies_after) = (None, None, None);
    }

    /// Stops the machine after `operations` more operations that change the disk, in the middle of the next
    /// one. Then everything fails until [`SimFilesystem::power_cut`].
    pub fn die_after(&self, operations: u64) {
        self.lock().dies_after = Some(operations);
    }

    /// Returns true if the machine stopped because of [`SimFilesystem::die_after`].
    pub fn is_dead(&self) -> bool {
        self.lock().dead
    }

    /// Switches the machine off and on. Data that was not synced is lost, kept or torn. Open handles become
    /// invalid. Faults, limits and [`SimFilesystem::die_after`] are cleared.
    pub fn power_cut(&self) {
        let mut state = self.lock();
        let State { rng, nodes, .. } = &mut *state;
        nodes.values_mut().for_each(|node| node.lose_power(rng));
        state.power_cuts += 1;
        state.dead = false;
        drop(state);
        self.heal();
    }

    /// Blocks all operations until the returned guard is dropped, like a slow disk. The holder must not use
    /// the file system meanwhile.
    pub fn hold(&self) -> impl Drop + '_ {
        self.lock()
    }

    /// Number of times that an operation was requested.
    pub fn count(&self, op: Op) -> u64 {
        self.lock().counts.get(&op).copied().unwrap_or(0)
    }

    /// The bytes of a file as a read returns them.
    pub fn contents(&self, path: &Path) -> Option<Vec<u8>> {
        let state = self.lock();
        match state.nodes.get(&state.find(path).ok()?)? {
            Node::File(file) => Some(file.view.clone()),
            Node::Dir(_) => None,
        }
    }

    /// Stores a file with these bytes durably, replacing any existing one. Simulates damage by the disk.
    pub fn plant(&self, path: &Path, bytes: &[u8]) {
        let mut state = self.lock();
        let file = Node::File(Regular { view: bytes.to_vec(), durable: bytes.to_vec(), changes: Vec::new() });
        if let Ok(number) = state.find(path) {
            state.nodes.insert(number, file);
            return;
        }
        let Some((parent, name)) = path.parent().zip(path.file_name()) else { return };
        let Ok(parent) = state.make_dirs(parent, true) else { return };
        let number = state.add(file);
        if let Some(Node::Dir(dir)) = state.nodes.get_mut(&parent) {
            dir.plant(name.to_owned(), number);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn broken() -> io::Error {
    io::Error::other("the disk failed (simulated)")
}

fn off() -> io::Error {
    io::Error::other("the power is off (simulated)")
}

impl State {
    /// Counts an operation and decides whether it fails. The outer `Err` means that the machine is off and
    /// the operation has no effect at all; the inner `Err` is the failure.
    fn begin(&mut self, op: Op) -> io::Result<Result<(), io::Error>> {
        if self.dead {
            return Err(off());
        }
        *self.counts.entry(op).or_default() += 1;
        if op.changes_disk()
            && let Some(left) = &mut self.dies_after
        {
            if *left == 0 {
                self.dead = true;
                return Ok(Err(off()));
            }
            *left -= 1;
        }
        let mut failed = false;
        for fault in self.faults.iter_mut().filter(|fault| fault.op == op && fault.times > 0) {
            if fault.after > 0 {
                fault.after -= 1;
            } else {
                fault.times -= 1;
                failed = true;
            }
        }
        Ok(if failed { Err(broken()) } else { Ok(()) })
    }

    fn add(&mut self, node: Node) -> u64 {
        let number = self.next_node;
        self.next_node += 1;
        self.nodes.insert(number, node);
        number
    }

    fn find(&self, path: &Path) -> io::Result<u64> {
        let mut number = 0;
        for component in path.components() {
            let Component::Normal(name) = component else { continue };
            let Some(Node::Dir(dir)) = self.nodes.get(&number) else {
                return Err(io::ErrorKind::NotADirectory.into());
            };
            number = *dir.view.get(name).ok_or(io::ErrorKind::NotFound)?;
        }
        Ok(number)
    }

    /// Returns the parent folder of `path`, and the name in it.
    fn parent(&mut self, path: &Path) -> io::Result<(&mut Dir, OsString)> {
        let (parent, name) = path.parent().zip(path.file_name()).ok_or(io::ErrorKind::InvalidInput)?;
        let number = self.find(parent)?;
        match self.nodes.get_mut(&number) {
            Some(Node::Dir(dir)) => Ok((dir, name.to_owned())),
            _ => Err(io::ErrorKind::NotADirectory.into()),
        }
    }

    fn make_dirs(&mut self, path: &Path, durable: bool) -> io::Result<u64> {
        match self.find(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            found => return found,
        }
        self.make_dirs(path.parent().ok_or(io::ErrorKind::InvalidInput)?, durable)?;
        let number = self.add(Node::Dir(Dir::default()));
        let (parent, name) = self.parent(path)?;
        if durable {
            parent.plant(name, number)
        } else {
            parent.change(name, Some(number))
        }
        Ok(number)
    }

    fn file(&mut self, number: u64) -> io::Result<(&mut Regular, &mut fastrand::Rng, &mut Option<u64>)> {
        match self.nodes.get_mut(&number) {
            Some(Node::File(file)) => Ok((file, &mut self.rng, &mut self.space)),
            _ => Err(io::ErrorKind::NotFound.into()),
        }
    }

    /// Decides how many of `asked` bytes are transferred.
    fn transfer(&mut self, asked: usize) -> io::Result<usize> {
        match self.max_transfer {
            Some(most) if asked > 0 => {
                if self.rng.u8(..8) == 0 {
                    return Err(io::ErrorKind::Interrupted.into());
                }
                Ok(self.rng.usize(1..=most.max(1)).min(asked))
            }
            _ => Ok(asked),
        }
    }

    /// Called before a name of a file is removed. Frees the space of the file if this is its last name.
    fn free(&mut self, number: u64) {
        let dirs = self.nodes.values().filter_map(|node| match node {
            Node::Dir(dir) => Some(dir),
            Node::File(_) => None,
        });
        if dirs.flat_map(|dir| dir.view.values()).filter(|other| **other == number).count() > 1 {
            return;
        }
        if let (Some(Node::File(file)), Some(space)) = (self.nodes.get(&number), &mut self.space) {
            *space += file.view.len() as u64;
        }
    }
}

impl Filesystem for SimFilesystem {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.lock();
        state.begin(Op::Create)??;
        state.make_dirs(dir, false).map(drop)
    }

    fn read_dir(&self, dir: &Path) -> io::Result<Vec<OsString>> {
        let mut state = self.lock();
        state.begin(Op::Open)??;
        match state.nodes.get(&state.find(dir)?) {
            Some(Node::Dir(dir)) => Ok(dir.view.keys().cloned().collect()),
            _ => Err(io::ErrorKind::NotADirectory.into()),
        }
    }

    fn create_new(&self, path: &Path) -> io::Result<Box<dyn File>> {
        let mut state = self.lock();
        state.begin(Op::Create)??;
        if state.find(path).is_ok() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        if state.space == Some(0) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let node = state.add(Node::File(Regular::default()));
        let (parent, name) = state.parent(path)?;
        parent.change(name, Some(node));
        let power_cuts = state.power_cuts;
        Ok(Box::new(SimFile { fs: self.clone(), node, power_cuts, writes: true }))
    }

    fn open(&self, path: &Path, write: bool) -> io::Result<Box<dyn File>> {
        let mut state = self.lock();
        state.begin(Op::Open)??;
        let node = state.find(path)?;
        if matches!(state.nodes.get(&node), Some(Node::Dir(_))) {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        let power_cuts = state.power_cuts;
        Ok(Box::new(SimFile { fs: self.clone(), node, power_cuts, writes: write }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.lock();
        state.begin(Op::Rename)??;
        if from.parent() != to.parent() {
            return Err(io::ErrorKind::CrossesDevices.into());
        }
        let number = state.find(from)?;
        if let Ok(replaced) = state.find(to) {
            state.free(replaced);
        }
        let to = to.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_owned();
        let (parent, from) = state.parent(from)?;
        parent.rename(from, to, number);
        Ok(())
    }

    fn hard_link(&self, path: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.lock();
        state.begin(Op::Create)??;
        let number = state.find(path)?;
        if matches!(state.nodes.get(&number), Some(Node::Dir(_))) {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        if state.find(to).is_ok() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let (parent, name) = state.parent(to)?;
        parent.change(name, Some(number));
        Ok(())
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        let mut state = self.lock();
        state.begin(Op::Remove)??;
        let number = state.find(path)?;
        if matches!(state.nodes.get(&number), Some(Node::Dir(_))) {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        state.free(number);
        let (parent, name) = state.parent(path)?;
        parent.change(name, None);
        Ok(())
    }

    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.lock();
        state.begin(Op::Remove)??;
        match state.nodes.get(&state.find(dir)?) {
            Some(Node::Dir(found)) if found.view.is_empty() => {}
            Some(Node::Dir(_)) => return Err(io::ErrorKind::DirectoryNotEmpty.into()),
            _ => return Err(io::ErrorKind::NotADirectory.into()),
        }
        let (parent, name) = state.parent(dir)?;
        parent.change(name, None);
        Ok(())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.lock();
        let result = state.begin(Op::SyncDir)?;
        let number = state.find(dir)?;
        let State { nodes, rng, .. } = &mut *state;
        match nodes.get_mut(&number) {
            Some(Node::Dir(dir)) if result.is_ok() => dir.sync(),
            Some(Node::Dir(dir)) => dir.sync_some(rng),
            _ => return Err(io::ErrorKind::NotADirectory.into()),
        }
        result
    }

    fn metadata(&self, path: &Path) -> io::Result<Option<Metadata>> {
        let mut state = self.lock();
        state.begin(Op::Open)??;
        match state.find(path) {
            Ok(number) => Ok(state.nodes.get(&number).map(|node| match node {
                Node::File(file) => Metadata { is_dir: false, len: file.view.len() as u64 },
                Node::Dir(_) => Metadata { is_dir: true, len: 0 },
            })),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn available(&self, _: &Path) -> io::Result<u64> {
        Ok(self.lock().space.unwrap_or(1 << 40))
    }
}

/// An open file. A power cut makes it invalid.
#[derive(Debug)]
struct SimFile {
    fs: SimFilesystem,
    node: u64,
    power_cuts: u64,
    writes: bool,
}

impl SimFile {
    fn lock(&self) -> io::Result<MutexGuard<'_, State>> {
        let state = self.fs.lock();
        if state.power_cuts == self.power_cuts { Ok(state) } else { Err(off()) }
    }

    fn lock_to_write(&self) -> io::Result<MutexGuard<'_, State>> {
        if self.writes { self.lock() } else { Err(io::ErrorKind::PermissionDenied.into()) }
    }
}

impl File for SimFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut state = self.lock()?;
        state.begin(Op::Read)??;
        let most = state.transfer(buf.len())?;
        let (file, ..) = state.file(self.node)?;
        let from = usize::try_from(offset).unwrap_or(usize::MAX).min(file.view.len());
        let bytes = file.view.get(from..).unwrap_or_default();
        let bytes = bytes.get(..most).unwrap_or(bytes);
        if let Some(buf) = buf.get_mut(..bytes.len()) {
            buf.copy_from_slice(bytes);
        }
        let count = bytes.len();
        Ok(count)
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<usize> {
        let mut state = self.lock_to_write()?;
        let result = state.begin(Op::Write)?;
        let mut count = state.transfer(buf.len())?;
        let (file, rng, space) = state.file(self.node)?;
        if result.is_err() {
            count = rng.usize(..=count);
        }
        if let Some(space) = space {
            let len = file.view.len() as u64;
            count = count.min((len + *space).saturating_sub(offset).try_into().unwrap_or(usize::MAX));
            *space -= (offset + count as u64).saturating_sub(len).min(*space);
        }
        file.change(Change::Write(offset, buf.get(..count).unwrap_or_default().to_vec()));
        result?;
        if count == 0 && !buf.is_empty() { Err(io::ErrorKind::StorageFull.into()) } else { Ok(count) }
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.lock()?;
        let result = state.begin(Op::Sync)?;
        let (file, rng, _) = state.file(self.node)?;
        if result.is_ok() {
            file.sync()
        } else {
            file.sync_some(rng)
        }
        result
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut state = self.lock_to_write()?;
        state.begin(Op::SetLen)??;
        let (file, _, space) = state.file(self.node)?;
        if let Some(space) = space {
            *space += (file.view.len() as u64).saturating_sub(len);
        }
        file.change(Change::Len(len));
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        let mut state = self.lock()?;
        Ok(state.file(self.node)?.0.view.len() as u64)
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        let mut state = self.lock_to_write()?;
        state.begin(Op::SetLen)??;
        let (file, _, space) = state.file(self.node)?;
        let more = len.saturating_sub(file.view.len() as u64);
        if let Some(space) = space {
            *space = space.checked_sub(more).ok_or(io::ErrorKind::StorageFull)?;
        }
        if more > 0 {
            file.change(Change::Len(len));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
