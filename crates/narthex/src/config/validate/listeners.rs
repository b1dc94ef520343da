//! Inputs with sockets of their own: their addresses, and who may send.

use super::Faults;
use super::file::File;
use super::influx;
use super::statsd::statsd;
use crate::config::inputs;
use intake::{Exposure, Listener};
use receive::graphite::Graphite;
use std::net::SocketAddr;
use std::sync::Arc;

/// Inputs with sockets of their own.
pub(super) fn listeners(
    file: &File,
    of_influx: &receive::influx::Settings,
    faults: &Faults<'_>,
) -> Vec<Arc<dyn Listener>> {
    let mut all: Vec<Arc<dyn Listener>> = Vec::new();
    if let Some((listen, exposure)) = address(receive::graphite::NAME, file.graphite.as_ref(), faults) {
        all.push(Arc::new(Graphite { listen, exposure }));
    }
    let defaults = file.inputs.clone().unwrap_or_default();
    if let Some(statsd) = file.statsd.as_ref().and_then(|section| statsd(section, &defaults, faults)) {
        all.push(Arc::new(statsd));
    }
    if let Some(udp) = file.influx.as_ref().and_then(|section| influx::udp(section, of_influx, faults)) {
        all.push(Arc::new(udp));
    }
    check_addresses(&all, faults);
    all
}

/// Reports an address that two inputs use, as a mistake of the second one.
fn check_addresses(all: &[Arc<dyn Listener>], faults: &Faults<'_>) {
    for (index, listener) in all.iter().enumerate() {
        let before = all.iter().take(index);
        let conflict = before.flat_map(|other| listener.conflict(&**other).map(|endpoint| (other, endpoint)));
        if let Some((other, endpoint)) = conflict.into_iter().next() {
            let (key, other) = (listener.key(&endpoint), other.key(&endpoint));
            let why = format!("{endpoint} is the address of {other} already: choose another one");
            faults.add_about(&key, &[&key, &other], why);
        }
    }
}

/// The address of an input, and who may send to it. `None` if the section does not exist or has a mistake.
fn address(
    section: &'static str,
    given: Option<&inputs::Listener>,
    faults: &Faults<'_>,
) -> Option<(SocketAddr, Exposure)> {
    let given = given?;
    let key = format!("{section}.listen");
    let Some(inputs::ListenAddress(listen)) = given.listen else {
        faults.add_about(section, &[section, &key], "the address is missing: add listen: ADDRESS:PORT");
        return None;
    };
    let allow_from = given.allow_from.iter().map(|network| network.0).collect();
    let exposure = Exposure { allow_from, allow_unauthenticated: given.allow_unauthenticated };
    if let Err(exposed) = exposure.check(section, listen) {
        faults.add_about(&key, &[&key, &format!("{section}.allow_from")], exposed.to_string());
    }
    Some((listen, exposure))
}

#[cfg(test)]
mod tests {
    use super::super::{Places, Reporter};
    use super::*;
    use crate::config::read::read_all;
    use intake::{BindError, Bound, Endpoint};
    use serde::de::IgnoredAny;

    #[derive(Debug)]
    struct At(&'static str, Vec<Endpoint>, Exposure);

    impl Listener for At {
        fn name(&self) -> &'static str {
            self.0
        }
        fn endpoints(&self) -> Vec<Endpoint> {
            self.1.clone()
        }
        fn exposure(&self) -> &Exposure {
            &self.2
        }
        fn bind(&self) -> Result<Box<dyn Bound>, BindError> {
            unreachable!("nothing is opened")
        }
    }

    #[test]
    fn an_address_of_two_inputs_is_reported_at_the_second_one() {
        let tcp = |address: &str| Endpoint::Tcp(address.parse().unwrap());
        let udp = |address: &str| Endpoint::Udp(address.parse().unwrap());
        let text = "one: {listen: x}\ntwo:\n  listen: x\nthree: {listen: x}\n";
        let reporter = Reporter { file: "n.yml", text, expanded: &[] };
        let places: Places = read_all::<IgnoredAny>(text, &reporter).places;
        let listener = |name, endpoints: Vec<Endpoint>| -> Arc<dyn Listener> {
            Arc::new(At(name, endpoints, Exposure::default()))
        };
        let all = [
            listener("one", vec![tcp("0.0.0.0:2003"), udp("0.0.0.0:2003")]),
            listener("two", vec![udp("127.0.0.1:2003")]),
            listener("three", vec![tcp("127.0.0.1:2004"), udp("127.0.0.1:2004")]),
        ];
        let faults = Faults::new(&reporter, &places);
        check_addresses(&all, &faults);
        let found: Vec<String> = faults.found().iter().map(ToString::to_string).collect();
        let wanted = "n.yml:3:11: two.listen: UDP 127.0.0.1:2003 is the address of one.listen already: choose another \
                      one\n  3 |   listen: x\n    |           ^";
        assert_eq!(found, [wanted]);
    }

    #[test]
    fn each_input_with_sockets_listens_if_its_section_is_there() {
        for input in File::default().inputs() {
            let section = input.section;
            let text = match section.split_once('.') {
                _ if section == "scrape_configs" => "scrape_configs: [{job_name: a}]\n".into(),
                Some((above, key)) => format!("{above}: {{{key}: {{}}}}\n"),
                None if input.source == inputs::Source::Listener => {
                    let key = if section == "statsd" { "listen_udp" } else { "listen" };
                    format!("{section}: {{{key}: '127.0.0.1:0'}}\n")
                }
                None => format!("{section}: {{}}\n"),
            };
            let (config, _) =
                crate::config::parse("n.yml", std::path::Path::new(""), &text, &|_| None).unwrap();
            let names: Vec<&str> = config.listeners.iter().map(|listener| listener.name()).collect();
            match input.source {
                inputs::Source::Listener => assert_eq!(names, [input.name]),
                _ => assert!(names.is_empty(), "{section}"),
            }
        }
    }
}
