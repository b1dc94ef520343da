//! The pages of `narthex run` and `narthex sink` in a real browser. With `NARTHEX_SCREENSHOTS` set to a
//! folder, what they looked like is left there.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a panic is how a test reports"
)]

use std::path::Path;
use support::{Chromium, FakeReceiver, Narthex, Page, Process, SOON, narthex::listening_url, wait_until};

const PROGRAM: &str = env!("CARGO_BIN_EXE_narthex");

fn shoot(page: &Page, name: &str) {
    if let Some(folder) = std::env::var_os("NARTHEX_SCREENSHOTS") {
        page.screenshot(&Path::new(&folder).join(format!("{name}.png")), true);
    }
}

#[test]
fn the_page_of_run_tells_the_state_of_each_destination() {
    let Some(program) = Chromium::find() else { return };
    let folder = tempfile::tempdir().unwrap();
    let (good, bad) = (FakeReceiver::start(), FakeReceiver::start());
    bad.go_away();
    let file = folder.path().join("n.yml");
    let text = format!(
        "remote_write:\n  - {{url: {}, name: good}}\n  - {{url: {}, name: bad}}\ncollect: {{}}\n",
        good.write_url(),
        bad.write_url()
    );
    std::fs::write(&file, text).unwrap();
    let narthex = Narthex::start(PROGRAM, &["--config", file.to_str().unwrap()]);
    let browser = Chromium::start(&program);
    let page = browser.open(&format!("{}/", narthex.url()));
    page.resize(1280, 800);
    page.wait_for("document.querySelector('#sentence').innerText.startsWith('bad does not take')", SOON);
    page.wait_for("document.querySelector('#list .good') !== null", SOON);
    assert!(page.text("#detail").contains("refused"), "{}", page.text("#detail"));
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
