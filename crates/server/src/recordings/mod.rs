//! Recordings of techs' sessions with machines: what was typed and shown, and what was done in the other channels.

mod recorder;

pub use recorder::{Direction, Note, Recorder, RecordingFailed, SessionFacts};
