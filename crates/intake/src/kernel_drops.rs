//! Reads how many datagrams the kernel dropped because a socket's buffer was full, from `/proc/net/udp` and
//! `/proc/net/udp6`.

use crate::Input;
use std::net::{IpAddr, SocketAddr};

/// Counts the drops of one socket.
#[derive(Debug)]
pub struct KernelDrops {
    file: &'static str,
    /// The local address in the format of the file.
    local: String,
    counted: u64,
}

impl KernelDrops {
    /// Counts the drops of the socket that is bound to `address`.
    pub fn new(address: SocketAddr) -> Self {
        let (file, ip) = match address.ip() {
            IpAddr::V4(ip) => ("/proc/net/udp", format!("{:08X}", u32::from_ne_bytes(ip.octets()))),
            IpAddr::V6(ip) => {
                let octets = ip.octets();
                let (words, _) = octets.as_chunks::<4>();
                let words = words.iter().map(|word| format!("{:08X}", u32::from_ne_bytes(*word)));
                ("/proc/net/udp6", words.collect())
            }
        };
        KernelDrops { file, local: format!("{ip}:{:04X}", address.port()), counted: 0 }
    }

    /// Adds the drops since the last call to the input's counters. Reads a file of the kernel.
    pub fn count(&mut self, input: &Input) {
        let text = std::fs::read_to_string(self.file).unwrap_or_default();
        let drops = drops_of(&text, &self.local);
        input.count_kernel_drops(drops.saturating_sub(self.counted));
        self.counted = self.counted.max(drops);
    }
}

/// The last column in the line of the socket with this local address.
fn drops_of(text: &str, local: &str) -> u64 {
    let mut lines = text.lines().map(str::split_ascii_whitespace);
    let line = lines.find(|line| line.clone().nth(1) == Some(local));
    line.and_then(|mut line| line.next_back()?.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_of_the_socket_is_found() {
        let text = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref \
                    pointer drops\n 1153: 0100007F:07D3 00000000:0000 07 00000000:00000000 00:00000000 00000000     0 \
                    0 34 2 0000000000000000 17\n";
        let drops = |address: &str| {
            let drops = KernelDrops::new(address.parse().unwrap());
            drops_of(text, &drops.local)
        };
        assert_eq!((drops("127.0.0.1:2003"), drops("127.0.0.1:2004")), (17, 0));
        let six = KernelDrops::new("[::1]:2003".parse().unwrap());
        assert_eq!(
            (six.file, six.local.as_str()),
            ("/proc/net/udp6", "00000000000000000000000001000000:07D3")
        );
    }
}
