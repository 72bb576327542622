//! state.json: no panic, and what was read is written and read again the same.

#![no_main]

use hako::state;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(record) = state::parse(bytes) else { return };
    let written = serde_json::to_vec(&record).expect("a record is written");
    assert_eq!(state::parse(&written).as_ref(), Ok(&record));
});
