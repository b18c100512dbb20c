//! Configurations: whatever a file says, there is a configuration or a report that an operator can use, and the same one each time.
#![no_main]

use acuity_config::{Config, Overrides, parse, parse_duration};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let _ = parse_duration(text.trim());
    let first = parse(text);
    assert_eq!(parse(text), first, "a text means one thing");
    match &first {
        Ok(config) => {
            assert!(!config.routes.is_empty(), "an edge without a route serves nobody");
            assert_eq!(config.clone(), *config);
            // What says nothing changes nothing.
            assert_eq!(parse(&format!("# a comment\n\n{text}")).as_ref(), Ok(config));
            assert_eq!(parse(&format!("{text}\n\n# a comment")).as_ref(), Ok(config));
        }
        Err(faults) => {
            assert!(faults.iter().next().is_some(), "a report of nothing");
            let lines = text.lines().count() + 1;
            for fault in faults {
                assert!(!fault.message.is_empty(), "{fault:?}");
                if let Some(at) = fault.position {
                    assert!((1..=lines).contains(&at.line) && at.column >= 1, "{fault:?}");
                }
            }
            assert!(faults.to_string().len() <= 4096 + 8 * text.len() * faults.iter().count().max(1));
        }
    }
    // The command line beside it.
    let overrides = Overrides { origin: Some("https://origin.example/vod"), ..Overrides::default() };
    if let Ok(config) = Config::parse_with(text, &overrides) {
        assert!(!config.routes.is_empty());
    }
});
