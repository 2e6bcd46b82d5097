//! See `kubecert_fuzz::targets::kubeconfig`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| kubecert_fuzz::targets::kubeconfig(data));
