//! `narthex wal verify` and `narthex wal repair`.

use crate::args::FolderArgs;
use crate::folder::{Folder, failed, or_default};
use crate::print;
use crate::progress::Line;
use command::shell::wal_command;
use command::{Failure, failure};
use model::size::Human;
use model::words::{are, counted, was};
use std::fmt::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use wal::opening::{Misnamed, Opening};
use wal::verify::{Missing, VerifyReport, verify};
use wal::{DamageKind, RealFilesystem};

pub(crate) fn run(args: &FolderArgs) -> Result<ExitCode, Failure> {
    let folder = Folder::find(&or_default(args.named())?)?;
    let in_use = folder.lock().err();
    let mut line = Line::new("verifying");
    let report = verify(&RealFilesystem, folder.log(), &mut |progress| line.show(progress));
    drop(line);
    let mut report = report.map_err(failed)?;
    let mut text = String::new();
    if let Some(in_use) = &in_use {
        being_written(&mut report);
        let _ = writeln!(text, "{} is {in_use}: its end is not checked", folder.data.display());
    }
    // Writing to a string does not fail.
    let _ = describe(&mut text, &folder, &report);
    // Prometheus can't open the log while it is in use.
    if in_use.is_none() {
        let _ = describe_openings(&mut text, &folder, &report);
    }
    print(&text)?;
    Ok(if report.is_clean() { ExitCode::SUCCESS } else { ExitCode::from(failure::RUNNING) })
}

/// Removes damage at the end of the newest file: while a log is written, its last record may be read in part.
fn being_written(report: &mut VerifyReport) {
    let Some(newest) = report.files.last() else { return };
    let (path, bytes) = (newest.path(), newest.bytes);
    let half = |kind| matches!(kind, DamageKind::Torn | DamageKind::Zeros | DamageKind::Checksum { .. });
    report
        .damage
        .retain(|damage| damage.file != path || damage.offset + damage.bytes < bytes || !half(damage.kind));
}

fn describe(out: &mut String, folder: &Folder, report: &VerifyReport) -> std::fmt::Result {
    for file in &report.files {
        if let Some(end) = file.end {
            let behind = file.bytes - end;
            let path = file.path();
            writeln!(
                out,
                "{}: ends at {end}, closed there by a failed sync; the {behind} bytes behind were not checked",
                path.display()
            )?;
        }
    }
    for damage in &report.damage {
        writeln!(out, "{damage}")?;
    }
    for Missing { dir, numbers } in &report.missing {
        match numbers.end - numbers.start {
            1 => writeln!(out, "{}: segment {} is missing", dir.display(), numbers.start)?,
            _ => writeln!(
                out,
                "{}: segments {} to {} are missing",
                dir.display(),
                numbers.start,
                numbers.end - 1
            )?,
        }
    }
    for Misnamed { path, taken_for } in &report.misnamed {
        writeln!(out, "{}: is not part of the log, but Prometheus takes it for {taken_for}", path.display())?;
    }
    for (file, bytes) in &report.filled {
        let lost = was(*bytes, "byte");
        writeln!(out, "{}: {lost} lost to damage and replaced by a repair", file.display())?;
    }
    lost_series(out, &report.unknown_series)?;
    if report.references_left_out {
        writeln!(out, "too many series to notice samples of unknown ones")?;
    }
    let bytes = report.files.iter().map(|file| file.bytes).sum();
    let (records, entries): (u64, u64) = (report.records.values().sum(), report.entries.values().sum());
    writeln!(
        out,
        "{}: {}, {} with {} in {}, {}",
        folder.wal.display(),
        if report.is_clean() { "whole" } else { "damaged" },
        counted(records, "whole record"),
        counted(entries, "entry"),
        counted(report.files.len() as u64, "file"),
        Human(bytes)
    )?;
    let aside = folder.set_aside();
    if !aside.is_empty() {
        let bytes = aside.iter().map(|(_, bytes)| bytes).sum();
        writeln!(
            out,
            "set aside in {}: {}, {}",
            folder.damaged().display(),
            counted(aside.len() as u64, "file"),
            Human(bytes)
        )?;
        for (name, bytes) in &aside {
            writeln!(out, "  {name}: {}", Human(*bytes))?;
        }
    }
    if !report.damage.is_empty() {
        let (count, bytes) = (report.damage.len(), report.damaged_bytes());
        let (bytes, places) = (counted(bytes, "byte"), counted(count as u64, "place"));
        writeln!(out, "{bytes} in {places} cannot be read; narthex skips them")?;
    }
    Ok(())
}

/// Reports entries that no reader can use. They are not removed, and their labels can't be restored.
fn lost_series(out: &mut String, lost: &[(PathBuf, u64)]) -> std::fmt::Result {
    for (file, entries) in lost {
        let file = file.display();
        writeln!(
            out,
            "{file}: {} of series whose labels are lost; every reader skips them",
            are(*entries, "entry")
        )?;
    }
    Ok(())
}

/// Describes what Prometheus would do with the log.
fn describe_openings(out: &mut String, folder: &Folder, report: &VerifyReport) -> std::fmt::Result {
    let both = report.agent == report.server;
    let programs = [("Prometheus", both, &report.server), ("a Prometheus agent", !both, &report.agent)];
    for (program, _, opening) in
        programs.into_iter().chain([("a Prometheus server", !both, &report.server)]).filter(|line| line.1)
    {
        match opening {
            Opening::Opens => writeln!(out, "{program} opens it")?,
            Opening::Deletes { file, offset } => writeln!(
                out,
                "{program} would delete what is behind byte {offset} of {} and every later segment",
                file.display()
            )?,
            Opening::Fails { reason, deletes } => {
                let deletes = if *deletes { ", and would delete segments" } else { "" };
                writeln!(out, "{program} does not start on it{deletes}: {reason}")?;
            }
        }
    }
    if !report.is_clean() {
        writeln!(out, "to repair it: {}", wal_command("repair", &folder.data))?;
    }
    Ok(())
}

/// `narthex wal repair`.
pub(crate) fn repair(args: &FolderArgs) -> Result<ExitCode, Failure> {
    let folder = Folder::find(&or_default(args.named())?)?;
    // Held to the end, so that neither program starts on the folder meanwhile.
    let _lock = folder.lock().map_err(|in_use| {
        Failure::running(format!("{} is {in_use}: stop that one first", folder.data.display()))
    })?;
    let mut line = Line::new("repairing");
    let report = wal::repair::repair(&RealFilesystem, folder.log(), &mut |progress| line.show(progress));
    drop(line);
    let report = report.map_err(failed)?;
    let mut text = String::new();
    for repaired in &report.repaired {
        let _ = writeln!(text, "{}: repaired", repaired.file.display());
        for damage in &repaired.damage {
            let _ = writeln!(text, "  {} bytes at {}: {}", damage.bytes, damage.offset, damage.kind);
        }
        if repaired.cut_bytes > 0 {
            let _ = writeln!(text, "  {} cut behind its end", was(repaired.cut_bytes, "byte"));
        }
        if repaired.sacrificed_bytes > 0 {
            let _ = writeln!(text, "  {} of whole records cut, too", was(repaired.sacrificed_bytes, "byte"));
        }
        let _ = writeln!(text, "  the damaged file is kept as {}", repaired.set_aside.display());
    }
    for (misnamed, now) in &report.renamed {
        let _ = writeln!(text, "{}: renamed to {}", misnamed.path.display(), now.display());
    }
    if let Some(number) = report.checkpoint {
        let wal = folder.wal.display();
        let _ = writeln!(
            text,
            "{wal}: the segments up to {number} are missing; made an empty checkpoint for them"
        );
    }
    for file in &report.filled {
        let _ = writeln!(text, "{}: was missing; made an empty segment", file.display());
    }
    let Some(verified) = report.verified else {
        let _ = writeln!(text, "{}: nothing to repair", folder.wal.display());
        print(&text)?;
        return Ok(ExitCode::SUCCESS);
    };
    let _ = lost_series(&mut text, &verified.unknown_series);
    let state = if verified.is_clean() { "whole now" } else { "still damaged" };
    let _ = writeln!(text, "{}: {state}", folder.wal.display());
    let _ = describe_openings(&mut text, &folder, &verified);
    print(&text)?;
    Ok(if verified.is_clean() { ExitCode::SUCCESS } else { ExitCode::from(failure::RUNNING) })
}
