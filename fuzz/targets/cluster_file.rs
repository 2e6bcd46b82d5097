//! See `kubecert_fuzz::targets::cluster_file`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| kubecert_fuzz::targets::cluster_file(data));
