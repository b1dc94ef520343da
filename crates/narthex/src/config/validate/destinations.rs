//! `remote_write`: checks each entry alone, and compares the entries with each other.

use super::Faults;
use http_client::Client;
use remote::config::{BYTES_PER_SECOND_MIN, RemoteWrite};
use remote::{Identity, members};
use std::collections::BTreeSet;

/// Sets `deadline_is_set` of each destination to whether the file sets its deadline.
pub(super) fn note_deadlines(entries: &mut [RemoteWrite], faults: &Faults<'_>) {
    for (index, entry) in entries.iter_mut().enumerate() {
        let key = format!("remote_write[{index}].queue_config.batch_send_deadline");
        entry.queue_config.deadline_is_set = faults.is_given(&key);
    }
}

pub(super) fn check(entries: &[RemoteWrite], faults: &Faults<'_>) {
    let mut names = BTreeSet::new();
    for (index, entry) in entries.iter().enumerate() {
        let path = format!("remote_write[{index}]");
        if let Some(name) = &entry.name
            && !names.insert(name)
        {
            faults.add(&format!("{path}.name"), format!("another destination has the name {name:?} already"));
        }
        check_members(entry, &path, faults);
        check_client(entry, &path, faults);
        if entry.lacks_window() {
            let keys = ["catch_up", "out_of_order_window"].map(|key| format!("{path}.{key}"));
            let [key, window] = keys.each_ref().map(String::as_str);
            faults.add_about(key, &[key, window], remote::config::NEEDS_WINDOW);
        }
        let queue = &entry.queue_config;
        if queue.max_bytes_per_second.is_some_and(|rate| rate < BYTES_PER_SECOND_MIN) {
            let why = "too small: at least 1KiB, or leave it out for no limit";
            faults.add(&format!("{path}.queue_config.max_bytes_per_second"), why);
        }
        for key in queue.zero_keys() {
            faults.add(&format!("{path}.{key}"), "0 would send nothing: at least 1");
        }
    }
    check_identities(entries, faults);
}

fn check_members(entry: &RemoteWrite, path: &str, faults: &Faults<'_>) {
    for error in members::errors(entry) {
        let key = if error.key.is_empty() { path.to_string() } else { format!("{path}.{}", error.key) };
        let about = error.about.iter().map(|name| format!("{path}.{name}")).collect::<Vec<_>>();
        let about: Vec<&str> = about.iter().map(String::as_str).collect();
        faults.add_about(&key, &about, error.why);
    }
}

/// Checks what can be checked without sending: headers, credentials, certificates, proxies.
fn check_client(entry: &RemoteWrite, path: &str, faults: &Faults<'_>) {
    // A mistake in one member is in all of them.
    let errors = members::destinations(entry)
        .iter()
        .map(|one| Client::errors(&one.url, &one.http()))
        .find(|errors| !errors.is_empty());
    for error in errors.unwrap_or_default() {
        faults.add_within(path, &error.to_string());
    }
}

/// Reports destinations that can't be distinguished. Those with another mistake are left out, because the mistake may
/// be the reason why they are equal.
fn check_identities(entries: &[RemoteWrite], faults: &Faults<'_>) {
    let sound = entries.iter().enumerate().filter(|(index, _)| {
        let path = format!("remote_write[{index}]");
        ["url", "members", "name", "headers", "write_relabel_configs"]
            .iter()
            .all(|key| !faults.has(&format!("{path}.{key}")))
    });
    let (owners, destinations): (Vec<usize>, Vec<RemoteWrite>) = sound
        .filter(|(_, entry)| !(entry.url.is_nowhere() && entry.members.is_empty()))
        .flat_map(|(index, entry)| members::destinations(entry).into_iter().map(move |one| (index, one)))
        .unzip();
    for (index, duplicate) in Identity::duplicates(&destinations) {
        if let Some(owner) = owners.get(index) {
            faults.add_about(&format!("remote_write[{owner}]"), &[], duplicate.to_string());
        }
    }
}
