//! Lines over TCP and UDP: what is counted, the limit on a line, and clients that may not send any more.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod common;

use common::World;
use intake::{Exposure, Input, InputSettings, Listener, ListenerCounters, Stopper};
use mapping::Mapping;
use receive::graphite::{Graphite, NAME};
use receive::lines::LINE_BYTES_MAX;
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// How long a test waits for what has to happen.
const SOON: Duration = Duration::from_secs(30);

/// An input that runs in the runtime of the test.
struct Lines {
    address: SocketAddr,
    input: Input,
    exposure: watch::Sender<Arc<Exposure>>,
    stopper: Stopper,
    task: JoinHandle<()>,
}

impl Lines {
    fn start(world: &World) -> Lines {
        let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let bound = Graphite { listen, exposure: Exposure::default() }.bind().unwrap();
        let address = bound.endpoints()[0].address().unwrap();
        let input = world.doors.intake().input(NAME);
        let (exposure, exposures) = watch::channel(Arc::default());
        let (stopper, stop) = Stopper::new();
        let task = tokio::spawn(bound.run(input.clone(), exposures, stop));
        Lines { address, input, exposure, stopper, task }
    }

    fn counters(&self) -> &ListenerCounters {
        self.input.listener_counters()
    }

    /// A client, which blocks the whole runtime while it sends.
    fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).unwrap()
    }

    fn udp(&self) -> UdpSocket {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        socket.connect(self.address).unwrap();
        socket
    }

    async fn stop(self) -> Input {
        self.stopper.stop();
        self.task.await.unwrap();
        self.input
    }
}

fn send(mut client: &TcpStream, text: &str) {
    std::io::Write::write_all(&mut client, text.as_bytes()).unwrap();
}

async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let waiting = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(SOON, waiting).await.unwrap_or_else(|_| panic!("{what}"));
}

#[tokio::test]
async fn what_arrives_just_before_the_end_is_kept_and_its_bytes_count() {
    let world = World::new().await;
    let lines = Lines::start(&world);
    let (client, udp) = (lines.connect(), lines.udp());
    send(&client, "a 1\n");
    udp.send(b"b 1").unwrap();
    until("both are read", || lines.input.counters().points.get() == 2).await;
    // The runtime has this one thread, so it can't read them before it is told to stop.
    send(&client, "after 1\n");
    udp.send(b"after;by=udp 1").unwrap();
    let late = lines.connect();
    send(&late, "late 1\n");
    let input = lines.stop().await;
    let counters = input.counters();
    assert_eq!((counters.points.get(), counters.bytes.get()), (5, 4 + 3 + 8 + 14 + 7));
    assert_eq!(input.listener_counters().connections.get(), 0);
}

#[tokio::test]
async fn a_line_over_the_limit_is_rejected_however_it_arrives() {
    let mut world = World::new().await;
    let lines = Lines::start(&world);
    let (client, udp) = (lines.connect(), lines.udp());
    // Valid in all other respects.
    let long = format!("long{}1\n", " ".repeat(LINE_BYTES_MAX));
    send(&client, &format!("{long}a 1\n"));
    udp.send(format!("{long}b 1").as_bytes()).unwrap();
    until("all is read", || lines.input.counters().points.get() == 2).await;
    let input = lines.stop().await;
    assert_eq!(input.counters().rejected.get(), 2);
    let mut series: Vec<String> = world.lines().await.into_iter().map(|line| line.series).collect();
    series.sort();
    assert_eq!(series, ["a", "b"]);
}

#[tokio::test]
async fn a_connection_that_waits_for_the_log_is_cut_off_once_it_may_not_send() {
    let world = World::with(|options| options.intake.requests = 1, |_| {}).await;
    let lines = Lines::start(&world);
    // As long as this is held, the intake refuses all lines.
    let other = lines.input.admit().unwrap();
    let client = lines.connect();
    send(&client, "a 1\n");
    until("the lines wait", || lines.input.counters().deferred.get() == 1).await;
    lines.exposure.send_replace(Arc::new(Exposure {
        allow_from: vec!["10.0.0.0/8".parse().unwrap()],
        allow_unauthenticated: false,
    }));
    client.set_nonblocking(true).unwrap();
    let mut client = tokio::net::TcpStream::from_std(client).unwrap();
    let read = tokio::time::timeout(SOON, client.read(&mut [0])).await.unwrap();
    assert!(matches!(read, Ok(0) | Err(_)), "the connection is closed: {read:?}");
    assert_eq!(lines.counters().denied.get(), 1);
    assert_eq!(lines.input.counters().points.get(), 0);
    // What it had sent before is still appended.
    drop(other);
    until("the line is kept", || lines.input.counters().points.get() == 1).await;
    let input = lines.stop().await;
    assert_eq!(input.listener_counters().denied.get(), 1);
}

/// The settings with the rules of a mapping file, as JSON.
fn mapped(rules: &str) -> Arc<InputSettings> {
    let mapping = Mapping::new(serde_json::from_str(rules).unwrap()).unwrap();
    Arc::new(InputSettings { mapping: Some(mapping.into()), ..InputSettings::default() })
}

#[tokio::test]
async fn graphite_paths_are_mapped_and_a_reload_changes_the_rules() {
    let rules = r#"{"mappings": [
        {"match": "servers.*.load", "name": "load", "labels": {"host": "$1", "dc": "rule"}},
        {"match": "tags.*", "name": "tags", "labels": {"dc": "rule"}, "honor_labels": true},
        {"match": "noise\\..*", "match_type": "regex", "action": "drop"}]}"#;
    let set = |options: &mut receive::Options| drop(options.intake.inputs.insert(NAME, mapped(rules)));
    let mut world = World::with(set, |_| {}).await;
    let lines = Lines::start(&world);
    let udp = lines.udp();
    for _ in 0..2 {
        let text =
            "servers.web-1.load;dc=eu;x=y 1\ntags.a;dc=eu 1\nnoise.a 1\nother.path 1\nservers.a.b.load 1";
        udp.send(text.as_bytes()).unwrap();
    }
    until("all is read", || lines.input.counters().points.get() == 8).await;
    assert_eq!(lines.input.counters().dropped.get(), 2);
    let mut settings = (*world.doors.intake().settings()).clone();
    let other = r#"{"mappings": [{"match": "servers.*.load", "name": "other", "labels": {"host": "$1"}}]}"#;
    settings.inputs.insert(NAME, mapped(other));
    world.doors.intake().set_settings(settings).unwrap();
    udp.send(b"servers.web-1.load 1").unwrap();
    until("the line is read", || lines.input.counters().points.get() == 9).await;
    lines.stop().await;
    let mut series: Vec<String> = world.lines().await.into_iter().map(|line| line.series).collect();
    series.sort();
    series.dedup();
    let wanted = [
        r#"load{dc="rule",host="web-1",x="y"}"#,
        "other_path",
        r#"other{host="web-1"}"#,
        "servers_a_b_load",
        r#"tags{dc="eu"}"#,
    ];
    assert_eq!(series, wanted);
}
