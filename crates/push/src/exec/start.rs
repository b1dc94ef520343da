//! Starts the command as a shell, `env` or cron does. An executable script without `#!`, which the kernel refuses with
//! `ENOEXEC`, is run by `/bin/sh`, as POSIX says.

use rustix::fs::{Access, access};
use rustix::io::Errno;
use std::ffi::{OsStr, OsString};
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

/// The most bytes of a file that are read to tell a script from a program for another machine.
const LOOK_BYTES: u64 = 4096;
/// The search path for commands if `PATH` is not set.
const DEFAULT_PATH: &str = "/bin:/usr/bin";

pub(super) fn spawn(program: &OsStr, arguments: &[OsString]) -> io::Result<Child> {
    match Command::new(program).args(arguments).spawn() {
        Err(error) if error.raw_os_error() == Some(Errno::NOEXEC.raw_os_error()) => {
            let path = std::env::var_os("PATH").unwrap_or_else(|| DEFAULT_PATH.into());
            match find(program, &path).filter(|file| is_text(file)) {
                Some(script) => Command::new("/bin/sh").arg(script).args(arguments).spawn(),
                None => Err(error),
            }
        }
        started => started,
    }
}

/// The file that the kernel was asked to run: the program's own path, or the first of this name in `path`.
fn find(program: &OsStr, path: &OsStr) -> Option<PathBuf> {
    if program.as_bytes().contains(&b'/') {
        return Some(absolute(Path::new(program)));
    }
    let runs = |file: &PathBuf| file.is_file() && access(file, Access::EXEC_OK).is_ok();
    std::env::split_paths(path).map(|folder| absolute(&folder.join(program))).find(runs)
}

/// Makes the path one that does not begin with `-`, so that a shell does not take it for an option.
fn absolute(path: &Path) -> PathBuf {
    if path.is_absolute() { path.to_path_buf() } else { Path::new(".").join(path) }
}

/// Returns true if a file is text. Like shells, this looks for a zero byte in the first line: programs have
/// one there.
fn is_text(file: &Path) -> bool {
    let mut line = Vec::new();
    let read = std::fs::File::open(file)
        .and_then(|file| BufReader::new(file.take(LOOK_BYTES)).read_until(b'\n', &mut line));
    read.is_ok() && !line.contains(&0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_program_is_found_as_exec_finds_it() {
        let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let file = |folder: &Path, name: &str, mode| {
            let path = folder.join(name);
            std::fs::write(&path, "").unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            path
        };
        std::fs::create_dir(first.path().join("job")).unwrap();
        let job = file(second.path(), "job", 0o755);
        let dash = file(second.path(), "-c", 0o755);
        let path = std::env::join_paths([first.path(), second.path()]).unwrap();
        assert_eq!(find(OsStr::new("job"), &path), Some(job.clone()), "a folder is no program");
        assert_eq!(find(OsStr::new("-c"), &path), Some(dash));
        assert_eq!(find(OsStr::new("none"), &path), None);
        assert_eq!(find(OsStr::new("-x/job"), &path), Some("./-x/job".into()));
        assert_eq!(find(job.as_os_str(), OsStr::new("")), Some(job));
    }

    #[test]
    fn only_text_is_given_to_the_shell() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        for (content, text) in [(&b"exit 5\n"[..], true), (b"", true), (b"\x7fELF\x02\x00\n", false)] {
            std::fs::write(&file, content).unwrap();
            assert_eq!(is_text(&file), text, "{content:?}");
        }
        assert!(!is_text(&folder.path().join("none")));
    }
}
