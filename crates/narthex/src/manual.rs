//! `narthex man` and `narthex completions`. Both are generated from the definition of the command line.

use crate::cli::Cli;
use clap::{Arg, Args, Command, CommandFactory};
use clap_complete::Shell;
use clap_mangen::Man;
use clap_mangen::roff::{Inline, Roff, bold, italic, roman};
use command::Failure;
use std::io::Write;
use std::path::{Path, PathBuf};

/// `narthex completions`.
#[derive(Debug, Args)]
pub struct CompletionsArgs {
    /// The shell to write completions for.
    pub shell: Shell,
}

/// `narthex man`.
#[derive(Debug, Args)]
pub struct ManArgs {
    /// Write narthex.1, and a page for each subcommand, into this directory. It is created if it does not exist.
    /// [default: narthex.1 to standard output]
    pub dir: Option<PathBuf>,
}

/// Writes completions for a shell to standard output.
pub(crate) fn completions(args: &CompletionsArgs) -> Result<(), Failure> {
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "narthex", &mut text);
    print(&text)
}

/// Writes one manual page to standard output, or all pages into a folder.
pub(crate) fn man(args: &ManArgs) -> Result<(), Failure> {
    // Otherwise every page would have a copy for `help`.
    let mut command = Cli::command().disable_help_subcommand(true);
    command.build();
    match &args.dir {
        Some(dir) => {
            std::fs::create_dir_all(dir).and_then(|()| write_pages(&command, dir)).map_err(|error| {
                let dir = dir.display();
                Failure::running(format!("the manual pages can't be written into {dir}: {error}"))
            })
        }
        None => print(&page(&command).map_err(Failure::running)?),
    }
}

/// Writes the pages of a command and its subcommands.
fn write_pages(command: &Command, dir: &Path) -> std::io::Result<()> {
    for subcommand in command.get_subcommands().filter(|subcommand| !subcommand.is_hide_set()) {
        write_pages(subcommand, dir)?;
    }
    std::fs::write(dir.join(Man::new(command.clone()).get_filename()), page(command)?)
}

/// Environment variables that are not part of the command line's definition, and the subcommands that read
/// them.
const ENVIRONMENT: [(&str, &[&str], &str); 6] = [
    (
        "NARTHEX_GATEWAY",
        &["narthex push", "narthex exec"],
        "The gateway to push to, as with --gateway. A flag has precedence, and NARTHEX_GATEWAY has precedence over NARTHEX_TO.",
    ),
    (
        "NARTHEX_TO",
        &["narthex run", "narthex push", "narthex exec"],
        "The remote-write endpoint to push to, as with --to. A flag has precedence.",
    ),
    (
        "STATE_DIRECTORY",
        &["narthex run", "narthex push", "narthex exec", "narthex wal"],
        "The folder of narthex' data, as systemd sets it. For push and exec it contains the spool.",
    ),
    (
        "XDG_STATE_HOME",
        &["narthex run", "narthex push", "narthex exec", "narthex wal"],
        "Without STATE_DIRECTORY, the data is in the folder narthex below this one; by default ~/.local/state.",
    ),
    (
        "HTTP_PROXY, HTTPS_PROXY, NO_PROXY",
        &["narthex run", "narthex check"],
        "Proxies for destinations that have proxy_from_environment.",
    ),
    ("NO_COLOR", &["narthex run", "narthex demo", "narthex sink"], "If set, log lines have no colors."),
];

/// The section about the environment variables that a subcommand reads, apart from those of its options.
fn environment(command: &Command) -> Option<Roff> {
    let name = command.get_bin_name().unwrap_or_else(|| command.get_name());
    // `narthex wal dump` also reads the variables of `narthex wal`.
    let is_for =
        |wanted: &str| name.strip_prefix(wanted).is_some_and(|rest| rest.is_empty() || rest.starts_with(' '));
    let mut roff = Roff::new();
    roff.control("SH", ["ENVIRONMENT"]);
    let read = ENVIRONMENT.iter().filter(|(_, commands, _)| commands.iter().any(|one| is_for(one)));
    let mut count = 0;
    for (variable, _, words) in read {
        roff.control("TP", []).text([bold(*variable)]).text([roman(*words)]);
        count += 1;
    }
    (count > 0).then_some(roff)
}

/// The command with the aliases of each flag in its help.
fn with_aliases(command: &Command) -> Command {
    command.clone().mut_args(|argument| {
        let aliases = argument.get_visible_aliases().unwrap_or_default();
        if aliases.is_empty() {
            return argument;
        }
        let aliases: Vec<String> = aliases.iter().map(|alias| format!("--{alias}")).collect();
        let help =
            argument.get_long_help().or(argument.get_help()).map(ToString::to_string).unwrap_or_default();
        argument.long_help(format!("{help} [aliases: {}]", aliases.join(", ")))
    })
}

/// One manual page. The synopsis, the aliases, the environment and the exit status are written here, because
/// clap_mangen leaves out the values of flags and their aliases, and puts the text after the help under the
/// heading EXTRA.
fn page(command: &Command) -> std::io::Result<Vec<u8>> {
    let command = &with_aliases(command);
    let man = Man::new(command.clone()).source(concat!("narthex ", env!("CARGO_PKG_VERSION")));
    let mut text = Vec::new();
    man.render_title(&mut text)?;
    man.render_name_section(&mut text)?;
    synopsis(command).to_writer(&mut text)?;
    man.render_description_section(&mut text)?;
    man.render_options_section(&mut text)?;
    if command.has_subcommands() {
        man.render_subcommands_section(&mut text)?;
    }
    if let Some(environment) = environment(command) {
        environment.to_writer(&mut text)?;
    }
    if let Some(exit_status) = command.get_after_help() {
        let mut roff = Roff::new();
        roff.control("SH", ["EXIT STATUS"]).text([roman(exit_status.to_string())]);
        roff.to_writer(&mut text)?;
    }
    if command.get_version().is_some() {
        man.render_version_section(&mut text)?;
    }
    Ok(text)
}

/// The synopsis: each flag with its value, then the arguments.
fn synopsis(command: &Command) -> Roff {
    let mut line = vec![bold(command.get_bin_name().unwrap_or_else(|| command.get_name()))];
    let arguments = || command.get_arguments().filter(|argument| !argument.is_hide_set());
    for argument in arguments().filter(|argument| !argument.is_positional()) {
        append_argument(&mut line, argument);
    }
    for argument in arguments().filter(|argument| argument.is_positional()) {
        append_argument(&mut line, argument);
    }
    if command.has_subcommands() {
        line.extend([roman(" "), italic("SUBCOMMAND")]);
    }
    let mut roff = Roff::new();
    roff.control("SH", ["SYNOPSIS"]).text(line);
    roff
}

/// Appends ` [--flag VALUE]` or ` [VALUE]...`. A required argument has no brackets.
fn append_argument(line: &mut Vec<Inline>, argument: &Arg) {
    let required = argument.is_required_set();
    line.push(roman(if required { " " } else { " [" }));
    if argument.is_last_set() {
        line.push(bold("-- "));
    }
    if let Some(long) = argument.get_long() {
        let short = argument.get_short().map(|short| format!("-{short}|")).unwrap_or_default();
        line.push(bold(format!("{short}--{long}")));
    }
    if argument.get_action().takes_values() {
        if argument.get_long().is_some() {
            line.push(roman(" "));
        }
        let names = argument.get_value_names().unwrap_or_default();
        line.push(italic(names.iter().map(|name| name.as_str()).collect::<Vec<_>>().join(" ")));
    }
    if !required {
        line.push(roman("]"));
    }
    let repeats = matches!(argument.get_action(), clap::ArgAction::Append);
    if repeats || argument.get_num_args().is_some_and(|count| count.max_values() > 1) {
        line.push(roman("..."));
    }
}

/// Writes to standard output. It is no error if the reader has closed the pipe, as `head` does.
fn print(text: &[u8]) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(Failure::running(error)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The page of a subcommand.
    fn page_of(name: &str) -> String {
        let mut command = Cli::command();
        command.build();
        String::from_utf8(page(command.find_subcommand(name).unwrap()).unwrap()).unwrap()
    }

    #[test]
    fn a_missing_directory_is_created_with_a_page_for_each_subcommand() {
        let parent = tempfile::tempdir().unwrap();
        let dir = parent.path().join("share/man1");
        man(&ManArgs { dir: Some(dir.clone()) }).unwrap();
        let page = |name: &str| std::fs::read_to_string(dir.join(name)).unwrap();
        assert!(page("narthex.1").contains(env!("CARGO_PKG_VERSION")));
        assert!(page("narthex-run.1").contains("flush\\-deadline"));
        assert!(page("narthex-wal-dump.1").contains(concat!("\"narthex ", env!("CARGO_PKG_VERSION"))));
        for command in Cli::command().get_subcommands() {
            page(&format!("narthex-{}.1", command.get_name()));
        }
        assert!(!dir.join("narthex-help.1").exists());
    }

    #[test]
    fn a_directory_that_cannot_be_created_is_named() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let dir = file.path().join("man1");
        let error = man(&ManArgs { dir: Some(dir.clone()) }).unwrap_err().to_string();
        assert!(error.contains(&format!("{}: Not a directory", dir.display())), "{error}");
    }

    #[test]
    fn the_synopsis_shows_values_and_required_arguments() {
        let synopsis = |name: &str| {
            let page = page_of(name);
            let line = page.split(".SH SYNOPSIS\n").nth(1).unwrap().lines().next().unwrap().to_string();
            // In a locale without UTF-8, `man` leaves out characters that are not ASCII.
            assert!(line.is_ascii(), "{line}");
            ["\\fB", "\\fI", "\\fR"].iter().fold(line, |line, font| line.replace(font, ""))
        };
        let run = synopsis("run");
        assert!(run.starts_with("narthex run [\\-\\-config FILE] "), "{run}");
        assert!(run.contains(" [\\-\\-allowed\\-host NAME]... "), "{run}");
        assert!(run.contains(" [\\-\\-enable\\-admin] ") && run.ends_with(" [\\-h|\\-\\-help]"), "{run}");
        let exec = synopsis("exec");
        assert!(exec.contains(" \\-\\-job NAME ") && exec.ends_with(" \\-\\- COMMAND..."), "{exec}");
        assert!(synopsis("wal").ends_with(" SUBCOMMAND"));
    }

    /// The text of a page, without fonts and escapes.
    fn plain(page: &str) -> String {
        ["\\fB", "\\fI", "\\fR", "\\&", "\\"]
            .iter()
            .fold(page.to_string(), |text, mark| text.replace(mark, ""))
    }

    #[test]
    fn each_alias_of_a_flag_is_in_the_manual() {
        let mut command = Cli::command();
        command.build();
        let mut aliases = 0;
        for subcommand in command.get_subcommands() {
            let text = plain(&page_of(subcommand.get_name()));
            for argument in subcommand.get_arguments() {
                for alias in argument.get_visible_aliases().unwrap_or_default() {
                    let page = subcommand.get_name();
                    assert!(text.contains(&format!("--{alias}")), "narthex-{page}.1 lacks --{alias}: {text}");
                    aliases += 1;
                }
            }
        }
        assert!(aliases > 10, "{aliases}");
    }

    #[test]
    fn manual_pages_list_the_environment_variables_of_their_command() {
        for (name, read, not_read) in [
            ("run", &["NARTHEX_TO", "NARTHEX_LOG", "STATE_DIRECTORY", "NO_COLOR"][..], "NARTHEX_GATEWAY"),
            ("push", &["NARTHEX_TO", "NARTHEX_GATEWAY", "XDG_STATE_HOME"], "NO_COLOR"),
            ("exec", &["NARTHEX_GATEWAY"], "HTTP_PROXY"),
            ("wal", &["STATE_DIRECTORY", "NARTHEX_LOG_FORMAT"], "NARTHEX_TO"),
            ("man", &["NARTHEX_LOG"], "ENVIRONMENT"),
        ] {
            let text = plain(&page_of(name));
            for variable in read {
                assert!(text.contains(variable), "narthex-{name}.1 lacks {variable}: {text}");
            }
            assert!(!text.contains(not_read), "narthex-{name}.1 has {not_read}");
        }
    }

    #[test]
    fn the_exit_status_has_a_section_of_its_own() {
        for name in ["push", "exec"] {
            let page = page_of(name);
            assert!(page.contains(".SH \"EXIT STATUS\"\n") && !page.contains("EXTRA"), "{page}");
        }
        // The text after a help always gets the same heading, so only these two commands may have one.
        let with_text =
            Cli::command().get_subcommands().filter(|command| command.get_after_help().is_some()).count();
        assert_eq!(with_text, 2);
    }
}
