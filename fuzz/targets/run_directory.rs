//! See `kubecert_fuzz::targets::run_directory`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| kubecert_fuzz::targets::run_directory(data));
