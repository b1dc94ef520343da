use model::{Family, MetricType};
use std::fmt::Write;

/// The `Content-Type` of the output of [`encode`].
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Writes families in the text format 0.0.4, with HELP and TYPE. Names outside of the legacy pattern are quoted.
pub fn encode(families: &[Family]) -> String {
    let mut out = String::new();
    for family in families {
        let name = quoted_unless_legacy(&family.name, true);
        if !family.help.is_empty() {
            let _ = writeln!(out, "# HELP {name} {}", escape(&family.help, false));
        }
        let _ = writeln!(out, "# TYPE {name} {}", type_word(family.kind));
        for metric in &family.metrics {
            let full = format!("{}{}", family.name, metric.suffix);
            let legacy = model::labels::is_legacy_metric_name(full.as_bytes());
            let mut open = false;
            if legacy {
                out.push_str(&full);
            } else {
                let _ = write!(out, "{{\"{}\"", escape(&full, true));
                open = true;
            }
            for (label, value) in metric.labels.iter().filter(|(_, value)| !value.is_empty()) {
                out.push(if open { ',' } else { '{' });
                let _ = write!(out, "{}=\"{}\"", quoted_unless_legacy(label, false), escape(value, true));
                open = true;
            }
            if open {
                out.push('}');
            }
            out.push(' ');
            write_value(&mut out, metric.value);
            out.push('\n');
        }
    }
    out
}

/// The text format has five types. The other types are written as OpenMetrics says that older parsers see them.
pub const fn type_word(kind: MetricType) -> &'static str {
    match kind {
        MetricType::Counter => "counter",
        MetricType::Histogram => "histogram",
        MetricType::Summary => "summary",
        MetricType::Gauge | MetricType::Info | MetricType::StateSet => "gauge",
        MetricType::Unknown | MetricType::GaugeHistogram => "untyped",
    }
}

fn quoted_unless_legacy(name: &str, metric: bool) -> String {
    let legacy = if metric {
        model::labels::is_legacy_metric_name(name.as_bytes())
    } else {
        model::labels::is_legacy_label_name(name.as_bytes())
    };
    if legacy { name.to_string() } else { format!("\"{}\"", escape(name, true)) }
}

/// Escapes backslashes and line feeds, and also quotation marks if `quotes`.
fn escape(text: &str, quotes: bool) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '"' if quotes => out.push_str("\\\""),
            other => out.push(other),
        }
    }
    out
}

/// Writes the shortest text that parses to the same float. Very large and very small floats have an exponent.
fn write_value(out: &mut String, value: f64) {
    let magnitude = value.abs();
    let _ = if value.is_nan() {
        out.write_str("NaN")
    } else if value.is_infinite() {
        out.write_str(if value > 0.0 { "+Inf" } else { "-Inf" })
    } else if magnitude == 0.0 || (1e-5..1e16).contains(&magnitude) {
        write!(out, "{value}")
    } else {
        write!(out, "{value:e}")
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_are_written_with_help_type_and_metrics() {
        let mut disk = Family::new("disk_free_bytes", "What is\nfree \\ \"now\"", MetricType::Gauge);
        disk.push(&[("mount", "/a\"b\\c\nd"), ("none", "")], 1.5e20);
        disk.push(&[], f64::NAN);
        let mut time = Family::new("took_seconds", "", MetricType::Histogram);
        time.push_suffixed("_bucket", &[("le", "+Inf")], 3.0);
        time.push_suffixed("_sum", &[], 0.25);
        time.push_suffixed("_count", &[], 3.0);
        let utf8 = Family::single("température.°C", "", MetricType::Info, f64::NEG_INFINITY);
        assert_eq!(
            encode(&[disk, time, utf8]),
            r#"# HELP disk_free_bytes What is\nfree \\ "now"
# TYPE disk_free_bytes gauge
disk_free_bytes{mount="/a\"b\\c\nd"} 1.5e20
disk_free_bytes NaN
# TYPE took_seconds histogram
took_seconds_bucket{le="+Inf"} 3
took_seconds_sum 0.25
took_seconds_count 3
# TYPE "température.°C" gauge
{"température.°C"} -Inf
"#
        );
    }

    #[test]
    fn written_values_parse_to_the_same_float() {
        for value in [0.0, -0.0, 1.0, 0.1, 1e-7, 123456789.123, 1e16, 9007199254740993.0, f64::MAX, 5e-324] {
            let mut out = String::new();
            write_value(&mut out, value);
            assert_eq!(out.parse::<f64>().unwrap().to_bits(), value.to_bits(), "{out}");
            assert!(out.len() < 25, "{out}");
        }
    }
}
