//! The entry point. The program itself is in the library; see `narthex::cli_main`.

use std::process::ExitCode;

fn main() -> ExitCode {
    narthex::cli_main()
}
