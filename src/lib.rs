//! costage: a media mixing and relay server (SFU) for live streams with co-hosting.
//!
//! The map of the house. P = pure: no socket, thread, channel, async, clock, rng or lock; time is an argument.
//! S = shell: moves bytes, decides nothing about media.
//!
//! | room | | what lives there |
//! |---|---|---|
//! | [`config`] | P | every knob with unit, default and reason; unknown keys are errors |
//! | [`room`] | P | the seat machine: commands in; commit, timers and the media permissions out |
//! | [`control`] | S | the node's directory: one actor per room, who publishes and views where; drives media workers and programs |
//! | [`events`] | P, S | what a room says: the log its event streams read from, resume, slow readers |
//! | [`store`] | S | what survives a restart: rooms, unsent webhooks, remembered answers (embedded database) |
//! | [`webhook`] | P, S | events to integrators' servers: signatures, order, backoff, where connections may go |
//! | [`wire`] | P | the JSON of the contract: rooms, seats, requests, members, events, layouts, program settings |
//! | [`api`] | S | the HTTP interface: auth, rooms, seats, requests, events, program, WHIP, WHEP, pages; errors → HTTP once; OpenAPI |
//! | [`rtp`] | P | packets, header extensions, RTCP, loss detection, retransmission rings, codec payload formats, frames |
//! | [`transport`] | P | one WebRTC transport, sans-I/O: ICE-lite agent, DTLS server, SRTP, offer → answer |
//! | [`congestion`] | P | which simulcast layer a viewer gets |
//! | [`forward`] | P | publication, feed, viewer, switcher, keyframe broker, stage slots |
//! | [`mix`] | P, S | the program's picture and sound: timeline, audio, layout, composition; `codec` is its only shell |
//! | [`program`] | S | a room's program while it is watched: the thread that passes the host through, or mixes with `mix` |
//! | [`worker`] | S | the media worker: sockets, demultiplexing, timers, batches, the loop around the pure parts |
//! | [`telemetry`] | S | log fields, per-worker counters, Prometheus |
//! | [`cli`] | S | the command line: arguments, files and environment → a checked configuration, or a token |
//! | [`serve`] | S | a node from its configuration: how the parts are put together, started and stopped |
//! | [`demo`] | S | a clip that publishes itself through the ordinary WHIP door |
//! | [`web`] | S | the embedded pages |

// where it is needed, the module says why
#![deny(unsafe_code)]

pub mod api;
pub mod cli;
pub mod config;
pub mod congestion;
pub mod control;
pub mod demo;
pub mod events;
pub mod forward;
pub mod mix;
pub mod program;
pub mod room;
pub mod rtp;
pub mod serve;
pub mod store;
pub mod telemetry;
pub mod transport;
pub mod web;
pub mod webhook;
pub mod wire;
pub mod worker;
