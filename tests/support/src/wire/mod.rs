//! Remote write 1.0 and 2.0, encoded by hand for tests and decoded for receivers.
//!
//! This is not the program's own codec, because tests that use it for both directions would not notice a
//! mistake that its encoder and decoder share. It supports only what tests and benchmarks need. It is fast
//! enough to count a million samples a second beside the program that is measured.

use crate::http::{self, Response};
use model::varint::{put_bytes, put_u64, take_bytes, take_u64};

mod histogram;

pub use histogram::Histogram;

/// The versions of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Version {
    /// 1.0, `prometheus.WriteRequest`.
    V1,
    /// 2.0, `io.prometheus.write.v2.Request`.
    V2,
}

/// `Content-Type` of a 1.0 request.
pub const V1_TYPE: &str = "application/x-protobuf";
/// `Content-Type` of a 2.0 request.
pub const V2_TYPE: &str = "application/x-protobuf;proto=io.prometheus.write.v2.Request";
/// The most bytes of a decompressed body.
pub const MAX_BODY: usize = 64 << 20;

impl Version {
    /// The version in a `Content-Type`.
    pub fn of_content_type(content_type: &str) -> Version {
        if content_type.contains("io.prometheus.write.v2.Request") { Version::V2 } else { Version::V1 }
    }

    /// The four headers that the specification requires.
    pub fn headers(self) -> [(&'static str, &'static str); 4] {
        let (content_type, version) = match self {
            Version::V1 => (V1_TYPE, "0.1.0"),
            Version::V2 => (V2_TYPE, "2.0.0"),
        };
        [
            ("Content-Type", content_type),
            ("Content-Encoding", "snappy"),
            ("X-Prometheus-Remote-Write-Version", version),
            ("User-Agent", "narthex-tests/0"),
        ]
    }
}

/// A series with its samples, as a test writes it.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Series {
    /// Names and values in the order in which they are sent.
    pub labels: Vec<(String, String)>,
    /// Milliseconds since 1970, and values.
    pub samples: Vec<(i64, f64)>,
}

impl Series {
    /// A series with a name, other labels (sorted by their names), and samples.
    pub fn new(name: &str, labels: &[(&str, &str)], samples: &[(i64, f64)]) -> Series {
        let name = std::iter::once(("__name__", name));
        let pairs = name.chain(labels.iter().copied());
        let labels = pairs.map(|(name, value)| (name.to_string(), value.to_string())).collect();
        Series { labels, samples: samples.to_vec() }
    }
}

/// Encodes a request, uncompressed.
pub fn encode(version: Version, series: &[Series]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut symbols = Symbols::default();
    let mut body = Vec::new();
    for one in series {
        let mut message = Vec::new();
        match version {
            Version::V1 => {
                for (name, value) in &one.labels {
                    put_label(&mut message, name, value);
                }
            }
            Version::V2 => {
                let refs = one.labels.iter().flat_map(|(name, value)| [name, value]);
                let refs: Vec<u64> = refs.map(|text| symbols.reference(text)).collect();
                put_refs(&mut message, &refs);
            }
        }
        for &(timestamp, value) in &one.samples {
            put_sample(&mut message, timestamp, value);
        }
        put_message(&mut body, if version == Version::V1 { 1 } else { 5 }, &message);
    }
    if version == Version::V2 {
        symbols.put(&mut out);
    }
    out.extend_from_slice(&body);
    out
}

/// Sends a request with `series`. Only a failure of the connection is an error.
pub fn push(url: &str, version: Version, series: &[Series]) -> Result<Response, String> {
    http::post(url, &version.headers(), &snappy(&encode(version, series)))
}

/// Compresses with snappy, in the block format.
pub fn snappy(bytes: &[u8]) -> Vec<u8> {
    snap::raw::Encoder::new().compress_vec(bytes).expect("less than 4 GiB")
}

/// Compresses with zstd at the library's default level.
pub fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::bulk::compress(bytes, zstd::DEFAULT_COMPRESSION_LEVEL).expect("memory enough")
}

/// Decompresses a body according to its `Content-Encoding`.
pub fn decompress(encoding: &str, bytes: &[u8]) -> Result<Vec<u8>, String> {
    match encoding {
        "snappy" => match snap::raw::decompress_len(bytes) {
            Ok(..=MAX_BODY) => snap::raw::Decoder::new().decompress_vec(bytes).map_err(|e| e.to_string()),
            Ok(length) => Err(format!("{length} bytes decompressed are over {MAX_BODY}")),
            Err(error) => Err(error.to_string()),
        },
        "zstd" => zstd::bulk::decompress(bytes, MAX_BODY).map_err(|error| error.to_string()),
        other => Err(format!("Content-Encoding {other:?}")),
    }
}

/// The strings of a 2.0 request, each once. Number 0 is the empty string.
#[derive(Debug, Default)]
pub struct Symbols {
    known: std::collections::HashMap<String, u64>,
    list: Vec<String>,
}

impl Symbols {
    /// The number of `text`, which is added if it is new.
    pub fn reference(&mut self, text: &str) -> u64 {
        if text.is_empty() {
            return 0;
        }
        if let Some(&number) = self.known.get(text) {
            return number;
        }
        self.list.push(text.to_string());
        let number = self.list.len() as u64;
        self.known.insert(text.to_string(), number);
        number
    }

    /// Appends all strings as the request's `symbols`.
    pub fn put(&self, out: &mut Vec<u8>) {
        put_message(out, 4, b"");
        for symbol in &self.list {
            put_message(out, 4, symbol.as_bytes());
        }
    }
}

/// Appends field `number` with a length and bytes.
pub fn put_message(out: &mut Vec<u8>, number: u64, bytes: &[u8]) {
    put_u64(out, number << 3 | 2);
    put_bytes(out, bytes);
}

/// Appends a label of a 1.0 series.
pub fn put_label(out: &mut Vec<u8>, name: &str, value: &str) {
    let mut label = Vec::with_capacity(name.len() + value.len() + 8);
    put_message(&mut label, 1, name.as_bytes());
    put_message(&mut label, 2, value.as_bytes());
    put_message(out, 1, &label);
}

/// Appends the label references of a 2.0 series.
pub fn put_refs(out: &mut Vec<u8>, refs: &[u64]) {
    let mut packed = Vec::with_capacity(refs.len() * 2);
    refs.iter().for_each(|&reference| put_u64(&mut packed, reference));
    put_message(out, 1, &packed);
}

/// Appends a sample, the same in both versions.
pub fn put_sample(out: &mut Vec<u8>, timestamp: i64, value: f64) {
    let mut sample = Vec::with_capacity(24);
    sample.push(1 << 3 | 1);
    sample.extend_from_slice(&value.to_le_bytes());
    put_u64(&mut sample, 2 << 3);
    put_u64(&mut sample, timestamp as u64);
    put_message(out, 2, &sample);
}

/// One series of a request, borrowed from it. See [`visit`].
#[derive(Debug, Default)]
pub struct SeriesView<'a> {
    /// Names and values in the order on the wire.
    pub labels: Vec<(&'a [u8], &'a [u8])>,
    /// Milliseconds since 1970, and values.
    pub samples: Vec<(i64, f64)>,
    /// Milliseconds since 1970, and the encoded message of the histogram.
    pub histograms: Vec<(i64, &'a [u8])>,
    /// The encoded messages of the exemplars.
    pub exemplars: Vec<&'a [u8]>,
    /// Metadata of a 2.0 series: type number, help, unit.
    pub metadata: Option<(u64, &'a [u8], &'a [u8])>,
}

impl SeriesView<'_> {
    pub fn labels_map(&self) -> crate::Labels {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        self.labels.iter().map(|(name, value)| (text(name), text(value))).collect()
    }
}

/// Calls `each` for each series of an uncompressed request, in order.
pub fn visit<'a>(
    version: Version,
    body: &'a [u8],
    mut each: impl FnMut(&SeriesView<'a>),
) -> Result<(), String> {
    let series_field = if version == Version::V1 { 1 } else { 5 };
    let mut symbols: Vec<&[u8]> = Vec::new();
    if version == Version::V2 {
        for field in Fields(body) {
            if let (4, Field::Bytes(symbol)) = field? {
                symbols.push(symbol);
            }
        }
    }
    let mut view = SeriesView::default();
    for field in Fields(body) {
        match field? {
            (number, Field::Bytes(message)) if number == series_field => {
                read_series(version, &symbols, message, &mut view)?;
                each(&view);
            }
            _ => {}
        }
    }
    Ok(())
}

/// The metadata of a 1.0 request: family, type number, help, unit.
pub fn metadata(body: &[u8]) -> Result<Vec<(String, u64, String, String)>, String> {
    let mut all = Vec::new();
    for field in Fields(body) {
        let (3, Field::Bytes(message)) = field? else { continue };
        let mut entry = (String::new(), 0, String::new(), String::new());
        for field in Fields(message) {
            match field? {
                (1, Field::Number(kind)) => entry.1 = kind,
                (2, Field::Bytes(family)) => entry.0 = String::from_utf8_lossy(family).into(),
                (4, Field::Bytes(help)) => entry.2 = String::from_utf8_lossy(help).into(),
                (5, Field::Bytes(unit)) => entry.3 = String::from_utf8_lossy(unit).into(),
                _ => {}
            }
        }
        all.push(entry);
    }
    Ok(all)
}

fn read_series<'a>(
    version: Version,
    symbols: &[&'a [u8]],
    message: &'a [u8],
    view: &mut SeriesView<'a>,
) -> Result<(), String> {
    view.labels.clear();
    view.samples.clear();
    view.histograms.clear();
    view.exemplars.clear();
    view.metadata = None;
    let symbol = |number: u64| {
        symbols.get(number as usize).copied().ok_or_else(|| format!("symbol {number} of {}", symbols.len()))
    };
    for field in Fields(message) {
        match (version, field?) {
            (Version::V1, (1, Field::Bytes(label))) => view.labels.push(read_label(label)?),
            (Version::V2, (1, Field::Bytes(mut packed))) => {
                while !packed.is_empty() {
                    let name = take_u64(&mut packed).ok_or("a cut label reference")?;
                    let value = take_u64(&mut packed).ok_or("an odd number of label references")?;
                    view.labels.push((symbol(name)?, symbol(value)?));
                }
            }
            (_, (2, Field::Bytes(sample))) => view.samples.push(read_sample(sample)?),
            (Version::V1, (4, Field::Bytes(message))) | (Version::V2, (3, Field::Bytes(message))) => {
                view.histograms.push((histogram_timestamp(message)?, message));
            }
            (Version::V1, (3, Field::Bytes(message))) | (Version::V2, (4, Field::Bytes(message))) => {
                view.exemplars.push(message);
            }
            (Version::V2, (5, Field::Bytes(message))) => {
                let mut numbers = [0; 6];
                for field in Fields(message) {
                    if let (number @ 1..=5, Field::Number(value)) = field? {
                        numbers[number as usize] = value;
                    }
                }
                view.metadata = Some((numbers[1], symbol(numbers[3])?, symbol(numbers[4])?));
            }
            _ => {}
        }
    }
    Ok(())
}

fn read_label(message: &[u8]) -> Result<(&[u8], &[u8]), String> {
    let (mut name, mut value): (&[u8], &[u8]) = (b"", b"");
    for field in Fields(message) {
        match field? {
            (1, Field::Bytes(bytes)) => name = bytes,
            (2, Field::Bytes(bytes)) => value = bytes,
            _ => {}
        }
    }
    Ok((name, value))
}

fn read_sample(message: &[u8]) -> Result<(i64, f64), String> {
    let (mut timestamp, mut value) = (0, 0.0);
    for field in Fields(message) {
        match field? {
            (1, Field::Double(bits)) => value = f64::from_bits(bits),
            (2, Field::Number(number)) => timestamp = number as i64,
            _ => {}
        }
    }
    Ok((timestamp, value))
}

/// The timestamp of a histogram, which identifies it within its series.
fn histogram_timestamp(message: &[u8]) -> Result<i64, String> {
    let mut timestamp = 0;
    for field in Fields(message) {
        if let (15, Field::Number(number)) = field? {
            timestamp = number as i64;
        }
    }
    Ok(timestamp)
}

enum Field<'a> {
    Number(u64),
    Double(u64),
    Bytes(&'a [u8]),
    Other,
}

/// The fields of a protobuf message.
struct Fields<'a>(&'a [u8]);

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u64, Field<'a>), String>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = take_field(&mut self.0);
        if field.is_none() {
            self.0 = &[];
        }
        Some(field.ok_or_else(|| "a cut or unknown protobuf field".to_string()))
    }
}

#[inline]
fn take_field<'a>(input: &mut &'a [u8]) -> Option<(u64, Field<'a>)> {
    let key = take_u64(input)?;
    let field = match key & 7 {
        0 => Field::Number(take_u64(input)?),
        1 => {
            let (bytes, rest) = input.split_first_chunk::<8>()?;
            *input = rest;
            Field::Double(u64::from_le_bytes(*bytes))
        }
        2 => Field::Bytes(take_bytes(input)?),
        5 => {
            *input = input.get(4..)?;
            Field::Other
        }
        _ => return None,
    };
    Some((key >> 3, field))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(version: Version, body: &[u8]) -> Result<Vec<Series>, String> {
        let mut all = Vec::new();
        visit(version, body, |view| {
            let labels = view.labels_map().into_iter().collect();
            all.push(Series { labels, samples: view.samples.clone() });
        })?;
        Ok(all)
    }

    #[test]
    fn both_versions_round_trip() {
        let series = [
            Series::new("a", &[("x", "1"), ("y", "é")], &[(1, 2.5), (-7, f64::INFINITY)]),
            Series::new("b", &[("x", "1")], &[]),
        ];
        for version in [Version::V1, Version::V2] {
            assert_eq!(decode(version, &encode(version, &series)).unwrap(), series, "{version:?}");
        }
    }

    #[test]
    fn cut_messages_and_missing_symbols_are_errors() {
        let whole = encode(Version::V2, &[Series::new("a", &[("x", "1")], &[(1, 2.5)])]);
        assert!(decode(Version::V2, &whole[..whole.len() - 1]).is_err());
        let mut series = Vec::new();
        put_refs(&mut series, &[1, 9]);
        let mut body = Vec::new();
        put_message(&mut body, 5, &series);
        assert_eq!(decode(Version::V2, &body).unwrap_err(), "symbol 1 of 0");
    }

    #[test]
    fn bodies_above_the_limit_are_refused() {
        let mut bomb = Vec::new();
        put_u64(&mut bomb, MAX_BODY as u64 + 1);
        assert!(decompress("snappy", &bomb).unwrap_err().contains("are over"));
        assert_eq!(decompress("snappy", &snappy(b"x")).unwrap(), b"x");
        assert_eq!(decompress("zstd", &zstd(b"x")).unwrap(), b"x");
    }
}
