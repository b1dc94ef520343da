//! Root directories in which packages are installed, and programs that run inside them.

use std::path::{Path, PathBuf};
use std::process::Command;
use support::Process;
use support::peers::{repository, skip};

/// A test's own root directory.
pub(crate) struct Root {
    folder: tempfile::TempDir,
}

/// Runs a program to its end. Returns its output.
///
/// # Panics
/// If it fails.
#[track_caller]
pub(crate) fn run(program: impl AsRef<std::ffi::OsStr>, arguments: &[&str]) -> String {
    let program = program.as_ref();
    let output = Command::new(program).args(arguments).output().unwrap();
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success(), "{} {arguments:?}: {}\n{text}", program.display(), output.status);
    text
}

/// Returns true if this test may mount, and change its root and its user.
fn may_change_root() -> bool {
    rustix::process::geteuid().is_root()
        && Command::new("unshare").args(["--mount", "true"]).status().is_ok_and(|status| status.success())
}

impl Root {
    /// An empty root directory; `None`, with a message, if this test may not use one.
    pub(crate) fn empty() -> Option<Root> {
        if !may_change_root() {
            skip("NARTHEX_REQUIRE_PACKAGES", "only root can install packages, in a namespace for mounts");
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        // Users other than root need access to it.
        run("chmod", &["755", folder.path().to_str().unwrap()]);
        Some(Root { folder })
    }

    /// A minimal Debian.
    pub(crate) fn debian() -> Option<Root> {
        let root = Root::empty()?;
        let made = repository().join("target/debian");
        let script = Command::new(repository().join("scripts/debian-root")).arg(&made).output().unwrap();
        if !script.status.success() {
            let why = String::from_utf8_lossy(&script.stderr);
            skip("NARTHEX_REQUIRE_PACKAGES", &format!("there is no minimal Debian: {}", why.trim()));
            return None;
        }
        let from = made.join("root/.");
        run("cp", &["--archive", "--reflink=auto", from.to_str().unwrap(), root.path("/").to_str().unwrap()]);
        Some(root)
    }

    /// The path on this machine of a path in the root directory.
    pub(crate) fn path(&self, inside: &str) -> PathBuf {
        self.folder.path().join(inside.trim_start_matches('/'))
    }

    pub(crate) fn write(&self, inside: &str, text: &str) {
        std::fs::create_dir_all(self.path(inside).parent().unwrap()).unwrap();
        std::fs::write(self.path(inside), text).unwrap();
    }

    pub(crate) fn read(&self, inside: &str) -> String {
        std::fs::read_to_string(self.path(inside)).unwrap_or_else(|error| panic!("{inside}: {error}"))
    }

    /// Copies a file of this machine to `/tmp` in the root directory. Returns its path inside.
    pub(crate) fn bring(&self, file: &Path) -> String {
        let inside = format!("/tmp/{}", file.file_name().unwrap().to_str().unwrap());
        std::fs::copy(file, self.path(&inside)).unwrap();
        inside
    }

    /// Runs a program inside to its end. Returns its output.
    #[track_caller]
    pub(crate) fn run(&self, command: &[&str]) -> String {
        let root = self.path("/");
        run("chroot", &[&[root.to_str().unwrap()], command].concat())
    }

    /// The owner, group and mode of a file inside, as `narthex:narthex 700`.
    pub(crate) fn owner(&self, inside: &str) -> String {
        self.run(&["stat", "--format", "%U:%G %a", inside]).trim().to_string()
    }

    /// Starts a program inside, as `user`, with only these environment variables. `/proc` and `/sys` are mounted until
    /// the program ends.
    #[track_caller]
    pub(crate) fn start(&self, user: &str, env: &[(&str, &str)], command: &[&str]) -> Process {
        const SCRIPT: &str = r#"set -e
            root=$1 user=$2
            shift 2
            mount --bind /proc "$root/proc"
            mount --rbind /sys "$root/sys"
            exec chroot --userspec="$user" "$root" "$@""#;
        for folder in ["/proc", "/sys"] {
            std::fs::create_dir_all(self.path(folder)).unwrap();
        }
        let root = self.path("/");
        let mut arguments = vec!["--mount", "sh", "-c", SCRIPT, "sh", root.to_str().unwrap(), user];
        // Programs in a root directory without `env` need no variables.
        let variables: Vec<String> = env.iter().map(|(name, value)| format!("{name}={value}")).collect();
        if !variables.is_empty() {
            arguments.extend(["/usr/bin/env", "-i"]);
            arguments.extend(variables.iter().map(String::as_str));
        }
        arguments.extend(command);
        Process::start(Path::new("/usr/bin/unshare"), arguments)
    }
}
