//! See `kubecert_fuzz::targets::certificate`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| kubecert_fuzz::targets::certificate(data));
