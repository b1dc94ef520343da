//! The labels of a sample: those of the page and those of its target, merged as `honor_labels` says. Pure.

use model::{LabelError, LabelsBuilder, LabelsRef, Limits};

const EXPORTED: &[u8] = b"exported_";

/// Appends the merged labels to `out`.
///
/// Without `honor_labels` a label of the page that the target has, too, is renamed: `exported_` is put in front until
/// the name is free, the shortest name first. With it the target's labels are added where the page has none.
pub fn merge(
    page: LabelsRef<'_>,
    target: LabelsRef<'_>,
    honor_labels: bool,
    limits: &Limits,
    out: &mut Vec<u8>,
) -> Result<(), LabelError> {
    let of_target = |name: &[u8]| target.pairs().any(|(other, _)| other == name);
    let of_page = |name: &[u8]| page.pairs().any(|(other, _)| other == name);
    let mut builder = LabelsBuilder::new();
    if honor_labels {
        page.pairs().for_each(|(name, value)| builder.push(name, value));
        let added = target.pairs().filter(|(name, _)| !of_page(name));
        added.for_each(|(name, value)| builder.push(name, value));
        return builder.finish(limits, out);
    }
    let mut conflicts: Vec<(&[u8], &[u8])> = page.pairs().filter(|(name, _)| of_target(name)).collect();
    if conflicts.is_empty() {
        page.pairs().chain(target.pairs()).for_each(|(name, value)| builder.push(name, value));
        return builder.finish(limits, out);
    }
    conflicts.sort_by_key(|(name, _)| name.len());
    let mut renamed: Vec<(Vec<u8>, &[u8])> = Vec::with_capacity(conflicts.len());
    for (name, value) in conflicts {
        let mut free = [EXPORTED, name].concat();
        while of_target(&free) || of_page(&free) || renamed.iter().any(|(other, _)| *other == free) {
            free = [EXPORTED, &free].concat();
        }
        renamed.push((free, value));
    }
    let kept = page.pairs().filter(|(name, _)| !of_target(name));
    kept.chain(target.pairs()).for_each(|(name, value)| builder.push(name, value));
    renamed.iter().for_each(|(name, value)| builder.push(name, value));
    builder.finish(limits, out)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "helper functions of tests")]
    use super::*;
    use model::Labels;

    fn merged(page: &[(&str, &str)], target: &[(&str, &str)], honor_labels: bool) -> String {
        let [page, target] = [page, target].map(|pairs| Labels::from_pairs(pairs.iter().copied()));
        let mut out = Vec::new();
        merge(page.as_ref(), target.as_ref(), honor_labels, &Limits::default(), &mut out).unwrap();
        LabelsRef::trusted(&out).to_string()
    }

    /// The cases of Prometheus' `TestScrapeLoopAppend…` about label conflicts.
    #[test]
    fn labels_are_merged_as_in_prometheus() {
        for (page, target, honored, renamed) in [
            (vec![("n", "1")], vec![], r#"{n="1"}"#, r#"{n="1"}"#),
            (vec![("n", "1")], vec![("n", "2")], r#"{n="1"}"#, r#"{exported_n="1",n="2"}"#),
            (
                vec![("n", "1"), ("exported_n", "9")],
                vec![("n", "2")],
                r#"{exported_n="9",n="1"}"#,
                r#"{exported_exported_n="1",exported_n="9",n="2"}"#,
            ),
            (
                vec![("foo", "1")],
                vec![("foo", "2"), ("exported_foo", "3")],
                r#"{exported_foo="3",foo="1"}"#,
                r#"{exported_exported_foo="1",exported_foo="3",foo="2"}"#,
            ),
            (
                vec![("foo", "1"), ("exported_foo", "2"), ("exported_exported_foo", "3")],
                vec![("foo", "4"), ("exported_foo", "5")],
                r#"{exported_exported_foo="3",exported_foo="2",foo="1"}"#,
                r#"{exported_exported_exported_exported_foo="2",exported_exported_exported_foo="1",exported_exported_foo="3",exported_foo="5",foo="4"}"#,
            ),
        ] {
            assert_eq!(merged(&page, &target, true), honored, "{page:?} {target:?}");
            assert_eq!(merged(&page, &target, false), renamed, "{page:?} {target:?}");
        }
    }
}
