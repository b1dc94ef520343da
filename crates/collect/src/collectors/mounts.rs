//! Mounted file systems, from `/proc/PID/mountinfo`.
//!
//! ```text
//! 36 35 98:0 /mnt1 /mnt/with\040space rw,noatime master:1 - ext3 /dev/root rw,errors=continue
//! |  |  |    |     |                  |          |        | |    |         options of the file system
//! |  |  |    |     |                  |          |        | |    device
//! |  |  |    |     |                  |          |        | type
//! |  |  |    |     |                  |          |        end of the optional fields
//! |  |  |    |     |                  |          optional fields, any number
//! |  |  |    |     |                  options of the mount
//! |  |  |    |     mount point
//! |  |  |    root in the file system
//! |  |  device number
//! ```

use crate::error::CollectError;
use crate::source::Source;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

/// A mounted file system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mount {
    pub(super) device: String,
    /// The mount point in bytes as the kernel has it.
    pub(super) path: PathBuf,
    /// The mount point as a label value.
    pub(super) mountpoint: String,
    pub(super) fstype: String,
    pub(super) major: String,
    pub(super) minor: String,
    pub(super) read_only: bool,
}

/// The mounts of process 1, which sees the whole machine. If its file can't be read, the mounts of this
/// process.
pub(super) fn read(source: &mut Source) -> Result<Vec<Mount>, CollectError> {
    const FIRST: &str = "proc/1/mountinfo";
    const OWN: &str = "proc/self/mountinfo";
    let path = match source.read_bytes(FIRST) {
        Ok(_) => FIRST,
        Err(error) if error.is_absence() => OWN,
        Err(error) => return Err(error),
    };
    let bytes = source.read_bytes(path)?;
    bytes
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| {
            parse(line).ok_or_else(|| {
                CollectError::malformed(path, "a line of mountinfo", &String::from_utf8_lossy(line))
            })
        })
        .collect()
}

fn parse(line: &[u8]) -> Option<Mount> {
    let mut fields = line.split(|byte| *byte == b' ');
    let number = std::str::from_utf8(fields.nth(2)?).ok()?;
    let (major, minor) = number.split_once(':')?;
    let _root = fields.next()?;
    let path = unescape(fields.next()?);
    let mount_options = fields.next()?;
    fields.find(|field| *field == b"-")?;
    let fstype = text(fields.next()?);
    let device = text(fields.next()?);
    // A file system may have no options.
    let options = fields.next().unwrap_or_default();
    let read_only = [mount_options, options]
        .iter()
        .any(|options| options.split(|byte| *byte == b',').any(|option| option == b"ro"));
    Some(Mount {
        device,
        mountpoint: text(&path),
        path: PathBuf::from(OsString::from_vec(path)),
        fstype,
        major: major.parse::<u32>().ok()?.to_string(),
        minor: minor.parse::<u32>().ok()?.to_string(),
        read_only,
    })
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The kernel writes space, tab, newline and backslash as a backslash and three octal digits.
fn unescape(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((&byte, after)) = rest.split_first() {
        let octal = match (byte, after) {
            (b'\\', [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', more @ ..]) => {
                Some((((a - b'0') << 6) | ((b - b'0') << 3) | (c - b'0'), more))
            }
            _ => None,
        };
        let (byte, more) = octal.unwrap_or((byte, after));
        out.push(byte);
        rest = more;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_with_everything() {
        let line =
            br"36 35 98:0 /mnt1 /mnt/a\040b\134c rw,noatime master:1 shared:2 - ext3 /dev/root rw,errors=ro";
        let mount = parse(line).unwrap();
        assert_eq!(mount.mountpoint, r"/mnt/a b\c");
        assert_eq!(mount.path, PathBuf::from(r"/mnt/a b\c"));
        assert_eq!((&*mount.device, &*mount.fstype), ("/dev/root", "ext3"));
        assert_eq!((&*mount.major, &*mount.minor), ("98", "0"));
        assert!(!mount.read_only);
    }

    #[test]
    fn read_only_is_an_option_of_mount_or_file_system() {
        assert!(parse(b"1 2 8:1 / / ro - ext4 /dev/sda1 rw").unwrap().read_only);
        assert!(parse(b"1 2 8:1 / / rw - ext4 /dev/sda1 ro,x").unwrap().read_only);
    }

    #[test]
    fn a_path_that_is_not_utf8_is_kept_for_the_system_and_replaced_for_the_label() {
        let mount = parse(b"1 2 8:1 / /m\xff rw - ext4 /dev/sda1 rw").unwrap();
        assert_eq!(mount.path.as_os_str().as_encoded_bytes(), b"/m\xff");
        assert_eq!(mount.mountpoint, "/m\u{fffd}");
    }

    #[test]
    fn a_truncated_line_is_refused() {
        for line in ["", "1 2", "1 2 8:1 / / rw", "1 2 8:1 / / rw - ext4", "1 2 8 / / rw - ext4 x rw"] {
            assert_eq!(parse(line.as_bytes()), None, "{line}");
        }
    }
}
