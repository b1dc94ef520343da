//! The states that narthex shows, each by name: at the API, on the page in a real browser, and after a kill. Each
//! update of an open page is checked: it must not be green while there is a loss or a refusal.
//!
//! A full disk is in `tests/full_disk.rs`. A task that ended unexpectedly can't be produced here;
//! `crates/agent/src/status` tests it with numbers that are set by hand.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a panic is how a test reports"
)]

mod clock;
mod losses;
mod readiness;
mod states;
mod warnings;

use model::varint::{take_i64, take_u64};
use serde_json::Value as Json;
use std::path::Path;
use support::narthex::config;
use support::{Chromium, Narthex, Page, SOON, wait_for};

const PROGRAM: &str = env!("CARGO_BIN_EXE_narthex");

/// Runs at each update of the page. It records when the page is green although samples were lost, refused or not sent.
/// Samples that the user's own rules drop do not count: `by_rule` is true if there are such rules.
const WATCH: &str = "window.lies = []; window.wrong = false; \
    { const draw = shows.run; shows.run = s => { draw(s); \
      const hurt = d => d.lost > 0 || d.failed > d.already_written || (d.dropped > 0 && !by_rule); \
      window.wrong ||= s.log.full || s.destinations.some(hurt); \
      if (window.wrong && document.querySelector('#state').className === 'ok') lies.push(s.summary.sentence); \
      [...document.querySelectorAll('.who i')].forEach((dot, i) => { \
        if (hurt(s.destinations[i]) && dot.className === 'good') lies.push(s.destinations[i].name); }); \
      if (s.summary.level !== 'ok' && document.querySelector('#state').className === 'ok') lies.push('level'); }; } 0";

/// A narthex that can be killed and started again, and its page.
struct Shown {
    narthex: Option<Narthex>,
    page: Page,
    browser: Chromium,
    folder: tempfile::TempDir,
    config: String,
}

impl Shown {
    /// Starts narthex with one destination, `prod`, at `url`; `more` is added to the configuration. Returns `None`
    /// without a browser.
    fn start(url: &str, more: &str) -> Option<Shown> {
        Self::start_keys(url, "", "", more)
    }

    /// The same with further keys of the destination and of its queue.
    fn start_keys(url: &str, keys: &str, queue: &str, more: &str) -> Option<Shown> {
        let text = format!(
            "remote_write:\n- url: {url}\n  name: prod\n{keys}  queue_config: {{batch_send_deadline: 50ms, \
             max_backoff: 200ms, max_samples_per_send: 10, max_shards: 1{queue}}}\n{more}"
        );
        let text = if text.contains("collect:") {
            text
        } else {
            format!("{text}collect: {{host: {{collectors: none}}, self: false}}\n")
        };
        Self::start_with(&text)
    }

    fn start_with(text: &str) -> Option<Shown> {
        let program = Chromium::find()?;
        let folder = tempfile::tempdir().unwrap();
        let config = config(folder.path(), text);
        let narthex = run(folder.path(), &config);
        let browser = Chromium::start(&program);
        let page = open(&browser, &narthex, text);
        Some(Shown { narthex: Some(narthex), page, browser, folder, config })
    }

    fn narthex(&self) -> &Narthex {
        self.narthex.as_ref().unwrap()
    }

    /// Kills narthex like `kill -9`, and starts it again.
    fn restart(&mut self) {
        self.restart_after(|_| ());
    }

    /// The same, with a change to the data folder between kill and start.
    fn restart_after(&mut self, change: impl FnOnce(&Path)) {
        self.check();
        let old = self.narthex.take().unwrap();
        old.process.kill();
        change(&old.data);
        drop(old);
        let narthex = run(self.folder.path(), &self.config);
        let text = std::fs::read_to_string(&self.config).unwrap();
        self.page = open(&self.browser, &narthex, &text);
        self.narthex = Some(narthex);
    }

    /// Waits until the file with the last hour has this number of events of a place (a destination or an input) with
    /// this reason. The first event after a quiet time is saved immediately, later ones within 10 s.
    #[track_caller]
    fn wait_for_saved(&self, place: &str, reason: &str, count: impl Fn() -> u64) {
        let row = [place, reason].map(|text| [&[text.len() as u8], text.as_bytes()].concat()).concat();
        wait_for("the last hour to be saved", SOON, || {
            let content = std::fs::read(self.narthex().data.join("last-hour")).unwrap_or_default();
            let rows = content.windows(row.len()).enumerate().filter(|(_, window)| *window == row);
            let counts: Vec<_> = rows.map(|(at, _)| events(&content[at + row.len()..])).collect();
            let count = count();
            if counts.contains(&Some(count)) { Ok(()) } else { Err(format!("{counts:?} and not {count}")) }
        });
    }

    /// Waits until API and page show a state: its level, one of these kinds, and this text in the sentence.
    #[track_caller]
    fn expect(&self, level: &str, kinds: &[&str], words: &str) {
        wait_for(&format!("{kinds:?} at the API"), SOON * 2, || {
            let summary = self.narthex().get("/api/v1/status/summary").json();
            let sentence = summary["sentence"].as_str().unwrap_or_default();
            let is = kinds.contains(&summary["kind"].as_str().unwrap_or_default());
            let all = is && summary["level"] == level && sentence.contains(words);
            if all && summary["since"].as_i64().is_some() { Ok(()) } else { Err(summary.to_string()) }
        });
        let class = match (level, kinds) {
            (_, ["idle"]) => "",
            ("ok", _) => "ok",
            ("warning", _) => "warn",
            _ => "bad",
        };
        let shown = || {
            let state = self.page.eval(
                "[document.querySelector('#state').className, document.querySelector('#sentence').innerText]",
            );
            if state[0] == class && state[1].as_str().is_some_and(|text| text.contains(words)) {
                Ok(())
            } else {
                Err(state.to_string())
            }
        };
        wait_for(&format!("{kinds:?} on the page"), SOON, shown);
        self.check();
    }

    /// Waits until API and page list a detail: its level, its kind, and this text in its sentence.
    #[track_caller]
    fn expect_detail(&self, level: &str, kind: &str, words: &str) {
        wait_for(&format!("the detail {kind} at the API"), SOON * 2, || {
            let summary = self.narthex().get("/api/v1/status/summary").json();
            let is = |one: &Json| {
                one["kind"] == kind
                    && one["level"] == level
                    && one["sentence"].as_str().unwrap_or_default().contains(words)
            };
            if summary["details"].as_array().is_some_and(|all| all.iter().any(is)) {
                Ok(())
            } else {
                Err(summary.to_string())
            }
        });
        wait_for(&format!("the detail {kind} on the page"), SOON, || {
            let text = self.page.text("#details");
            if text.contains(words) { Ok(()) } else { Err(text) }
        });
        self.check();
    }

    /// The first destination at the API.
    fn destination(&self) -> Json {
        self.narthex().get("/api/v1/status/remote_write").json()["destinations"][0].clone()
    }

    /// Checks that the page was never green with a loss or a refusal.
    #[track_caller]
    fn check(&self) {
        assert_eq!(self.page.eval("lies"), serde_json::json!([]), "green beside a loss or a refusal");
    }

    fn shoot(&self, name: &str) {
        if let Some(folder) = std::env::var_os("NARTHEX_SCREENSHOTS") {
            self.page.resize(1280, 800);
            self.page.screenshot(&Path::new(&folder).join(format!("{name}.png")), true);
        }
    }

    fn import(&self, body: &str) -> u16 {
        self.narthex().post("/api/v1/import/prometheus", &[], body.as_bytes()).status
    }
}

/// The number of events in a row of the last hour, after its names. The format is in
/// `crates/agent/src/status/window.rs`.
fn events(mut row: &[u8]) -> Option<u64> {
    let row = &mut row;
    take_i64(row)?;
    let mut sum = 0;
    for _ in 0..take_u64(row)? {
        take_i64(row)?;
        sum += take_u64(row)?;
    }
    Some(sum)
}

/// `count` series with one sample each.
fn samples(count: usize) -> String {
    (0..count).map(|number| format!("many{{id=\"{number}\"}} 1\n")).collect()
}

fn run(folder: &Path, config: &str) -> Narthex {
    let arguments = ["--config", config, "--flush-deadline", "1s"];
    Narthex::start_in(PROGRAM, "run", &folder.join("data"), &arguments)
}

/// Opens the page of a narthex with this configuration.
fn open(browser: &Chromium, narthex: &Narthex, configuration: &str) -> Page {
    let page = browser.open(&format!("{}/", narthex.url()));
    page.eval(&format!("window.by_rule = {}; {WATCH}", configuration.contains("relabel")));
    page
}
