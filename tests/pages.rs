//! The pages of `narthex run` and `narthex sink` in a real browser. With `NARTHEX_SCREENSHOTS` set to a folder,
//! screenshots are written there.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a panic is how a test reports"
)]

use std::path::Path;
use support::narthex::{config, listening_url};
use support::process::Signal;
use support::{Answer, Chromium, FakeReceiver, Narthex, Page, Process, SOON, wait_until};

const PROGRAM: &str = env!("CARGO_BIN_EXE_narthex");

fn shoot(page: &Page, name: &str) {
    if let Some(folder) = std::env::var_os("NARTHEX_SCREENSHOTS") {
        page.screenshot(&Path::new(&folder).join(format!("{name}.png")), true);
    }
}

#[test]
fn the_page_of_run_shows_the_state_of_each_destination() {
    let Some(program) = Chromium::find() else { return };
    let folder = tempfile::tempdir().unwrap();
    let (good, bad) = (FakeReceiver::start(), FakeReceiver::start());
    bad.go_away();
    let text = format!(
        "remote_write:\n  - {{url: {}, name: good}}\n  - {{url: {}, name: bad}}\ncollect: {{}}\n",
        good.write_url(),
        bad.write_url()
    );
    let narthex = Narthex::start(PROGRAM, &["--config", &config(folder.path(), &text)]);
    let browser = Chromium::start(&program);
    let page = browser.open(&format!("{}/", narthex.url()));
    page.resize(1280, 800);
    page.wait_for("document.querySelector('#sentence').innerText.startsWith('bad is failing: ')", SOON);
    page.wait_for("document.querySelector('#list .good') !== null", SOON);
    assert!(page.text("#sentence").contains("refused"), "{}", page.text("#sentence"));
    shoot(&page, "run-trouble");
    bad.come_back();
    page.wait_for("document.querySelector('#state').className === 'ok'", SOON);
    assert_eq!(page.text("#sentence"), "Everything is delivered.");
    shoot(&page, "run");
    page.resize(390, 844);
    assert_eq!(page.eval("document.documentElement.scrollWidth <= 390"), true);
    shoot(&page, "run-phone");
    assert_eq!(page.problems(), Vec::<String>::new());
}

#[test]
fn the_page_shows_the_remedy_for_a_denied_destination() {
    let Some(program) = Chromium::find() else { return };
    let receiver = FakeReceiver::start();
    receiver.answer(|_| Answer::status(403).body("token has expired"));
    let narthex = Narthex::start(PROGRAM, &["--to", &receiver.write_url(), "--collect", "none"]);
    let browser = Chromium::start(&program);
    let page = browser.open(&format!("{}/", narthex.url()));
    page.resize(1280, 800);
    page.wait_for(
        "document.querySelector('#sentence').innerText.includes('does not authorise narthex')",
        SOON,
    );
    // The waiting samples are counted once a second.
    page.wait_for("document.querySelector('#list .tell').innerText.includes('waiting in the log')", SOON);
    let tell = page.text("#list .tell");
    for words in ["403 Forbidden: token has expired", "Check the URL, the credentials", "waiting in the log"]
    {
        assert!(tell.contains(words), "{words} in {tell}");
    }
    page.wait_for("document.querySelector('#list').innerText.includes('ago')", SOON);
    page.prefer("prefers-color-scheme", "dark");
    shoot(&page, "run-denied-dark");
    assert_eq!(page.problems(), Vec::<String>::new());
}

#[test]
fn a_removed_destination_is_still_shown() {
    let Some(program) = Chromium::find() else { return };
    let folder = tempfile::tempdir().unwrap();
    let (stays, goes) = (FakeReceiver::start(), FakeReceiver::start());
    let stays = format!("remote_write:\n  - {{url: {}, name: stays}}\n", stays.write_url());
    let both = format!("{stays}  - {{url: {}, name: goes}}\n", goes.write_url());
    let narthex = Narthex::start(PROGRAM, &["--config", &config(folder.path(), &both)]);
    let browser = Chromium::start(&program);
    let page = browser.open(&format!("{}/", narthex.url()));
    page.wait_for("document.querySelectorAll('#list .dest').length === 2", SOON);
    config(folder.path(), &stays);
    narthex.process.signal(Signal::HUP);
    page.wait_for("document.querySelectorAll('#list .dest').length === 1", SOON);
    let told = "document.querySelector('#list').innerText.includes('No longer in the configuration: goes.')";
    page.wait_for(told, SOON);
    assert_eq!(page.problems(), Vec::<String>::new());
}

/// The texts of the rows of groups; empty if there is none.
const ROW: &str =
    "[...document.querySelectorAll('#group-list tbody tr')].map(tr => tr.innerText).join('\\n')";

#[test]
fn groups_are_listed_with_errors_and_deleted_after_confirmation() {
    let Some(program) = Chromium::find() else { return };
    let receiver = FakeReceiver::start();
    let narthex = Narthex::start(PROGRAM, &["--to", &receiver.write_url(), "--collect", "none"]);
    let push = |path: &str, body: &str| narthex.post(path, &[], body.as_bytes()).status;
    assert_eq!(push("/metrics/job/backup/instance/db-1", "last_bytes 123456\nlast_files 17\n"), 200);
    assert_eq!(push("/metrics/job@base64/d2l0aCBzcGFjZQ/zone/eu", "# TYPE b counter\nb 1\n"), 200);
    assert_eq!(push("/metrics/job/broken", "a 1 1700000000\n"), 400);
    assert_eq!(narthex.post("/metrics/job/short?ttl=1h", &[], b"b 1\n").status, 200);
    let browser = Chromium::start(&program);
    let page = browser.open(&format!("{}/", narthex.url()));
    page.resize(1280, 900);
    page.wait_for("document.querySelectorAll('#group-list tbody tr').length === 4", SOON);
    // The failing group is first, with the reason.
    let first = page.text("#group-list tbody tr");
    assert!(first.contains("job=broken") && first.contains("The last push was refused"), "{first}");
    assert!(first.contains("never") && first.contains("ago"), "{first}");
    let all = page.eval(ROW).as_str().unwrap().to_string();
    let warning = "Metric \"b\" is a counter here and untyped in other groups: it is sent without a type.";
    for words in ["job=backup", "instance=db-1", "job=with space", "zone=eu", "in 59 min", warning] {
        assert!(all.contains(words), "{words} in {all}");
    }
    page.wait_for("document.querySelector('#state').className === 'warn'", SOON);
    shoot(&page, "groups");
    page.prefer("prefers-color-scheme", "dark");
    shoot(&page, "groups-dark");
    page.prefer("prefers-color-scheme", "light");

    let row = |job: &str| {
        format!(
            "[...document.querySelectorAll('#group-list tbody tr')].find(tr => tr.innerText.includes('job={job}'))"
        )
    };
    let mark = |job: &str| page.eval(&format!("{}.id = 'marked'; 0", row(job)));
    mark("with space");
    page.click("#marked button");
    page.wait_for("document.querySelector('#marked button.sure') !== null", SOON);
    shoot(&page, "groups-question");
    // "Keep" does not delete the group.
    page.click("#marked button:not(.sure)");
    page.wait_for("document.querySelector('#marked button.sure') === null", SOON);
    assert_eq!(narthex.metric("narthex_groups"), Some(4.0));
    // The question stays while the list is updated.
    page.click("#marked button");
    assert_eq!(push("/metrics/job/another", "c 1\n"), 200);
    page.wait_for("document.querySelectorAll('#group-list tbody tr').length === 5", SOON);
    page.click("#marked button.sure");
    page.wait_for("document.querySelectorAll('#group-list tbody tr').length === 4", SOON);
    assert!(!page.eval(ROW).as_str().unwrap().contains("with space"));
    wait_until("the group to be gone", SOON, || narthex.metric("narthex_groups") == Some(4.0));

    page.resize(390, 844);
    assert_eq!(page.eval("document.documentElement.scrollWidth <= 390"), true);
    let inside = "[...document.querySelectorAll('main *')].every(e => \
                  e.getBoundingClientRect().right <= document.documentElement.clientWidth)";
    assert_eq!(page.eval(inside), true);
    shoot(&page, "groups-phone");
    assert_eq!(page.problems(), Vec::<String>::new());
}

#[test]
fn a_long_list_of_groups_is_truncated_and_searchable() {
    let Some(program) = Chromium::find() else { return };
    let receiver = FakeReceiver::start();
    let narthex = Narthex::start(PROGRAM, &["--to", &receiver.write_url(), "--collect", "none"]);
    for number in 0..230 {
        assert_eq!(narthex.post(&format!("/metrics/job/job-{number}"), &[], b"a 1\n").status, 200);
    }
    let browser = Chromium::start(&program);
    let page = browser.open(&format!("{}/", narthex.url()));
    page.wait_for("document.querySelectorAll('#group-list tbody tr').length === 200", SOON);
    assert!(page.text("#groups-more").starts_with("and 30 more"), "{}", page.text("#groups-more"));
    page.eval("document.querySelector('#group-search').focus()");
    page.type_text("job-17");
    page.wait_for("document.querySelectorAll('#group-list tbody tr').length === 11", SOON);
    assert_eq!(page.text("#groups-count"), "230, 11 found");
    assert_eq!(page.eval("document.querySelector('#groups-more').hidden"), true);
    assert_eq!(page.problems(), Vec::<String>::new());
}

#[test]
fn the_page_of_the_sink_lists_requests_and_series() {
    let Some(program) = Chromium::find() else { return };
    let sink = Process::start(Path::new(PROGRAM), ["sink", "--listen", "127.0.0.1:0"]);
    let url = listening_url(&sink);
    let browser = Chromium::start(&program);
    let page = browser.open(&format!("{url}/"));
    page.resize(1280, 900);
    page.wait_for("document.querySelector('#sentence').innerText === 'Nothing has arrived yet.'", SOON);
    let _agent = Narthex::start(PROGRAM, &["--to", &url]);
    page.wait_for("document.querySelectorAll('#requests tbody tr').length > 0", SOON);
    page.wait_for("document.querySelectorAll('#series tbody tr').length === 100", SOON);
    shoot(&page, "sink");
    page.eval("document.querySelector('#search').focus()");
    page.type_text("node_load1{");
    page.wait_for("document.querySelectorAll('#series tbody tr').length === 1", SOON);
    page.click("#seg button:nth-child(3)");
    page.wait_for("document.querySelector('#sentence').innerText === 'Failing with 503, as told.'", SOON);
    page.click("#seg button:nth-child(1)");
    page.wait_for("document.querySelector('#state').className === 'ok'", SOON);
    page.resize(390, 844);
    assert_eq!(page.eval("document.documentElement.scrollWidth <= 390"), true);
    shoot(&page, "sink-phone");
    assert_eq!(page.problems(), Vec::<String>::new());
    wait_until("the browser to be done", SOON, || {
        page.requests().iter().all(|r| r.starts_with(&url) || r.starts_with("data:"))
    });
}
