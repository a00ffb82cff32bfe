//! The header of an access token at `/mcp`: never a panic, never a 5xx.

#![no_main]

use std::cell::OnceCell;

use libfuzzer_sys::fuzz_target;
use tests::strangers::Strangers;

thread_local! {
    static TARGET: OnceCell<Strangers> = const { OnceCell::new() };
}

fuzz_target!(|data: &[u8]| {
    TARGET.with(|target| target.get_or_init(Strangers::new).present(data));
});
