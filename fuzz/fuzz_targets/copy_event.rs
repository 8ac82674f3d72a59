#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| yunxin_archiver::fuzzing::copy_event(bytes));
