//! See `kubecert_fuzz::targets::certificate_profile`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| kubecert_fuzz::targets::certificate_profile(data));
