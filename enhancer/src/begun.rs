//! What made the begin of a segment that has been sent, in a text that goes with its bytes: whoever makes it again has to make the same.
//!
//! `MODEL`, or `MODEL+INTERPOLATOR`; behind it `/BASE` where a cheaper model made most of each picture, `~` where the encoder takes the
//! least effort; and where one of the two was cut short `@N`, `@,N` or `@N,N` behind: the places from which on the first and the second
//! were not used.

use crate::codec::Effort;
use crate::schedule::Cuts;

/// What is made by `made_by`, most of it by `base` if there is one, with an encoder of `effort`.
pub(crate) fn with(made_by: &str, base: Option<&str>, effort: Effort) -> String {
    let (by, base) = base.map_or(("", ""), |base| ("/", base));
    let effort = if effort == Effort::Least { "~" } else { "" };
    format!("{made_by}{by}{base}{effort}")
}

/// The text for what is made by `made_by`, see [`with`], and was cut so far.
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
    text.split(['+', '/', '~', '@']).next().unwrap_or(text)
}

/// The cheaper model that made most of each picture, if one did.
pub(crate) fn base(text: &str) -> Option<&str> {
    text.split(['~', '@']).next()?.split_once('/').map(|(_, base)| base)
}

/// What makes pictures between the source's: a model's id, `repeat` or `blend`; `None` where nothing does.
pub(crate) fn interpolator(text: &str) -> Option<&str> {
    made_by(text).split_once('+').map(|(_, between)| between)
}

/// The text without what only matters for making the same again: what [`crate::Report::made_by_what`] says of the whole.
#[must_use]
pub fn made_by(text: &str) -> &str {
    text.split(['/', '~', '@']).next().unwrap_or(text)
}

/// What the encoder did.
pub(crate) fn effort(text: &str) -> Effort {
    if text.split('@').next().is_some_and(|made_by| made_by.ends_with('~')) {
        Effort::Least
    } else {
        Effort::Full
    }
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
            for said in ["generic-x2-s", "plain", "generic-x2-s+freedoom-i2-s"] {
                for (least, most) in
                    [(Effort::Full, None), (Effort::Least, None), (Effort::Least, Some("generic-x2-xs"))]
                {
                    let made = Cuts { network, between };
                    let text = text(&with(said, most, least), made);
                    assert_eq!((cuts(&text), effort(&text), base(&text)), (made, least, most), "{text}");
                    assert_eq!(enlarged(&text), said.split('+').next().unwrap_or_default(), "{text}");
                    assert_eq!(
                        (made_by(&text), interpolator(&text)),
                        (said, said.split('+').nth(1)),
                        "{text}"
                    );
                }
            }
        }
        assert_eq!(text("generic-x2-s", Cuts { network: Some(37), between: None }), "generic-x2-s@37");
        assert_eq!(text(&with("plain", None, Effort::Least), Cuts::default()), "plain~");
        assert_eq!(with("generic-x2-m", Some("generic-x2-s"), Effort::Full), "generic-x2-m/generic-x2-s");
        assert_eq!(cuts("generic-x2-s@far,-1"), Cuts::default());
    }
}
