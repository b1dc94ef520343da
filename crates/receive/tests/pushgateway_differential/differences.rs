//! The differences that are meant, each with its reason.

use crate::generator::{PROTOBUF, bytes, number};
use crate::pair::{Pair, Push};
use std::collections::BTreeSet;

/// Two protobuf families with the name `m`: a gauge, and one of this kind whose value is in this field.
fn two_families(kind: u8, field: u8) -> Push {
    let family = |kind: u8, field: u8, x: &[u8]| {
        let label = bytes(1, &[bytes(1, b"x"), bytes(2, x)].concat());
        let metric = bytes(4, &[label, bytes(field, b"")].concat());
        let family = [bytes(1, b"m"), number(3, kind), metric].concat();
        let mut out = Vec::new();
        model::varint::put_bytes(&mut out, &family);
        out
    };
    Push {
        body: [family(1, 2, b"1"), family(kind, field, b"2")].concat(),
        content_type: Some(PROTOBUF),
        ..Push::new("PUT", "/metrics/job/a", "")
    }
}

#[tokio::test]
async fn two_protobuf_families_of_one_name_are_both_kept() {
    let Some(pair) = Pair::new().await else { return };
    let (real, ours) = pair.send(&two_families(1, 2)).await;
    assert_eq!((real.0, ours.0), (200, 200), "{real:?} {ours:?}");
    let (real, ours) = pair.series().await;
    let count = |series: &BTreeSet<String>| series.iter().filter(|line| line.contains("x=\"")).count();
    assert_eq!((count(&real), count(&ours)), (1, 2), "{real:?} {ours:?}");
}

/// A difference that is meant.
struct Difference {
    why: &'static str,
    /// Requests in order, each with the status that the real one and narthex answer.
    requests: Vec<(Push, u16, u16)>,
}

/// In the order of docs/migrate-from-pushgateway.md.
fn differences() -> Vec<Difference> {
    let put = |path: &str, body: &str| Push::new("PUT", path, body);
    let difference = |why, requests| Difference { why, requests };
    let a = "/metrics/job/a";
    vec![
        difference(
            "a text is read as Prometheus reads a scrape, which is more lenient but for an unfinished TYPE",
            vec![
                (put(a, "m 1"), 400, 200),
                (put(a, "m 1\n# TYPE m gauge\n"), 400, 200),
                (put(a, "# HELP m 1\n# HELP m 2\nm 1\n"), 400, 200),
                (put(a, "m{x=\"\\d\"} 1\n"), 400, 200),
                (put(a, "# TYPE m\nm 1\n"), 200, 400),
                // Here it can be read, and is refused for what it says: that is a failed push.
                (
                    put(
                        "/metrics/job/c",
                        "# TYPE h histogram\nh_sum 1\nh_count 1\n# TYPE h_count gauge\nh_count 1\n",
                    ),
                    400,
                    400,
                ),
            ],
        ),
        difference(
            "names may be any UTF-8, as in Prometheus 3; there it takes a flag",
            vec![
                (put(a, "{\"m.é\",\"l.é\"=\"1\"} 1\n"), 400, 200),
                (put("/metrics/job/a/U__x_2e_y/1", "m 1\n"), 200, 200),
                // There the flag makes a label name with a NUL of it, which breaks each scrape.
                (put("/metrics/job/a/U__x_0_/1", "m 1\n"), 200, 400),
            ],
        ),
        difference(
            "a label with an empty value is no label, as everywhere in Prometheus, so both paths name one group; \
             there they are two that keep each other from being pushed",
            vec![(put(a, "m 1\n"), 200, 200), (put("/metrics/job/a/instance/", "n 1\n"), 400, 200)],
        ),
        difference(
            "a path with an empty part or `..`, or without a job, is refused and told why; there it is sent \
             elsewhere, where a PUT arrives as a GET, or not found",
            vec![
                (put("/metrics/job/a/x//y/1", "m 1\n"), 301, 400),
                (put("/metrics/job/a/x/../y/1", "m 1\n"), 301, 400),
                (put("/metrics/job/", "m 1\n"), 307, 400),
                (put("/metrics/job@base64/", "m 1\n"), 404, 400),
                (put("/metrics/job/..", "m 1\n"), 301, 400),
                (put("/metrics", "m 1\n"), 405, 400),
            ],
        ),
        difference(
            "an encoding that isn't known is refused, after path and method; there the body is read as if it had \
             none, and decompressed before anything else is looked at",
            vec![
                (Push { encoding: Some("br"), ..put(a, "m 1\n") }, 200, 415),
                (Push { encoding: Some("gzip"), ..put("/metrics/jobs/a", "no gzip") }, 400, 404),
                (Push { encoding: Some("gzip"), ..Push::new("PATCH", a, "no gzip") }, 400, 405),
            ],
        ),
        difference(
            "a bucket or quantile that is there twice is the same series twice; there it is exposed twice",
            vec![(
                put(
                    a,
                    "# TYPE h histogram\nh_bucket{le=\"1\"} 1\nh_bucket{le=\"1\"} 2\nh_sum 1\nh_count 2\n",
                ),
                200,
                400,
            )],
        ),
        difference(
            "narthex' own metrics are not among what is pushed, so their names are free",
            vec![(put(a, "# TYPE go_goroutines counter\ngo_goroutines 1\n"), 400, 200)],
        ),
        difference(
            "what is refused leaves nothing that makes later pushes fail; there the failure time of a group \
             that can't be exposed does",
            vec![(put("/metrics/job/a%FF", "m 1\n"), 400, 400), (put("/metrics/job/b", "m 1\n"), 400, 200)],
        ),
        difference(
            "the push times are the group's own; there one in the body may take their place",
            vec![(put(a, "m 1\n"), 200, 200), (put(a, "push_failure_time_seconds 5\n"), 200, 200)],
        ),
        difference(
            "a body that says it is OpenMetrics is read as such; there as the old text, without exemplars",
            vec![(
                Push {
                    content_type: Some("application/openmetrics-text; version=1.0.0"),
                    ..put(a, "# TYPE c counter\nc_total 1 # {trace_id=\"x\"} 1\n# EOF\n")
                },
                400,
                200,
            )],
        ),
        difference(
            "groups may give a name different types, as targets of a scrape may; there the new instances of a \
             rolling upgrade are refused until the old groups are deleted",
            vec![
                (put(a, "# TYPE m gauge\nm 1\n"), 200, 200),
                (put("/metrics/job/b", "# TYPE m counter\nm 1\n"), 400, 200),
            ],
        ),
        difference(
            "a series has limits, over which it is left out and the rest is kept; there it has none",
            vec![(put(a, &format!("m 1\nn{{x=\"{}\"}} 1\n", "x".repeat(16_385))), 200, 400)],
        ),
        difference(
            "two protobuf families of one name are both kept, or refused where their types differ; there the last \
             one silently replaces the others",
            vec![(two_families(1, 2), 200, 200), (two_families(0, 3), 200, 400)],
        ),
    ]
}

#[tokio::test]
async fn every_documented_difference_is_one() {
    let Some(pair) = Pair::new().await else { return };
    let differences = differences();
    let documented = include_str!("../../../../docs/migrate-from-pushgateway.md");
    assert!(documented.contains(&format!("\n{}. ", differences.len())));
    assert!(!documented.contains(&format!("\n{}. ", differences.len() + 1)));
    for difference in differences {
        pair.wipe().await;
        let differs = difference.requests.iter().any(|(_, real, ours)| real != ours);
        for (push, real_wanted, ours_wanted) in difference.requests {
            let (real, ours) = pair.send(&push).await;
            let shown = format!("{}: {}\n{real:?}\n{ours:?}", difference.why, push.show());
            assert_eq!((real.0, ours.0), (real_wanted, ours_wanted), "{shown}");
        }
        let (real, ours) = pair.series().await;
        assert!(differs || real != ours, "{}: no difference", difference.why);
    }
}
