//! The small program (`--no-default-features`): commands that it lacks end with 2 and a sentence, and the others work.

use crate::{end, end_with};

#[test]
fn small_program_has_no_demo_sink_manual_and_completions() {
    let help = end(&["--help"]).1;
    for command in ["demo", "sink", "man", "completions"] {
        let (code, text) = end(&[command]);
        assert!(code == Some(2) && text.contains(&format!("unrecognized subcommand '{command}'")), "{text}");
        let why = format!("this program has no `{command}`: it was built without the Cargo feature");
        assert!(text.contains(&why), "{text}");
        assert!(!help.contains(&format!("  {command} ")), "{help}");
    }
    for command in ["run", "push", "exec", "wal", "check"] {
        assert!(help.contains(&format!("  {command} ")), "{help}");
    }
}

#[test]
fn small_program_names_destinations_that_need_signatures() {
    let folder = tempfile::tempdir().unwrap();
    let check = |section: &str| {
        let text = format!("remote_write:\n  - url: https://h/x\n    {section}\n");
        let file = support::narthex::config(folder.path(), &text);
        end_with(&["check", &file], &[])
    };
    for (section, key, feature) in [
        ("sigv4: {region: eu-west-1, access_key: a, secret_key: b}", "sigv4", "sigv4"),
        ("google_iam: {credentials_file: /does/not/exist}", "google_iam", "google_iam"),
    ] {
        let (code, text) = check(section);
        let words = format!("built without the Cargo feature {feature}");
        assert!(code == Some(2) && text.contains(key) && text.contains(&words), "{text}");
    }
    let (code, text) = check("basic_auth: {username: a, password: b}");
    assert_eq!(code, Some(0), "{text}");
}
