//! Compares every action with its result in Prometheus.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "helper functions of tests")]
use crate::{Relabelled, Relabeller, Rule};
use model::{Labels, LabelsRef};

fn rules(json: &str) -> Result<Vec<Rule>, String> {
    serde_json::from_str(json).map_err(|error| error.to_string())
}

fn apply(json: &str, labels: &[(&str, &str)]) -> String {
    let labels = Labels::from_pairs(labels.iter().copied());
    let mut out = Vec::new();
    match Relabeller::new(rules(json).unwrap()).apply(labels.as_ref(), &mut out) {
        Relabelled::Same => {
            assert!(out.is_empty());
            labels.to_string()
        }
        Relabelled::Changed => LabelsRef::parse(&out).unwrap().to_string(),
        Relabelled::Dropped => "dropped".into(),
    }
}

#[test]
fn each_action_gives_the_same_result_as_prometheus() {
    let abc = &[("a", "foo"), ("b", "bar"), ("c", "baz")];
    let table = [
        (
            r#"[{"source_labels": ["a"], "regex": "f(.*)", "target_label": "d", "replacement": "ch${1}-ch${1}"}]"#,
            r#"{a="foo",b="bar",c="baz",d="choo-choo"}"#,
        ),
        (
            r#"[{"source_labels": ["a", "b"], "regex": "f(.*);(.*)r", "target_label": "a", "replacement": "b${1}${2}m"},
             {"source_labels": ["c", "a"], "regex": "(b).*b(.*)ba(.*)", "target_label": "d", "replacement": "$1$2$2$3"}]"#,
            r#"{a="boobam",b="bar",c="baz",d="boooom"}"#,
        ),
        (r#"[{"source_labels": ["a"], "regex": ".*o.*", "action": "drop"}]"#, "dropped"),
        (r#"[{"source_labels": ["a"], "regex": "o", "action": "drop"}]"#, r#"{a="foo",b="bar",c="baz"}"#),
        (r#"[{"source_labels": ["a"], "regex": "no-match", "action": "keep"}]"#, "dropped"),
        (r#"[{"source_labels": ["a"], "regex": "fo+", "action": "keep"}]"#, r#"{a="foo",b="bar",c="baz"}"#),
        (
            r#"[{"source_labels": ["a"], "target_label": "b", "regex": "x", "replacement": "y"}]"#,
            r#"{a="foo",b="bar",c="baz"}"#,
        ),
        (r#"[{"source_labels": ["a"], "target_label": "b", "replacement": ""}]"#, r#"{a="foo",c="baz"}"#),
        (r#"[{"target_label": "n", "replacement": "1"}]"#, r#"{a="foo",b="bar",c="baz",n="1"}"#),
        (
            r#"[{"source_labels": ["a"], "regex": "(f).*", "target_label": "${1}x"}]"#,
            r#"{a="foo",b="bar",c="baz",fx="f"}"#,
        ),
        (
            r#"[{"source_labels": ["c"], "target_label": "d", "action": "hashmod", "modulus": 1000}]"#,
            r#"{a="foo",b="bar",c="baz",d="976"}"#,
        ),
        (
            r#"[{"regex": "(b)", "replacement": "b_${1}", "action": "labelmap"}]"#,
            r#"{a="foo",b="bar",b_b="bar",c="baz"}"#,
        ),
        (r#"[{"regex": "[ab]", "action": "labeldrop"}]"#, r#"{c="baz"}"#),
        (r#"[{"regex": "[ab]", "action": "labelkeep"}]"#, r#"{a="foo",b="bar"}"#),
        (r#"[{"regex": ".*", "action": "labeldrop"}]"#, "dropped"),
        (
            r#"[{"source_labels": ["a"], "target_label": "u", "action": "uppercase"}]"#,
            r#"{a="foo",b="bar",c="baz",u="FOO"}"#,
        ),
        (
            r#"[{"source_labels": ["a"], "target_label": "a", "action": "lowercase"}]"#,
            r#"{a="foo",b="bar",c="baz"}"#,
        ),
        (r#"[{"source_labels": ["a"], "target_label": "b", "action": "keepequal"}]"#, "dropped"),
        (
            r#"[{"source_labels": ["a"], "target_label": "a", "action": "keepequal"}]"#,
            r#"{a="foo",b="bar",c="baz"}"#,
        ),
        (r#"[{"source_labels": ["a"], "target_label": "a", "action": "dropequal"}]"#, "dropped"),
        (
            r#"[{"source_labels": ["a", "b"], "separator": "", "target_label": "j"}]"#,
            r#"{a="foo",b="bar",c="baz",j="foobar"}"#,
        ),
    ];
    for (rules, right) in table {
        assert_eq!(apply(rules, abc), right, "{rules}");
    }
}

#[test]
fn invalid_rules_are_refused() {
    for (rule, words) in [
        (r#"[{"action": "replace"}]"#, "action replace needs target_label"),
        (r#"[{"action": "hashmod", "target_label": "a"}]"#, "action hashmod needs modulus"),
        (
            r#"[{"action": "labeldrop", "source_labels": ["a"]}]"#,
            "action labeldrop has no use for source_labels",
        ),
        (r#"[{"target_label": "a", "regex": "("}]"#, "regex \"(\": "),
        (r#"[{"action": "explode"}]"#, "unknown action \"explode\": one of replace, keep, drop,"),
        (r#"[{"action": "keep", "source_labels": [""]}]"#, "a source label needs a name"),
        (r#"[{"action": "labelmap", "replacement": ""}]"#, "action labelmap needs replacement"),
        (r#"[{"colour": "red"}]"#, "unknown field `colour`"),
    ] {
        let error = rules(rule).unwrap_err();
        assert!(error.contains(words), "{error}");
    }
}

#[test]
fn actions_are_case_insensitive() {
    let labels = &[("a", "Foo")];
    assert_eq!(apply(r#"[{"action": "Drop", "source_labels": ["a"], "regex": "Foo"}]"#, labels), "dropped");
    let upper = r#"[{"action": "UpperCase", "source_labels": ["a"], "target_label": "a"}]"#;
    assert_eq!(apply(upper, labels), r#"{a="FOO"}"#);
    assert_eq!(
        Relabeller::new(rules(r#"[{"action": "DROP"}]"#).unwrap()).description(),
        Relabeller::new(rules(r#"[{"action": "drop"}]"#).unwrap()).description(),
        "positions are kept for it"
    );
}

#[test]
fn a_rule_with_an_unintended_effect_has_a_hint() {
    for (rule, words) in [
        (r#"[{"action": "LabelDrop"}]"#, Some("removes all labels")),
        (r#"[{"action": "labelkeep"}]"#, Some("keeps all labels")),
        (r#"[{"action": "labeldrop", "regex": ".*"}]"#, None),
        (r#"[{"action": "labelmap"}]"#, None),
        (r#"[{"action": "keep"}]"#, None),
    ] {
        let hint = rules(rule).unwrap()[0].hint();
        assert_eq!(hint.is_some(), words.is_some(), "{rule}");
        assert!(hint.unwrap_or_default().contains(words.unwrap_or_default()), "{rule}: {hint:?}");
    }
}
