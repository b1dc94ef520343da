//! A real browser for the tests of narthex' page: Debian's `chromium`, controlled by its DevTools protocol.

use crate::peers::skip;
use crate::process::{Process, find_in_path};
use crate::wait::SOON;
use crate::wait_until;
use base64::Engine;
use serde_json::{Value as Json, json};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;
use tungstenite::{Message, WebSocket};

/// A running browser without a window.
#[derive(Debug)]
pub struct Chromium {
    _process: Process,
    /// The address of its DevTools: `ws://127.0.0.1:PORT/devtools/browser/ID`.
    devtools: String,
}

impl Chromium {
    /// The browser's program. Without one the test is skipped with a message, and this returns `None`.
    ///
    /// # Panics
    /// If there is no browser and `NARTHEX_REQUIRE_BROWSER` is set.
    pub fn find() -> Option<PathBuf> {
        let found = ["chromium", "chromium-browser", "google-chrome"].into_iter().find_map(find_in_path);
        if found.is_none() {
            skip("NARTHEX_REQUIRE_BROWSER", "there is no chromium here (Debian's package chromium)");
        }
        found
    }

    /// Starts the browser with an empty profile.
    ///
    /// # Panics
    /// If it doesn't start.
    #[track_caller]
    pub fn start(program: &Path) -> Chromium {
        let profile = tempfile::tempdir().unwrap();
        let user_data = format!("--user-data-dir={}", profile.path().display());
        let arguments = [
            "--headless",
            "--no-sandbox", // tests may run as root, where the sandbox refuses to start
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--disable-quic",
            "--no-first-run",
            "--no-default-browser-check",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--no-proxy-server",
            "--remote-debugging-port=0",
            &user_data,
            "about:blank",
        ];
        let process = Process::start(program, arguments);
        let line = process.wait_for_line("DevTools listening on ws://", SOON);
        let devtools = line.split("listening on ").nth(1).unwrap().trim().to_string();
        Chromium { _process: process.holding(profile), devtools }
    }

    /// Opens a page and waits until it is loaded.
    ///
    /// # Panics
    /// If it doesn't load in time.
    #[track_caller]
    pub fn open(&self, url: &str) -> Page {
        let browser = Page::attach(&self.devtools);
        let target = browser.call("Target.createTarget", json!({ "url": "about:blank" }));
        let host = self.devtools.split("/devtools/").next().unwrap_or_default();
        let page = Page::attach(&format!("{host}/devtools/page/{}", target["targetId"].as_str().unwrap()));
        // Enabled before the page is loaded, so that no event is missed.
        for domain in ["Page", "Runtime", "Log", "Network"] {
            page.call(&format!("{domain}.enable"), json!({}));
        }
        page.navigate(url);
        page
    }
}

/// A page in the browser.
#[derive(Debug)]
pub struct Page {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    socket: WebSocket<TcpStream>,
    next: u64,
    problems: Vec<String>,
    requests: Vec<String>,
}

impl Page {
    /// Connects to a DevTools address.
    fn attach(address: &str) -> Page {
        let host = address.trim_start_matches("ws://").split('/').next().unwrap_or_default();
        let stream = TcpStream::connect(host).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        let (socket, _) = tungstenite::client(address, stream).unwrap();
        Page { state: Mutex::new(State { socket, next: 0, problems: vec![], requests: vec![] }) }
    }

    /// Loads another page in place of this one.
    #[track_caller]
    pub fn navigate(&self, url: &str) {
        let result = self.call("Page.navigate", json!({ "url": url }));
        assert!(result.get("errorText").is_none(), "{url}: {result}");
        wait_until(&format!("{url} to be loaded"), SOON, || {
            self.eval("document.readyState") == "complete" && self.eval("location.href") != "about:blank"
        });
    }

    /// The value of a JavaScript expression. A promise is awaited.
    ///
    /// # Panics
    /// If the expression throws.
    #[track_caller]
    pub fn eval(&self, expression: &str) -> Json {
        let parameters = json!({ "expression": expression, "returnByValue": true, "awaitPromise": true });
        let result = self.call("Runtime.evaluate", parameters);
        assert!(result.get("exceptionDetails").is_none(), "{expression}: {result}");
        result["result"]["value"].clone()
    }

    /// Waits until a JavaScript expression is true.
    #[track_caller]
    pub fn wait_for(&self, expression: &str, deadline: Duration) {
        crate::wait_for(expression, deadline, || match self.eval(expression) {
            Json::Bool(true) => Ok(()),
            other => Err(format!("{other}; the page reads: {}", self.text("body"))),
        });
    }

    /// The visible text of the first element that matches a CSS selector; empty if there is none.
    #[track_caller]
    pub fn text(&self, selector: &str) -> String {
        let text = self.eval(&format!("document.querySelector({})?.innerText ?? ''", json!(selector)));
        text.as_str().unwrap_or_default().to_string()
    }

    /// The current document as HTML.
    #[track_caller]
    pub fn html(&self) -> String {
        self.eval("document.documentElement.outerHTML").as_str().unwrap_or_default().to_string()
    }

    /// Clicks with the mouse in the middle of the first element that matches a CSS selector.
    ///
    /// # Panics
    /// If there is none, or if another element covers it.
    #[track_caller]
    pub fn click(&self, selector: &str) {
        let place = self.eval(&format!(
            "(() => {{
                const element = document.querySelector({});
                if (!element) return 'there is no such element';
                element.scrollIntoView({{ block: 'center', behavior: 'instant' }});
                const box = element.getBoundingClientRect();
                const [x, y] = [box.x + box.width / 2, box.y + box.height / 2];
                const top = document.elementFromPoint(x, y);
                if (!top || !(element.contains(top) || top.contains(element))) return 'it is covered';
                return {{ x, y }};
            }})()",
            json!(selector)
        ));
        assert!(place.is_object(), "click {selector}: {place}");
        for kind in ["mousePressed", "mouseReleased"] {
            let mut event = place.clone();
            event["type"] = kind.into();
            event["button"] = "left".into();
            event["clickCount"] = 1.into();
            self.call("Input.dispatchMouseEvent", event);
        }
    }

    /// Presses a key that writes no text, such as `Tab`, `Escape` or `Enter`.
    #[track_caller]
    pub fn press(&self, key: &str) {
        let code = match key {
            "Tab" => 9,
            "Enter" => 13,
            "Escape" => 27,
            other => panic!("key {other}: not known here"),
        };
        let mut event = json!({ "type": "keyDown", "key": key, "code": key, "windowsVirtualKeyCode": code });
        if key == "Enter" {
            event["text"] = "\r".into();
        }
        self.call("Input.dispatchKeyEvent", event.clone());
        event["type"] = "keyUp".into();
        self.call("Input.dispatchKeyEvent", event);
    }

    /// Types text into the focused element.
    #[track_caller]
    pub fn type_text(&self, text: &str) {
        self.call("Input.insertText", json!({ "text": text }));
    }

    /// Sets the page's width and height in CSS pixels.
    #[track_caller]
    pub fn resize(&self, width: u32, height: u32) {
        let metrics = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false });
        self.call("Emulation.setDeviceMetricsOverride", metrics);
    }

    /// Sets a media feature, such as `prefers-color-scheme` to `dark`.
    #[track_caller]
    pub fn prefer(&self, feature: &str, value: &str) {
        let features = json!({ "features": [{ "name": feature, "value": value }] });
        self.call("Emulation.setEmulatedMedia", features);
    }

    /// Writes a screenshot to a PNG file. With `whole` it includes the part below the window.
    #[track_caller]
    pub fn screenshot(&self, file: &Path, whole: bool) {
        let result =
            self.call("Page.captureScreenshot", json!({ "format": "png", "captureBeyondViewport": whole }));
        let data = base64::engine::general_purpose::STANDARD.decode(result["data"].as_str().unwrap());
        std::fs::write(file, data.unwrap()).unwrap();
    }

    /// The problems of the page so far: exceptions, errors on its console, files that didn't load.
    #[track_caller]
    pub fn problems(&self) -> Vec<String> {
        self.eval("0"); // processes the events that have arrived
        self.state.lock().unwrap().problems.clone()
    }

    /// The addresses that the page has requested so far.
    #[track_caller]
    pub fn requests(&self) -> Vec<String> {
        self.eval("0");
        self.state.lock().unwrap().requests.clone()
    }

    /// Sends a DevTools command and returns its result.
    #[track_caller]
    pub fn call(&self, method: &str, parameters: Json) -> Json {
        let mut state = self.state.lock().unwrap();
        state.next += 1;
        let id = state.next;
        let command = json!({ "id": id, "method": method, "params": parameters });
        state.socket.send(Message::text(command.to_string())).unwrap();
        loop {
            let message = state.socket.read().unwrap_or_else(|error| panic!("{method}: {error}"));
            let Message::Text(text) = message else { continue };
            let answer: Json = serde_json::from_str(&text).unwrap();
            if answer["id"] == id {
                assert!(answer.get("error").is_none(), "{method}: {answer}");
                return answer["result"].clone();
            }
            state.note(&answer);
        }
    }
}

impl State {
    /// Processes an event.
    fn note(&mut self, event: &Json) {
        let parameters = &event["params"];
        match event["method"].as_str().unwrap_or_default() {
            "Runtime.exceptionThrown" => self.problems.push(parameters["exceptionDetails"].to_string()),
            "Runtime.consoleAPICalled" if parameters["type"] == "error" => {
                self.problems.push(parameters["args"].to_string());
            }
            "Log.entryAdded" if parameters["entry"]["level"] == "error" => {
                self.problems.push(parameters["entry"].to_string());
            }
            "Network.requestWillBeSent" => {
                self.requests.push(parameters["request"]["url"].as_str().unwrap_or_default().to_string());
            }
            _ => {}
        }
    }
}
