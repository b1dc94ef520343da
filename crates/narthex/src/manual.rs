//! `narthex man` and `narthex completions`: both are generated from the command line's own definition.

use crate::cli::Cli;
use crate::failure::Failure;
use clap::{Args, CommandFactory};
use clap_complete::Shell;
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
    /// Write narthex.1, and a page for each subcommand, into this existing directory. [default: narthex.1
    /// to standard output]
    pub dir: Option<PathBuf>,
}

/// Writes completions for a shell to standard output.
pub(crate) fn completions(args: &CompletionsArgs) -> Result<(), Failure> {
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "narthex", &mut text);
    print(&text)
}

/// Writes the manual.
pub(crate) fn man(args: &ManArgs) -> Result<(), Failure> {
    match &args.dir {
        Some(dir) => write_pages(dir).map_err(|error| {
            Failure::running(format!("the manual pages can't be written into {}: {error}", dir.display()))
        }),
        None => {
            let mut text = Vec::new();
            clap_mangen::Man::new(Cli::command()).render(&mut text).map_err(Failure::running)?;
            print(&text)
        }
    }
}

fn write_pages(dir: &Path) -> std::io::Result<()> {
    // Every page would otherwise have a copy for `help`.
    clap_mangen::generate_to(Cli::command().disable_help_subcommand(true), dir)
}

/// Writes to standard output. A reader that has closed the pipe, as `head` does, is no error.
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

    #[test]
    fn each_subcommand_gets_a_manual_page_that_names_its_flags() {
        let dir = tempfile::tempdir().unwrap();
        man(&ManArgs { dir: Some(dir.path().to_path_buf()) }).unwrap();
        let page = |name: &str| std::fs::read_to_string(dir.path().join(name)).unwrap();
        assert!(page("narthex.1").contains(env!("CARGO_PKG_VERSION")));
        assert!(page("narthex-run.1").contains("flush\\-deadline"));
        for command in Cli::command().get_subcommands() {
            page(&format!("narthex-{}.1", command.get_name()));
        }
        assert!(!dir.path().join("narthex-help.1").exists());
    }

    #[test]
    fn a_missing_directory_is_named() {
        let error = man(&ManArgs { dir: Some("/does/not/exist".into()) }).unwrap_err().to_string();
        assert!(error.contains("/does/not/exist: No such file"), "{error}");
    }
}
