//! The mapping files of inputs. Their errors have the form of errors of a configuration file.

use super::FILE_BYTES_MAX;
use super::error::{ConfigErrors, Reporter};
use super::read::read_all;
use super::validate::Faults;
use mapping::{File, Mapping};
use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

/// Reads the mapping file of each section.
pub(super) fn read_files(
    files: Vec<(&'static str, &Path)>,
    faults: &Faults<'_>,
) -> BTreeMap<&'static str, Arc<Mapping>> {
    let mut mappings = BTreeMap::new();
    for (section, path) in files {
        let key = format!("{section}.mapping_config");
        match read_text(path) {
            Err(why) => faults.add(&key, format!("{}: {why}", path.display())),
            Ok(text) => match parse(path, &text) {
                Ok(mapping) => drop(mappings.insert(section, Arc::new(mapping))),
                Err(errors) => errors.mistakes.into_iter().for_each(|mistake| faults.add_of_file(mistake)),
            },
        }
    }
    mappings
}

fn read_text(path: &Path) -> Result<String, String> {
    let file = std::fs::File::open(path).map_err(|error| error.to_string())?;
    let mut text = String::new();
    file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text).map_err(|error| error.to_string())?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(format!("larger than the limit of {}", super::Human(FILE_BYTES_MAX)));
    }
    Ok(text)
}

/// Parses the text of the file at `path`.
fn parse(path: &Path, text: &str) -> Result<Mapping, ConfigErrors> {
    let name = path.display().to_string();
    let reporter = Reporter { file: &name, text, expanded: &[] };
    let mut reading = read_all::<Option<File>>(text, &reporter);
    let mut mistakes = std::mem::take(&mut reading.mistakes);
    let file = reading.value.take().flatten().unwrap_or_default();
    let faults = Faults::new(&reporter, &reading.places);
    let mapping = Mapping::new(file);
    for fault in mapping.as_ref().err().into_iter().flatten() {
        faults.add(&fault.key, fault.message.as_str());
    }
    mistakes.extend(faults.found());
    match mapping {
        Ok(mapping) if mistakes.is_empty() => Ok(mapping),
        _ => Err(ConfigErrors::new(mistakes, Vec::new())),
    }
}

#[cfg(test)]
mod tests {
    use crate::config;
    use std::path::Path;

    fn read(mapping: &str) -> Result<intake::InputSettings, String> {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("map.yml"), mapping).unwrap();
        let text = "graphite: {listen: '127.0.0.1:0', mapping_config: map.yml}\n";
        let (config, _) = config::parse("n.yml", folder.path(), text, &|_| None)
            .map_err(|errors| errors.to_string().replace(&folder.path().display().to_string(), "DIR"))?;
        Ok(config.receive.intake.inputs["graphite"].as_ref().clone())
    }

    #[test]
    fn a_mapping_file_is_read_with_the_configuration() {
        let settings =
            read("mappings:\n- {match: servers.*.load, name: load, labels: {host: $1}}\n").unwrap();
        assert_eq!(settings.mapping.unwrap().rules(), 1);
        assert_eq!(read("").unwrap().mapping.unwrap().rules(), 0);
    }

    #[test]
    fn mistakes_have_their_place_in_the_mapping_file() {
        let error = read("mappings:\n- match: a.*\n  name: 0a\n- match: b.*\n  nam: b\n").unwrap_err();
        assert!(error.contains("DIR/map.yml:3:9: mappings[0].name: a metric name has"), "{error}");
        assert!(error.contains("DIR/map.yml:5:3: mappings[1].nam"), "{error}");
        let error = read("mappings: {\n").unwrap_err();
        assert!(error.contains("DIR/map.yml"), "{error}");
        let text = "graphite: {listen: '127.0.0.1:0', mapping_config: gone.yml}\n";
        let errors = config::parse("n.yml", Path::new("/nowhere"), text, &|_| None).unwrap_err().to_string();
        assert!(
            errors.contains("n.yml:1:51: graphite.mapping_config: /nowhere/gone.yml: No such file"),
            "{errors}"
        );
    }
}
