//! Tests of `scripts/clients`, which fetches the client libraries.
#![allow(clippy::unwrap_used, reason = "a panic is how a test reports")]

use std::os::unix::fs::PermissionsExt;
use std::process::Command;

/// Debian 12 has Go 1.19, which can neither build client_golang nor fetch a Go version that can.
#[test]
fn too_old_versions_of_go_have_their_own_exit_status() {
    let folder = tempfile::tempdir().unwrap();
    for (version, is_too_old) in
        [("go1.19.8", true), ("go1.20", true), ("go1.21.0", false), ("go1.26rc1", false)]
    {
        // After the command for its version it fails, as it does without a network.
        let go = folder.path().join("go");
        std::fs::write(&go, format!("#!/bin/sh\n[ \"$*\" = 'env GOVERSION' ] && echo {version}\n")).unwrap();
        std::fs::set_permissions(&go, std::fs::Permissions::from_mode(0o755)).unwrap();
        let path = format!("{}:{}", folder.path().display(), std::env::var("PATH").unwrap());
        let mut script = Command::new(support::peers::repository().join("scripts/clients"));
        let output = script
            .args(["go".as_ref(), folder.path().join("clients").as_os_str()])
            .env("PATH", path)
            .output();
        let output = output.unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(if is_too_old { 3 } else { 1 }), "{version}: {said}");
        let reason = "which is too old for client_golang: 1.21 or later is needed";
        assert_eq!(said.contains(reason), is_too_old, "{version}: {said}");
    }
}
