//! Points over HTTP: a request is read in parts, because the labels of all fields may take many times the memory of the
//! text. The answer waits for the commit of all of them.

use super::answer::{self, Written};
use super::{Api, Settings, count_left_out};
use crate::Doors;
use crate::answer::{Refusal, whole};
use crate::decode::{TEXT_ENCODINGS, decode, encoding};
use crate::pushgateway::parameters;
use axum::extract::Request;
use axum::response::Response;
use formats::Unknown;
use formats::compress::Encoding;
use http::Uri;
use http::request::Parts;
use influx::{Fault, Lines, Options, Part, Precision};
use intake::{Outcome, TimeBounds};

/// Most memory of the samples that are read before they are appended.
pub const PART_BYTES: usize = 4 << 20;
/// Memory that is reserved for the samples of a text at first, as a multiple of its bytes.
const USUAL_GROWTH: usize = 8;
/// The least that is reserved for the samples of a text.
const PART_BYTES_MIN: usize = 16 << 10;

/// Handles a request.
pub(super) async fn serve(doors: &Doors, api: Api, request: Request) -> Response {
    let (refusal, response) = match append(doors, api, request).await {
        Ok(written) => {
            let outcome = Outcome { rejected: written.rejected.clone(), ..Outcome::default() };
            (whole(&outcome).err(), answer::written(api, &written))
        }
        Err(Failure::Refused(refusal)) => {
            let response = answer::refused(api, &refusal);
            (Some(refusal), response)
        }
        Err(Failure::NotWhole(fault)) => {
            (Some(Refusal::Malformed(fault.to_string())), answer::not_written(&fault))
        }
    };
    doors.count_answer(doors.influx(), refusal.as_ref(), response)
}

/// Why nothing, or not all, was appended.
enum Failure {
    Refused(Refusal),
    /// A line is invalid, and the request is to be kept as a whole or not at all.
    NotWhole(Box<Fault>),
}

impl<R: Into<Refusal>> From<R> for Failure {
    fn from(refusal: R) -> Self {
        Failure::Refused(refusal.into())
    }
}

async fn append(doors: &Doors, api: Api, request: Request) -> Result<Written, Failure> {
    let input = doors.influx();
    let mut admission = input.admit()?;
    let (Parts { uri, headers, .. }, body) = request.into_parts();
    let settings = doors.options().influx.clone();
    let asked = Asked::of(api, &uri, &settings)?;
    let encoding = encoding(&headers, "content-encoding", Encoding::Identity, TEXT_ENCODINGS)?;
    let body = doors.read_body(&mut admission, body).await?;
    let text = match encoding {
        Encoding::Identity => body,
        _ => {
            let limit = doors.options().decoded_bytes;
            decode(body, admission.memory(), encoding, limit, <[u8]>::to_vec).await?.0
        }
    };
    let held = text.capacity();
    admission.memory().resize(held).await?;

    let label = settings.db_label.as_deref().zip(asked.db.as_deref());
    let options = Options {
        precision: asked.precision,
        value_field: settings.value_field,
        label,
        multiline_strings: true,
        now_ms: admission.now_ms(),
        limits: admission.settings().limits,
    };
    if !asked.accepts_part {
        admission.memory().grow(held + PART_BYTES).await?;
        check_all(&text, &options, admission.time_bounds())?;
    }
    let recogniser = admission.recogniser();
    let depends_on = format!("{label:?}");
    let mut lines = Lines::new(&text);
    let mut part_bytes = text.len().saturating_mul(USUAL_GROWTH).clamp(PART_BYTES_MIN, PART_BYTES);
    let mut written = Written::default();
    while !lines.is_done() {
        admission.memory().grow(held + part_bytes).await?;
        let mut part = Part::default();
        let recognised = recogniser.read(&depends_on, |known| {
            part = lines.read(&options, part_bytes, known);
            std::mem::take(&mut part.parsed)
        });
        if let Some(needs) = part.needs {
            part_bytes = needs;
            continue;
        }
        let outcome = admission.append_part(recognised, held).await?;
        count_left_out(input, part.left_out);
        written.add(outcome, part.faults);
    }
    Ok(written)
}

/// Reads all lines without keeping anything. An error is about the first mistake.
fn check_all(text: &[u8], options: &Options<'_>, bounds: TimeBounds) -> Result<(), Failure> {
    let mut lines = Lines::new(text);
    while !lines.is_done() {
        let part = lines.read(options, PART_BYTES, &mut Unknown);
        if let Some(fault) = part.faults.into_iter().next() {
            return Err(Failure::NotWhole(Box::new(fault)));
        }
        let mut points = part.parsed.batch.points.iter();
        if let Some(reason) = points.find_map(|point| bounds.refusal(point.timestamp, None)) {
            return Err(Refusal::Malformed(reason).into());
        }
    }
    Ok(())
}

/// What the URL says. Parameters that are about InfluxDB's storage are not read.
#[derive(Debug, PartialEq, Eq)]
struct Asked {
    precision: Precision,
    /// The database or bucket.
    db: Option<String>,
    /// Whether the valid lines are kept if others are invalid.
    accepts_part: bool,
}

impl Asked {
    fn of(api: Api, uri: &Uri, settings: &Settings) -> Result<Asked, Refusal> {
        let parameters = parameters(uri)?;
        let find = |name: &str| {
            let found = parameters.iter().rev().find(|(key, _)| key == name);
            found.map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
        };
        let precision = match find("precision") {
            Some(text) => Precision::parse(text).ok_or_else(|| unknown_precision(api, text))?,
            None if api == Api::V3 => Precision::Auto,
            None => settings.precision,
        };
        let db = find(if api == Api::V2 { "bucket" } else { "db" }).map(str::to_string);
        let accepts_part = api != Api::V3 || find("accept_partial") != Some("false");
        Ok(Asked { precision, db, accepts_part })
    }
}

fn unknown_precision(api: Api, text: &str) -> Refusal {
    let text: String = text.chars().take(40).collect();
    Refusal::Malformed(match api {
        Api::V1 => format!("invalid precision {text:?} (use n, u, ms, s, m or h)"),
        Api::V2 => "invalid precision; valid precision units are ns, us, ms, and s".into(),
        Api::V3 => {
            format!("invalid precision {text:?} (use nanosecond, microsecond, millisecond, second or auto)")
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(api: Api, query: &str, settings: &Settings) -> Result<Asked, Refusal> {
        Asked::of(api, &format!("/?{query}").parse().unwrap_or_default(), settings)
    }

    #[test]
    fn each_interface_has_its_own_parameters() {
        let settings = Settings { precision: Precision::Seconds, ..Settings::default() };
        for (api, query, precision, db, accepts_part) in [
            (Api::V1, "db=a&rp=b&precision=ms", Precision::Milliseconds, Some("a"), true),
            (Api::V1, "bucket=a&accept_partial=false", Precision::Seconds, None, true),
            (Api::V2, "org=o&bucket=a/b&precision=us", Precision::Microseconds, Some("a/b"), true),
            (Api::V2, "db=a&precision=", Precision::Seconds, None, true),
            (Api::V3, "db=a", Precision::Auto, Some("a"), true),
            (Api::V3, "precision=second&accept_partial=false&no_sync=true", Precision::Seconds, None, false),
        ] {
            let wanted = Asked { precision, db: db.map(str::to_string), accepts_part };
            assert_eq!(asked(api, query, &settings), Ok(wanted), "{api:?} {query}");
        }
        for api in [Api::V1, Api::V2, Api::V3] {
            let refusal = asked(api, "precision=x", &settings).err().map(|refusal| refusal.to_string());
            assert!(refusal.is_some_and(|text| text.contains("invalid precision")), "{api:?}");
        }
    }

    /// So that a line always fits, and no request asks for more than a part.
    #[test]
    fn a_part_has_room_for_the_largest_line() {
        let fields: Vec<String> = (0..influx::LINE_FIELDS_MAX).map(|n| format!("{n}=1")).collect();
        let each = influx::LINE_LABEL_BYTES_MAX / influx::LINE_FIELDS_MAX - 10;
        let text = format!("m,a={} {}\n", "v".repeat(each), fields.join(","));
        let options = Options {
            precision: Precision::Auto,
            value_field: Default::default(),
            label: None,
            multiline_strings: true,
            now_ms: 0,
            limits: model::Limits::default(),
        };
        let part = Lines::new(text.as_bytes()).read(&options, PART_BYTES, &mut Unknown);
        assert_eq!((part.needs, part.parsed.batch.points.len()), (None, influx::LINE_FIELDS_MAX));
    }
}
