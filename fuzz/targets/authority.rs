//! See `kubecert_fuzz::targets::authority`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| kubecert_fuzz::targets::authority(data));
