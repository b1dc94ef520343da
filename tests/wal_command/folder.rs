//! The folder of a command, and whether it may be used.

use super::{PROGRAM, wal, with_config, written};
use std::process::{Command, Stdio};
use support::prometheus::Options;
use support::wire::{self, Series, Version};
use support::{Answer, FakeReceiver, Prometheus, SOON, now_ms, wait_for, wait_until};

#[test]
fn the_folder_of_a_running_prometheus_is_not_repaired() {
    let Some(peers) = support::peers() else { return };
    let prometheus = Prometheus::start(&peers, Options::receiver());
    let now = now_ms();
    let series = [Series::new("up", &[], &[(now, 1.0)])];
    wire::push(&prometheus.write_url(), Version::V1, &series).unwrap().expect_success();
    let dir = prometheus.data.to_str().unwrap();
    let (code, text, _) = wal(&["verify", dir]);
    assert!(code == 0 && text.contains("in use by"), "{text}");
    let (code, _, error) = wal(&["repair", dir]);
    assert!(code == 1 && error.contains("stop that one first"), "{error}");
}

#[test]
fn a_folder_without_a_log_ends_with_2() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().to_str().unwrap();
    let file = format!("{dir}/file");
    std::fs::write(&file, "").unwrap();
    for command in ["stat", "dump", "verify", "repair"] {
        let (code, _, error) = wal(&[command, dir]);
        assert!(code == 2 && error.contains(&format!("no segments in {dir}")), "{error}");
        for no_folder in [format!("{dir}/nope"), file.clone()] {
            let (code, _, error) = wal(&[command, &no_folder]);
            assert!(code == 2 && error.contains(&format!("there is no folder {no_folder}")), "{error}");
        }
    }
    let (code, _, error) = wal(&["dump", "--dead", dir]);
    assert!(code == 2 && error.contains("is not a data folder of narthex"), "{error}");
    assert_eq!(wal(&["dump", dir, "--from", "soon"]).0, 2);
}

#[test]
fn a_log_without_dead_letters_is_no_error() {
    let folder = tempfile::tempdir().unwrap();
    written(folder.path(), 1);
    let (code, out, error) = wal(&["dump", "--dead", folder.path().to_str().unwrap()]);
    assert_eq!((code, &*out), (0, ""), "{error}");
    assert!(error.contains("there are no dead letters"), "{error}");
}

/// The receiver reports that it refused one of seven samples, but not which one.
#[test]
fn a_dead_letter_has_the_number_of_refused_samples() {
    let folder = tempfile::tempdir().unwrap();
    let receiver = FakeReceiver::start();
    receiver.answer(|request| {
        let mut samples = 0;
        wire::visit(request.version(), &request.content, |view| samples += view.samples.len()).unwrap();
        let written = samples.saturating_sub(1).to_string();
        let header = "X-Prometheus-Remote-Write-Samples-Written";
        Answer::status(400).header(header, &written).body("out of order sample")
    });
    let config = format!("remote_write:\n- {{url: '{}'}}\n", receiver.write_url());
    let narthex = with_config(folder.path(), &config);
    let body: String = (0..7).map(|id| format!("sold{{id=\"{id}\"}} 1\n")).collect();
    narthex.post("/api/v1/import/prometheus", &[], body.as_bytes()).expect_success();
    let dump = || wal(&["dump", "--dead", folder.path().to_str().unwrap()]);
    let (_, text, error) = wait_for("the dead letters", SOON, || {
        let dumped = dump();
        if dumped.1.lines().count() == 7 { Ok(dumped) } else { Err(format!("{dumped:?}")) }
    });
    for line in text.lines() {
        assert!(line.starts_with(&receiver.write_url()), "the URL of a destination without a name: {line}");
        assert!(line.contains(": 1 of these 7 samples was refused: sold{id="), "{line}");
    }
    assert!(error.contains("7 lines are of samples of which only some were refused"), "{error}");
    assert_eq!(narthex.get("/api/v1/status/remote_write").json()["destinations"][0]["failed"], 1);
}

/// With commands as on the page and in the documents, in the environment of the narthex that owns the data.
#[test]
fn commands_without_a_folder_find_the_default_one() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("narthex");
    let typed = |command: &str| {
        let output = Command::new(PROGRAM)
            .args(command.split(' ').skip(1))
            .env("STATE_DIRECTORY", &data)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    };
    let commands = [
        "narthex wal stat",
        "narthex wal verify",
        "narthex wal dump",
        "narthex wal repair",
        "narthex wal dump --dead",
    ];
    for command in commands {
        let (code, _, error) = typed(command);
        let words = format!("the default data folder {} does not exist", data.display());
        assert!(code == 2 && error.contains(&words), "{command}: {error}");
    }
    let receiver = FakeReceiver::start();
    receiver.answer(|_| Answer::status(400).body("out of bounds"));
    let config = format!("remote_write:\n- {{url: '{}', name: central}}\n", receiver.write_url());
    let narthex = with_config(&data, &config);
    narthex.post("/api/v1/import/prometheus", &[], b"sold 17 1700000000000\n").expect_success();
    wait_until("the dead letter", SOON, || typed("narthex wal dump --dead").1.contains("sold"));
    assert_eq!(narthex.process.terminate(SOON).code(), Some(0));
    for command in commands {
        let (code, out, error) = typed(command);
        assert_eq!(code, 0, "{command}: {out}{error}");
    }
    assert_eq!(typed(&format!("narthex wal stat --data {}", data.display())).0, 0);
    let (_, dead, _) = typed("narthex wal dump --dead");
    let letter = dead.lines().find(|line| line.contains("sold")).unwrap();
    assert!(letter.starts_with("central"), "the destination's name: {letter}");
    assert!(letter.contains(" 2023-11-14T22:13:20.000Z 17: 400 Bad Request: out of bounds"), "{letter}");
}
