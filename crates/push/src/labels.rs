//! Labels of a group, as `--label NAME=VALUE` gives them. No I/O.

/// Reads `NAME=VALUE`. The rules are those of a gateway's path: a name of the old pattern, not beginning
/// with `__`, and not `job`, which has a flag of its own.
pub(crate) fn parse(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or_else(|| format!("{text:?}: expected NAME=VALUE"))?;
    if !model::labels::is_legacy_label_name(name.as_bytes()) {
        return Err(format!("{name:?} is no label name: letters, digits and _, not beginning with a digit"));
    }
    if name.starts_with("__") {
        return Err(format!("{name:?}: label names that begin with __ are Prometheus' own"));
    }
    if name == "job" {
        return Err("the label job is set by --job".into());
    }
    if value.is_empty() {
        return Err(format!("label {name} has an empty value, which is the same as no label"));
    }
    Ok((name.to_string(), value.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_has_a_name_and_a_value() {
        assert_eq!(parse("env=a=b"), Ok(("env".into(), "a=b".into())));
        for (wrong, words) in [
            ("env", "expected NAME=VALUE"),
            ("=x", "\"\" is no label name"),
            ("1a=x", "is no label name"),
            ("a.b=x", "is no label name"),
            ("__name__=x", "Prometheus' own"),
            ("job=x", "--job"),
            ("a=", "empty value"),
        ] {
            assert!(parse(wrong).unwrap_err().contains(words), "{wrong}");
        }
    }
}
