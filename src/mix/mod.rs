//! The program's picture and sound: who is where, how it sounds, when it is due. Pure but for [`codec`], which is the door
//! to the codec libraries; time is an argument.
//!
//! | time | [`timeline`]: when what a participant sent is due, lip sync, clock drift |
//! |---|---|
//! | sound | [`audio`]: jitter buffer, concealment, sum, limiter, who speaks |
//! | picture | [`layout`]: seats → rectangles · [`scale`], [`blend`]: the kernels · [`overlay`]: labels, placeholders, marks · [`compose`]: the canvas |
//! | [`picture`] | I420 planes, what all of them pass around |
//! | [`codec`] | H.264, VP8, Opus |

pub mod audio;
pub mod blend;
pub mod codec;
pub mod compose;
pub mod layout;
pub mod overlay;
pub mod picture;
pub mod scale;
pub mod timeline;
