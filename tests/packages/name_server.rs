//! A name server on loopback with one name.

use std::net::{Ipv4Addr, UdpSocket};

/// Answers `name` with 127.0.0.1, and all other names with "no such name". Returns its address. It uses port 53,
/// because `/etc/resolv.conf` allows no other one.
pub(crate) fn start(name: &'static str) -> Ipv4Addr {
    // Every address of 127.0.0.0/8 belongs to this machine; a random one is not in use.
    let [a, b, c, _] = std::process::id().to_be_bytes().map(|byte| byte.max(1));
    let address = Ipv4Addr::new(127, a.wrapping_add(b) | 1, c, std::process::id() as u8 | 2);
    let socket = UdpSocket::bind((address, 53)).unwrap();
    std::thread::spawn(move || {
        let mut bytes = [0; 512];
        while let Ok((length, client)) = socket.recv_from(&mut bytes) {
            if let Some(answer) = answer(&bytes[..length], name) {
                let _ = socket.send_to(&answer, client);
            }
        }
    });
    address
}

/// The answer to a query (RFC 1035).
fn answer(query: &[u8], name: &str) -> Option<Vec<u8>> {
    let question = query.get(12..)?;
    let end = question.iter().position(|byte| *byte == 0)?;
    let asked: Vec<u8> =
        name.split('.').flat_map(|part| [&[part.len() as u8], part.as_bytes()].concat()).collect();
    let known = question[..end].eq_ignore_ascii_case(&asked);
    let is_address = question.get(end + 1..end + 3)? == [0, 1];
    let has_answer = u8::from(known && is_address);
    let mut out = query[..2].to_vec();
    // An answer, recursion desired and available. 3 is "no such name".
    out.extend([0x81, if known { 0x80 } else { 0x83 }, 0, 1, 0, has_answer, 0, 0, 0, 0]);
    out.extend(question.get(..end + 5)?);
    if has_answer == 1 {
        // The name of the question, an address, one minute.
        out.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 127, 0, 0, 1]);
    }
    Some(out)
}
