//! Commands that a smaller build does not have. The error about such a command names the Cargo feature that
//! adds it.

use clap::builder::StyledStr;
use clap::error::{ContextKind, ContextValue, ErrorKind};

/// The commands that this build does not have, each with its Cargo feature.
const LEFT_OUT: &[(&str, &str)] = &[
    #[cfg(not(feature = "demo"))]
    ("demo", "demo"),
    #[cfg(not(feature = "demo"))]
    ("sink", "demo"),
    #[cfg(not(feature = "manual"))]
    ("man", "manual"),
    #[cfg(not(feature = "manual"))]
    ("completions", "manual"),
];

/// Adds to the error about an unknown command that this build does not have it, if that is the reason.
pub(crate) fn explain(error: clap::Error) -> clap::Error {
    explain_by(LEFT_OUT, error)
}

fn explain_by(left_out: &[(&str, &str)], mut error: clap::Error) -> clap::Error {
    if error.kind() != ErrorKind::InvalidSubcommand {
        return error;
    }
    let typed = error.get(ContextKind::InvalidSubcommand);
    let Some(ContextValue::String(typed)) = typed else { return error };
    let Some((command, feature)) = left_out.iter().find(|(command, _)| command == typed) else {
        return error;
    };
    let tip = format!("this program has no `{command}`: it was built without the Cargo feature {feature}");
    error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![StyledStr::from(tip)]));
    error
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Command;

    #[test]
    fn an_unknown_command_of_a_smaller_build_names_its_feature() {
        let left_out = [("demo", "demo"), ("man", "manual")];
        let text = |words: &[&str]| {
            let command = Command::new("narthex").subcommand(Command::new("run"));
            let error = command.try_get_matches_from(words).unwrap_err();
            explain_by(&left_out, error).to_string()
        };
        for words in [&["narthex", "man"][..], &["narthex", "help", "man"]] {
            let text = text(words);
            assert!(text.contains("unrecognized subcommand 'man'"), "{text}");
            let tip = "tip: this program has no `man`: it was built without the Cargo feature manual";
            assert!(text.contains(tip), "{text}");
        }
        assert!(!text(&["narthex", "nonsense"]).contains("Cargo feature"));
    }
}
