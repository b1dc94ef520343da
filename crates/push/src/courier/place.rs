//! The folder of the spool, and moving entries from another spool into it.

use crate::spool::{Spool, SpoolError};
use command::Lookup;
use command::data_dir::DataDirError;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The default folder of the spool, used if no flag names one. The state folder of a systemd unit belongs to
/// the job, so the spool is a subfolder of it.
pub(super) fn default_spool(environment: Lookup<'_>) -> Result<PathBuf, DataDirError> {
    let state = command::data_dir::default_path(environment)?;
    let of_unit = environment("STATE_DIRECTORY").is_some_and(|paths| paths.starts_with('/'));
    Ok(if of_unit { state.join("narthex/spool") } else { state.join("spool") })
}

/// Moves the entries that wait in the spool `from` behind those of `spool`. Returns how many were dropped because
/// `spool` is full. An entry that can't be read stays.
pub(super) async fn take_over(base: &Path, from: &str, spool: &Spool) -> Result<usize, SpoolError> {
    let mut dropped = 0;
    if !base.join(from).is_dir() {
        return Ok(dropped);
    }
    let from = Spool::open(base, from, "")?;
    // Without the turn, another process is sending from that spool.
    let Some(_turn) = from.turn(Duration::ZERO).await? else { return Ok(dropped) };
    while let Some((number, Some(entry))) = from.oldest()? {
        dropped += spool.add(&entry).await?.dropped;
        from.remove(number)?;
    }
    Ok(dropped)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_spool_has_a_folder_of_its_own_in_the_state_folder() {
        let path = |variables: &[(&str, &str)]| {
            default_spool(&|name| variables.iter().find(|(key, _)| *key == name).map(|(_, v)| v.to_string()))
                .map(|path| path.display().to_string())
                .unwrap_or_default()
        };
        assert_eq!(path(&[("HOME", "/home/u")]), "/home/u/.local/state/narthex/spool");
        assert_eq!(path(&[("HOME", "/home/u"), ("XDG_STATE_HOME", "/s")]), "/s/narthex/spool");
        assert_eq!(path(&[("STATE_DIRECTORY", "/var/lib/job")]), "/var/lib/job/narthex/spool");
        assert_eq!(path(&[]), "");
    }
}
