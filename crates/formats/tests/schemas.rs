//! The oracle in `tests/oracle` is the code that prost generates from the schemas in `tests/proto`.

use std::path::Path;

/// Set this variable to write the oracle again after a change of the schemas.
const WRITE: &str = "WRITE_ORACLE";

#[test]
fn the_oracle_is_generated_from_the_schemas() {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let schemas =
        ["remote.proto", "io/prometheus/write/v2/types.proto", "io/prometheus/client/metrics.proto"];
    let set = protox::compile(schemas, [tests.join("proto")]).unwrap();
    let generated = tempfile::tempdir().unwrap();
    prost_build::Config::new().out_dir(generated.path()).compile_fds(set).unwrap();
    for name in ["prometheus.rs", "io.prometheus.write.v2.rs", "io.prometheus.client.rs"] {
        let fresh = std::fs::read_to_string(generated.path().join(name)).unwrap();
        let committed = tests.join("oracle").join(name);
        if std::env::var_os(WRITE).is_some() {
            std::fs::write(&committed, &fresh).unwrap();
        }
        let committed = std::fs::read_to_string(&committed).unwrap_or_default();
        assert!(committed == fresh, "{name} differs: run this test with {WRITE}=1 and commit the result");
    }
}
