//! Tests of the browser support: it renders, clicks, types, and reports errors of a page.

use support::{Answer, Chromium, FakeReceiver, SOON};

const PAGE: &str = r#"<!doctype html><title>t</title>
<style>body { background: white } @media (prefers-color-scheme: dark) { body { background: black } }</style>
<p id=said>nothing</p>
<button onclick="said.innerText = 'clicked'; setTimeout(() => said.innerText += ' and waited', 50)">b</button>
<input id=field onchange="said.innerText = field.value">
<div style="height: 3000px"></div><button id=far onclick="undefinedFunction()">far below</button>"#;

#[test]
fn sees_clicks_types_and_notices_errors() {
    let Some(program) = Chromium::find() else { return };
    let server = FakeReceiver::start();
    server.answer(|request| match request.path.as_str() {
        "/" => Answer::status(200).header("Content-Type", "text/html").body(PAGE),
        _ => Answer::status(204),
    });
    let browser = Chromium::start(&program);
    let page = browser.open(&server.url());
    assert_eq!(page.text("#said"), "nothing");
    page.click("button");
    page.wait_for("said.innerText === 'clicked and waited'", SOON);
    page.click("#field");
    page.type_text("typed");
    page.press("Tab");
    page.wait_for("said.innerText === 'typed'", SOON);
    assert_eq!(page.problems(), [""; 0]);
    page.click("#far");
    assert!(page.problems()[0].contains("undefinedFunction"));
    assert!(page.requests().iter().all(|address| address.starts_with(&server.url())));
    assert!(page.html().contains("<p id=\"said\">typed</p>"));

    let colour = "getComputedStyle(document.body).backgroundColor";
    assert_eq!(page.eval(colour), "rgb(255, 255, 255)");
    page.prefer("prefers-color-scheme", "dark");
    assert_eq!(page.eval(colour), "rgb(0, 0, 0)");
    page.resize(400, 700);
    assert_eq!(page.eval("innerWidth"), 400);

    let folder = tempfile::tempdir().unwrap();
    let (part, whole) = (folder.path().join("part.png"), folder.path().join("whole.png"));
    page.screenshot(&part, false);
    page.screenshot(&whole, true);
    let size = |file| {
        let bytes = std::fs::read(file).unwrap();
        assert_eq!(&bytes[..8], b"\x89PNG\r\n\x1a\n");
        (
            u32::from_be_bytes(bytes[16..20].try_into().unwrap()),
            u32::from_be_bytes(bytes[20..24].try_into().unwrap()),
        )
    };
    assert_eq!(size(&part), (400, 700));
    assert!(size(&whole).1 > 3000);
}
