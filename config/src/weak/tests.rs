//! Which devices are known to be weak.

#![allow(clippy::unwrap_used)]

use super::*;
use crate::parse;

#[test]
fn known_devices() {
    let route = "[[route]]\norigin = \"http://o.example\"\nenhance = \"weak\"";
    let rules = parse(route).unwrap().routes.remove(0).weak;
    assert_eq!(rules, WeakRule::known_devices());
    assert_eq!(rules.len(), 4, "one of the patterns does not compile");
    let weak = |agent: &str| {
        rules.iter().any(|rule| rule.user_agent.as_ref().is_some_and(|rule| rule.is_match(agent)))
    };
    for agent in [
        "Mozilla/5.0 (SMART-TV; LINUX; Tizen 6.0) AppleWebKit/537.36 (KHTML, like Gecko) 76.0.3809.146/6.0 TV Safari/537.36",
        "Mozilla/5.0 (Web0S; Linux/SmartTV) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/87.0.4280.88 Safari/537.36 WebAppManager",
        "Mozilla/5.0 (Linux; Android 7.1.2; AFTMM Build/NS6265; wv) AppleWebKit/537.36 (KHTML, like Gecko) Version/4.0 Mobile",
        "Roku/DVP-9.10 (519.10E04111A)",
        "Mozilla/5.0 (X11; Linux armv7l) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/90.0.4430.225 Safari/537.36 CrKey/1.56.500000",
        "AppleCoreMedia/1.0.0.20K71 (Apple TV; U; CPU OS 16_1 like Mac OS X; en_us)",
        "Mozilla/5.0 (Linux; BRAVIA 4K VH2 Build/QTG3.200305.006.S292; wv) AppleWebKit/537.36",
        "HbbTV/1.5.1 (+DRM;Samsung;SmartTV2021:UAU7000;T-KSU2EDEUC-1410.6;;)",
        "Mozilla/5.0 (Linux armv7l) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/11.0 Safari/605.1.15 WPE STB",
        "Mozilla/5.0 (PlayStation 4 3.11) AppleWebKit/537.73 (KHTML, like Gecko)",
    ] {
        assert!(weak(agent), "{agent}");
    }
    for agent in [
        "",
        "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0.0.0 Safari/537.36",
        "Mozilla/5.0 (iPhone; CPU iPhone OS 17_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.1 Mobile/15E148 Safari/604.1",
        "Mozilla/5.0 (Linux; Android 14; Pixel 8) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0.0.0 Mobile Safari/537.36",
        "AppleCoreMedia/1.0.0.21B74 (iPhone; U; CPU OS 17_1 like Mac OS X; en_us)",
        "ExoPlayerLib/2.19.1",
        "Mozilla/5.0 (Linux; Android 12; TCL T676H) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0.0.0 Mobile after",
    ] {
        assert!(!weak(agent), "{agent}");
    }
    assert!(parse("[[route]]\norigin = \"http://o.example\"").unwrap().routes[0].weak.is_empty());
}
