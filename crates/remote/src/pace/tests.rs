use super::*;

const STEP: Duration = Duration::from_millis(5);

#[test]
fn byte_limit_is_kept_within_ten_percent_over_half_a_minute() {
    for (rate, body) in [(10_000, 700), (10_000, 9_000), (1_000_000, 400_000), (2_000, 1_500)] {
        let mut pace = Pace::new(Some(rate), 1.0, Duration::ZERO);
        assert!(pace.request_bytes() >= body, "{rate}");
        let mut sent: Vec<(Duration, usize)> = Vec::new();
        for step in 0..200 * 120 {
            let now = STEP * step;
            while pace.opens_at() <= now {
                pace.sent(body, 1, now);
                sent.push((now, body));
            }
        }
        for start in 0..90 {
            let window = Duration::from_secs(start)..Duration::from_secs(start + 30);
            let bytes: usize =
                sent.iter().filter(|(at, _)| window.contains(at)).map(|(_, bytes)| bytes).sum();
            let share = bytes as f64 / (30 * rate) as f64;
            assert!((0.9..=1.1).contains(&share), "{rate} {body}: {share} from {start} s");
        }
    }
}

#[test]
fn without_limits_nothing_waits() {
    let mut pace = Pace::new(None, 1.0, Duration::ZERO);
    for _ in 0..1000 {
        pace.sent(1 << 20, 1, Duration::ZERO);
        assert_eq!(pace.opens_at(), Duration::ZERO);
    }
    assert_eq!(pace.request_bytes(), usize::MAX);
}

/// A sender with several shards, each with one request of 2,000 samples under way, and a receiver. Samples
/// are counted in thousands.
struct Sender {
    pace: Pace,
    now: Duration,
    shards: Vec<Shard>,
    sent: u64,
    accepted: u64,
    number: u64,
}

#[derive(Debug, Clone, Default)]
struct Shard {
    not_before: Duration,
    tries: u32,
    /// When the request under way was sent, and when it is answered.
    under_way: Option<(Duration, Duration)>,
}

const SAMPLES: u64 = 2000;

impl Sender {
    fn new(shards: usize) -> Sender {
        let pace = Pace::new(None, SAMPLES as f64 / 5.0, Duration::ZERO);
        let shards = vec![Shard::default(); shards];
        Sender { pace, now: Duration::ZERO, shards, sent: 0, accepted: 0, number: 0 }
    }

    /// Sends continuously for `seconds`. `accepts` returns for each request and time whether the request is
    /// accepted, or `None` if there is no connection.
    fn run(&mut self, seconds: u64, mut accepts: impl FnMut(Duration, u64) -> Option<bool>) {
        let end = self.now + Duration::from_secs(seconds);
        while self.now < end {
            let now = self.now;
            for Shard { not_before, tries, under_way } in &mut self.shards {
                if let Some((sent_at, _)) = under_way.filter(|(_, answered)| now >= *answered) {
                    *under_way = None;
                    let answer = accepts(now, self.number);
                    self.number += 1;
                    if answer == Some(true) {
                        *tries = 0;
                        self.accepted += SAMPLES;
                        self.pace.accepted(SAMPLES, now);
                        continue;
                    }
                    if answer == Some(false) {
                        self.pace.limited(SAMPLES, sent_at, None, now);
                    }
                    *tries += 1;
                    let (min, max) = (Duration::from_millis(30), Duration::from_secs(5));
                    *not_before = now + crate::queue::backoff::delay(min, max, *tries, None, 0.5);
                }
                if under_way.is_none() && now >= *not_before && self.pace.opens_at() <= now {
                    self.pace.sent(1, SAMPLES, now);
                    self.sent += SAMPLES;
                    *under_way = Some((now, now + Duration::from_millis(40)));
                }
            }
            self.now += Duration::from_millis(5);
        }
    }

    /// Returns sent samples per accepted one, and accepted samples a second, since the last call.
    fn measure(&mut self, seconds: u64) -> (f64, f64) {
        let [sent, accepted] = [&mut self.sent, &mut self.accepted].map(std::mem::take);
        (sent as f64 / accepted as f64, accepted as f64 / seconds as f64)
    }
}

/// A receiver that limits the rate like Cortex, with a bucket of twice its rate.
fn limiter(rate: f64) -> impl FnMut(Duration, u64) -> Option<bool> {
    let (mut level, mut at) = (rate * 2.0, Duration::ZERO);
    move |now, _| {
        level = (level + rate * now.saturating_sub(at).as_secs_f64()).min(rate * 2.0);
        at = now;
        let is_enough = level >= SAMPLES as f64;
        level -= if is_enough { SAMPLES as f64 } else { 0.0 };
        Some(is_enough)
    }
}

#[test]
fn a_receiver_that_limits_the_rate_is_sent_hardly_more_than_it_accepts() {
    for (shards, rate) in [(1, 25_000.0), (10, 25_000.0), (50, 25_000.0), (50, 3_000.0), (20, 200_000.0)] {
        let mut sender = Sender::new(shards);
        let mut limiter = limiter(rate);
        sender.run(20, &mut limiter);
        let (first, _) = sender.measure(20);
        // Requests that are under way at the first 429 can't be called back.
        assert!(
            shards > 10 || first <= 1.2,
            "{shards} shards, limit {rate}: {first} times in the first 20 s"
        );
        sender.run(120, &mut limiter);
        let (ratio, accepted) = sender.measure(120);
        // A single request has most of the samples that the slow receiver accepts in a second.
        let most = if rate < SAMPLES as f64 * 2.0 { 1.2 } else { 1.1 };
        assert!(ratio <= most, "{shards} shards, limit {rate}: {ratio} times");
        assert!(
            accepted >= rate.min(shards as f64 * 40_000.0) * 0.8,
            "{shards} shards, limit {rate}: {accepted}"
        );
    }
}

#[test]
fn one_429_after_an_outage_slows_down_only_for_seconds() {
    let mut sender = Sender::new(10);
    sender.run(60, |_, _| Some(true));
    let (_, before) = sender.measure(60);
    sender.run(300, |_, _| None);
    sender.measure(300);
    let mut count = 0;
    let mut once = |_, _| {
        count += 1;
        Some(count != 2)
    };
    sender.run(30, &mut once);
    sender.measure(30);
    sender.run(30, &mut once);
    let (_, after) = sender.measure(30);
    assert!(after >= before * 0.9, "{after} samples a second, {before} before");
}

#[test]
fn a_429_unrelated_to_the_rate_does_not_slow_down_for_long() {
    let mut sender = Sender::new(10);
    let mut random = |_, number| Some(number % 3 != 0);
    sender.run(60, &mut random);
    sender.measure(60);
    sender.run(120, &mut random);
    let (_, accepted) = sender.measure(120);
    assert!(accepted > 50_000.0, "{accepted} samples a second");
}

#[test]
fn limit_is_removed_when_the_receiver_stops_limiting() {
    let mut sender = Sender::new(10);
    sender.run(60, limiter(5_000.0));
    sender.measure(60);
    sender.run(60, |_, _| Some(true));
    sender.measure(60);
    sender.run(30, |_, _| Some(true));
    let (ratio, accepted) = sender.measure(30);
    assert!(accepted > 300_000.0 && ratio < 1.01, "{accepted} samples a second");
}
