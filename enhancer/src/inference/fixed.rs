//! A network's sessions for shapes that it is run with again and again.
//!
//! A session that takes any size decides with every picture what one for a single size has decided when it was made, and moves data in
//! more general and slower ways: with OpenVINO a sixth of the smallest network's time. Such a session is made where a shape has come so
//! often that it pays, from the same bytes without the pixel shuffle (see [`phases`](super::graph::phases)) and, for windows, without edges
//! ([`bare`](super::graph::bare)), and is used if it gives the same picture.
//!
//! The same but for the order of roundings, so that it must not depend on what was run before from which picture on it is used: a segment
//! would come out differently where another worker makes it again. Each segment begins with the general session, and goes over to others
//! by what comes in it, whether they are there already or not.

use bytes::Bytes;
use ort::session::Session;
use ort::value::{Tensor, ValueType};

use super::Runtime;
use super::graph::{bare, phases};
use super::groups::Groups;
use super::network::InferenceError;

/// What a network is run on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Wanted {
    /// Pictures, or windows of one, and the width and height in low pixels of what is to be made of each.
    pub(super) shape: [usize; 3],
    /// Low pixels around that are known.
    pub(super) halo: usize,
}

impl Wanted {
    /// Whole pictures.
    pub(super) fn whole(shape: [usize; 3]) -> Self {
        Self { shape, halo: 0 }
    }

    /// Width and height with so many pixels around.
    pub(super) fn with(&self, around: usize) -> [usize; 3] {
        let [windows, width, height] = self.shape;
        [windows, width + 2 * around, height + 2 * around]
    }
}

/// To make a session takes as long as a dozen pictures, and saves a sixth of each; it is kept for the segments that follow.
const OFTEN: u32 = 12;

/// Sessions that are kept beside the general one: whole pictures, and windows; or streams of two sizes that take turns.
const KEPT: usize = 3;

/// How far the picture of a session may be from the general one's: mean squared error in code values. Only the order of roundings
/// differs.
const SAME_PICTURE: f64 = 0.25;

/// A session for one shape.
pub(super) struct Fixed {
    wanted: Wanted,
    pub(super) session: Session,
    pub(super) form: Form,
}

/// What a session takes and gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Form {
    /// Low pixels around what is wanted that it is given.
    pub(super) given: usize,
    /// And that it enlarges as well.
    pub(super) made: usize,
    /// How its output lies, if it is not a picture.
    pub(super) groups: Option<Groups>,
}

impl Form {
    /// That of any model as it is.
    pub(super) fn general(wanted: &Wanted) -> Self {
        Self { given: wanted.halo, made: wanted.halo, groups: None }
    }
}

/// Whatever sessions for single shapes a network has.
pub(super) struct FixedShapes {
    maker: Option<Maker>,
    /// Last used last.
    made: Vec<Fixed>,
    votes: Votes,
    /// Of this segment.
    in_use: Vec<Wanted>,
}

/// What sessions are made of.
struct Maker {
    runtime: Runtime,
    model: Bytes,
    /// Names of the input's batch, height and width.
    dimensions: [String; 3],
    input: String,
    output: String,
    scale: usize,
    /// The model can do without its edges.
    is_bare: bool,
}

impl FixedShapes {
    /// None at first; none ever where the provider gains nothing or the input's dimensions have no names.
    pub(super) fn new(
        runtime: &Runtime,
        model: &Bytes,
        general: &Session,
        output: &str,
        scale: usize,
    ) -> Self {
        let dimensions = dimensions(general).filter(|_| runtime.gains_by_fixed_shapes());
        let maker = dimensions.zip(general.inputs().first()).map(|(dimensions, input)| Maker {
            runtime: runtime.clone(),
            model: model.clone(),
            dimensions,
            input: input.name().to_owned(),
            output: output.to_owned(),
            scale,
            is_bare: bare::bare(model, input.name()).is_some(),
        });
        Self { maker, made: Vec::new(), votes: Votes::default(), in_use: Vec::new() }
    }

    /// None ever.
    #[cfg(test)]
    pub(super) fn none() -> Self {
        Self { maker: None, made: Vec::new(), votes: Votes::default(), in_use: Vec::new() }
    }

    /// Whether those for windows will continue nothing (see [`bare`]).
    pub(super) fn are_bare(&self) -> bool {
        self.maker.as_ref().is_some_and(|maker| maker.is_bare)
    }

    /// Another segment begins.
    pub(super) fn begin(&mut self) {
        self.votes = Votes::default();
        self.in_use.clear();
    }

    /// The session for `wanted`, if one is in use.
    pub(super) fn get(&mut self, wanted: &Wanted) -> Option<&mut Fixed> {
        let is_used = self.in_use.contains(wanted);
        self.made.iter_mut().find(|fixed| is_used && fixed.wanted == *wanted)
    }

    /// Says that `wanted` is run. Gives whether it is to be given a session afterwards, see [`FixedShapes::make`].
    pub(super) fn count(&mut self, wanted: &Wanted) -> bool {
        if self.maker.is_none() || !self.votes.count(wanted) || self.get(wanted).is_some() {
            return false;
        }
        let Some(place) = self.made.iter().position(|fixed| fixed.wanted == *wanted) else { return true };
        // From the next run on, as if it had been made now.
        let fixed = self.made.remove(place);
        self.used(fixed);
        false
    }

    fn used(&mut self, fixed: Fixed) {
        if !self.in_use.contains(&fixed.wanted) {
            self.in_use.push(fixed.wanted);
        }
        self.made.push(fixed);
    }

    /// Makes a session for `wanted`. The general one made `expected` of `input`.
    pub(super) fn make(&mut self, wanted: &Wanted, input: &[u8], expected: &[u8]) {
        let Some(maker) = &self.maker else { return };
        match maker.make(wanted, input, expected) {
            Ok(fixed) => {
                if self.made.len() == KEPT {
                    let in_use = &self.in_use;
                    let place = self.made.iter().position(|fixed| !in_use.contains(&fixed.wanted));
                    self.made.remove(place.unwrap_or(0));
                }
                self.used(fixed);
            }
            // The general one goes on.
            Err(error) => {
                tracing::warn!(%error, ?wanted, "no session for a single size");
                self.maker = None;
            }
        }
    }
}

impl Maker {
    fn make(&self, wanted: &Wanted, input: &[u8], expected: &[u8]) -> Result<Fixed, InferenceError> {
        let bare = Some(wanted.halo)
            .filter(|halo| *halo > 0)
            .and_then(|halo| bare::bare(&self.model, &self.input).filter(|bare| bare.reach <= halo));
        let (given, made) = bare.as_ref().map_or((wanted.halo, wanted.halo), |bare| (bare.reach, 0));
        let model = bare.as_ref().map_or(&*self.model, |bare| &bare.model);
        let unwoven = phases::unwoven(model, &self.output, self.scale, wanted.with(made)[1]);
        let form = Form { given, made, groups: unwoven.as_ref().map(|(_, groups)| *groups) };
        let model = unwoven.as_ref().map_or(model, |(model, _)| model);
        let shape = wanted.with(given);
        let [windows, width, height] = shape.map(|size| i64::try_from(size).unwrap_or(i64::MAX));
        let [batch_name, height_name, width_name] = &self.dimensions;
        let sizes = [(batch_name, windows), (height_name, height), (width_name, width)];
        let sizes =
            sizes.iter().map(|(name, size)| (name.as_str(), *size)).filter(|(name, _)| !name.is_empty());
        let mut session = self.runtime.session_for(model, &sizes.collect::<Vec<_>>())?;
        let input = inner(input, wanted.with(wanted.halo), wanted.halo - given);
        let input = Tensor::from_array(([shape[0], 1, shape[2], shape[1]], input))?;
        let outputs = session.run(ort::inputs![&input])?;
        let samples = match outputs.get(self.output.as_str()) {
            Some(value) => value.try_extract_tensor::<u8>()?.1,
            None => &[],
        };
        let squared_error = self.difference(wanted, &form, samples, expected);
        drop(outputs);
        if squared_error > SAME_PICTURE {
            return Err(InferenceError::Shortcut { squared_error });
        }
        Ok(Fixed { wanted: *wanted, session, form })
    }

    /// Mean squared difference between what a session of `form` gives and what the general one does.
    fn difference(&self, wanted: &Wanted, form: &Form, samples: &[u8], expected: &[u8]) -> f64 {
        let scale = self.scale;
        let enlarged = |[windows, width, height]: [usize; 3]| [windows, width * scale, height * scale];
        let expected = inner(expected, enlarged(wanted.with(wanted.halo)), (wanted.halo - form.made) * scale);
        if samples.len() != expected.len() || samples.is_empty() {
            return f64::INFINITY;
        }
        let [_, wide, high] = enlarged(wanted.with(form.made));
        let mut row = vec![0; wide];
        let mut total = 0.0;
        for (place, expected) in expected.chunks_exact(wide).enumerate() {
            let (window, y) = (place / high, place % high);
            let samples = samples.get(window * wide * high..).unwrap_or_default();
            match form.groups {
                Some(groups) => groups.weave(samples, wide / scale, y, 0, &mut row),
                None => row.copy_from_slice(&samples[y * wide..][..wide]),
            }
            let square = |(a, b): (&u8, &u8)| f64::from(a.abs_diff(*b)).powi(2);
            total += row.iter().zip(expected).map(square).sum::<f64>();
        }
        total / samples.len() as f64
    }
}

/// Pictures of 8-bit samples without the outer `border` on all sides, dense.
fn inner(pictures: &[u8], [_, width, height]: [usize; 3], border: usize) -> Vec<u8> {
    let lines = pictures.chunks_exact(width.max(1)).enumerate();
    let inside = lines.filter(|(line, _)| (border..height - border).contains(&(line % height.max(1))));
    inside.flat_map(|(_, line)| &line[border..width - border]).copied().collect()
}

/// Which shape comes most often, found without a list of all (Boyer and Moore's majority vote).
#[derive(Default)]
struct Votes {
    wanted: Wanted,
    count: u32,
}

impl Votes {
    /// Counts a run; whether it is often enough this one.
    fn count(&mut self, wanted: &Wanted) -> bool {
        if self.count == 0 {
            self.wanted = *wanted;
        }
        if self.wanted == *wanted {
            self.count = (self.count + 1).min(OFTEN);
        } else {
            self.count -= 1;
        }
        self.wanted == *wanted && self.count == OFTEN
    }
}

/// Names of the batch (empty where it is fixed), height and width of a session's input.
fn dimensions(session: &Session) -> Option<[String; 3]> {
    let [input] = session.inputs() else { return None };
    let ValueType::Tensor { shape, dimension_symbols, .. } = input.dtype() else { return None };
    let name = |place: usize| dimension_symbols.get(place).cloned().unwrap_or_default();
    let names = [name(0), name(2), name(3)];
    let [batch, height, width] = &names;
    let is_told = (!batch.is_empty() || shape.first() == Some(&1)) && !height.is_empty() && !width.is_empty();
    (is_told && height != width && batch != height && batch != width).then_some(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shape_is_worth_a_session_when_most_runs_have_it() {
        let wanted = |shape, halo| Wanted { shape, halo };
        let (usual, other) = (wanted([1, 640, 360], 0), wanted([1, 640, 360], 8));
        let mut votes = Votes::default();
        assert!((1..OFTEN).all(|_| !votes.count(&usual)));
        assert!(!votes.count(&other));
        assert!(!votes.count(&usual) && votes.count(&usual) && votes.count(&usual));
        // Another one takes as many to be forgotten and as many to be known.
        assert!((0..2 * OFTEN - 1).all(|_| !votes.count(&other)));
        assert!(votes.count(&other));
        // Two that take turns are worth none.
        let mut votes = Votes::default();
        assert!((0..10 * OFTEN).all(|run| !votes.count(if run % 2 == 0 { &usual } else { &other })));
    }

    #[test]
    fn what_is_around_is_taken_off() {
        let pictures: Vec<u8> = (0..40).collect();
        assert_eq!(inner(&pictures, [2, 4, 5], 1), [5, 6, 9, 10, 13, 14, 25, 26, 29, 30, 33, 34]);
        assert_eq!(inner(&pictures, [2, 4, 5], 0), pictures);
    }
}
