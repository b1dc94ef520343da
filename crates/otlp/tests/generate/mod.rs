//! Requests with all that the translation looks at, from a seed.

use otlp::{Promote, Settings, Strategy};
use serde_json::{Value, json};
use std::collections::BTreeSet;

const TIME: i64 = 1_700_000_000_000;

/// Names of attributes: what has to be escaped, what becomes the same label, what is reserved.
const KEYS: [&str; 18] = [
    "service.name",
    "service.namespace",
    "service.instance.id",
    "host.name",
    "host_name",
    "host-name",
    "a",
    "a__b",
    "a..b",
    "__reserved__",
    "_lead",
    "__lead",
    "1digit",
    "ünicode",
    "job",
    "le",
    "otel_scope_name",
    "Upper:Colon",
];
const NAMES: [&str; 16] = [
    "http.server.duration",
    "requests",
    "requests_total",
    "total.requests",
    "5xx",
    "a..b__c",
    "ratio",
    "memory_bytes",
    "system.io.bytes",
    "x:y",
    "_private",
    "durée",
    "rate_per_second",
    "total",
    "a",
    "seconds",
];
const UNITS: [&str; 16] = [
    "", "s", "ms", "By", "1", "By/s", "{req}", "{req}/s", "%", "m/h", "m2.K", "°C", "__", "KiBy", "1/s",
    "a_/_b",
];

pub(crate) struct Generated {
    pub(crate) settings: Settings,
    pub(crate) json: Value,
    oracle_settings: Value,
}

impl Generated {
    /// What the oracle reads.
    pub(crate) fn line(&self) -> String {
        json!({"settings": self.oracle_settings, "request": self.json}).to_string()
    }
}

pub(crate) struct Random(fastrand::Rng);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Random(fastrand::Rng::with_seed(seed))
    }

    fn one_in(&mut self, number: u32) -> bool {
        self.0.u32(0..number) == 0
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.0.usize(0..from.len())]
    }

    fn number(&mut self) -> Value {
        match self.0.u8(0..12) {
            0 => json!("NaN"),
            1 => json!("Infinity"),
            2 => json!("-Infinity"),
            3 => json!(0.0),
            4 => json!(1e-7),
            5 => json!(1.5e21),
            6 => json!(-2.5),
            _ => json!(self.0.f64() * 1000.0),
        }
    }

    fn value(&mut self, levels: u8) -> Value {
        match self.0.u8(0..if levels > 0 { 12 } else { 9 }) {
            0 => json!({"intValue": self.0.i64(..).to_string()}),
            1 => json!({"boolValue": self.0.bool()}),
            2 => json!({"doubleValue": self.number()}),
            3 => json!({"bytesValue": "AQID/w=="}),
            4 => json!({"stringValue": ""}),
            5 => json!({}),
            6 => json!({"stringValue": "quo\"te <&> \n\u{1}é"}),
            9 | 10 => {
                let values: Vec<Value> = (0..self.0.usize(0..4)).map(|_| self.value(levels - 1)).collect();
                json!({"arrayValue": {"values": values}})
            }
            11 => json!({"kvlistValue": {"values": self.attributes(3, levels - 1)}}),
            _ => json!({"stringValue": format!("v{}", self.0.u8(0..5))}),
        }
    }

    /// Up to so many attributes with different names.
    fn attributes(&mut self, most: usize, levels: u8) -> Vec<Value> {
        let count = self.0.usize(0..=most);
        let mut keys: Vec<&str> = KEYS.to_vec();
        self.0.shuffle(&mut keys);
        keys.truncate(count);
        keys.into_iter().map(|key| json!({"key": key, "value": self.value(levels)})).collect()
    }

    fn settings(&mut self) -> (Settings, Value) {
        let (name, translation_strategy) = self.pick(&Strategy::ALL);
        let names: BTreeSet<String> = (0..3).map(|_| self.pick(&KEYS).to_string()).collect();
        let all = self.one_in(3);
        let only = self.0.bool();
        let settings = Settings {
            promote: match (all, only) {
                (true, _) => Promote::AllBut(names.clone()),
                (false, true) => Promote::Only(names.clone()),
                (false, false) => Promote::default(),
            },
            translation_strategy,
            keep_identifying_resource_attributes: self.0.bool(),
            convert_histograms_to_nhcb: self.one_in(3),
            promote_scope_metadata: self.0.bool(),
            label_name_underscore_sanitization: self.0.bool(),
            label_name_preserve_multiple_underscores: self.0.bool(),
            ..Settings::default()
        };
        let none = BTreeSet::new();
        let given = json!({
            "translation_strategy": name,
            "promote_resource_attributes": if !all && only { &names } else { &none },
            "promote_all_resource_attributes": all,
            "ignore_resource_attributes": if all { &names } else { &none },
            "keep_identifying_resource_attributes": settings.keep_identifying_resource_attributes,
            "convert_histograms_to_nhcb": settings.convert_histograms_to_nhcb,
            "promote_scope_metadata": settings.promote_scope_metadata,
            "label_name_underscore_sanitization": settings.label_name_underscore_sanitization,
            "label_name_preserve_multiple_underscores": settings.label_name_preserve_multiple_underscores,
        });
        (settings, given)
    }

    fn time(&mut self) -> String {
        // Some of them do not end with a whole millisecond.
        format!("{}{:06}", TIME + self.0.i64(-600_000..600_000), self.0.u32(0..1_000_000))
    }

    fn exemplars(&mut self) -> Vec<Value> {
        let count = if self.one_in(3) { self.0.usize(1..4) } else { 0 };
        let mut exemplars: Vec<Value> = Vec::new();
        let mut at = 0.0;
        for number in 0..count {
            at += self.0.f64() * 5.0;
            let mut exemplar = json!({
                "timeUnixNano": format!("{}000000", TIME + number as i64),
                "asDouble": at,
                "filteredAttributes": self.attributes(2, 0),
            });
            if self.0.bool() {
                exemplar["traceId"] = json!("0102030405060708090a0b0c0d0e0fff");
                exemplar["spanId"] = json!("00f1f2f3f4f5f6f7");
            }
            if self.one_in(5) {
                let long =
                    json!({"key": "long", "value": {"stringValue": "x".repeat(self.0.usize(50..130))}});
                exemplar["filteredAttributes"] = json!([long]);
            }
            exemplars.push(exemplar);
        }
        exemplars
    }

    fn counts(&mut self, count: usize) -> Vec<u64> {
        (0..count).map(|_| if self.0.bool() { 0 } else { self.0.u64(0..100) }).collect()
    }

    fn buckets(&mut self) -> (Value, u64) {
        let size = self.0.usize(0..40);
        let counts = self.counts(size);
        let offset = self.0.i32(-50..50);
        (json!({"offset": offset, "bucketCounts": counts}), counts.iter().sum())
    }

    fn data_point(&mut self, kind: &str) -> Value {
        let mut point = json!({"timeUnixNano": self.time(), "attributes": self.attributes(5, 2)});
        if self.0.bool() {
            point["startTimeUnixNano"] = json!(self.time());
        }
        if self.one_in(10) {
            point["flags"] = json!(1);
        }
        if kind != "gauge" && kind != "summary" {
            point["exemplars"] = json!(self.exemplars());
        }
        match kind {
            "gauge" | "sum" => {
                if self.0.bool() {
                    point["asInt"] = json!(self.0.i64(..).to_string());
                } else if !self.one_in(10) {
                    point["asDouble"] = self.number();
                }
            }
            "histogram" => {
                let size = self.0.usize(0..8);
                let counts = self.counts(size);
                let wrong = u64::from(self.one_in(8));
                point["count"] = json!((counts.iter().sum::<u64>() + wrong).to_string());
                let mut bounds: Vec<f64> = (1..counts.len()).map(|n| (n * n) as f64 / 4.0).collect();
                if self.one_in(8) && !bounds.is_empty() {
                    *bounds.last_mut().unwrap() = 1e6;
                }
                point["explicitBounds"] = json!(bounds);
                point["bucketCounts"] = json!(counts.iter().map(u64::to_string).collect::<Vec<_>>());
            }
            "exponentialHistogram" => {
                let ((positive, above), (negative, below)) = (self.buckets(), self.buckets());
                let zero = self.0.u64(0..3);
                let wrong = u64::from(self.one_in(8));
                point["scale"] = json!(self.0.i32(-4..=20));
                point["zeroCount"] = json!(zero.to_string());
                point["positive"] = positive;
                point["negative"] = negative;
                point["count"] = json!((above + below + zero + wrong).to_string());
            }
            _ => {
                point["count"] = json!(self.0.u32(..).to_string());
                let quantiles = [0.0, 0.5, 0.999, 1.0];
                let values: Vec<Value> = quantiles
                    .iter()
                    .map(|quantile| json!({"quantile": quantile, "value": self.number()}))
                    .collect();
                point["quantileValues"] = json!(values);
            }
        }
        if kind == "summary" || (kind != "gauge" && kind != "sum" && self.0.bool()) {
            point["sum"] = self.number();
        }
        point
    }

    fn metric(&mut self) -> Value {
        let kind = self.pick(&["gauge", "sum", "sum", "histogram", "exponentialHistogram", "summary"]);
        let points: Vec<Value> = (0..self.0.usize(0..4)).map(|_| self.data_point(kind)).collect();
        let mut data = json!({"dataPoints": points});
        if kind != "gauge" && kind != "summary" {
            let is_delta = self.one_in(15);
            data["aggregationTemporality"] = json!(if is_delta { 1 } else { 2 });
        }
        if kind == "sum" {
            data["isMonotonic"] = json!(self.0.bool());
        }
        let name = if self.one_in(60) { "___" } else { self.pick(&NAMES) };
        let mut metric = json!({"name": name, "unit": self.pick(&UNITS), "description": "what it is"});
        metric[kind] = data;
        metric
    }

    pub(crate) fn request(&mut self) -> Generated {
        let (settings, oracle_settings) = self.settings();
        let resources: Vec<Value> = (0..self.0.usize(1..4))
            .map(|_| {
                let scopes: Vec<Value> = (0..self.0.usize(1..3))
                    .map(|_| {
                        let metrics: Vec<Value> = (0..self.0.usize(1..5)).map(|_| self.metric()).collect();
                        let name = self.pick(&["", "lib", "other.lib"]);
                        let mut attributes = self.attributes(2, 0);
                        if self.one_in(3) {
                            attributes.push(json!({"key": "name", "value": {"stringValue": "shadow"}}));
                        }
                        json!({
                            "scope": {"name": name, "version": self.pick(&["", "1.0"]), "attributes": attributes},
                            "schemaUrl": self.pick(&["", "https://example.org/schema"]),
                            "metrics": metrics,
                        })
                    })
                    .collect();
                json!({"resource": {"attributes": self.attributes(6, 1)}, "scopeMetrics": scopes})
            })
            .collect();
        Generated { settings, json: json!({"resourceMetrics": resources}), oracle_settings }
    }
}
