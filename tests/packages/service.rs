//! Replaces the service manager, as far as a test needs it: the command of the unit, its user and environment, the data
//! directory, and the socket for notifications.

use crate::root::Root;
use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use support::narthex::listening_url;
use support::{Process, SOON, wait_for};

pub(crate) const UNIT: &str = "/usr/lib/systemd/system/narthex.service";
const SOCKET: &str = "/run/notify";
/// Replaces the unit's interval, so that a test need not wait.
const WATCHDOG: Duration = Duration::from_secs(2);

/// The service of the unit, started with its settings.
pub(crate) struct Service {
    pub(crate) process: Process,
    pub(crate) url: String,
    messages: Arc<Mutex<Vec<String>>>,
}

/// The settings in the unit's section `[Service]`; the last one with a name counts.
pub(crate) fn settings(root: &Root) -> BTreeMap<String, String> {
    let text = root.read(UNIT);
    let section = text.split("[Service]\n").nth(1).unwrap().split("\n[").next().unwrap();
    let pairs = section.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once('='));
    pairs.map(|(name, value)| (name.to_string(), value.to_string())).collect()
}

impl Service {
    /// Starts the service, and waits until it listens. Only the address in its command is replaced, so that the system
    /// chooses the port.
    #[track_caller]
    pub(crate) fn start(root: &Root) -> Service {
        let settings = settings(root);
        let [user, state, command] =
            ["User", "StateDirectory", "ExecStart"].map(|name| settings[name].as_str());
        assert_eq!(settings["Type"], "notify");
        let data = format!("/var/lib/{state}");
        root.run(&["install", "-d", "-o", user, "-g", user, "-m", &settings["StateDirectoryMode"], &data]);
        let messages = listen(root);
        let watchdog = WATCHDOG.as_micros().to_string();
        let env = [
            ("STATE_DIRECTORY", data.as_str()),
            ("NOTIFY_SOCKET", SOCKET),
            ("WATCHDOG_USEC", &watchdog),
            ("PATH", "/usr/bin"),
        ];
        let command: Vec<&str> = command.split(' ').chain(["--listen", "127.0.0.1:0"]).collect();
        let process = root.start(&format!("{user}:{}", settings["Group"]), &env, &command);
        let url = listening_url(&process);
        Service { process, url, messages }
    }

    /// Waits for a message with this line that was not returned before. Returns the whole message.
    #[track_caller]
    pub(crate) fn wait_for_message(&self, line: &str) -> String {
        wait_for(&format!("the message {line}"), SOON, || {
            let mut messages = self.messages.lock().unwrap();
            match messages.iter().position(|message| message.lines().any(|there| there == line)) {
                Some(index) => Ok(messages.drain(..=index).next_back().unwrap()),
                None => Err(format!("{messages:?}")),
            }
        })
    }
}

/// Collects the messages that are sent to the socket.
fn listen(root: &Root) -> Arc<Mutex<Vec<String>>> {
    let path = root.path(SOCKET);
    let _ = std::fs::remove_file(&path);
    let socket = UnixDatagram::bind(&path).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o666)).unwrap();
    let messages = Arc::new(Mutex::new(Vec::new()));
    let received = messages.clone();
    std::thread::spawn(move || {
        let mut bytes = [0; 4096];
        while let Ok(length) = socket.recv(&mut bytes) {
            received.lock().unwrap().push(String::from_utf8_lossy(&bytes[..length]).into_owned());
        }
    });
    messages
}
