//! The API and the page while narthex is ending, and after its end.

use super::Shown;
use support::process::Signal;
use support::{Answer, FakeReceiver, SOON, wait_until};

#[test]
fn it_is_healthy_but_not_ready_while_ending() {
    let receiver = FakeReceiver::start();
    let go_on = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let wait = go_on.clone();
    receiver.answer(move |request| Answer::success(request).once(&wait));
    let Some(shown) = Shown::start(&receiver.write_url(), "") else { return };
    assert_eq!(shown.import("a 1\n"), 204);
    wait_until("a request to be in flight", SOON, || receiver.connections() > 0);
    shown.narthex().process.signal(Signal::TERM);
    let get = |path: &str| support::http::get(&format!("{}{path}", shown.narthex().url()));
    let mut seen = false;
    wait_until("it to be ending or to have ended", SOON, || {
        let Ok(ready) = get("/-/ready") else { return true };
        if ready.status == 503 {
            assert_eq!(ready.text().trim(), "narthex is ending");
            assert!(get("/-/healthy").is_ok_and(|healthy| healthy.status == 200));
            seen = true;
        }
        seen
    });
    assert!(seen, "it was there while it ended");
    go_on.store(true, std::sync::atomic::Ordering::SeqCst);
    assert_eq!(shown.narthex().process.wait(SOON).code(), Some(0));
}

#[test]
fn the_page_of_a_dead_or_hanging_narthex_is_grey() {
    let receiver = FakeReceiver::start();
    let Some(shown) = Shown::start(&receiver.write_url(), "") else { return };
    assert_eq!(shown.import("a 1\n"), 204);
    shown.expect("ok", &["delivered"], "Everything is delivered.");
    let grey = "document.querySelector('main').className === 'stale' && document.querySelector('#state').className === ''";
    let says = "document.querySelector('#sentence').innerText.startsWith('narthex has not answered since ')";
    // A narthex that hangs.
    shown.narthex().process.signal(Signal::STOP);
    shown.page.wait_for(grey, SOON);
    shown.page.wait_for(says, SOON);
    shown.narthex().process.signal(Signal::CONT);
    shown.expect("ok", &["delivered"], "Everything is delivered.");
    assert_eq!(shown.page.eval("document.querySelector('main').className"), "");
    // A narthex that has ended.
    shown.narthex().process.kill();
    shown.page.wait_for(grey, SOON);
    shown.page.wait_for(says, SOON);
    assert!(
        shown.page.text("#detail").contains("The numbers below are from then."),
        "{}",
        shown.page.text("#detail")
    );
    shown.shoot("dead");
}
