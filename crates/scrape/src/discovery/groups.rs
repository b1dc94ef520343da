//! Groups of targets as files and servers write them. Pure.

use crate::config::Group;

/// The largest file and the largest answer with groups of targets, in bytes.
pub const GROUPS_BYTES_MAX: u64 = 16 << 20;
/// Most targets of one file or answer.
pub const TARGETS_MAX: usize = 100_000;
/// Most bytes of the labels of all targets of one file or answer. Each target has a copy of its group's labels.
pub const LABELS_BYTES_MAX: usize = 64 << 20;

/// Reads a list of groups. Each group gets the label `meta`.
pub(super) fn of_json(text: &[u8], meta: (&str, &str)) -> Result<Vec<Group>, String> {
    let groups: Option<Vec<Group>> = serde_json::from_slice(text).map_err(|error| error.to_string())?;
    checked(groups, meta)
}

/// The same for YAML. An empty text is an error, as in JSON: a file that is written in place is empty for a moment.
pub(super) fn of_yaml(text: &str, meta: (&str, &str)) -> Result<Vec<Group>, String> {
    if text.trim().is_empty() {
        return Err("it is empty; write [] for a list without groups".into());
    }
    let options = serde_saphyr::options! { with_snippet: false };
    let groups: Option<Vec<Group>> =
        serde_saphyr::from_str_with_options(text, options).map_err(|error| error.to_string())?;
    checked(groups, meta)
}

fn checked(groups: Option<Vec<Group>>, (name, value): (&str, &str)) -> Result<Vec<Group>, String> {
    let mut groups = groups.unwrap_or_default();
    groups.retain(|group| !group.targets.is_empty());
    let (mut targets, mut bytes) = (0_usize, 0_usize);
    for group in &mut groups {
        if group.labels.contains_key("") {
            return Err("a label has no name".into());
        }
        group.labels.insert(name.into(), value.into());
        let labels: usize = group.labels.iter().map(|(name, value)| name.len() + value.len()).sum();
        let addresses: usize = group.targets.iter().map(String::len).sum();
        targets += group.targets.len();
        bytes = bytes.saturating_add(group.targets.len().saturating_mul(labels) + addresses);
    }
    if targets > TARGETS_MAX {
        return Err(format!("{targets} targets are more than the limit of {TARGETS_MAX}"));
    }
    if bytes > LABELS_BYTES_MAX {
        return Err(format!(
            "the labels of all targets are larger than the limit of {LABELS_BYTES_MAX} bytes"
        ));
    }
    Ok(groups)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a panic is how a test reports")]
    use super::*;

    const META: (&str, &str) = ("__meta_url", "u");

    #[test]
    fn both_forms_give_the_same_groups() {
        let json = r#"[{"targets": ["a:1", "b:2"], "labels": {"site": "harbour"}}, {"targets": [], "labels": null}]"#;
        let yaml = "- targets: ['a:1', 'b:2']\n  labels: {site: harbour}\n- targets:\n";
        let wanted = Group {
            targets: vec!["a:1".into(), "b:2".into()],
            labels: [("__meta_url".into(), "u".into()), ("site".into(), "harbour".into())].into(),
        };
        assert_eq!(of_json(json.as_bytes(), META), Ok(vec![wanted.clone()]));
        assert_eq!(of_yaml(yaml, META), Ok(vec![wanted]));
        // A list without elements is written as null by Go.
        assert_eq!(of_json(b"null", META), Ok(Vec::new()));
        assert_eq!(of_yaml("[]", META), Ok(Vec::new()));
        assert_eq!(of_yaml("# none yet\n", META), Ok(Vec::new()));
    }

    #[test]
    fn other_content_is_an_error() {
        for json in ["", "[{", "{}", "[null]", r#"[{"target": ["a:1"]}]"#, r#"[{"targets": "a:1"}]"#, "[] []"]
        {
            assert!(of_json(json.as_bytes(), META).is_err(), "{json}");
        }
        let unnamed = of_json(br#"[{"targets": ["a:1"], "labels": {"": "x"}}]"#, META);
        assert_eq!(unnamed, Err("a label has no name".into()));
        for yaml in
            ["", " \n", "- target: [a]", "targets: [a]", "- targets: [", "- {targets: [a], targets: [b]}"]
        {
            assert!(of_yaml(yaml, META).is_err(), "{yaml}");
        }
    }

    #[test]
    fn targets_and_their_labels_are_limited() {
        let json = |targets: usize, value: usize| {
            let group =
                serde_json::json!([{"targets": vec!["a"; targets], "labels": {"x": "v".repeat(value)}}]);
            of_json(group.to_string().as_bytes(), META)
        };
        assert!(json(TARGETS_MAX, 1).is_ok());
        let error = json(TARGETS_MAX + 1, 1).unwrap_err();
        assert!(error.contains("100001 targets are more than the limit of 100000"), "{error}");
        let error = json(1000, LABELS_BYTES_MAX / 1000).unwrap_err();
        assert!(error.contains("larger than the limit of 67108864 bytes"), "{error}");
    }
}
