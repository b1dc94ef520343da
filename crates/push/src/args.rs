//! Flags of `narthex push`, and those about the target, which `narthex exec` has too.

use clap::{Args, ValueEnum};
use model::MetricType;
use std::path::PathBuf;

/// The target of pushes.
#[derive(Debug, Clone, Default, Args)]
pub struct TargetArgs {
    /// Push to this narthex or Pushgateway, which keeps the metrics and shows them until they are replaced. The
    /// variable NARTHEX_GATEWAY has the same effect. [default: http://127.0.0.1:9091]
    #[arg(long, value_name = "URL", conflicts_with_all = ["to", "to_file"])]
    pub gateway: Option<String>,

    /// Push directly to this remote-write endpoint instead (2.0, or 1.0 if it supports no other). The push is then a
    /// single sample, which queries find only for five minutes: alerts need `last_over_time(x[2d])`. The default path
    /// is /api/v1/write. Arguments are visible in the list of processes: for a URL with a password, use --to-file or
    /// the variable NARTHEX_TO.
    #[arg(long, value_name = "URL")]
    pub to: Option<String>,

    /// Read the URL of --to from this file.
    #[arg(long, value_name = "FILE", conflicts_with = "to")]
    pub to_file: Option<PathBuf>,

    /// The user, if the target needs one.
    #[arg(long, value_name = "USER", requires = "password_file")]
    pub user: Option<String>,

    /// The file with the user's password.
    #[arg(long, value_name = "FILE", requires = "user")]
    pub password_file: Option<PathBuf>,

    /// The file with the token, if the target needs one.
    #[arg(long, value_name = "FILE", conflicts_with = "user")]
    pub bearer_token_file: Option<PathBuf>,

    /// Trust the target's certificate if one in this file (PEM) has signed it. [default: the system's]
    #[arg(long, value_name = "FILE")]
    pub ca_file: Option<PathBuf>,

    /// The certificate to present to the target (PEM).
    #[arg(long, value_name = "FILE", requires = "key_file")]
    pub cert_file: Option<PathBuf>,

    /// The key of that certificate (PEM).
    #[arg(long, value_name = "FILE", requires = "cert_file")]
    pub key_file: Option<PathBuf>,

    /// Use this proxy: http://, https://, socks5:// or socks5h://, with user and password if it needs them.
    #[arg(long, value_name = "URL")]
    pub proxy_url: Option<String>,

    /// The folder for pushes that can't be sent now, until this user's next push. [default: narthex/spool in
    /// $STATE_DIRECTORY, else in $XDG_STATE_HOME, else in ~/.local/state]
    #[arg(long, value_name = "DIR")]
    pub spool: Option<PathBuf>,
}

/// `narthex push`.
#[derive(Debug, Args)]
#[command(after_help = "\
Exit codes: 0 if the target has the push, or if it is in the spool because the target is unreachable; 1 if the \
target refuses it, if it could be neither sent nor kept, if it is in the spool until credentials (401, 403), a \
missing file, a certificate or the URL are corrected, and, with --strict, whenever it is in the spool; 2 if flags \
or values are wrong.")]
pub struct PushArgs {
    /// The values to push, such as `backup_bytes=17` or `'backup_bytes{disk="a"}=17'`. Without any, metrics in
    /// Prometheus' text format are read from standard input.
    #[arg(value_name = "NAME{LABELS}=VALUE")]
    pub values: Vec<String>,

    /// The label `job`.
    #[arg(long, value_name = "JOB")]
    pub job: String,

    /// A label for all pushed series. Together with `job` the labels identify the group at a gateway. May be repeated.
    #[arg(long = "label", value_name = "NAME=VALUE", value_parser = crate::labels::parse)]
    pub labels: Vec<(String, String)>,

    /// The type of the metrics given as arguments.
    #[arg(long = "type", value_name = "TYPE", value_enum, default_value_t = Kind::Untyped)]
    pub kind: Kind,

    /// The time of the values, in seconds since 1970, instead of now. With --to only: a gateway uses the time of the
    /// push.
    #[arg(long, value_name = "SECONDS", value_parser = parse_timestamp, allow_negative_numbers = true)]
    pub timestamp: Option<i64>,

    /// How long a narthex keeps the group after its last push (90s, 7d; 0 means forever). The Pushgateway ignores this.
    #[arg(long, value_name = "DURATION", value_parser = parse_ttl)]
    pub ttl: Option<String>,

    /// Add to the group's values instead of replacing them: counters and histograms become sums. Gauges become the last
    /// value, or the max, min or sum as given here. The values are added once, even if they have to be sent several
    /// times. Needs a narthex: a Pushgateway answers 404.
    #[arg(long, value_name = "GAUGES", num_args = 0..=1, require_equals = true, default_missing_value = "last",
        value_parser = ["last", "max", "min", "sum"], conflicts_with_all = ["to", "to_file", "timestamp"])]
    pub add: Option<String>,

    /// End with 1 whenever the target does not have this push yet, even if it is in the spool.
    #[arg(long)]
    pub strict: bool,

    /// The target.
    #[command(flatten)]
    pub target: TargetArgs,
}

/// The types that a single value can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// Goes up and down.
    Gauge,
    /// Only goes up, or restarts at zero.
    Counter,
    /// Unknown.
    Untyped,
}

impl From<Kind> for MetricType {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Gauge => MetricType::Gauge,
            Kind::Counter => MetricType::Counter,
            Kind::Untyped => MetricType::Unknown,
        }
    }
}

/// Converts seconds since 1970, with or without a fraction (`date +%s.%N`), to milliseconds.
fn parse_timestamp(text: &str) -> Result<i64, String> {
    /// The last second of the year 9999. A larger number is probably in milliseconds.
    const LAST: f64 = 253_402_300_799.0;
    match text.parse::<f64>() {
        Ok(seconds) if (-LAST..=LAST).contains(&seconds) => Ok((seconds * 1000.0).round() as i64),
        Ok(seconds) if seconds.is_finite() => Err(format!(
            "{text} seconds are beyond the year 9999; milliseconds? give seconds, as `date +%s` does"
        )),
        _ => Err(format!("{text:?} is no number of seconds since 1970, as `date +%s` gives it")),
    }
}

/// A time to live in the format of narthex' HTTP input: a duration or a number of seconds. It is checked here, so that
/// this push reports a mistake and not a later one that sends the spool.
fn parse_ttl(text: &str) -> Result<String, String> {
    let seconds = text.parse::<u32>().is_ok();
    if seconds || model::duration::parse(text).is_ok() {
        return Ok(text.to_string());
    }
    Err(format!("{text:?} is no time to live: write 90s, 1h30m, 7d, a number of seconds, or 0 for none"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_are_seconds() {
        assert_eq!(parse_timestamp("1700000000"), Ok(1_700_000_000_000));
        assert_eq!(parse_timestamp("1700000000.123456789"), Ok(1_700_000_000_123));
        assert_eq!(parse_timestamp("-1.5"), Ok(-1500));
        assert!(parse_timestamp("1700000000000").unwrap_err().contains("milliseconds?"));
        for wrong in ["", "now", "nan", "inf"] {
            assert!(parse_timestamp(wrong).unwrap_err().contains("is no number"), "{wrong}");
        }
    }

    #[test]
    fn times_to_live_are_durations_or_seconds() {
        for right in ["0", "90", "90s", "1h30m", "7d"] {
            assert_eq!(parse_ttl(right).as_deref(), Ok(right));
        }
        for wrong in ["", "soon", "1.5h", "-1"] {
            assert!(parse_ttl(wrong).unwrap_err().contains("is no time to live"), "{wrong}");
        }
    }
}
