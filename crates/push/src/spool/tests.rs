use super::*;

fn entry(body: &str) -> Entry {
    Entry { at: 1, labels: [("job".into(), "j".into())].into(), ttl: None, add: None, body: body.into() }
}

fn drain(spool: &Spool) -> Vec<String> {
    let mut bodies = Vec::new();
    while let Some((number, entry)) = spool.oldest().unwrap() {
        bodies.push(entry.map_or("damaged".into(), |entry| entry.body));
        spool.remove(number).unwrap();
    }
    bodies
}

#[tokio::test]
async fn entries_come_back_in_order_after_a_restart() {
    let base = tempfile::tempdir().unwrap();
    for body in ["a", "b", "c"] {
        let spool = Spool::open(base.path(), "k", "http://h").unwrap();
        spool.add(&entry(body)).await.unwrap();
    }
    // A file that a process left behind because it was killed during the write.
    std::fs::write(base.path().join("k/new"), "half").unwrap();
    let spool = Spool::open(base.path(), "k", "http://h").unwrap();
    assert_eq!(spool.waiting(), 3);
    assert_eq!(drain(&spool), ["a", "b", "c"]);
    assert_eq!(std::fs::read_to_string(base.path().join("k/target")).unwrap(), "http://h\n");
}

#[tokio::test]
async fn an_existing_spool_folder_becomes_private() {
    let base = tempfile::tempdir().unwrap();
    std::fs::create_dir(base.path().join("k")).unwrap();
    std::fs::set_permissions(base.path().join("k"), Permissions::from_mode(0o755)).unwrap();
    let spool = Spool::open(base.path(), "k", "x").unwrap();
    spool.add(&entry("a")).await.unwrap();
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(spool.folder()), 0o700);
    assert_eq!(mode(&spool.path(0)), 0o600);
    let made = Spool::open(&base.path().join("new"), "k", "x").unwrap();
    assert_eq!(mode(made.folder().parent().unwrap()), 0o700);
}

#[tokio::test]
async fn oldest_entries_are_dropped_above_the_limits() {
    let base = tempfile::tempdir().unwrap();
    let mut spool = Spool::open(base.path(), "k", "x").unwrap();
    spool.entries_max = 3;
    for (body, added) in [("a", (1, 0)), ("b", (2, 0)), ("c", (3, 0)), ("d", (3, 1))] {
        let Added { waiting, dropped } = spool.add(&entry(body)).await.unwrap();
        assert_eq!((waiting, dropped), added, "{body}");
    }
    spool.bytes_max = 2 * entry("x").to_bytes().len() as u64 + 10;
    assert_eq!(spool.add(&entry("e")).await.unwrap(), Added { waiting: 2, dropped: 2 });
    assert_eq!(drain(&spool), ["d", "e"]);
}

#[tokio::test]
async fn parked_entries_have_a_limit_and_wait_between_tries() {
    let base = tempfile::tempdir().unwrap();
    let mut spool = Spool::open(base.path(), "k", "x").unwrap();
    spool.parked_max = 2;
    for body in ["a", "b", "c", "d"] {
        spool.add(&entry(body)).await.unwrap();
    }
    assert_eq!((spool.count_failure(0), spool.count_failure(0), spool.count_failure(1)), (1, 2, 1));
    assert_eq!(spool.park(0).await.unwrap(), 0);
    assert_eq!(spool.park(1).await.unwrap(), 0);
    assert_eq!(spool.park(2).await.unwrap(), 1, "the oldest goes");
    let due = |spool: &Spool| -> Vec<Number> {
        spool.parked_due().unwrap().into_iter().map(|(number, _)| number).collect()
    };
    assert_eq!(due(&spool), Vec::<Number>::new(), "they were tried just now");
    spool.parked_retry = Duration::ZERO;
    assert_eq!(due(&spool), [1, 2]);
    assert_eq!(spool.oldest().unwrap().unwrap().0, 3);
    // Parked entries count for the limit, and are dropped before others.
    spool.entries_max = 3;
    assert_eq!(spool.add(&entry("e")).await.unwrap(), Added { waiting: 3, dropped: 1 });
    assert_eq!(due(&spool), [2]);
    assert_eq!(spool.remove_parked_of(&entry("x").labels).unwrap(), 1);
    assert_eq!((due(&spool), drain(&spool)), (vec![], vec!["d".to_string(), "e".to_string()]));
}

#[tokio::test]
async fn a_damaged_entry_reads_as_none() {
    let base = tempfile::tempdir().unwrap();
    let spool = Spool::open(base.path(), "k", "x").unwrap();
    spool.add(&entry("a")).await.unwrap();
    spool.add(&entry("b")).await.unwrap();
    std::fs::write(spool.path(0), "{}").unwrap();
    assert_eq!(drain(&spool), ["damaged", "b"]);
}

#[tokio::test]
async fn one_process_has_the_turn_until_no_entry_waits() {
    let base = tempfile::tempdir().unwrap();
    let spool = Spool::open(base.path(), "k", "x").unwrap();
    let other = Spool::open(base.path(), "k", "x").unwrap();
    let turn = spool.turn(Duration::ZERO).await.unwrap().expect("free");
    assert!(other.turn(Duration::from_millis(20)).await.unwrap().is_none());
    other.add(&entry("a")).await.unwrap();
    let turn = spool.leave(turn).await.unwrap().expect("something waits");
    assert_eq!(drain(&spool), ["a"]);
    assert!(spool.leave(turn).await.unwrap().is_none());
    assert!(other.turn(Duration::ZERO).await.unwrap().is_some());
}
