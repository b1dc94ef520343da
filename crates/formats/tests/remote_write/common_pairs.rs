//! Series that are similar to the ones before them. Both codecs have shortcuts for those. The result must be the same
//! for series that are read or written together, one by one, or on the slow path.

use formats::remote_write::{DecodeOptions, Encoder, Protocol, decode};
use model::varint::{put_bytes, put_u64};
use model::{Labels, LabelsRef};
use proptest::prelude::*;

type Pairs = Vec<(Vec<u8>, Vec<u8>)>;

/// A difference between a series and the one before.
#[derive(Debug, Clone)]
enum Change {
    Value(prop::sample::Index, Vec<u8>),
    Name(prop::sample::Index, Vec<u8>),
    Insert(prop::sample::Index, Vec<u8>, Vec<u8>),
    Add(Vec<u8>, Vec<u8>),
    Remove(prop::sample::Index),
    Twice(prop::sample::Index),
    Swap(prop::sample::Index, prop::sample::Index),
    All(Pairs),
}

impl Change {
    fn apply(self, pairs: &mut Pairs) {
        let len = pairs.len();
        match self {
            Change::All(other) => *pairs = other,
            Change::Insert(at, name, value) => pairs.insert(at.index(len + 1), (name, value)),
            Change::Add(name, value) => {
                // Sorted, as most senders write labels.
                let at = pairs.partition_point(|(other, _)| *other < name);
                pairs.insert(at, (name, value));
            }
            _ if len == 0 => {}
            Change::Value(at, value) => pairs[at.index(len)].1 = value,
            Change::Name(at, name) => pairs[at.index(len)].0 = name,
            Change::Remove(at) => drop(pairs.remove(at.index(len))),
            Change::Twice(at) => {
                let at = at.index(len);
                pairs.insert(at, pairs[at].clone());
            }
            Change::Swap(one, other) => pairs.swap(one.index(len), other.index(len)),
        }
    }
}

fn name() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        20 => "[a-z_]{1,3}".prop_map(String::into_bytes),
        5 => Just(b"__name__".to_vec()),
        2 => "__name__[a-z]{1,2}".prop_map(String::into_bytes),
        5 => "same_first_eight_[a-z]{1,2}".prop_map(String::into_bytes),
        1 => prop_oneof![Just(30usize), Just(31), Just(126), Just(127), Just(128), Just(140)]
            .prop_map(|len| vec![b'n'; len]),
        1 => Just(Vec::new()),
        1 => Just(b"\xff".to_vec()),
        1 => Just("é".into()),
    ]
}

fn value() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        20 => "[a-c]{1,4}".prop_map(String::into_bytes),
        4 => "[a-z]{20,70}".prop_map(String::into_bytes),
        // Around the boundary between lengths of one byte and of two bytes, of the value and of its label.
        4 => (100..132usize).prop_map(|len| vec![b'v'; len]),
        2 => (295..305usize).prop_map(|len| vec![b'v'; len]),
        1 => (60..70usize).prop_map(|len| "é".repeat(len).into_bytes()),
        1 => Just(Vec::new()),
        1 => Just(b"\xc3".to_vec()),
        1 => Just("é".into()),
    ]
}

/// Sorted label sets with a metric name.
fn tidy() -> impl Strategy<Value = Pairs> {
    proptest::collection::btree_map("[a-z_]{1,3}".prop_map(String::into_bytes), "[a-z]{1,40}", 0..10)
        .prop_map(|labels| {
            let mut pairs: Pairs =
                labels.into_iter().map(|(name, value)| (name, value.into_bytes())).collect();
            pairs.push((b"__name__".to_vec(), b"up".to_vec()));
            pairs.sort();
            pairs
        })
}

fn change() -> impl Strategy<Value = Change> {
    let at = any::<prop::sample::Index>;
    prop_oneof![
        10 => (at(), value()).prop_map(|(at, value)| Change::Value(at, value)),
        2 => (at(), name()).prop_map(|(at, name)| Change::Name(at, name)),
        1 => (at(), name(), value()).prop_map(|(at, name, value)| Change::Insert(at, name, value)),
        3 => (name(), value()).prop_map(|(name, value)| Change::Add(name, value)),
        2 => at().prop_map(Change::Remove),
        1 => at().prop_map(Change::Twice),
        1 => (at(), at()).prop_map(|(one, other)| Change::Swap(one, other)),
        2 => tidy().prop_map(Change::All),
    ]
}

/// Series in sequence with up to two changes from one to the next. The flag is true if the series has a sample.
fn sequences() -> impl Strategy<Value = Vec<(Pairs, bool)>> {
    let step = (proptest::collection::vec(change(), 0..3), proptest::bool::weighted(0.9));
    (tidy(), proptest::collection::vec(step, 1..12)).prop_map(|(mut pairs, steps)| {
        let mut series = vec![(pairs.clone(), true)];
        for (changes, sample) in steps {
            changes.into_iter().for_each(|change| change.apply(&mut pairs));
            series.push((pairs.clone(), sample));
        }
        series
    })
}

fn options() -> DecodeOptions {
    let limits = model::Limits {
        labels: 12,
        name_bytes: 130,
        value_bytes: 300,
        set_bytes: 700,
        ..model::Limits::default()
    };
    DecodeOptions { limits, ..DecodeOptions::default() }
}

/// The order of the fields in a series. Labels after samples are read on the slow path.
#[derive(Debug, Clone, Copy)]
enum Order {
    LabelsFirst,
    SampleFirst,
}

fn field(out: &mut Vec<u8>, number: u8, message: &[u8]) {
    out.push(number << 3 | 2);
    put_bytes(out, message);
}

fn body(protocol: Protocol, series: &[(Pairs, bool)], order: Order) -> Vec<u8> {
    let mut symbols: Vec<&[u8]> = vec![b""];
    let mut out = Vec::new();
    for (pairs, has_sample) in series {
        let (mut labels, mut packed) = (Vec::new(), Vec::new());
        for (name, value) in pairs {
            let mut label = Vec::new();
            field(&mut label, 1, name);
            field(&mut label, 2, value);
            field(&mut labels, 1, &label);
            for text in [name, value] {
                let known = symbols.iter().position(|symbol| *symbol == &text[..]);
                put_u64(&mut packed, known.unwrap_or(symbols.len()) as u64);
                if known.is_none() {
                    symbols.push(text);
                }
            }
        }
        if protocol == Protocol::V2 {
            labels.clear();
            field(&mut labels, 1, &packed);
        }
        let mut sample = Vec::new();
        if *has_sample {
            field(&mut sample, 2, &[0x10, 7]);
        }
        let message = match order {
            Order::LabelsFirst => [labels, sample],
            Order::SampleFirst => [sample, labels],
        };
        field(&mut out, if protocol == Protocol::V1 { 1 } else { 5 }, &message.concat());
    }
    if protocol == Protocol::V2 {
        let mut table = Vec::new();
        symbols.iter().for_each(|symbol| field(&mut table, 4, symbol));
        out = [table, out].concat();
    }
    out
}

/// The series that are kept, and the number of refused ones.
fn read(body: &[u8], protocol: Protocol) -> (Vec<Vec<u8>>, u64) {
    let decoded = decode(protocol, body, &options()).unwrap();
    let labels = |index: usize| LabelsRef::parse(decoded.batch.labels(index as u32).as_bytes()).unwrap();
    let kept = (0..decoded.batch.series.len()).map(|index| labels(index).as_bytes().to_vec()).collect();
    (kept, decoded.rejected.series)
}

fn write<'a>(protocol: Protocol, series: impl IntoIterator<Item = &'a (Labels, u8)>) -> Vec<u8> {
    let mut encoder = Encoder::new(protocol);
    for (labels, points) in series {
        encoder.push_series(labels.as_ref(), None);
        for point in 0..*points {
            match point {
                0 => encoder.push_float(i64::from(point), 0, 1.0),
                1 => encoder.push_exemplar(1, labels.as_ref(), 1.0),
                // Gives the message a length of three bytes.
                _ => (0..1000).for_each(|at| encoder.push_float(1 << 60, 0, f64::from(at))),
            }
        }
    }
    encoder.finish().to_vec()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1024, ..ProptestConfig::default() })]

    #[test]
    fn series_read_together_one_by_one_or_slowly_are_equal(series in sequences()) {
        for protocol in [Protocol::V1, Protocol::V2] {
            let together = read(&body(protocol, &series, Order::LabelsFirst), protocol);
            let long_way = read(&body(protocol, &series, Order::SampleFirst), protocol);
            prop_assert_eq!(&together, &long_way);
            let (mut kept, mut refused) = (Vec::new(), 0);
            for one in &series {
                let (series, not) = read(&body(protocol, std::slice::from_ref(one), Order::LabelsFirst), protocol);
                kept.extend(series);
                refused += not;
            }
            prop_assert_eq!(&together, &(kept, refused));
        }
    }

    #[test]
    fn series_written_together_or_one_by_one_are_equal(
        series in sequences(), points in proptest::collection::vec(0u8..4, 13)
    ) {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let series: Vec<(Labels, u8)> = series.iter().zip(points).map(|((pairs, _), points)| {
            let pairs: Vec<_> = pairs.iter().map(|(name, value)| (text(name), text(value))).collect();
            let pairs = pairs.iter().filter(|(name, _)| !name.is_empty());
            (Labels::from_pairs(pairs.map(|(name, value)| (&name[..], &value[..]))), points)
        }).collect();
        let one_by_one: Vec<u8> =
            series.iter().flat_map(|one| write(Protocol::V1, [one])).collect();
        prop_assert_eq!(write(Protocol::V1, &series), one_by_one);

        let options = DecodeOptions::default();
        let decoded = decode(Protocol::V2, &write(Protocol::V2, &series), &options).unwrap();
        let named = |(labels, points): &&(Labels, u8)| {
            *points > 0 && labels.as_ref().metric_name().is_some()
        };
        let expected: Vec<_> = series.iter().filter(named).map(|(labels, _)| labels.as_ref()).collect();
        let all: Vec<_> = (0..expected.len()).map(|index| decoded.batch.labels(index as u32)).collect();
        prop_assert_eq!(all, expected);
    }
}

#[test]
fn a_common_run_out_of_order_takes_the_slow_path() {
    let pair = |name: &str, value: &str| (name.as_bytes().to_vec(), value.as_bytes().to_vec());
    let first = vec![pair("__name__", "x"), pair("b", "1"), pair("c", "2")];
    // The same pairs after a greater name, after the same name, and after one with the same beginning.
    for other in ["z", "c", "b"] {
        let second = vec![pair("__name__", "x"), pair(other, "0"), pair("c", "2")];
        let series = [(first.clone(), true), (second, true)];
        for protocol in [Protocol::V1, Protocol::V2] {
            let fast = read(&body(protocol, &series, Order::LabelsFirst), protocol);
            assert_eq!(fast, read(&body(protocol, &series, Order::SampleFirst), protocol));
            assert_eq!(fast.1, u64::from(other == "c"), "one name twice");
        }
    }
}

#[test]
fn sets_of_127_and_more_labels_can_follow_each_other() {
    let set = |labels: usize| {
        let names: Vec<String> = (0..labels - 1).map(|at| format!("l{at:03}")).collect();
        let pairs = names.iter().map(|name| (&name[..], "v")).chain([("__name__", "x")]);
        (Labels::from_pairs(pairs), 1)
    };
    let series = [127, 128, 128, 127, 300, 127, 126].map(set);
    let one_by_one: Vec<u8> = series.iter().flat_map(|one| write(Protocol::V1, [one])).collect();
    assert_eq!(write(Protocol::V1, &series), one_by_one);
    let limits = model::Limits { labels: 1000, ..model::Limits::default() };
    let options = DecodeOptions { limits, ..DecodeOptions::default() };
    for protocol in [Protocol::V1, Protocol::V2] {
        let decoded = decode(protocol, &write(protocol, &series), &options).unwrap();
        let read: Vec<_> = (0..7).map(|index| decoded.batch.labels(index)).collect();
        assert_eq!(read, series.iter().map(|(labels, _)| labels.as_ref()).collect::<Vec<_>>());
    }
}
