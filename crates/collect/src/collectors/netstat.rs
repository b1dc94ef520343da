//! `netstat`: the counters of network protocols that node_exporter has by default, from `/proc/net/netstat`,
//! `snmp` and `snmp6`.

use super::{Context, Outcome};
use crate::error::CollectError;
use crate::out::Out;
use model::MetricType;

pub(super) fn collect(context: &mut Context<'_>, out: &mut Out) -> Outcome {
    for path in ["proc/net/netstat", "proc/net/snmp"] {
        let text = context.source.read(path)?;
        let mut lines = text.lines();
        // Pairs of lines: names and values. Both begin with the protocol.
        while let (Some(names), Some(values)) = (lines.next(), lines.next()) {
            let malformed = || CollectError::malformed(path, "a line of names and one of values", values);
            let (protocol, names) = names.split_once(':').ok_or_else(malformed)?;
            let (same, values) = values.split_once(':').ok_or_else(malformed)?;
            if protocol != same {
                return Err(malformed());
            }
            for (name, value) in names.split_ascii_whitespace().zip(values.split_ascii_whitespace()) {
                push(out, protocol, name, value, path)?;
            }
        }
    }
    let path = "proc/net/snmp6";
    let text = match context.source.read(path) {
        Ok(text) => text,
        // A kernel without IPv6.
        Err(error) if error.is_missing() => return Ok(()),
        Err(error) => return Err(error),
    };
    for line in text.lines() {
        let mut fields = line.split_ascii_whitespace();
        let (Some(key), Some(value)) = (fields.next(), fields.next()) else { continue };
        // "Ip6InOctets": the name of the protocol ends with the 6.
        let Some((protocol, name)) = key.split_once('6') else { continue };
        push(out, &format!("{protocol}6"), name, value, path)?;
    }
    Ok(())
}

fn push(out: &mut Out, protocol: &str, name: &str, value: &str, path: &str) -> Outcome {
    if !is_wanted(protocol, name) {
        return Ok(());
    }
    let value: f64 = value.parse().map_err(|_| CollectError::malformed(path, "a number", value))?;
    let slot = out.open_named(
        format!("node_netstat_{protocol}_{name}"),
        format!("Statistic {protocol}{name}."),
        MetricType::Unknown,
    );
    out.push(slot, &[], value);
    Ok(())
}

/// node_exporter's default, a regular expression over `PROTOCOL_NAME`:
/// `^(.*_(InErrors|InErrs)|Ip_Forwarding|Ip(6|Ext)_(InOctets|OutOctets)|Icmp6?_(InMsgs|OutMsgs)|TcpExt_
/// (Listen.*|Syncookies.*|TCPSynRetrans|TCPTimeouts|TCPOFOQueue|TCPRcvQDrop)|Tcp_(ActiveOpens|InSegs|
/// OutSegs|OutRsts|PassiveOpens|RetransSegs|CurrEstab)|Udp6?_(InDatagrams|OutDatagrams|NoPorts|
/// RcvbufErrors|SndbufErrors))$`
fn is_wanted(protocol: &str, name: &str) -> bool {
    if matches!(name, "InErrors" | "InErrs") {
        return true;
    }
    match protocol {
        "Ip" => name == "Forwarding",
        "Ip6" | "IpExt" => matches!(name, "InOctets" | "OutOctets"),
        "Icmp" | "Icmp6" => matches!(name, "InMsgs" | "OutMsgs"),
        "Tcp" => matches!(
            name,
            "ActiveOpens" | "InSegs" | "OutSegs" | "OutRsts" | "PassiveOpens" | "RetransSegs" | "CurrEstab"
        ),
        "TcpExt" => {
            matches!(name, "TCPSynRetrans" | "TCPTimeouts" | "TCPOFOQueue" | "TCPRcvQDrop")
                || name.starts_with("Listen")
                || name.starts_with("Syncookies")
        }
        "Udp" | "Udp6" => {
            matches!(name, "InDatagrams" | "OutDatagrams" | "NoPorts" | "RcvbufErrors" | "SndbufErrors")
        }
        _ => false,
    }
}
