//! Values of flags: durations, sizes, and the file with a URL.

use crate::Failure;
use model::size::Human;
use std::path::Path;
use std::time::Duration;

/// The largest file that `--to-file` may name, in bytes.
pub const TO_FILE_BYTES_MAX: u64 = 64 << 10;

pub fn duration(text: &str) -> Result<Duration, String> {
    model::duration::parse(text).map_err(|error| error.to_string())
}

/// Parses a size in bytes.
pub fn bytes(text: &str) -> Result<u64, String> {
    model::size::amount(text).map_err(|error| error.to_string())
}

/// Reads the URL from the file that `--to-file` names.
pub fn read_url(file: &Path) -> Result<String, Failure> {
    let failed = |why: String| Failure::usage(format!("--to-file {}: {why}", file.display()));
    let size = std::fs::metadata(file).map_err(|error| failed(error.to_string()))?.len();
    if size > TO_FILE_BYTES_MAX {
        return Err(failed(format!("{} is more than a URL", Human(size))));
    }
    let text = std::fs::read_to_string(file).map_err(|error| failed(error.to_string()))?;
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    match (lines.next(), lines.next()) {
        (Some(url), None) => Ok(url.to_string()),
        (None, _) => Err(failed("it is empty: it should hold one URL".into())),
        (Some(_), Some(_)) => Err(failed("it should hold one URL, alone".into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentage_is_not_a_number_of_bytes() {
        assert_eq!(bytes("64MiB"), Ok(64 << 20));
        assert!(bytes("10%").unwrap_err().contains("such as 512KiB or 32MiB"));
    }

    #[test]
    fn a_file_holds_exactly_one_url() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("url");
        let read = |text: &str| {
            std::fs::write(&file, text).unwrap();
            read_url(&file).map_err(|failure| failure.to_string())
        };
        assert_eq!(read("\n http://h:1/x \n"), Ok("http://h:1/x".into()));
        assert!(read("").unwrap_err().ends_with("it is empty: it should hold one URL"));
        assert!(read("a\nb\n").unwrap_err().ends_with("it should hold one URL, alone"));
        let huge = "x".repeat(TO_FILE_BYTES_MAX as usize + 1);
        assert!(read(&huge).unwrap_err().ends_with("is more than a URL"));
    }
}
