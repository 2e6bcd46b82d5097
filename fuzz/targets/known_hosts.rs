//! See `kubecert_fuzz::targets::known_hosts`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| kubecert_fuzz::targets::known_hosts(data));
