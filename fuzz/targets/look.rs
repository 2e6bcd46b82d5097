//! See `kubecert_fuzz::targets::look`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| kubecert_fuzz::targets::look(data));
