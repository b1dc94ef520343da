//! The program. All of it is in the library; see `narthex::run_cli`.

use std::process::ExitCode;

fn main() -> ExitCode {
    narthex::cli_main()
}
