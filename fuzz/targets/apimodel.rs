//! See `kubecert_fuzz::targets::apimodel`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| kubecert_fuzz::targets::apimodel(data));
