//! Passes the date of the build to the crate: a wall clock before it is not set. `SOURCE_DATE_EPOCH` is used
//! if it is set, so that builds can be reproduced.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-env-changed=SOURCE_DATE_EPOCH");
    let given = std::env::var("SOURCE_DATE_EPOCH").ok().and_then(|text| text.parse::<u64>().ok());
    let now = std::time::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_secs());
    println!("cargo:rustc-env=NARTHEX_BUILD_SECONDS={}", given.unwrap_or(now));
}
