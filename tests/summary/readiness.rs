//! What shows of a narthex that ends or is dead.

use super::Shown;
use support::process::Signal;
use support::{Answer, FakeReceiver, SOON, wait_until};

#[test]
fn it_is_not_ready_and_healthy_while_it_ends() {
    let receiver = FakeReceiver::start();
    let go_on = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let wait = go_on.clone();
    receiver.answer(move |request| Answer::success(request).once(&wait));
    let Some(shown) = Shown::start(&receiver.write_url(), "") else { return };
    assert_eq!(shown.import("a 1\n"), 204);
    wait_until("a request to be under way", SOON, || receiver.connections() > 0);
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
fn a_dead_or_silent_narthex_leaves_the_page_grey_with_the_time() {
    let receiver = FakeReceiver::start();
    let Some(shown) = Shown::start(&receiver.write_url(), "") else { return };
    assert_eq!(shown.import("a 1\n"), 204);
    shown.expect("ok", &["delivered"], "Everything is delivered.");
    let grey = "document.querySelector('main').className === 'stale' && document.querySelector('#state').className === ''";
    let says = "document.querySelector('#sentence').innerText.startsWith('narthex has not answered since ')";
    // One that hangs.
    shown.narthex().process.signal(Signal::STOP);
    shown.page.wait_for(grey, SOON);
    shown.page.wait_for(says, SOON);
    shown.narthex().process.signal(Signal::CONT);
    shown.expect("ok", &["delivered"], "Everything is delivered.");
    assert_eq!(shown.page.eval("document.querySelector('main').className"), "");
    // One that is gone.
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
