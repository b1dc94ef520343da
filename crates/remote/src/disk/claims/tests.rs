//! Which positions a destination gets, for sequences of configurations.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "helper functions of tests")]

use super::*;
use crate::config::RemoteWrite;
use crate::disk::positions::{Found, PositionFile};
use crate::queue::lanes::LANES;
use http_client::{Secret, Url};
use wal::RealFilesystem;
use wal::sim::{Op, SimFilesystem};

const NEW: Position = Position::start_of(1_000_000);
const DAY_MS: i64 = 86_400_000;

fn at(number: u64) -> Position {
    Position::start_of(number)
}

/// Parses `name@url` or `url`, either followed by a space and a tenant.
fn config(text: &str) -> RemoteWrite {
    let (text, tenant) = text.split_once(' ').map_or((text, None), |(text, tenant)| (text, Some(tenant)));
    let (name, host) = text.split_once('@').map_or((None, text), |(name, host)| (Some(name), host));
    let mut config = RemoteWrite::to(Url::parse(&format!("http://{host}/write")).unwrap());
    config.name = name.map(String::from);
    if let Some(tenant) = tenant {
        config.headers.insert("X-Scope-OrgID".into(), Secret::new(tenant));
    }
    config
}

struct Folder {
    dir: tempfile::TempDir,
    now_ms: i64,
}

impl Folder {
    fn new() -> Folder {
        Folder { dir: tempfile::tempdir().unwrap(), now_ms: 1_700_000_000_000 }
    }

    fn identities(&self, texts: &[&str]) -> Vec<Identity> {
        Identity::of_all(&texts.iter().map(|text| config(text)).collect::<Vec<_>>()).unwrap()
    }

    fn settle(&self, texts: &[&str]) -> Vec<Removed> {
        settle(&RealFilesystem, self.dir.path(), &self.identities(texts), self.now_ms).unwrap().removed
    }

    fn open(&self, identity: &Identity) -> (PositionFile, Position) {
        let path = folder(self.dir.path()).join(identity.file());
        let (file, settled, found) =
            PositionFile::open(&RealFilesystem, &path, identity.owner(), 7, NEW, at(0)).unwrap();
        assert!(matches!(found, Found::New | Found::Intact));
        (file, settled.lanes[0])
    }

    /// Starts these destinations. Returns where each begins. Then each moves on to its number in the list
    /// plus `base`.
    fn run(&self, texts: &[&str], base: u64) -> Vec<Option<u64>> {
        self.settle(texts);
        let mut begins = Vec::new();
        for (index, identity) in self.identities(texts).iter().enumerate() {
            let (mut file, from) = self.open(identity);
            begins.push((from != NEW).then_some(from.segment));
            file.save(&[at(base + index as u64); LANES].into()).unwrap();
        }
        begins
    }
}

#[test]
fn each_configuration_change_finds_the_positions_again() {
    let known = |number| Some(number);
    for (what, before, after, begins) in [
        ("nothing", &["a", "n@b"][..], &["a", "n@b"][..], &[known(10), known(11)][..]),
        ("another order", &["a", "b", "n@c"], &["n@c", "b", "a"], &[known(12), known(11), known(10)]),
        ("a wrong URL is mended", &["a"], &["b"], &[known(10)]),
        (
            "the same beside others",
            &["a", "n@b", "c"],
            &["x", "n@b", "c"],
            &[known(10), known(11), known(12)],
        ),
        ("a name is given", &["a", "b"], &["n@a", "b"], &[known(10), known(11)]),
        ("a name is taken away", &["n@a", "b"], &["a", "b"], &[known(10), known(11)]),
        ("another name", &["n@a", "b"], &["m@a", "b"], &[known(10), known(11)]),
        ("a named one moves", &["n@a", "b"], &["n@x", "b"], &[known(10), known(11)]),
        ("one is named and another mended", &["a", "b"], &["n@a", "c"], &[known(10), known(11)]),
        ("two change at once", &["a", "b"], &["c", "d"], &[None, None]),
        ("one goes, two come", &["a"], &["b", "c"], &[None, None]),
        ("a named one goes, one comes", &["n@a"], &["b"], &[None]),
        ("one goes, a named one comes", &["a"], &["n@b"], &[None]),
        ("one more", &["a"], &["a", "b"], &[known(10), None]),
        ("tenants in another order", &["a x", "a y"], &["a y", "a x"], &[known(11), known(10)]),
        ("a tenant more", &["a x"], &["a y", "a x"], &[None, known(10)]),
        ("a tenant less", &["a x", "a y"], &["a y"], &[known(11)]),
        ("tenants are named", &["a x", "a y"], &["n@a y", "m@a x"], &[known(11), known(10)]),
        ("names change places", &["n@a", "m@b"], &["m@a", "n@b"], &[known(11), known(10)]),
    ] {
        let folder = Folder::new();
        folder.run(before, 10);
        assert_eq!(folder.run(after, 20), begins, "{what}");
        // From then on the destinations own these positions.
        let theirs: Vec<_> = (20..).take(after.len()).map(Some).collect();
        assert_eq!(folder.run(after, 30), theirs, "{what}, again");
    }
}

#[test]
fn removed_destination_is_kept_for_a_while_and_found_again() {
    let mut folder = Folder::new();
    folder.run(&["a", "n@b"], 10);
    let removed = folder.settle(&["n@b"]);
    let since_ms = folder.now_ms;
    assert_eq!(removed, [Removed { name: "http://a/write".into(), since_ms, lowest: at(10) }]);
    folder.now_ms += 29 * DAY_MS;
    assert_eq!(folder.settle(&["n@b"]), removed, "when it was removed is remembered");
    assert_eq!(folder.run(&["n@b", "a"], 20), [Some(11), Some(10)]);
    assert_eq!(folder.settle(&["n@b", "a"]), []);

    let removed = folder.settle(&["a"]);
    assert_eq!(removed[0].since_ms, folder.now_ms, "the time begins anew");
    folder.now_ms += 31 * DAY_MS;
    let dead = dead_folder(folder.dir.path());
    std::fs::create_dir_all(&dead).unwrap();
    let letter = dead.join(format!("{}.jsonl", folder.identities(&["n@b"])[0].file()));
    std::fs::write(&letter, "x").unwrap();
    assert_eq!(folder.settle(&["a"]), []);
    assert!(!letter.exists());
    assert_eq!(folder.run(&["a", "n@b"], 30), [Some(21), None]);
}

#[test]
fn earlier_removals_do_not_prevent_matching_a_corrected_url() {
    let folder = Folder::new();
    folder.run(&["a", "b"], 10);
    folder.run(&["b"], 20);
    // `a` was removed before the previous start, so `b` is the one whose URL was corrected.
    assert_eq!(folder.run(&["c"], 30), [Some(20)]);
    assert_eq!(folder.settle(&["c"]).len(), 1);
    // Nor does a new destination get the positions of `a`.
    assert_eq!(folder.run(&["c", "d"], 40), [Some(30), None]);
}

#[test]
fn destination_of_a_file_is_its_name_or_url() {
    let folder = Folder::new();
    let texts = ["n@a", "b", "c t1", "c t2"];
    folder.run(&texts, 0);
    for identity in folder.identities(&texts) {
        let found = destination(&RealFilesystem, folder.dir.path(), identity.file());
        assert_eq!(found.as_deref(), Some(identity.shown()));
    }
    assert_eq!(destination(&RealFilesystem, folder.dir.path(), "nobody"), None);
}

#[test]
fn dead_letters_move_with_the_positions() {
    let folder = Folder::new();
    folder.run(&["a"], 10);
    let dead = dead_folder(folder.dir.path());
    std::fs::create_dir_all(&dead).unwrap();
    let [from, to] = ["a", "b"].map(|text| folder.identities(&[text])[0].file().to_string());
    for ending in ["jsonl", "jsonl.1"] {
        std::fs::write(dead.join(format!("{from}.{ending}")), ending).unwrap();
    }
    std::fs::write(dead.join("another.jsonl"), "").unwrap();
    folder.run(&["b"], 20);
    for ending in ["jsonl", "jsonl.1"] {
        assert_eq!(std::fs::read_to_string(dead.join(format!("{to}.{ending}"))).unwrap(), ending);
    }
    assert_eq!(std::fs::read_dir(&dead).unwrap().count(), 3);
}

#[test]
fn kill_at_any_step_of_a_move_changes_nothing() {
    for step in 0..3 {
        let folder = Folder::new();
        folder.run(&["a", "n@z"], 10);
        let dir = folder.dir.path();
        let dead = dead_folder(dir);
        std::fs::create_dir_all(&dead).unwrap();
        let [from, to] = ["a", "b"].map(|text| folder.identities(&[text])[0].file().to_string());
        for ending in ["jsonl", "jsonl.1"] {
            std::fs::write(dead.join(format!("{from}.{ending}")), ending).unwrap();
        }
        // What a kill leaves: the first file of dead letters has moved, or all of them, or the positions as
        // well. The positions' owner is still the old one.
        std::fs::rename(dead.join(format!("{from}.jsonl")), dead.join(format!("{to}.jsonl"))).unwrap();
        if step >= 1 {
            std::fs::rename(dead.join(format!("{from}.jsonl.1")), dead.join(format!("{to}.jsonl.1")))
                .unwrap();
        }
        if step >= 2 {
            let positions = super::folder(dir);
            std::fs::rename(positions.join(&from), positions.join(&to)).unwrap();
            std::fs::write(positions.join(format!("{to}.new")), "half").unwrap();
        }
        assert_eq!(folder.run(&["b", "n@z"], 20), [Some(10), Some(11)], "{step}");
        assert!(dead.join(format!("{to}.jsonl")).exists() && dead.join(format!("{to}.jsonl.1")).exists());
        assert_eq!(std::fs::read_dir(super::folder(dir)).unwrap().count(), 2);
    }
    // And if the old URL is restored instead.
    let folder = Folder::new();
    folder.run(&["a", "n@z"], 10);
    let [from, to] = ["a", "b"].map(|text| folder.identities(&[text])[0].file().to_string());
    let positions = super::folder(folder.dir.path());
    std::fs::rename(positions.join(&from), positions.join(&to)).unwrap();
    assert_eq!(folder.run(&["a", "n@z"], 20), [Some(10), Some(11)]);
}

#[test]
fn power_cut_at_any_step_of_a_move_changes_nothing() {
    let identity = |text: &str| Identity::of(&config(text));
    let data = Path::new("/data");
    let mut steps = 0;
    for die_after in 0.. {
        let fs = SimFilesystem::new(die_after);
        let start = |text: &str| {
            settle(&fs, data, &[identity(text), identity("n@z")], 1)?;
            let path = folder(data).join(identity(text).file());
            PositionFile::open(&fs, &path, identity(text).owner(), 7, NEW, at(0))
        };
        fs.create_dir_all(data).unwrap();
        fs.sync_dir(Path::new("/")).unwrap();
        start("a").unwrap().0.save(&[at(10); LANES].into()).unwrap();
        let letter = |text: &str| dead_folder(data).join(format!("{}.jsonl", identity(text).file()));
        fs.create_dir_all(&dead_folder(data)).unwrap();
        fs.sync_dir(data).unwrap();
        let file = fs.create_new(&letter("a")).unwrap();
        file.write_all_at(b"letter", 0).unwrap();
        file.sync_data().unwrap();
        fs.sync_dir(&dead_folder(data)).unwrap();

        fs.die_after(die_after);
        let _ = start("b");
        let died = fs.is_dead();
        fs.power_cut();
        let (_, settled, found) = start("b").unwrap();
        assert_eq!((settled, found), ([at(10); LANES].into(), Found::Intact), "{die_after}");
        assert_eq!(fs.contents(&letter("b")).as_deref(), Some(&b"letter"[..]), "{die_after}");
        assert_eq!(fs.contents(&letter("a")), None, "{die_after}");
        steps = die_after;
        if !died {
            break;
        }
    }
    assert!(steps > 5, "{steps}");
}

#[test]
fn foreign_files_beside_the_positions_are_ignored() {
    let folder = Folder::new();
    folder.run(&["a"], 10);
    let positions = super::folder(folder.dir.path());
    std::fs::write(positions.join("rubbish"), [0xa5; 100]).unwrap();
    std::fs::create_dir(positions.join("folder")).unwrap();
    assert_eq!(folder.run(&["b"], 20), [Some(10)]);
    let removed = folder.settle(&["b"]);
    assert_eq!((removed.len(), removed[0].name.as_str()), (1, "rubbish"));
}

#[test]
fn damaged_positions_of_a_removed_destination_expire_too() {
    for damage in [vec![], vec![0xa5; 100], vec![0xa5; 50_000]] {
        let mut folder = Folder::new();
        folder.run(&["n@a", "b"], 10);
        let file = folder.identities(&["n@a"])[0].file().to_string();
        let path = super::folder(folder.dir.path()).join(&file);
        std::fs::write(&path, damage).unwrap();
        let since_ms = folder.now_ms;
        for day in 0..30 {
            let removed = folder.settle(&["b"]);
            assert_eq!((removed.len(), removed[0].since_ms), (1, since_ms), "day {day}");
            folder.now_ms += DAY_MS;
        }
        assert_eq!(folder.settle(&["b"]), []);
        assert!(!path.exists());
    }
}

#[test]
fn failing_reads_are_retried_and_end_no_start() {
    let folder = Folder::new();
    let identities = folder.identities(&["n@a"]);
    let (sim, data) = (SimFilesystem::new(1), Path::new("/data"));
    let path = super::folder(data).join(identities[0].file());
    PositionFile::open(&sim, &path, identities[0].owner(), 7, at(3), at(0)).unwrap();
    let tries = u64::from(wal::fs::READ_TRIES);
    let renamed = folder.identities(&["m@a"]);
    // The owner can't be read. The file is kept, and is listed as removed.
    sim.fail(Op::Read, 0, 2 * tries);
    let claims = settle(&sim, data, &identities, 1).unwrap();
    assert_eq!(claims, Claims::default());
    // Its file was found by its name, and is now read in the last try.
    sim.fail(Op::Read, 0, tries - 1);
    let claims = settle(&sim, data, &renamed, 1).unwrap();
    assert_eq!(claims.moved.len(), 1);
}
