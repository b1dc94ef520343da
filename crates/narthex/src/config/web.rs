//! Prometheus' web configuration file. Its errors have the form of errors of a configuration file.

use super::error::{ConfigErrors, Reporter};
use super::read::read_all;
use super::validate::Faults;
use http_server::auth::Auth;
use http_server::security::tls;
use http_server::web_config::WebConfig;
use std::path::Path;

/// Parses the text of the file at `path`. Relative paths in it are relative to its folder.
pub fn parse(path: &Path, text: &str) -> Result<WebConfig, ConfigErrors> {
    let name = path.display().to_string();
    let reporter = Reporter { file: &name, text, expanded: &[] };
    // An empty file sets nothing, as in Prometheus.
    let mut reading = read_all::<Option<WebConfig>>(text, &reporter);
    let mut mistakes = std::mem::take(&mut reading.mistakes);
    let mut file = reading.value.take().flatten().unwrap_or_default();
    let faults = Faults::new(&reporter, &reading.places);
    if let Some(tls) = &mut file.tls_server_config {
        tls.resolve_paths(path.parent().unwrap_or(Path::new("")));
        for error in tls::errors(tls) {
            faults.add_within("tls_server_config", &error.to_string());
        }
    }
    for (user, hash) in &file.basic_auth_users {
        if let Err(error) = Auth::new([(user.clone(), hash.clone())].into(), Vec::new()) {
            faults.add(&format!("basic_auth_users.{user}"), error.to_string());
        }
    }
    mistakes.extend(faults.found());
    if mistakes.is_empty() {
        return Ok(file);
    }
    Err(ConfigErrors::new(mistakes, Vec::new()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        parse(Path::new("/etc/web.yml"), text).unwrap_err().to_string()
    }

    #[test]
    fn paths_are_relative_to_the_file() {
        let text = error("tls_server_config:\n  cert_file: gone.crt\n  key_file: /gone.key\n");
        let first = "/etc/web.yml:2:14: tls_server_config.cert_file: /etc/gone.crt: No such file";
        assert!(text.starts_with(first), "{text}");
        assert!(
            text.contains("/etc/web.yml:3:13: tls_server_config.key_file: /gone.key: No such file"),
            "{text}"
        );
        assert_eq!(parse(Path::new("w"), ""), Ok(WebConfig::default()));
        assert_eq!(parse(Path::new("w"), "# nothing\n"), Ok(WebConfig::default()));
    }

    #[test]
    fn errors_name_place_and_key_but_no_secret() {
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
