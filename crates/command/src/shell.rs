//! Commands in messages, for a user to type.

use std::path::Path;

/// `narthex wal` with a command, such as `dump --dead`, and a data folder. The text works in a shell in any
/// folder.
pub fn wal_command(command: &str, data: &Path) -> String {
    let path = std::path::absolute(data).unwrap_or_else(|_| data.to_path_buf());
    let path = path.to_string_lossy();
    let plain = |c: char| c.is_alphanumeric() || "/._-+:@,=".contains(c);
    match path.chars().all(plain) {
        true => format!("narthex wal {command} {path}"),
        false => format!("narthex wal {command} '{}'", path.replace('\'', r"'\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shown_command_names_the_folder_for_any_shell() {
        let shown = |data: &str| wal_command("dump --dead", Path::new(data));
        assert_eq!(shown("/var/lib/narthex"), "narthex wal dump --dead /var/lib/narthex");
        assert_eq!(shown("/a b/it's"), r"narthex wal dump --dead '/a b/it'\''s'");
        let here = std::env::current_dir().unwrap();
        assert_eq!(wal_command("stat", Path::new("d1")), wal_command("stat", &here.join("d1")));
    }
}
