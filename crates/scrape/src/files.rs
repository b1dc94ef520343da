//! Files by a pattern, for `scrape_config_files` and `file_sd_configs`.

use std::path::{Path, PathBuf};

/// The files that match a path whose last part may have `*`, in order, at most `most` of them. A path without `*` is
/// itself, whether or not the file exists. Of a folder that does not exist there are none.
pub fn matching(pattern: &Path, most: usize) -> Result<Vec<PathBuf>, String> {
    let shown = pattern.display();
    let is_pattern = |text: &str| text.contains('*');
    let (Some(name), folder) = (pattern.file_name().and_then(|name| name.to_str()), pattern.parent()) else {
        return Err(format!("{shown} is not the path of a file"));
    };
    if folder.is_some_and(|folder| is_pattern(&folder.to_string_lossy())) {
        return Err(format!("{shown}: only the last part of a path may have a *"));
    }
    if !is_pattern(name) {
        return Ok(vec![pattern.to_path_buf()]);
    }
    let folder = folder.filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(format!("{}: {error}", folder.display())),
    };
    let mut files = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|error| format!("{}: {error}", folder.display()))?;
        let is_match = entry.file_name().to_str().is_some_and(|file| matches(name, file));
        if is_match {
            if files.len() >= most {
                return Err(format!("{shown} matches more than {most} files"));
            }
            files.push(entry.path());
        }
    }
    files.sort();
    Ok(files)
}

/// Whether a name matches a pattern in which `*` stands for any characters.
fn matches(pattern: &str, name: &str) -> bool {
    let Some((before, rest)) = pattern.split_once('*') else { return pattern == name };
    let Some(mut left) = name.strip_prefix(before) else { return false };
    let mut parts = rest.split('*').peekable();
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return left.ends_with(part);
        }
        match left.split_once(part) {
            Some((_, after)) => left = after,
            None => return false,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a panic is how a test reports")]
    use super::*;

    #[test]
    fn a_star_stands_for_any_characters() {
        for (pattern, name, is_match) in [
            ("*.yml", "a.yml", true),
            ("*.yml", ".yml", true),
            ("*.yml", "a.yaml", false),
            ("a*b*c", "abc", true),
            ("a*b*c", "a1b2b3c", true),
            ("a*b*c", "acb", false),
            ("*", "x", true),
            ("aa*a", "aa", false),
        ] {
            assert_eq!(matches(pattern, name), is_match, "{pattern} {name}");
        }
    }

    #[test]
    fn files_are_found_by_the_last_part_of_a_path() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["b.yml", "a.yml", "c.json"] {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        let found = |pattern: &str, most| matching(&folder.path().join(pattern), most);
        let files = |names: &[&str]| Ok(names.iter().map(|name| folder.path().join(name)).collect());
        assert_eq!(found("*.yml", 9), files(&["a.yml", "b.yml"]));
        assert_eq!(found("gone.yml", 9), files(&["gone.yml"]));
        assert_eq!(found("gone/*.yml", 9), files(&[]));
        assert!(found("*/a.yml", 9).unwrap_err().contains("only the last part"));
        assert!(found("*.yml", 1).unwrap_err().contains("matches more than 1 files"));
    }
}
