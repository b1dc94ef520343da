//! The charts of the demo's page, made from the samples that arrived at the sink. Counters become rates,
//! series of the same kind are added up, and only points that the page does not have yet are sent.

use model::LabelsRef;
use serde::Serialize;
use sink::Window;
use sink::window::{Point, Series};
use std::collections::{BTreeMap, VecDeque};

/// A point of a line: milliseconds since 1970, and the value.
pub type Dot = (i64, f64);

/// A line of a chart.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Line {
    /// The text in the legend.
    pub name: &'static str,
    /// Oldest first.
    pub points: Vec<Dot>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Chart {
    pub title: &'static str,
    /// `%`, `bytes`, `bytes/s`, `samples` or empty.
    pub unit: &'static str,
    /// The end of the scale, if it is fixed.
    pub max: Option<f64>,
    /// True if the lines are stacked.
    pub stacked: bool,
    pub lines: Vec<Line>,
}

/// The usage of a file system.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Mount {
    pub mount: String,
    /// Its size in bytes.
    pub size: f64,
    /// Bytes available to ordinary users.
    pub available: f64,
}

/// A series that was pushed by hand.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Pushed {
    /// Name and labels.
    pub series: String,
    /// The newest value; null if the series has ended or the value is not a number.
    pub value: Option<f64>,
    /// The time of the newest value, in milliseconds since 1970.
    pub timestamp: i64,
    /// Recent points, oldest first.
    pub points: Vec<(i64, Option<f64>)>,
}

/// The most rows of each table: file systems and pushed series.
const ROWS_MAX: usize = 5;
/// Smaller file systems are not shown, because they hold no user data.
const MOUNT_BYTES_MIN: f64 = (16 << 20) as f64;
/// The most points of a pushed series that are shown.
const SPARK_POINTS: usize = 60;

/// The series of one metric.
type Found<'a> = Vec<(LabelsRef<'a>, &'a Series)>;

/// The series for the charts by metric, found in one pass.
#[derive(Debug)]
pub struct Material<'a> {
    by_name: BTreeMap<&'static str, Found<'a>>,
}

/// The metrics of the charts.
const NAMES: [&str; 12] = [
    "node_cpu_seconds_total",
    "node_memory_MemTotal_bytes",
    "node_memory_MemAvailable_bytes",
    "node_network_receive_bytes_total",
    "node_network_transmit_bytes_total",
    "node_disk_read_bytes_total",
    "node_disk_written_bytes_total",
    "node_load1",
    "node_load5",
    "node_load15",
    "node_filesystem_size_bytes",
    "node_filesystem_avail_bytes",
];

fn label<'a>(labels: LabelsRef<'a>, name: &str) -> &'a str {
    labels.get(name).and_then(|value| std::str::from_utf8(value).ok()).unwrap_or_default()
}

impl<'a> Material<'a> {
    /// Finds the series in the window.
    pub fn find(window: &'a Window) -> Self {
        let mut by_name: BTreeMap<&'static str, Found<'a>> = BTreeMap::new();
        for (labels, series) in window.iter().filter(|(labels, _)| label(*labels, "job") == "node") {
            let name = label(labels, model::labels::METRIC_NAME);
            if let Some(name) = NAMES.iter().find(|candidate| **candidate == name) {
                by_name.entry(name).or_default().push((labels, series));
            }
        }
        Material { by_name }
    }

    fn series(&self, name: &str) -> &[(LabelsRef<'a>, &'a Series)] {
        self.by_name.get(name).map_or(&[], Vec::as_slice)
    }

    /// The sum of the series of `name` that `which` selects, for each timestamp.
    fn sum(&self, name: &str, which: impl Fn(LabelsRef<'_>) -> bool) -> Vec<Dot> {
        let picked: Vec<&VecDeque<Point>> =
            self.series(name).iter().filter(|(labels, _)| which(*labels)).map(|(_, s)| &s.points).collect();
        let mut sums: BTreeMap<i64, (f64, usize)> = BTreeMap::new();
        for point in picked.iter().flat_map(|points| points.iter()).filter(|point| !point.value.is_nan()) {
            let sum = sums.entry(point.timestamp).or_default();
            sum.0 += point.value;
            sum.1 += 1;
        }
        // A timestamp at which some of the series have no point is left out, because the sum would jump
        // there.
        let most = sums.values().map(|(_, count)| *count).max().unwrap_or(0);
        sums.into_iter().filter(|(_, (_, count))| *count == most).map(|(t, (sum, _))| (t, sum)).collect()
    }

    /// All charts, with only the points after `since`.
    pub fn charts(&self, since: i64) -> Vec<Chart> {
        let all = |_: LabelsRef<'_>| true;
        let mode = |modes: &'static [&'static str]| {
            move |labels: LabelsRef<'_>| modes.contains(&label(labels, "mode"))
        };
        let cpu = "node_cpu_seconds_total";
        let whole = rate(&self.sum(cpu, all));
        let share = |modes| line_share(&rate(&self.sum(cpu, mode(modes))), &whole);
        let real = |labels: LabelsRef<'_>| label(labels, "device") != "lo";
        let total = self.sum("node_memory_MemTotal_bytes", all);
        let available = self.sum("node_memory_MemAvailable_bytes", all);
        let gauge = |name| self.sum(name, all);
        let line = |name, points: Vec<Dot>| Line { name, points: after(points, since) };
        vec![
            Chart {
                title: "Processor",
                unit: "%",
                max: Some(100.0),
                stacked: true,
                lines: vec![
                    line("user", share(&["user", "nice"])),
                    line("system", share(&["system", "irq", "softirq", "steal"])),
                    line("iowait", share(&["iowait"])),
                ],
            },
            Chart {
                title: "Memory in use",
                unit: "bytes",
                max: total.last().map(|(_, total)| *total),
                stacked: false,
                lines: vec![line("used", difference(&total, &available))],
            },
            Chart {
                title: "Network",
                unit: "bytes/s",
                max: None,
                stacked: false,
                lines: vec![
                    line("in", rate(&self.sum("node_network_receive_bytes_total", real))),
                    line("out", rate(&self.sum("node_network_transmit_bytes_total", real))),
                ],
            },
            Chart {
                title: "Disks",
                unit: "bytes/s",
                max: None,
                stacked: false,
                lines: vec![
                    line("read", rate(&self.sum("node_disk_read_bytes_total", all))),
                    line("written", rate(&self.sum("node_disk_written_bytes_total", all))),
                ],
            },
            Chart {
                title: "Load",
                unit: "",
                max: None,
                stacked: false,
                lines: vec![
                    line("1m", gauge("node_load1")),
                    line("5m", gauge("node_load5")),
                    line("15m", gauge("node_load15")),
                ],
            },
        ]
    }

    /// The largest file systems.
    pub fn mounts(&self) -> Vec<Mount> {
        let newest = |name: &str| -> BTreeMap<(String, String), f64> {
            let pick = |(labels, series): &(LabelsRef<'_>, &Series)| {
                let key = (label(*labels, "device").to_string(), label(*labels, "mountpoint").to_string());
                Some((key, series.points.back()?.value))
            };
            self.series(name).iter().filter_map(pick).collect()
        };
        let available = newest("node_filesystem_avail_bytes");
        let mut mounts: BTreeMap<String, Mount> = BTreeMap::new();
        for ((device, mount), size) in newest("node_filesystem_size_bytes") {
            let Some(available) = available.get(&(device.clone(), mount.clone())).copied() else { continue };
            // A device that is mounted in several places is one file system. The shortest path is shown.
            let known = mounts.get(&device).is_some_and(|known| known.mount.len() <= mount.len());
            if size >= MOUNT_BYTES_MIN && !known {
                let device = if device.starts_with('/') { device } else { format!("{device} {mount}") };
                mounts.insert(device, Mount { mount, size, available });
            }
        }
        let mut mounts: Vec<Mount> = mounts.into_values().collect();
        mounts.sort_by(|a, b| b.size.total_cmp(&a.size).then_with(|| a.mount.cmp(&b.mount)));
        mounts.truncate(ROWS_MAX);
        mounts
    }
}

/// The series that clients pushed, without those of this machine's collectors and of narthex itself. Those
/// that changed last come first.
pub fn pushed(window: &Window) -> Vec<Pushed> {
    let mut found: Vec<Pushed> = window
        .iter()
        .filter(|(labels, _)| !matches!(label(*labels, "job"), "node" | "narthex"))
        .filter(|(labels, _)| {
            let name = label(*labels, model::labels::METRIC_NAME);
            !matches!(name, "push_time_seconds" | "push_failure_time_seconds")
        })
        .filter_map(|(labels, series)| {
            let newest = series.points.back()?;
            let finite = |value: f64| value.is_finite().then_some(value);
            let skip = series.points.len().saturating_sub(SPARK_POINTS);
            Some(Pushed {
                series: labels.to_string(),
                value: finite(newest.value),
                timestamp: newest.timestamp,
                points: series.points.iter().skip(skip).map(|p| (p.timestamp, finite(p.value))).collect(),
            })
        })
        .collect();
    found.sort_by(|a, b| b.timestamp.cmp(&a.timestamp).then_with(|| a.series.cmp(&b.series)));
    found.truncate(ROWS_MAX);
    found
}

fn after(mut points: Vec<Dot>, since: i64) -> Vec<Dot> {
    points.retain(|(timestamp, value)| *timestamp > since && value.is_finite());
    points
}

/// The increase per second between neighbouring points. Intervals in which the counter went back are left
/// out.
fn rate(counter: &[Dot]) -> Vec<Dot> {
    let step = |pair: &[Dot]| match pair {
        [(t0, v0), (t1, v1)] if t1 > t0 && v1 >= v0 => Some((*t1, (v1 - v0) * 1000.0 / (t1 - t0) as f64)),
        _ => None,
    };
    counter.windows(2).filter_map(step).collect()
}

/// `part` as a percentage of `whole`, at the timestamps that both have.
fn line_share(part: &[Dot], whole: &[Dot]) -> Vec<Dot> {
    join(part, whole, |part, whole| if whole > 0.0 { part / whole * 100.0 } else { 0.0 })
}

fn difference(a: &[Dot], b: &[Dot]) -> Vec<Dot> {
    join(a, b, |a, b| a - b)
}

fn join(a: &[Dot], b: &[Dot], with: impl Fn(f64, f64) -> f64) -> Vec<Dot> {
    let b: BTreeMap<i64, f64> = b.iter().copied().collect();
    a.iter().filter_map(|(t, value)| Some((*t, with(*value, *b.get(t)?)))).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests")]
    use super::*;
    use model::{Batch, Labels, Series as BatchSeries};
    use sink::WindowLimits;

    type Sample<'a> = (&'a [(&'a str, &'a str)], i64, f64);

    fn window(points: &[Sample<'_>]) -> Window {
        let mut window = Window::new(WindowLimits::DEFAULT);
        for (labels, timestamp, value) in points {
            let mut batch = Batch::new();
            let labels = Labels::from_pairs(labels.iter().copied());
            let series = batch.add_series(labels.as_ref(), BatchSeries::NO_METADATA);
            batch.push_float(series, *timestamp, *value);
            window.add(&batch);
        }
        window
    }

    fn cpu(cpu: &'static str, mode: &'static str) -> [(&'static str, &'static str); 4] {
        [("__name__", "node_cpu_seconds_total"), ("job", "node"), ("cpu", cpu), ("mode", mode)]
    }

    #[test]
    fn processor_time_is_a_share_of_all_processors() {
        let (user0, idle0, user1, idle1) =
            (cpu("0", "user"), cpu("0", "idle"), cpu("1", "user"), cpu("1", "idle"));
        let window = window(&[
            (&user0, 1000, 10.0),
            (&idle0, 1000, 90.0),
            (&user1, 1000, 20.0),
            (&idle1, 1000, 80.0),
            (&user0, 3000, 11.0),
            (&idle0, 3000, 91.0),
            (&user1, 3000, 20.0),
            (&idle1, 3000, 82.0),
        ]);
        let charts = Material::find(&window).charts(0);
        assert_eq!(charts[0].lines[0], Line { name: "user", points: vec![(3000, 25.0)] });
        assert!(Material::find(&window).charts(3000)[0].lines[0].points.is_empty(), "nothing new");
    }

    #[test]
    fn a_counter_that_went_back_has_no_rate() {
        assert_eq!(rate(&[(0, 5.0), (1000, 7.0), (2000, 1.0), (3000, 2.0)]), [(1000, 2.0), (3000, 1.0)]);
    }

    #[test]
    fn a_file_system_mounted_twice_is_shown_once() {
        let fs = |name, mount| {
            [("__name__", name), ("job", "node"), ("device", "/dev/sda1"), ("mountpoint", mount)]
        };
        let (size, avail) = ("node_filesystem_size_bytes", "node_filesystem_avail_bytes");
        let window = window(&[
            (&fs(size, "/data/x"), 1, 1e9),
            (&fs(avail, "/data/x"), 1, 40.0),
            (&fs(size, "/"), 1, 1e9),
            (&fs(avail, "/"), 1, 40.0),
        ]);
        assert_eq!(
            Material::find(&window).mounts(),
            [Mount { mount: "/".into(), size: 1e9, available: 40.0 }]
        );
    }

    #[test]
    fn pushed_series_are_separated_from_collected_ones() {
        let window = window(&[
            (&[("__name__", "my_metric"), ("job", "demo")], 5, 42.0),
            (&[("__name__", "push_time_seconds"), ("job", "demo")], 5, 1.0),
            (&[("__name__", "up"), ("job", "node")], 5, 1.0),
        ]);
        let pushed = pushed(&window);
        assert_eq!(pushed.len(), 1);
        assert_eq!((pushed[0].series.as_str(), pushed[0].value), (r#"my_metric{job="demo"}"#, Some(42.0)));
    }
}
