//! What fuzzing begins with, where the program's own writers make it: one small example of everything.
//! Those of the formats come from another implementation, in the tests of `formats`.

use groups::change::Change;
use groups::entry::encode;
use groups::group::{Family, Group, Kept, Member, Reading};
use groups::keys::{Applied, Keyed};
use groups::packed::Packed;
use model::{BucketSpan, Counts, Histogram, Labels, MetricType, ResetHint};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use totals::{Kind, NewSeries, Now, Shape, SummaryPart, Totals};
use wal::record::{
    ExemplarsBuilder, HistogramsBuilder, MetadataBuilder, MetadataEntry, SamplesBuilder, SeriesBuilder,
};
use wal::sim::SimFilesystem;
use wal::{Compression, Writer, WriterOptions};

/// Target, name and bytes of each.
pub(crate) fn seeds() -> Vec<(&'static str, &'static str, Vec<u8>)> {
    let mut seeds = vec![
        ("aside", "everything", aside(&records_of_2_0(), "503: not now")),
        ("aside", "no_points", aside(&[], "")),
        ("aside", "plain", aside_plain(&records_of_2_0(), "503: not now")),
        ("path", "pairs", b"/backup/instance/b%20c+d/zone/".to_vec()),
        ("path", "base64", b"@base64/L3RtcA==/x@base64/4p2k/y@base64/=".to_vec()),
        ("gateway", "text", gateway()),
        ("gateway", "refused", b"Pa\nm 1\n\0Oa/x/1\n# TYPE m counter\nm{x=\"2\"} 1\n\0Pa\nh_count 1\n# TYPE h histogram\nh_sum 1\n".to_vec()),
        ("gateway", "openmetrics", b"pa/b/c\n# TYPE c counter\nc_total 1\nc_created 1\n# EOF\n\0Ea/b/c\n\0oa/b/c\n# EOF".to_vec()),
        ("journal", "everything", journal()),
        ("letter", "float", letter(0)),
        ("letter", "stale", letter(1)),
        ("letter", "histogram", letter(2)),
        ("letter", "part", letter(3)),
        ("metadata", "everything", storage::metadata::encode(&metadata())),
        ("positions", "everything", positions()),
        ("positions", "largest", positions_largest()),
        ("rings", "one", rings(&[(0, 1, "ab")])),
        ("rings", "several", rings(&[(0, 1, "a"), (5, 2, "ab"), (9, 3, "abc")])),
        ("state", "everything", state()),
        ("totals", "everything", totals()),
        ("mapping", "everything", mapping()),
        ("gateway", "added", b"Aa\n# TYPE c counter\nc 1\n# TYPE g gauge\ng 1\n# TYPE h histogram\nh_bucket{le=\"1\"} 1\nh_sum 1\nh_count 1\n\0Aa\n# TYPE c counter\nc 2\n# TYPE g gauge\ng 0\n# TYPE h histogram\nh_bucket{le=\"1\"} 1\nh_sum 1\nh_count 1\n\0Aa\n# TYPE c gauge\nc 1\n".to_vec()),
    ];
    for (name, record) in records() {
        seeds.push(("record", name, record));
    }
    for (name, compression) in
        [("plain", Compression::None), ("snappy", Compression::Snappy), ("zstd", Compression::Zstd)]
    {
        seeds.push(("segment", name, segment(compression, 1)));
    }
    seeds.push(("segment", "two_pages", segment(Compression::None, 160)));
    seeds
}

fn gateway() -> Vec<u8> {
    let text = "# HELP up Is it up?\n# TYPE up gauge\nup{instance=\"x\"} 1\n# TYPE h histogram\n\
                h_bucket{le=\"1\"} 1\nh_bucket{le=\"+Inf\"} 2\nh_sum 3\nh_count 2\n";
    format!("Pa/instance/b\n{text}\0Oa\n{text}\0Oa/instance/b\n\0Pa\nup NaN\n\0Da\n").into_bytes()
}

fn labels(name: &str) -> Labels {
    Labels::from_pairs([("__name__", name), ("job", "a"), ("path", "/é")])
}

fn metadata() -> model::Metadata {
    model::Metadata {
        family: "took".into(),
        kind: MetricType::Histogram,
        help: "How long.".into(),
        unit: "seconds".into(),
    }
}

fn histogram(float: bool, custom: bool) -> Histogram {
    Histogram {
        reset_hint: ResetHint::No,
        schema: if custom { -53 } else { 3 },
        zero_threshold: if custom { 0.0 } else { 0.001 },
        sum: 12.5,
        positive_spans: vec![BucketSpan { offset: 0, length: 2 }, BucketSpan { offset: 1, length: 1 }],
        negative_spans: vec![],
        counts: if float {
            Counts::Float { count: 3.5, zero: 0.0, positive: vec![1.0, 2.0, 0.5], negative: vec![] }
        } else {
            Counts::Integer { count: 4, zero: 0, positive: vec![1, 1, -1], negative: vec![] }
        },
        custom_values: if custom { vec![0.5, 1.0, 2.0, 3.0] } else { vec![] },
    }
}

fn records() -> Vec<(&'static str, Vec<u8>)> {
    let mut series = SeriesBuilder::new();
    let mut samples = SamplesBuilder::new();
    let mut starts = SamplesBuilder::with_start_timestamps();
    let mut exemplars = ExemplarsBuilder::new();
    for (reference, name) in [(1, "up"), (300, "took")] {
        series.push(reference, labels(name).as_ref());
        samples.push(reference, 1_700_000_000_000, 0, 1.5);
        starts.push(reference, 1_700_000_000_000, 1_600_000_000_000, -0.5);
        exemplars.push(reference, 1_700_000_000_000, 0.5, Labels::from_pairs([("trace_id", "x")]).as_ref());
    }
    let mut all = vec![
        ("series", series.bytes().to_vec()),
        ("samples", samples.bytes().to_vec()),
        ("samples_with_start", starts.bytes().to_vec()),
        ("exemplars", exemplars.bytes().to_vec()),
    ];
    let mut entries = MetadataBuilder::new();
    entries.push(MetadataEntry { reference: 1, kind: MetricType::Gauge, unit: b"s", help: b"H" });
    all.push(("metadata", entries.bytes().to_vec()));
    for (name, float, custom, start) in [
        ("histograms", false, false, 0),
        ("float_histograms", true, false, 0),
        ("custom_histograms", false, true, 0),
        ("custom_float_histograms", true, true, 0),
        ("histograms_with_start", false, false, 1_600_000_000_000),
        ("float_histograms_with_start", true, true, 1_600_000_000_000),
    ] {
        let histogram = histogram(float, custom);
        let mut builder = HistogramsBuilder::new(HistogramsBuilder::kind(&histogram, start)).unwrap();
        assert!(builder.push(7, 1_700_000_000_000, start, &histogram));
        all.push((name, builder.bytes().to_vec()));
    }
    // One byte for the type, then reference, from and to of each.
    let mut tombstone = vec![3];
    tombstone.extend_from_slice(&[0, 0, 0, 0, 0, 0, 0, 1, 2, 4]);
    all.push(("tombstones", tombstone));
    all
}

/// Every record `times` times, with the byte before it that puts checksums right.
fn segment(compression: Compression, times: usize) -> Vec<u8> {
    let fs = SimFilesystem::new(0);
    let dir = Path::new("/wal");
    let options = WriterOptions { compression, ..WriterOptions::default() };
    let (mut writer, _) = Writer::open(Arc::new(fs.clone()), dir, options, 0, None).unwrap();
    for _ in 0..times {
        for (_, record) in records() {
            writer.append(&record).unwrap();
        }
    }
    writer.commit().unwrap();
    let path = wal::dir::segment_path(dir, writer.segment());
    [vec![1], fs.contents(&path).unwrap()].concat()
}

/// A total of each kind, after a flush.
fn totals() -> Vec<u8> {
    let classic = Shape::classic(&[0.5, 2.0]).unwrap();
    let kinds = [
        ("c", Kind::Counter),
        ("g", Kind::Gauge),
        ("h", Kind::Histogram(Arc::new(classic.clone()))),
        ("n", Kind::Histogram(Arc::new(Shape::native()))),
        ("b", Kind::Histogram(Arc::new(classic.and_native()))),
        ("s", Kind::Summary(SummaryPart::Quantile)),
        ("s_sum", Kind::Summary(SummaryPart::Sum)),
        ("s_count", Kind::Summary(SummaryPart::Count)),
    ];
    let now = Now { wall_ms: 1_800_000_000_000, monotonic: Duration::from_secs(9) };
    let mut totals = Totals::new(totals::Limits::default());
    for (name, kind) in &kinds {
        let labels = labels(name);
        let ttl = Some(Duration::from_secs(60));
        let new = NewSeries { labels: labels.as_ref(), kind, help: "a help", unit: "", ttl };
        let handle = totals.open(new, now).unwrap();
        // Each takes one of these only.
        let _ = (totals.add(handle, 0.1), totals.add(handle, 0.2), totals.set(handle, -7.5));
        for value in [0.1, -3.0, 1e9, 0.0] {
            let _ = totals.observe(handle, value, 1.5);
        }
        totals.set_mark(handle, [3, 400]).unwrap();
    }
    totals.set_applied(5 << 100, now);
    let flush = totals.flush(now, totals::Begin::WithZero, 1000).unwrap();
    totals.confirm(flush);
    totals.snapshot().concat()
}

/// A mapping file with everything in it, and lines for each of its rules.
fn mapping() -> Vec<u8> {
    let file = b"defaults: {observer_type: histogram, match_type: glob, glob_disable_ordering: false, ttl: 1h2m, \
        summary_options: {quantiles: [{quantile: 0.5, error: 0.05}], max_age: 30s, age_buckets: 3, buf_cap: 9}, \
        histogram_options: {buckets: [0.1, 1], native_histogram_bucket_factor: 1.1, \
        native_histogram_max_buckets: 99}}\nmappings:\n\
        - {match: a.*.*, name: 'a_$2', labels: {of: $1}, scale: 0.5, help: a help, honor_labels: true}\n\
        - {match: a.x.*, match_metric_type: gauge, action: drop, name: n}\n\
        - {match: t.*, name: t, observer_type: summary, ttl: 5s}\n\
        - {match: '^r(.*)_(?P<n>.)', match_type: regex, name: '${n}_${1}'}\n";
    let lines = b"a.x.y:1|c|#of:tag\na.x.y:1|g\nt.1:-3:4|ms|@0.5\nh:2|h\nrab_c:1|c\nrab_c:u|s\n\
        a.b.c:5|g|T1800000000\nb[c=d]:+1|g";
    [&file[..], &[0], lines].concat()
}

fn journal() -> Vec<u8> {
    let key = Labels::from_pairs([("job", "a"), ("instance", "b")]);
    let member = |name: &str, reading| Member {
        labels: labels(name),
        reading,
        start: 7,
        time: 0,
        exemplars: Vec::new(),
    };
    let family = Arc::new(Family {
        kind: MetricType::Histogram,
        help: "Hé".into(),
        unit: "seconds".into(),
        members: vec![
            member("x", Reading::Float(-0.5)),
            member("y", Reading::Histogram(Box::new(histogram(false, false)))),
            member("z", Reading::Histogram(Box::new(histogram(true, true)))),
        ],
    });
    let mut group = Group::new(3, Labels::from_pairs([("job", "b")]));
    group.families = Packed::new(&[("x".into(), Kept { family: family.clone(), pushed: 99 })].into());
    (group.pushed, group.failed, group.clock, group.ttl, group.expires) = (5, 6, 7, Some(8), Some(13));
    let families = vec![("x".to_string(), family)];
    let (id, at, wall) = (1, 12, 11);
    encode(&[
        Change::Pushed { id, key: key.clone(), replace: true, at, wall, ttl: Some(5), families },
        Change::Refused { id, key: key.clone(), at: 13, wall, reason: "no".into() },
        Change::Emitted { at: 14, ids: vec![1, 2, 300] },
        Change::Expired { key: key.clone(), at: 15, wall },
        Change::Snapshot(Arc::new(group)),
        Change::Deleted { key: key.clone(), at: 16 },
        Change::Tombstone { key, at: 17 },
        Change::Keyed(Applied { group: 3, keyed: Keyed { key: 1 << 100, request: 1 << 50 }, wall: 18 }),
    ])
}

/// Slots of three lanes in all areas, one of them with a wrong checksum, one with a wide one and one without it.
fn positions() -> Vec<u8> {
    let mut all = Vec::new();
    let wide = 1 << 63;
    let slots = [(0u8, 0u8, 1u64), (1, 0, 2), (2, 0, 3), (8, 1, 9), (0, 1, 4)];
    for (area, lane, sequence) in
        slots.into_iter().chain([(0, 2, wide | 5), (3, 2, wide | 5), (1, 2, wide | 6)])
    {
        all.extend_from_slice(&[area, lane]);
        for number in [sequence, 7, 4096 * (sequence & 0xff)] {
            all.extend_from_slice(&number.to_le_bytes());
        }
        all.extend_from_slice(&3u32.to_le_bytes());
    }
    all
}

/// Two slots with a closed segment each, with the byte before them that puts checksums right.
fn state() -> Vec<u8> {
    let mut all = vec![1];
    for sequence in [4u64, 5] {
        all.extend_from_slice(&[0; 4]);
        for number in [sequence, 1000, 4, 3, 77] {
            all.extend_from_slice(&number.to_le_bytes());
        }
        all.extend_from_slice(&1u32.to_le_bytes());
        for number in [3u64, 77] {
            all.extend_from_slice(&number.to_le_bytes());
        }
    }
    all
}

/// The largest numbers there are, in the first lane and the last.
fn positions_largest() -> Vec<u8> {
    let mut all = Vec::new();
    for (area, lane) in [(0u8, 0u8), (1, 255)] {
        all.extend_from_slice(&[area, lane]);
        all.extend_from_slice(&[0xff; 28]);
    }
    all
}

fn records_of_2_0() -> Vec<u8> {
    let mut encoder = formats::remote_write::Encoder::new(formats::remote_write::Protocol::V2);
    encoder.push_series(labels("up").as_ref(), Some(&metadata()));
    encoder.push_float(1_700_000_000_000, 1_600_000_000_000, 1.5);
    encoder.push_exemplar(1_700_000_000_000, Labels::from_pairs([("trace_id", "x")]).as_ref(), 0.5);
    encoder.push_series(labels("took").as_ref(), None);
    encoder.push_histogram(1_700_000_000_000, 0, &histogram(true, true)).unwrap();
    encoder.finish().to_vec()
}

/// An entry of the side queue with the points of this message of 2.0, behind the byte that puts checksums right.
fn aside(message: &[u8], words: &str) -> Vec<u8> {
    let mut compressor = formats::compress::Compressor::new();
    let body = compressor.encode(formats::compress::Encoding::Snappy, message).unwrap();
    aside_head(1, words, body)
}

/// The same, compressed only when it is read.
fn aside_plain(message: &[u8], words: &str) -> Vec<u8> {
    aside_head(3, words, message)
}

fn aside_head(first: u8, words: &str, body: &[u8]) -> Vec<u8> {
    let mut all = [&[first][..], b"narthexA", &1u32.to_le_bytes(), &[0; 4]].concat();
    all.extend_from_slice(&1_700_000_000_000i64.to_le_bytes());
    for number in [1, 1, 1, words.len() as u32] {
        all.extend_from_slice(&number.to_le_bytes());
    }
    [&all, words.as_bytes(), body].concat()
}

/// A letter of a float, a staleness marker, a histogram, a part of a request.
fn letter(kind: usize) -> Vec<u8> {
    use remote::disk::dead::{Lines, Reason, Request, Said};
    let mut lines = Lines::default();
    let labels = labels("took");
    let mut batch = model::Batch::new();
    let series = batch.add_series(labels.as_ref(), model::Series::NO_METADATA);
    match kind {
        0 => batch.push_float(series, 1_700_000_000_000, 1.5),
        1 => batch.push_float(series, 1_700_000_000_000, model::stale_nan()),
        _ => batch.push_histogram(series, 1_700_000_000_000, 1_600_000_000_000, histogram(false, false)),
    }
    if kind < 3 {
        let said = Said { time: 1, reason: Reason::Refused, answer: "400: \"out of order\"", part: None };
        lines.sample(&said, labels.as_ref(), &batch, &batch.points[0]);
    } else {
        let mut request = Request::default();
        request.add(labels.as_ref(), 1, 1_700_000_000_000);
        lines.summary(1, "400: é", 1, &request);
    }
    lines.as_bytes().to_vec()
}

fn rings(of: &[(u64, usize, &str)]) -> Vec<u8> {
    let (fs, path) = (SimFilesystem::new(0), Path::new("/rings.json"));
    let mut rings = remote::members::rings::Rings::default();
    for (segment, replicas, members) in of {
        let members: Vec<String> =
            members.chars().map(|name| format!("http://{name}/api/v1/write")).collect();
        rings.change(wal::Position::start_of(*segment), &members, *replicas).unwrap();
    }
    rings.save(&fs, path).unwrap();
    fs.contents(path).unwrap()
}
