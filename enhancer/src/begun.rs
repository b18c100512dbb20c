//! What made the begin of a segment that has been sent, in a text that goes with its bytes: whoever makes it again has to make the same.
//!
//! `MODEL`, or `MODEL+INTERPOLATOR`, and where one of them was cut short `@N`, `@,N` or `@N,N` behind: the places from which on the first
//! and the second were not used.

use crate::schedule::Cuts;

/// The text for what is made by `made_by` and was cut so far.
pub(crate) fn text(made_by: &str, cuts: Cuts) -> String {
    let place = |cut: Option<usize>| cut.map(|place| place.to_string()).unwrap_or_default();
    match cuts {
        Cuts { network: None, between: None } => made_by.to_owned(),
        Cuts { network, between: None } => format!("{made_by}@{}", place(network)),
        Cuts { network, between } => format!("{made_by}@{},{}", place(network), place(between)),
    }
}

/// What enlarged: a model's id, or `plain`.
pub(crate) fn enlarged(text: &str) -> &str {
    text.split(['+', '@']).next().unwrap_or(text)
}

/// Where it was cut. Of what nobody here has written nothing is cut: it comes out differently, and that is noticed.
pub(crate) fn cuts(text: &str) -> Cuts {
    let Some((_, cuts)) = text.rsplit_once('@') else { return Cuts::default() };
    let (network, between) = cuts.split_once(',').unwrap_or((cuts, ""));
    Cuts { network: network.parse().ok(), between: between.parse().ok() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_said_is_understood() {
        let places = [None, Some(0), Some(37)];
        for (network, between) in places.into_iter().flat_map(|one| places.map(|other| (one, other))) {
            for made_by in ["generic-x2-s", "plain", "generic-x2-s+freedoom-i2-s"] {
                let made = Cuts { network, between };
                let text = text(made_by, made);
                assert_eq!(cuts(&text), made, "{text}");
                assert_eq!(enlarged(&text), made_by.split('+').next().unwrap_or_default(), "{text}");
            }
        }
        assert_eq!(text("generic-x2-s", Cuts { network: Some(37), between: None }), "generic-x2-s@37");
        assert_eq!(cuts("generic-x2-s@far,-1"), Cuts::default());
    }
}
