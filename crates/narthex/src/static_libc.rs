//! Name resolution in a static binary with glibc.
//!
//! glibc loads a shared library for each service that `/etc/nsswitch.conf` names besides `files` and `dns`. A
//! static binary that loads a shared library of another glibc version may crash. So this binary always uses
//! `/etc/hosts` first and the name servers of `/etc/resolv.conf` second, which are part of glibc since 2.34.

#[cfg(all(target_env = "gnu", target_feature = "crt-static"))]
#[allow(unsafe_code, reason = "glibc offers this function to C only")]
mod glibc {
    use std::ffi::{c_char, c_int};

    unsafe extern "C" {
        /// Declared in glibc's `nss.h`: replaces the setting of `/etc/nsswitch.conf` for one database.
        pub(super) fn __nss_configure_lookup(database: *const c_char, services: *const c_char) -> c_int;
    }
}

/// Restricts name resolution to the services that a static binary has. Call it before other threads start.
#[cfg(all(target_env = "gnu", target_feature = "crt-static"))]
#[allow(unsafe_code, reason = "glibc offers this function to C only")]
pub(crate) fn restrict_name_resolution() {
    // SAFETY: both arguments are constant C strings, and no other thread runs yet.
    let result = unsafe { glibc::__nss_configure_lookup(c"hosts".as_ptr(), c"files dns".as_ptr()) };
    if result != 0 {
        let error = std::io::Error::last_os_error();
        command::say(format_args!("warning: names may not be resolved in this static binary: {error}"));
    }
}

/// Does nothing: only a static binary needs the restriction.
#[cfg(not(all(target_env = "gnu", target_feature = "crt-static")))]
pub(crate) fn restrict_name_resolution() {}
