//! The identity of a destination: its `name`, otherwise its URL without credentials and query. So a
//! destination stays the same with new credentials, other options or another order in the configuration.
//!
//! Several destinations without a name may have the same URL, for example a receiver with tenants. They are
//! distinguished by query, headers and relabelling.

use crate::config::RemoteWrite;
use std::collections::{HashMap, HashSet};
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

/// Most bytes of a name or a URL in a file of positions. A longer text is cut, and a hash is added.
const TEXT_BYTES: usize = 900;
/// A text of this length may have been cut.
pub(crate) const NAME_CUT: usize = TEXT_BYTES - 24;

/// The owner of positions, as their file has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    pub name: Option<String>,
    /// Without credentials and query.
    pub url: String,
    /// Hash of query, headers and relabelling.
    pub variant: u64,
}

impl Owner {
    /// Returns the name, otherwise the URL, for people.
    pub fn shown(&self) -> &str {
        self.name.as_deref().unwrap_or(&self.url)
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    owner: Owner,
    shown: String,
    file: String,
}

/// Two destinations without any difference.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("two destinations push the same to {0}: take one out, or give each a name")]
pub struct Duplicate(pub String);

impl Identity {
    /// Returns the identities of all destinations of a configuration, in their order.
    pub fn of_all(configs: &[RemoteWrite]) -> Result<Vec<Identity>, Duplicate> {
        let identities = Self::each(configs);
        let duplicate = duplicates(&identities).next();
        duplicate.map_or(Ok(identities), |(_, duplicate)| Err(duplicate))
    }

    /// Returns the index of each destination that equals an earlier one.
    pub fn duplicates(configs: &[RemoteWrite]) -> Vec<(usize, Duplicate)> {
        duplicates(&Self::each(configs)).collect()
    }

    fn each(configs: &[RemoteWrite]) -> Vec<Identity> {
        let owners: Vec<Owner> = configs.iter().map(owner).collect();
        let mut unnamed: HashMap<&str, usize> = HashMap::new();
        for owner in owners.iter().filter(|owner| owner.name.is_none()) {
            *unnamed.entry(&owner.url).or_default() += 1;
        }
        let is_twin =
            |owner: &Owner| owner.name.is_none() && unnamed.get(&*owner.url).is_some_and(|count| *count > 1);
        owners.iter().map(|owner| Identity::new(owner.clone(), is_twin(owner))).collect()
    }

    /// Returns the identity of a single destination.
    pub fn of(config: &RemoteWrite) -> Identity {
        Identity::new(owner(config), false)
    }

    /// Returns the identity of a destination, or an entry, with this name.
    pub(crate) fn of_name(name: &str) -> Identity {
        let owner = Owner { name: Some(bounded(name)), url: String::new(), variant: 0 };
        Identity::new(owner, false)
    }

    /// Returns the identity of the owner of a file of positions. The file's name says whether others had the
    /// same URL.
    pub(crate) fn of_file(owner: Owner, file: &str) -> Identity {
        let alone = Identity::new(owner, false);
        if alone.file == file || alone.owner.name.is_some() {
            alone
        } else {
            Identity::new(alone.owner, true)
        }
    }

    fn new(owner: Owner, is_twin: bool) -> Identity {
        let twin = is_twin.then(|| format!("{}#{:08x}", owner.url, owner.variant as u32));
        let shown = twin.unwrap_or_else(|| owner.shown().to_string());
        Identity { file: file(&shown, owner.name.is_some()), shown, owner }
    }

    /// Returns the owner to write to its file of positions.
    pub fn owner(&self) -> &Owner {
        &self.owner
    }

    /// Returns the name of its file of positions, and of its file of dead letters without the ending.
    pub fn file(&self) -> &str {
        &self.file
    }

    /// Returns the name for people and metrics: the name, otherwise the URL, with a suffix if several have
    /// that URL.
    pub fn shown(&self) -> &str {
        &self.shown
    }
}

fn duplicates(identities: &[Identity]) -> impl Iterator<Item = (usize, Duplicate)> {
    let mut files = HashSet::new();
    identities.iter().enumerate().filter_map(move |(index, identity)| {
        let is_first = files.insert(&identity.file);
        (!is_first).then(|| (index, Duplicate(identity.owner.shown().to_string())))
    })
}

fn owner(config: &RemoteWrite) -> Owner {
    let mut variant = Xxh3::new();
    let mut add = |text: &str| {
        variant.update(&(text.len() as u64).to_le_bytes());
        variant.update(text.as_bytes());
    };
    add(config.url.uri().query().unwrap_or_default());
    for (name, value) in &config.headers {
        add(name);
        add(value.reveal());
    }
    add(&relabel::Relabeller::new(config.write_relabel_configs.clone()).description());
    Owner {
        name: config.name.as_deref().map(bounded),
        url: bounded(&config.url.redacted()),
        variant: variant.digest(),
    }
}

fn bounded(text: &str) -> String {
    if text.len() <= TEXT_BYTES {
        return text.to_string();
    }
    let mut end = TEXT_BYTES - 20;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}...{:016x}", text.get(..end).unwrap_or_default(), xxh3_64(text.as_bytes()))
}

fn file(shown: &str, is_named: bool) -> String {
    let mut file: String = shown
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.') { c } else { '_' })
        .take(80)
        .collect();
    // Two names may become the same file name, and a name may look like a URL.
    let mut hash = Xxh3::new();
    hash.update(if is_named { b"name:" } else { b"url: " });
    hash.update(shown.as_bytes());
    file.push_str(&format!("-{:08x}", hash.digest() as u32));
    file
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "helper functions of tests")]
    use super::*;
    use http_client::Secret;
    use http_client::Url;

    fn to(url: &str) -> RemoteWrite {
        RemoteWrite::to(Url::parse(url).unwrap())
    }

    fn named(name: &str) -> RemoteWrite {
        let mut config = to("http://h/");
        config.name = Some(name.into());
        config
    }

    #[test]
    fn other_credentials_and_options_keep_the_identity() {
        let file = |url| Identity::of(&to(url)).file().to_string();
        assert_eq!(file("http://h:9090/api/v1/write"), file("http://me:secret@h:9090/api/v1/write?token=1"));
        assert_ne!(file("http://h:9090/a"), file("http://h:9090/b"));
        assert!(file("http://h:9090/a/b").starts_with("http___h_9090_a_b-"));
        let mut other = to("http://h/");
        other.queue_config.max_shards = 7;
        other.headers.insert("X-Key".into(), Secret::new("k"));
        assert_eq!(Identity::of(&other).file(), file("http://h/"));
    }

    #[test]
    fn similar_names_have_different_files() {
        let file = |name: &str| Identity::of(&named(name)).file().to_string();
        assert_ne!(file("a/b"), file("a_b"));
        assert!(!file("../../x").contains('/'));
        assert_ne!(file("http://h/"), Identity::of(&to("http://h/")).file());
        let long = "é".repeat(2000);
        assert!(Identity::of(&named(&long)).owner().name.as_ref().unwrap().len() <= TEXT_BYTES);
        assert_ne!(file(&long), file(&format!("{long}x")));
    }

    #[test]
    fn destinations_of_one_url_differ_by_query_headers_and_rules() {
        let tenant = |tenant: &str| {
            let mut config = to("http://h/");
            config.headers.insert("X-Scope-OrgID".into(), Secret::new(tenant));
            config
        };
        let files = |configs: &[RemoteWrite]| -> Vec<String> {
            Identity::of_all(configs).unwrap().iter().map(|identity| identity.file().to_string()).collect()
        };
        let (ab, ba) = (files(&[tenant("a"), tenant("b")]), files(&[tenant("b"), tenant("a")]));
        assert_eq!((&ab[0], &ab[1]), (&ba[1], &ba[0]));
        assert_ne!(ab[0], ab[1]);
        let duplicate = Duplicate("http://h/".into());
        let configs = [tenant("a"), named("x"), tenant("a"), tenant("b"), tenant("a")];
        assert_eq!(Identity::duplicates(&configs), [(2, duplicate.clone()), (4, duplicate.clone())]);
        assert_eq!(Identity::of_all(&configs).unwrap_err(), duplicate);
        assert!(Identity::of_all(&[named("a"), named("a")]).is_err());
    }
}
