//! Finds the real programs.

use std::ffi::{OsStr, OsString};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

/// The paths of the real programs.
#[derive(Debug, Clone)]
pub struct Peers {
    /// `prometheus` 3.x.
    pub prometheus: PathBuf,
    pub promtool: PathBuf,
    pub victoria_metrics: PathBuf,
    pub vmagent: PathBuf,
    pub pushgateway: PathBuf,
    pub node_exporter: PathBuf,
}

/// After a failed attempt to fetch the programs, later test processes assume for this long that another
/// attempt would fail.
const FAILURE_HOLDS: Duration = Duration::from_secs(600);

/// The real programs. If they are missing, the test is skipped with a message, and this returns `None`.
///
/// They come from the first of these places that has all of them: the folder in `NARTHEX_PEERS` (or its
/// `bin`), `PATH`, `target/peers`. `scripts/peers` fills the last one if necessary, once for all test
/// processes.
///
/// # Panics
/// If they are missing and `NARTHEX_REQUIRE_PEERS` is set.
pub fn peers() -> Option<Peers> {
    static FOUND: OnceLock<Result<Peers, String>> = OnceLock::new();
    match FOUND.get_or_init(find) {
        Ok(peers) => Some(peers.clone()),
        Err(why) => {
            skip("NARTHEX_REQUIRE_PEERS", &format!("the real programs can't be had: {why}"));
            None
        }
    }
}

/// Reports that a test is skipped.
///
/// # Panics
/// If the environment variable `require` is set.
pub fn skip(require: &str, why: &str) {
    assert!(!is_set(require), "{require} is set, but {why}");
    shout(&format!("SKIPPED: {why} (set {require} to make this a failure)"));
}

/// Writes a message to standard error. The test runner captures what a passing test prints, but not this.
pub fn shout(text: &str) {
    // If standard error is closed, the message can be lost.
    let _ = writeln!(std::io::stderr(), "{text}");
}

fn is_set(name: &str) -> bool {
    std::env::var_os(name).is_some_and(|value| !value.is_empty() && value != "0")
}

impl Peers {
    /// Prometheus 2.42 of Debian 12: `prometheus-2.42` in the folder in `NARTHEX_PEERS` or in `target/peers`,
    /// where `scripts/peers --old` puts it. If it is missing, the test is skipped with a message, and this
    /// returns `None`.
    pub fn old_prometheus() -> Option<PathBuf> {
        let repository = repository();
        let own = std::env::var_os("NARTHEX_PEERS").map(PathBuf::from);
        let folders = own.iter().flat_map(|folder| [folder.join("bin"), folder.clone()]);
        if let Some(place) = folders.map(|folder| folder.join("prometheus-2.42")).find(|place| place.exists())
        {
            return Some(place);
        }
        let place = repository.join("target/peers/bin/prometheus-2.42");
        if !place.exists() {
            let _ = Command::new(repository.join("scripts/peers")).arg("--old").output();
        }
        if place.exists() {
            return Some(place);
        }
        skip("NARTHEX_REQUIRE_PEERS", "Prometheus 2.42 can't be had (scripts/peers --old)");
        None
    }

    /// The programs in `folders`; each may be in another folder. The error names a program that is missing.
    fn in_folders(folders: &[PathBuf]) -> Result<Peers, String> {
        let find = |names: &[&str]| {
            folders
                .iter()
                .flat_map(|folder| names.iter().map(move |name| folder.join(name)))
                .find(|path| path.is_file())
                .ok_or_else(|| names[0].to_string())
        };
        Ok(Peers {
            prometheus: find(&["prometheus"])?,
            promtool: find(&["promtool"])?,
            victoria_metrics: find(&["victoria-metrics"])?,
            vmagent: find(&["vmagent"])?,
            pushgateway: find(&["pushgateway", "prometheus-pushgateway"])?,
            node_exporter: find(&["node_exporter", "prometheus-node-exporter"])?,
        })
    }
}

fn find() -> Result<Peers, String> {
    if let Some(folder) = std::env::var_os("NARTHEX_PEERS").map(PathBuf::from) {
        return Peers::in_folders(&[folder.join("bin"), folder.clone()])
            .map_err(|name| format!("NARTHEX_PEERS is {}, and there is no {name} in it", folder.display()));
    }
    let path: OsString = std::env::var_os("PATH").unwrap_or_default();
    if let Ok(peers) = Peers::in_folders(&std::env::split_paths(&path).collect::<Vec<_>>()) {
        return Ok(peers);
    }
    let folder = repository().join("target/peers");
    fetch(&folder)?;
    Peers::in_folders(&[folder.join("bin")])
        .map_err(|name| format!("{} has no {name}; remove the folder to fetch it again", folder.display()))
}

/// Runs `scripts/peers`, which holds a lock and does nothing if the programs exist already. A failure (such
/// as no network) is remembered for a while, so that not every test process waits for it.
fn fetch(folder: &Path) -> Result<(), String> {
    let failed = folder.join(".failed");
    let fresh = |path: &Path| {
        let age = path.metadata().and_then(|data| data.modified()).ok().and_then(|at| at.elapsed().ok());
        age.is_some_and(|age| age < FAILURE_HOLDS)
    };
    if fresh(&failed) && !is_set("NARTHEX_REQUIRE_PEERS") {
        let why = std::fs::read_to_string(&failed).unwrap_or_default();
        return Err(format!("{why} (remembered in {})", failed.display()));
    }
    let fetched = script("scripts/peers", [folder]).map_err(|failure| failure.why);
    if let Err(why) = &fetched {
        let _ = std::fs::create_dir_all(folder).and_then(|()| std::fs::write(&failed, why));
    }
    fetched
}

/// A script of the repository that failed.
#[derive(Debug)]
pub(crate) struct ScriptFailure {
    /// Its exit status, if it ran.
    pub(crate) status: Option<i32>,
    /// The last line of its output.
    pub(crate) why: String,
}

/// Runs a script of the repository.
pub(crate) fn script(
    name: &str,
    arguments: impl IntoIterator<Item = impl AsRef<OsStr>>,
) -> Result<(), ScriptFailure> {
    let script = repository().join(name);
    let output = Command::new(&script).args(arguments).output().map_err(|error| ScriptFailure {
        status: None,
        why: format!("cannot run {}: {error}", script.display()),
    })?;
    if output.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&output.stderr);
    let why = text.lines().last().map_or_else(|| format!("{name} failed without a word"), str::to_string);
    Err(ScriptFailure { status: output.status.code(), why })
}

/// The repository that this crate was built in.
pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_without_one_of_the_programs_is_not_taken() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["prometheus", "promtool", "victoria-metrics", "vmagent", "prometheus-pushgateway"] {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        let folders = [folder.path().to_path_buf()];
        assert_eq!(Peers::in_folders(&folders).unwrap_err(), "node_exporter");
        std::fs::write(folder.path().join("node_exporter"), "").unwrap();
        let peers = Peers::in_folders(&folders).unwrap();
        assert_eq!(peers.pushgateway, folder.path().join("prometheus-pushgateway"));
    }
}
