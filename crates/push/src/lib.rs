//! The commands `narthex push` (one push from a script) and `narthex exec` (a command, and a push of how it
//! went).
//!
//! They promise:
//! - **A job never fails because of its metrics**: `exec` ends with the exit code of the command that it
//!   runs.
//! - **Nothing is lost while a target can't be reached**: entries that could not be sent wait in the
//!   [`spool`], in order, up to its limits.
//!
//! Both commands make entries ([`entry`]). The [`courier`] sends them to a [`target`], and keeps those that
//! could not be sent in the spool. Start at [`run`] and [`exec::run`].

pub mod args;
pub mod courier;
mod credentials;
pub mod entry;
pub mod exec;
mod expression;
mod gateway;
pub(crate) mod labels;
mod older;
pub mod spool;
mod straight;
pub mod target;

use args::{Kind, PushArgs};
use command::Failure;
use command::say;
use courier::{Courier, Outcome, Report};
use entry::{Add, Entry};
use formats::hint::Hint;
use formats::text::{Format, ParseOptions};
use model::{Clock, MetricType};
use std::io::{IsTerminal, Read};

/// The most bytes that are read from standard input.
pub const STDIN_BYTES_MAX: u64 = 8 << 20;

pub async fn run(args: PushArgs) -> Result<(), Failure> {
    if args.job.is_empty() {
        return Err(Failure::usage("--job is empty: a gateway tells groups apart by it"));
    }
    let mut courier = Courier::new(&args.target, &|name| std::env::var(name).ok())?;
    let straight = courier.target().is_straight();
    if args.timestamp.is_some() && !straight {
        return Err(Failure::usage(
            "--timestamp needs --to: what a gateway is given counts from when it is pushed",
        ));
    }
    if args.ttl.is_some() && straight {
        return Err(Failure::usage("--ttl needs --gateway: a remote-write endpoint keeps what it is given"));
    }
    if args.add.is_some() && straight {
        return Err(Failure::usage("--add needs --gateway: a remote-write endpoint has no totals to add to"));
    }
    if args.add.is_some() && !args.values.is_empty() && args.kind == Kind::Untyped {
        return Err(Failure::usage("--add needs --type counter or --type gauge, which says how to add"));
    }
    let body = match args.values.is_empty() {
        true => read_text(args.kind, args.add.is_some())?,
        false => write_text(&args)?,
    };
    let mut labels: std::collections::BTreeMap<_, _> = args.labels.into_iter().collect();
    labels.insert("job".into(), args.job);
    let at = args.timestamp.unwrap_or_else(|| model::SystemClock::new().now_ms());
    let add = args.add.map(Add::new);
    let entry = Entry { at, labels, ttl: args.ttl, add, body };
    let Report { outcome, notes } = courier.deliver(&entry).await;
    for note in notes {
        say(format_args!("narthex: {note}"));
    }
    let target = courier.target().shown();
    match outcome {
        Outcome::Delivered => Ok(()),
        Outcome::Kept { reason, waiting, denied } => {
            let spool = courier.spool_shown();
            let kept = format!("{target}: {reason}; kept for the next push in {spool} ({waiting} waiting)");
            if denied || args.strict {
                return Err(Failure::running(kept));
            }
            say(format_args!("narthex: {kept}"));
            Ok(())
        }
        Outcome::Refused(reason) => Err(Failure::running(format!("{target} refuses this push: {reason}"))),
        Outcome::Lost(reason) => Err(Failure::running(format!("{target}: {reason}; this push is lost"))),
    }
}

/// The values from the arguments in the text format.
fn write_text(args: &PushArgs) -> Result<String, Failure> {
    let parsed: Result<Vec<_>, _> = args.values.iter().map(|text| expression::parse(text)).collect();
    let families = parsed.and_then(|parsed| expression::families(parsed, args.kind.into()));
    Ok(formats::text::encode(&families.map_err(Failure::usage)?))
}

/// The advice for a compressed text. The hint of an HTTP input names a header, and `push` has no headers.
fn compressed(text: &[u8]) -> Option<String> {
    let Hint::Compressed(encoding) = formats::hint::compressed(text)? else { return None };
    let command = match encoding {
        "gzip" => "gunzip",
        "zstd" => "zstd -d",
        _ => return Some(format!("it is compressed with {encoding}: decompress it first")),
    };
    Some(format!(
        "it is compressed with {encoding}: decompress it first, as in `{command} < FILE | narthex push ...`"
    ))
}

/// Reads and checks standard input, so that a mistake is reported by this push and not by a later one that
/// sends the spool.
fn read_text(kind: Kind, is_added: bool) -> Result<String, Failure> {
    if kind != Kind::Untyped {
        return Err(Failure::usage("--type is for values given as arguments; in a text, write # TYPE lines"));
    }
    let mut input = std::io::stdin().lock();
    if input.is_terminal() {
        return Err(Failure::usage("nothing to push: give NAME=VALUE, or text on standard input"));
    }
    let mut text = Vec::new();
    input
        .by_ref()
        .take(STDIN_BYTES_MAX + 1)
        .read_to_end(&mut text)
        .map_err(|error| Failure::running(format!("standard input: {error}")))?;
    if text.len() as u64 > STDIN_BYTES_MAX {
        let mib = STDIN_BYTES_MAX >> 20;
        return Err(Failure::usage(format!("standard input: more than {mib} MiB; push it in parts")));
    }
    let wrong = |error: &dyn std::fmt::Display| Failure::usage(format!("standard input: {error}"));
    if let Some(hint) = compressed(&text) {
        return Err(wrong(&hint));
    }
    let batch =
        formats::text::parse(&text, &ParseOptions::new(Format::Text, 0)).map_err(|error| wrong(&error))?;
    let batch = batch.whole().map_err(|rejected| wrong(&rejected))?;
    if batch.points.is_empty() {
        return Err(wrong(&"there is no sample in it, and no NAME=VALUE was given"));
    }
    let has_no_type = |series: &&model::Series| {
        let metadata = batch.metadata.get(series.metadata as usize);
        metadata.is_none_or(|metadata| metadata.kind == MetricType::Unknown)
    };
    if let Some(series) = batch.series.iter().find(has_no_type).filter(|_| is_added) {
        let labels = model::LabelsRef::trusted(batch.slice(series.labels));
        let name = String::from_utf8_lossy(labels.metric_name().unwrap_or_default()).into_owned();
        return Err(wrong(&format!("--add needs to know the type of {name}: write `# TYPE {name} counter`")));
    }
    String::from_utf8(text).map_err(|error| wrong(&error))
}
