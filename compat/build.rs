//! Tells the benchmark where the build of librdkafka is: its own load generator is in there.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    for (library, variable) in [("LIBRDKAFKA", "DEP_RDKAFKA_ROOT"), ("LIBZSTD", "DEP_ZSTD_ROOT")] {
        let root = std::env::var(variable).unwrap_or_default();
        println!("cargo::rustc-env={library}={root}");
    }
}
