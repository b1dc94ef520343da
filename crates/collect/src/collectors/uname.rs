//! `uname`: kernel and host name. The values come from the running kernel, not from a file, so another root
//! has no effect.

use super::{Context, Outcome};
use crate::out::{Def, Out, gauge};

const INFO: Def =
    gauge("node_uname_info", "Labeled system information as provided by the uname system call.");

pub(super) fn collect(_: &mut Context<'_>, out: &mut Out) -> Outcome {
    let uname = rustix::system::uname();
    let slot = out.open(INFO);
    out.push(
        slot,
        &[
            ("sysname", &uname.sysname().to_string_lossy()),
            ("release", &uname.release().to_string_lossy()),
            ("version", &uname.version().to_string_lossy()),
            ("machine", &uname.machine().to_string_lossy()),
            ("nodename", &uname.nodename().to_string_lossy()),
            ("domainname", &uname.domainname().to_string_lossy()),
        ],
        1.0,
    );
    Ok(())
}
