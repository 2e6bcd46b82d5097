//! See `kubecert_fuzz::targets::site`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| kubecert_fuzz::targets::site(data));
