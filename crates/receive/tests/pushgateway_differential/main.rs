//! The same requests to the real Pushgateway and to narthex: status and resulting series agree, except for
//! the differences in [`differences`], each of which has its reason.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

#[path = "../common/mod.rs"]
mod common;
mod differences;
mod generated;
mod generator;
mod pair;

use pair::{Pair, Push};

/// Not as they go out: there they are `1.0`, as Prometheus makes of `1` when it scrapes.
#[tokio::test]
async fn bounds_of_buckets_and_quantiles_are_shown_as_the_real_one_shows_them() {
    let Some(pair) = Pair::new().await else { return };
    let body = "# TYPE h histogram\nh_bucket{le=\"1\"} 1\nh_bucket{le=\"2.0\"} 1\nh_bucket{le=\"1e3\"} 1\n\
                h_bucket{le=\"+Inf\"} 2\nh_sum 3\nh_count 2\n\
                # TYPE s summary\ns{quantile=\"1\"} 3\ns{quantile=\"0.50\"} 2\ns_sum 1\ns_count 1\n";
    let (real, ours) = pair.send(&Push::new("PUT", "/metrics/job/a", body)).await;
    assert_eq!((real.0, ours.0), (200, 200));
    let (real, ours) = pair.series().await;
    assert_eq!(real, ours);
    assert!(ours.iter().any(|line| line.contains("le=\"1\"")), "{ours:?}");
}

#[tokio::test]
async fn bounds_beyond_a_64_bit_float_are_refused_as_by_the_real_one() {
    let Some(pair) = Pair::new().await else { return };
    for body in [
        "# TYPE h histogram\nh_bucket{le=\"1e400\"} 1\nh_bucket{le=\"+Inf\"} 1\nh_sum 1\nh_count 1\n",
        "# TYPE s summary\ns{quantile=\"1e400\"} 1\ns_sum 1\ns_count 1\n",
    ] {
        let (real, ours) = pair.send(&Push::new("PUT", "/metrics/job/a", body)).await;
        assert_eq!((real.0, ours.0), (400, 400), "{body}{real:?} {ours:?}");
        assert!(ours.1.contains("1e400 is beyond the largest 64-bit float"), "{ours:?}");
    }
}

#[tokio::test]
async fn two_types_of_a_metric_in_one_body_are_refused_as_by_the_real_one() {
    let Some(pair) = Pair::new().await else { return };
    for body in ["h 1\n# TYPE h histogram\nh_sum 1\n", "m 1\n# TYPE m gauge\nm{x=\"1\"} 1\n"] {
        let (real, ours) = pair.send(&Push::new("PUT", "/metrics/job/a", body)).await;
        assert_eq!((real.0, ours.0), (400, 400), "{body}{real:?} {ours:?}");
        assert!(ours.1.contains("has two types"), "{ours:?}");
    }
    // Series that fit the first type, and even the same type again.
    for second in ["counter", "gauge"] {
        for body in [
            format!("# TYPE m gauge\n# TYPE m {second}\nm 1\n"),
            format!("# TYPE m gauge\nm 1\n# TYPE n gauge\nn 1\n# TYPE m {second}\nm{{x=\"1\"}} 1\n"),
            format!("# TYPE m gauge\n# TYPE m {second}\n"),
        ] {
            let (real, ours) = pair.send(&Push::new("PUT", "/metrics/job/a", &body)).await;
            assert_eq!((real.0, ours.0), (400, 400), "{body}{real:?} {ours:?}");
            assert!(ours.1.contains("a second TYPE of \"m\""), "{ours:?}");
        }
    }
    let (real, ours) = pair.series().await;
    assert_eq!(real, ours, "neither keeps anything");
}

/// Its flag makes the real one decode names in the path, as narthex always does.
#[tokio::test]
async fn escaped_names_in_a_path_are_read_as_the_real_one_reads_them() {
    let Some(pair) = Pair::with(&["--push.enable-utf8-names"]).await else { return };
    for path in ["U__x_2e_y/1", "U__x_2E_y/2", "U__a__b/3", "U__x_2e_y@base64/NA", "U__a_1F600_/5", "U__a_/6"]
    {
        let put = Push::new("PUT", &format!("/metrics/job/a/{path}"), "m 1\n");
        let (real, ours) = pair.send(&put).await;
        assert_eq!((real.0, ours.0), (200, 200), "{path}: {real:?} {ours:?}");
    }
    let (real, ours) = pair.series().await;
    assert_eq!(real, ours);
    for path in ["U__/1", "U_____x/1"] {
        let put = Push::new("PUT", &format!("/metrics/job/a/{path}"), "m 1\n");
        let (real, ours) = pair.send(&put).await;
        assert_eq!(real.0, ours.0, "{path}: {real:?} {ours:?}");
    }
}
