//! All checks, without a fuzzer: on the committed corpus, and on changes to it, each for as many seconds as
//! `NARTHEX_FUZZ_SECONDS` says, half of one by default. What fails is written to `artifacts`, beside the corpus.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "tests"
)]

mod seeds;

use fuzz_checks::{Check, TARGETS};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// The longest input that is made, in bytes.
const INPUT_BYTES: usize = 64 << 10;
/// How long a check may take at most, with much to spare: what takes longer is a loop.
const SLOW: Duration = Duration::from_secs(10);
/// The most memory that all checks together may have taken, with much to spare.
const MEMORY_BYTES: usize = 1 << 30;

fn folder(what: &str, target: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..").join(what).join(target)
}

fn corpus(target: &str) -> Vec<Vec<u8>> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder("corpus", target))
        .unwrap_or_else(|error| panic!("corpus of {target}: {error}"))
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    assert!(!files.is_empty(), "{target}");
    files.iter().map(|file| std::fs::read(file).unwrap()).collect()
}

/// Runs a check; what fails is kept.
fn run(target: &str, check: Check, input: &[u8]) {
    let start = Instant::now();
    let result = catch_unwind(AssertUnwindSafe(|| check(input)));
    if result.is_err() || start.elapsed() > SLOW {
        let file = folder("artifacts", target).join(format!("found-{:08x}", crc32c::crc32c(input)));
        std::fs::create_dir_all(folder("artifacts", target)).unwrap();
        std::fs::write(&file, input).unwrap();
        panic!("{target}: {} bytes, in {}, after {:?}", input.len(), file.display(), start.elapsed());
    }
}

/// Changes an input as fuzzers do: bits, bytes, numbers at their limits, parts left out, doubled, or taken
/// from another input.
fn change(input: &mut Vec<u8>, other: &[u8], dice: &mut fastrand::Rng) {
    const ODD: [u8; 12] = [0, 1, 2, 0x7f, 0x80, 0xff, b'\n', b'"', b'{', b'%', b'=', b'/'];
    for _ in 0..1 << dice.u32(0..5) {
        let at = dice.usize(0..=input.len());
        let part = |dice: &mut fastrand::Rng, length: usize| {
            let start = dice.usize(0..=length);
            start..(start + dice.usize(0..=32)).min(length)
        };
        match dice.u8(0..10) {
            0 if at < input.len() => input[at] ^= 1 << dice.u32(0..8),
            1 if at < input.len() => input[at] = dice.u8(..),
            2 if at < input.len() => input[at] = *dice.choice(&ODD).unwrap(),
            3 if at < input.len() => input[at] = input[at].wrapping_add(dice.u8(0..7)).wrapping_sub(3),
            4 => input.insert(at, dice.u8(..)),
            5 => input.insert(at, *dice.choice(&ODD).unwrap()),
            6 => drop(input.drain(part(dice, input.len()))),
            7 => {
                let copied = input[part(dice, input.len())].to_vec();
                input.splice(at..at, copied);
            }
            8 => {
                let taken = other[part(dice, other.len())].iter().copied();
                input.splice(at..at, taken);
            }
            9 if dice.u8(0..8) == 0 => input.truncate(at),
            _ => {}
        }
    }
    input.truncate(INPUT_BYTES);
}

fn fuzz(target: &str) {
    let check = TARGETS.iter().find(|(name, _)| *name == target).unwrap().1;
    let seconds = std::env::var("NARTHEX_FUZZ_SECONDS").ok();
    let seconds = seconds.map_or(0.5, |text| text.parse::<f64>().expect("NARTHEX_FUZZ_SECONDS: a number"));
    let corpus = corpus(target);
    corpus.iter().for_each(|input| run(target, check, input));
    let seed = fastrand::u64(..);
    let mut dice = fastrand::Rng::with_seed(seed);
    let (start, mut runs) = (Instant::now(), 0u64);
    while start.elapsed().as_secs_f64() < seconds {
        let mut input = dice.choice(&corpus).unwrap().clone();
        let other = dice.choice(&corpus).unwrap();
        change(&mut input, other, &mut dice);
        run(target, check, &input);
        runs += 1;
    }
    println!("{target}: {runs} changed inputs of {} in {:?}, seed {seed}", corpus.len(), start.elapsed());
    let memory = peak_memory();
    assert!(memory < MEMORY_BYTES, "{memory} bytes of memory");
}

/// The most memory this process has had, in bytes; 0 where the system doesn't say.
fn peak_memory() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().next()?.parse::<usize>().ok());
    kilobytes.unwrap_or(0) * 1024
}

/// A test for each target, and one that says so where one is missing.
macro_rules! targets {
    ($($target:ident)*) => {
        $(
            #[test]
            fn $target() {
                fuzz(stringify!($target));
            }
        )*

        #[test]
        fn every_target_is_tested_and_has_a_program() {
            let names: Vec<&str> = TARGETS.iter().map(|(name, _)| *name).collect();
            assert_eq!(names, [$(stringify!($target)),*]);
            for name in names {
                assert!(folder("fuzz_targets", &format!("{name}.rs")).exists(), "{name}");
            }
        }
    };
}

targets! {
    aside decompress exposition gateway graphite influx journal letter mapping metadata openmetrics otlp_json
    otlp_protobuf path positions record remote_write_1 remote_write_2 rings segment state statsd text totals
}

/// Set this variable to write the seeds anew after a change.
const WRITE: &str = "WRITE_CORPUS";

#[test]
fn the_seeds_are_in_the_corpus() {
    for (target, name, bytes) in seeds::seeds() {
        let file = folder("corpus", target).join(name);
        if std::env::var_os(WRITE).is_some() {
            std::fs::create_dir_all(folder("corpus", target)).unwrap();
            std::fs::write(&file, &bytes).unwrap();
        }
        let same = std::fs::read(&file).unwrap_or_default() == bytes;
        assert!(same, "{} differs: run this test with {WRITE}=1", file.display());
    }
}
