//! Prometheus' own web configuration file, with the errors of a configuration file.

use super::error::{ConfigError, Reporter};
use super::{locate, read};
use receive::web_config::WebConfig;
use std::path::Path;

/// Reads the text of the file at `path`; relative paths in it are relative to its folder.
pub fn parse(path: &Path, text: &str) -> Result<WebConfig, Box<ConfigError>> {
    let name = path.display().to_string();
    let reporter = Reporter { file: &name, text, expanded: &[] };
    // An empty file is one that asks for nothing, in Prometheus, too.
    let file: Option<WebConfig> = read(text, &reporter)?;
    let mut file = file.unwrap_or_default();
    if let Some(tls) = &mut file.tls_server_config {
        tls.resolve_paths(path.parent().unwrap_or(Path::new("")));
        let wrong =
            |message| reporter.at(locate::locate(text, "tls_server_config"), "tls_server_config", message);
        tls.check().map_err(|error| wrong(error.to_string()))?;
    }
    if let Err(error) = receive::auth::Auth::new(file.basic_auth_users.clone(), Vec::new()) {
        let place = locate::locate(text, "basic_auth_users");
        return Err(reporter.at(place, "basic_auth_users", error.to_string()));
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        parse(Path::new("/etc/web.yml"), text).unwrap_err().to_string()
    }

    #[test]
    fn paths_are_relative_to_the_file() {
        let text = "tls_server_config:\n  cert_file: a.crt\n  key_file: /b.key\n";
        let tls = parse(Path::new("/etc/web.yml"), text).unwrap().tls_server_config.unwrap();
        assert_eq!(tls.cert_file.as_deref(), Some(Path::new("/etc/a.crt")));
        assert_eq!(tls.key_file.as_deref(), Some(Path::new("/b.key")));
        assert_eq!(parse(Path::new("w"), ""), Ok(WebConfig::default()));
        assert_eq!(parse(Path::new("w"), "# nothing\n"), Ok(WebConfig::default()));
    }

    #[test]
    fn faults_name_place_and_key_and_no_secret() {
        let text = error("tls_server_config:\n  cert_file: a.crt\n");
        assert!(text.starts_with("/etc/web.yml:2:3: tls_server_config: key_file is missing"), "{text}");
        let text = error("basic_auth_users:\n  ann: hunter2\n");
        assert!(text.contains("ann") && text.contains("bcrypt") && !text.contains("hunter2"), "{text}");
        let text = error("basic_auth_users:\n  ann: [hunter2]\n");
        assert!(!text.contains("hunter2"), "{text}");
        let text = error("basic_auth_users:\n  ann: \"hunter2\nx: {\n");
        assert!(text.contains("not valid YAML") && !text.contains("hunter2"), "{text}");
        let text = error("basic_auth_user:\n  ann: x\n");
        assert!(text.contains("did you mean \"basic_auth_users\"?"), "{text}");
    }
}
