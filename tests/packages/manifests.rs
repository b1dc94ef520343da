//! The configurations and command lines in the files for containers and Kubernetes are valid for this narthex.

use clap::Parser;
use narthex::cli::Cli;
use serde_json::Value;
use std::process::Command;
use support::peers::repository;

/// The YAML documents in a file below `packaging`.
fn documents(path: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(repository().join("packaging").join(path)).unwrap();
    let documents = text.split("\n---\n").map(serde_saphyr::from_str);
    documents.map(|one| one.unwrap_or_else(|error| panic!("{path}: {error}"))).collect()
}

/// Runs `narthex check` on a configuration.
#[track_caller]
fn check(path: &str, config: &str) {
    let folder = tempfile::tempdir().unwrap();
    let token = folder.path().join("token");
    std::fs::write(&token, "secret").unwrap();
    let file = folder.path().join("narthex.yml");
    // The mounted files do not exist on this machine.
    let here = config.replace("/run/secrets/narthex/token", token.to_str().unwrap()).replace("/host", "/");
    std::fs::write(&file, here.replace("http://HOST:", "http://host:")).unwrap();
    let output = Command::new(crate::PROGRAM).arg("check").arg(&file).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && !said.contains("warning"), "{path}: {said}");
}

/// Parses the arguments of `narthex` in a list.
#[track_caller]
fn parse(path: &str, list: &Value) {
    let words = list.as_array().unwrap().iter().map(|word| word.as_str().unwrap());
    if let Err(error) = Cli::try_parse_from(std::iter::once("narthex").chain(words)) {
        panic!("{path}: {error}");
    }
}

#[test]
fn manifests_for_kubernetes_are_valid() {
    for path in ["kubernetes/daemonset.yaml", "kubernetes/deployment.yaml"] {
        let (mut configs, mut workloads) = (0, 0);
        for document in documents(path) {
            if document["kind"] == "ConfigMap" {
                check(path, document["data"]["narthex.yml"].as_str().unwrap());
                configs += 1;
            }
            let container = &document["spec"]["template"]["spec"]["containers"][0];
            if !container.is_null() {
                parse(path, &container["args"]);
                workloads += 1;
            }
        }
        assert_eq!((configs, workloads), (1, 1), "{path}");
    }
}

#[test]
fn files_for_containers_and_small_machines_are_valid() {
    for path in ["container/narthex.yml", "narthex-small.yml"] {
        check(path, &std::fs::read_to_string(repository().join("packaging").join(path)).unwrap());
    }
    let compose = documents("container/compose.yml");
    parse("container/compose.yml", &compose[0]["services"]["narthex"]["command"]);
    let containerfile =
        std::fs::read_to_string(repository().join("packaging/container/Containerfile")).unwrap();
    let command = containerfile.lines().find_map(|line| line.strip_prefix("CMD ")).unwrap();
    parse("container/Containerfile", &serde_json::from_str(command).unwrap());
}

#[test]
fn the_chart_has_the_version_of_the_program_and_a_valid_configuration() {
    let chart = &documents("helm/narthex/Chart.yaml")[0];
    for key in ["version", "appVersion"] {
        assert_eq!(chart[key], env!("CARGO_PKG_VERSION"));
    }
    check("helm", &documents("helm/narthex/values.yaml")[0]["config"].to_string());
}
