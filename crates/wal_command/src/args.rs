//! Flags of `narthex wal`.

use clap::{Args, Subcommand, ValueEnum};
use model::moment;
use std::path::{Path, PathBuf};
use wal::dump::DumpFormat;

/// `narthex wal`.
#[derive(Debug, Args)]
pub struct WalArgs {
    /// The command.
    #[command(subcommand)]
    pub command: WalCommand,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum WalCommand {
    /// Show the content of a log: sizes, series, samples, times, the largest metrics; and the positions of
    /// destinations.
    Stat(StatArgs),
    /// Write out the content of a log, or of the dead letters.
    Dump(DumpArgs),
    /// Report the exact damage of a log. Exit code 1 if there is any.
    Verify(FolderArgs),
    /// Repair a damaged log for readers that stop at damage. The damaged files are kept beside it.
    Repair(FolderArgs),
}

/// The log.
#[derive(Debug, Args)]
pub struct FolderArgs {
    /// The data folder of narthex or of Prometheus (server or agent), or the folder `wal` in it. [default: the default
    /// data folder of narthex]
    #[arg(value_name = "DIR")]
    pub dir: Option<PathBuf>,

    /// The same as DIR, named as for `narthex run`.
    #[arg(long, value_name = "DIR", conflicts_with = "dir")]
    pub data: Option<PathBuf>,
}

impl FolderArgs {
    /// The folder that the user named in either way.
    pub fn named(&self) -> Option<&Path> {
        self.dir.as_deref().or(self.data.as_deref())
    }
}

/// `narthex wal stat`.
#[derive(Debug, Args)]
pub struct StatArgs {
    /// The log.
    #[command(flatten)]
    pub folder: FolderArgs,

    /// List this many metrics, those with the most samples first.
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub top: usize,

    /// Write JSON.
    #[arg(long)]
    pub json: bool,
}

/// `narthex wal dump`.
#[derive(Debug, Args)]
pub struct DumpArgs {
    /// The data folder of narthex or of Prometheus, or the folder `wal` in it; with --dead the data folder, the folder
    /// `dead` in it, or one of the files there. [default: the default data folder of narthex]
    #[arg(value_name = "DIR")]
    pub dir: Option<PathBuf>,

    /// The same as DIR, named as for `narthex run`.
    #[arg(long, value_name = "DIR", conflicts_with = "dir")]
    pub data: Option<PathBuf>,

    /// The output format. `openmetrics` is for `promtool tsdb create-blocks-from openmetrics`; labels that are added to
    /// sent samples (external_labels) are not in the log: pass them to promtool by --label.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub format: Format,

    /// Write into this file instead of standard output.
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,

    /// Samples from this time on: 2006-01-02T15:04:05Z, or seconds since 1970.
    #[arg(long, value_name = "TIME", value_parser = moment::parse, allow_negative_numbers = true)]
    pub from: Option<i64>,

    /// Samples up to this time.
    #[arg(long, value_name = "TIME", value_parser = moment::parse, allow_negative_numbers = true)]
    pub to: Option<i64>,

    /// The dead letters instead of the log: samples that destinations refused for good.
    #[arg(long)]
    pub dead: bool,
}

impl DumpArgs {
    /// The folder or file that the user named in either way.
    pub fn named(&self) -> Option<&Path> {
        self.dir.as_deref().or(self.data.as_deref())
    }
}

/// The format of a dump.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// A line for each entry, for people.
    Text,
    /// A JSON object on a line for each entry.
    Json,
    /// OpenMetrics, float samples only.
    #[value(name = "openmetrics")]
    OpenMetrics,
}

impl From<Format> for DumpFormat {
    fn from(format: Format) -> Self {
        match format {
            Format::Text => DumpFormat::Text,
            Format::Json => DumpFormat::Json,
            Format::OpenMetrics => DumpFormat::OpenMetrics,
        }
    }
}
