//! Tests the decisions of `scripts/package` before a build, with replacements for `rustc` and `cargo`.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use support::peers::repository;

/// A machine with some Rust targets and C compilers.
struct Machine {
    folder: tempfile::TempDir,
}

impl Machine {
    fn new(targets: &[&str], compilers: &[&str]) -> Machine {
        let machine = Machine { folder: tempfile::tempdir().unwrap() };
        std::fs::create_dir(machine.bin()).unwrap();
        // The programs of this machine without its compilers.
        for entry in std::fs::read_dir("/usr/bin").unwrap() {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            let is_packer = ["dpkg-deb", "rpmbuild", "rustc", "cargo"].contains(&name.as_str());
            if !name.ends_with("gcc") && !is_packer {
                symlink(entry.path(), machine.bin().join(name)).unwrap();
            }
        }
        for target in targets {
            let folder = machine.folder.path().join("lib/rustlib").join(target).join("lib");
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(folder.join("libstd-0.rlib"), "").unwrap();
        }
        for compiler in compilers {
            machine.program(compiler, "exit 1");
        }
        machine.program("rustc", &format!("echo {}", machine.folder.path().display()));
        machine.program(
            "cargo",
            r#"echo "$@" >>"$COMMANDS"
            while [ "$1" != --target ]; do shift; done
            mkdir -p "$CARGO_TARGET_DIR/$2/release"
            cp /bin/false "$CARGO_TARGET_DIR/$2/release/narthex""#,
        );
        machine
    }

    fn bin(&self) -> PathBuf {
        self.folder.path().join("bin")
    }

    fn program(&self, name: &str, script: &str) {
        let path = self.bin().join(name);
        std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// Runs the script. Returns its output and the commands that it passed to cargo.
    fn package(&self, arguments: &[&str]) -> (Output, String) {
        let commands = self.folder.path().join("commands");
        let output = Command::new(repository().join("scripts/package"))
            .args(arguments)
            .arg(self.folder.path().join("out"))
            .env("PATH", self.bin())
            .env("COMMANDS", &commands)
            .env("CARGO_TARGET_DIR", self.folder.path().join("target"))
            .output()
            .unwrap();
        (output, std::fs::read_to_string(commands).unwrap_or_default())
    }

    fn out(&self) -> &Path {
        self.folder.path()
    }
}

/// The target for this machine with a C library, such as `x86_64-unknown-linux-musl`.
fn target(library: &str) -> String {
    format!("{}-unknown-linux-{library}", std::env::consts::ARCH)
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_musl_target_without_its_compiler_falls_back_to_glibc() {
    let (musl, glibc) = (target("musl"), target("gnu"));
    let machine = Machine::new(&[&musl, &glibc], &["gcc"]);
    let (output, commands) = machine.package(&[]);
    assert!(output.status.success(), "{}", said(&output));
    assert!(commands.contains(&format!("--target {glibc} ")) && !commands.contains(&musl), "{commands}");
    let hint = format!("there is the Rust target {musl} but no C compiler for musl");
    assert!(said(&output).contains(&hint) && said(&output).contains("musl-tools"), "{}", said(&output));
}

#[test]
fn musl_is_used_where_target_and_compiler_are_installed() {
    let (musl, glibc) = (target("musl"), target("gnu"));
    for options in [&[][..], &["--small"]] {
        let machine = Machine::new(&[&musl, &glibc], &["gcc", "musl-gcc"]);
        let (output, commands) = machine.package(options);
        assert!(output.status.success(), "{}", said(&output));
        assert!(commands.contains(&format!("--target {musl} ")) && !commands.contains(&glibc), "{commands}");
        assert!(!said(&output).contains("C compiler for musl"), "{}", said(&output));
        assert!(machine.out().join("out/THIRD-PARTY-LICENSES").exists());
    }
}

#[test]
fn without_a_c_compiler_nothing_is_built_and_the_reason_reported() {
    let machine = Machine::new(&[&target("musl"), &target("gnu")], &[]);
    let (output, commands) = machine.package(&["--small"]);
    assert!(!output.status.success() && commands.is_empty(), "{commands}");
    assert!(said(&output).contains("no gcc here: not built"), "{}", said(&output));
}
