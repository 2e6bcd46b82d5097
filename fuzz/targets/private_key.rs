//! See `kubecert_fuzz::targets::private_key`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| kubecert_fuzz::targets::private_key(data));
