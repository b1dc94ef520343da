//! `scrape_configs` and `scrape_config_files`: the jobs.

use super::Faults;
use crate::config::error::{ConfigError, Reporter};
use crate::config::file::{File, ScrapeFile};
use crate::config::read::read_all;
use crate::config::{FILE_BYTES_MAX, Human, shown};
use scrape::Job;
use scrape::config::{Global, ScrapeConfig};
use std::collections::BTreeSet;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

/// Most files of `scrape_config_files`.
pub(super) const FILES_MAX: usize = 1000;

/// All jobs of the configuration and of its further files.
pub(super) fn jobs(file: &File, faults: &Faults<'_>) -> Vec<Arc<Job>> {
    let global = file.global.as_ref().map(super::file::Global::scrape).unwrap_or_default();
    let mut names = BTreeSet::new();
    let mut jobs = entries(file.scrape_configs.as_deref().unwrap_or_default(), &global, &mut names, faults);
    for (index, pattern) in file.scrape_config_files.iter().flatten().enumerate() {
        let key = format!("scrape_config_files[{index}]");
        match scrape::files::matching(pattern, FILES_MAX) {
            Err(why) => faults.add(&key, why),
            Ok(files) => {
                for path in files {
                    match read_text(&path) {
                        Err(why) => faults.add(&key, format!("{}: {why}", path.display())),
                        Ok(text) => match read(&path, &text, &global, &mut names) {
                            Ok(more) => jobs.extend(more),
                            Err(mistakes) => {
                                mistakes.into_iter().for_each(|mistake| faults.add_of_file(mistake));
                            }
                        },
                    }
                }
            }
        }
    }
    jobs
}

fn entries(
    entries: &[ScrapeConfig],
    global: &Global,
    names: &mut BTreeSet<String>,
    faults: &Faults<'_>,
) -> Vec<Arc<Job>> {
    let mut jobs = Vec::new();
    for (index, entry) in entries.iter().enumerate() {
        let path = format!("scrape_configs[{index}]");
        if !names.insert(entry.job_name.clone()) {
            let why = format!("another job has the name {:?} already", entry.job_name);
            faults.add(&format!("{path}.job_name"), why);
        }
        let (job, found) = Job::new(entry, global);
        for fault in found {
            let key = if fault.key.is_empty() { path.clone() } else { format!("{path}.{}", fault.key) };
            if fault.names_key {
                faults.add_within(&key, &fault.why);
            } else {
                faults.add(&key, fault.why);
            }
        }
        jobs.push(Arc::new(job));
    }
    jobs
}

fn read_text(path: &Path) -> Result<String, String> {
    let file = std::fs::File::open(path).map_err(|error| error.to_string())?;
    let mut text = String::new();
    file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text).map_err(|error| error.to_string())?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(format!("larger than the limit of {}", Human(FILE_BYTES_MAX)));
    }
    Ok(text)
}

/// The jobs of one of the further files.
fn read(
    path: &Path,
    text: &str,
    global: &Global,
    names: &mut BTreeSet<String>,
) -> Result<Vec<Arc<Job>>, Vec<ConfigError>> {
    let name = shown(path);
    let reporter = Reporter { file: &name, text, expanded: &[] };
    let mut reading = read_all::<Option<ScrapeFile>>(text, &reporter);
    let mut mistakes = std::mem::take(&mut reading.mistakes);
    let mut file = reading.value.take().flatten().unwrap_or_default();
    let folder = path.parent().unwrap_or(Path::new(""));
    file.scrape_configs.iter_mut().for_each(|job| job.resolve_paths(folder));
    let faults = Faults::new(&reporter, &reading.places);
    let jobs = entries(&file.scrape_configs, global, names, &faults);
    mistakes.extend(faults.found());
    if mistakes.is_empty() { Ok(jobs) } else { Err(mistakes) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a panic is how a test reports")]
    use crate::config::parse;
    use std::path::Path;

    fn mistakes(text: &str) -> Vec<String> {
        let errors = parse("n.yml", Path::new(""), text, &|_| None).unwrap_err();
        errors.mistakes.iter().map(|one| format!("{}: {}", one.key, one.message)).collect()
    }

    #[test]
    fn mistakes_are_reported_at_their_keys() {
        let text = "scrape_configs:\n\
                    - {job_name: a, scrape_interval: 5s, scrape_timeout: 6s, native_histogram_bucket_limit: 5}\n\
                    - {job_name: a, basic_auth: {username: x}, authorization: {credentials: y}}\n\
                    - {job_name: b, static_configs: [{targets: ['http://a/']}]}\n\
                    - {job_name: c, kubernetes_sd_configs: []}\n\
                    - {job_name: d, file_sd_configs: [{files: [a.txt]}]}\n\
                    - {job_name: e, http_sd_configs: [{url: 'http://a/', no_proxy: b}]}\n";
        let found = mistakes(text);
        for wanted in [
            "scrape_configs[0].scrape_timeout: 6s is more than scrape_interval, 5s",
            "scrape_configs[0].native_histogram_bucket_limit: narthex does not reduce",
            "scrape_configs[1].job_name: another job has the name \"a\" already",
            "basic_auth and authorization exclude each other",
            "scrape_configs[2].static_configs[0].targets[0]: an address is HOST:PORT",
            "scrape_configs[3].kubernetes_sd_configs: narthex does not find targets in this way",
            "scrape_configs[4].file_sd_configs[0].files[0]: a.txt: the name must end with .json, .yml or .yaml",
            "scrape_configs[5].http_sd_configs[0].no_proxy: no_proxy needs proxy_url",
        ] {
            assert!(found.iter().any(|mistake| mistake.contains(wanted)), "{wanted}: {found:#?}");
        }
        assert_eq!(found.len(), 8, "{found:#?}");
    }

    #[test]
    fn further_files_have_jobs_with_the_defaults_of_global() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::write(at("one.yml"), "scrape_configs: [{job_name: b, bearer_token_file: token}]\n").unwrap();
        std::fs::write(at("other.txt"), "not read").unwrap();
        std::fs::write(at("token"), "secret").unwrap();
        let text = "global: {scrape_interval: 7s, body_size_limit: 15MB}\nscrape_configs: [{job_name: a}]\n\
                    scrape_config_files: ['*.yml']\n";
        let (config, warnings) = parse("n.yml", folder.path(), text, &|_| None).unwrap();
        assert_eq!(warnings, Vec::<String>::new());
        let names: Vec<_> =
            config.jobs.iter().map(|job| (job.name.as_str(), job.interval.as_secs())).collect();
        assert_eq!(names, [("a", 7), ("b", 7)]);
        assert_eq!(config.jobs[1].http.bearer_token_file, Some(at("token")));
        assert_eq!(config.listeners.len(), 1);
        std::fs::write(at("one.yml"), "scrape_configs: [{job_name: a, scrape_intervall: 1s}]\n").unwrap();
        let errors = parse("n.yml", folder.path(), text, &|_| None).unwrap_err().to_string();
        assert!(errors.contains("one.yml:1:32: scrape_configs[0].scrape_intervall: unknown key"), "{errors}");
    }
}
