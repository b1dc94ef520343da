//! Reads the metric name and the labels of a series from the bytes that name it in a line.

use super::Reason;
use model::labels::METRIC_NAME;

/// Which tags are read. All by default.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TagStyles {
    /// `|#k:v,k2:v2`
    pub dogstatsd: bool,
    /// `name,k=v,k2=v2`
    pub influxdb: bool,
    /// `name#k=v,k2=v2`
    pub librato: bool,
    /// `name[k=v,k2=v2]rest`
    pub signalfx: bool,
}

impl Default for TagStyles {
    fn default() -> Self {
        TagStyles { dogstatsd: true, influxdb: true, librato: true, signalfx: true }
    }
}

/// The name and the labels of a series.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Described {
    /// The name without its tags, not escaped: mapping rules match on it.
    pub name: String,
    /// Names and values of the tags; the names are label names. If a name occurs twice, the last value counts.
    pub labels: Vec<(String, String)>,
    /// Tags that were left out: without a value, without a name, or with a lone bracket.
    pub tag_errors: u32,
}

/// Reads the tags of a name and those after `|#`.
pub fn describe(name: &str, tags: &str, styles: TagStyles) -> Result<Described, Reason> {
    let mut described = Described::default();
    described.read_name(name, styles);
    if !tags.is_empty() && !described.labels.is_empty() {
        return Err(Reason::MixedTaggingStyles);
    }
    if styles.dogstatsd && !tags.is_empty() {
        let tags = tags.strip_suffix(',').unwrap_or(tags);
        tags.split(',').for_each(|tag| described.add(tag.strip_prefix('#').unwrap_or(tag), ':'));
    }
    Ok(described)
}

impl Described {
    fn read_name(&mut self, name: &str, styles: TagStyles) {
        if styles.signalfx {
            match (name.find('['), name.find(']')) {
                (Some(start), Some(end)) if start < end => {
                    let inside = name.get(start + 1..end).unwrap_or_default();
                    self.add_list(inside);
                    self.name.push_str(name.get(..start).unwrap_or_default());
                    return self.name.push_str(name.get(end + 1..).unwrap_or_default());
                }
                (None, None) => {}
                _ => {
                    self.tag_errors += 1;
                    return self.name.push_str(name);
                }
            }
        }
        let begins_tags = |c: char| (c == '#' && styles.librato) || (c == ',' && styles.influxdb);
        match name.split_once(begins_tags) {
            Some((name, tags)) => {
                self.name.push_str(name);
                self.add_list(tags);
            }
            None => self.name.push_str(name),
        }
    }

    fn add_list(&mut self, tags: &str) {
        if !tags.is_empty() {
            tags.strip_suffix(',').unwrap_or(tags).split(',').for_each(|tag| self.add(tag, '='));
        }
    }

    fn add(&mut self, tag: &str, separator: char) {
        let (key, value) = tag.split_once(separator).unwrap_or_default();
        let mut name = String::with_capacity(key.len() + 1);
        escape(key, &mut name);
        if name.is_empty() || value.is_empty() || name == METRIC_NAME {
            self.tag_errors += 1;
            return;
        }
        match self.labels.iter_mut().find(|(other, _)| *other == name) {
            Some((_, old)) => value.clone_into(old),
            None => self.labels.push((name, value.to_string())),
        }
    }
}

/// Appends a name with `_` for each character that a metric name may not have, as statsd_exporter does: two hyphens
/// become one `_`, and a digit at the beginning gets one in front.
pub fn escape(name: &str, out: &mut String) {
    if name.starts_with(|first: char| first.is_ascii_digit()) {
        out.push('_');
    }
    let mut before = None;
    for c in name.chars() {
        if c.is_ascii_alphanumeric() || c == '_' {
            out.push(c);
        } else if c == '-' && before == Some('-') {
            // The exporter does not count this hyphen as the one before the next.
            continue;
        } else {
            out.push('_');
        }
        before = Some(c);
    }
}
