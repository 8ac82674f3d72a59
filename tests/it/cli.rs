//! Commands as they are typed: what they print, where, and what they leave behind.

mod doctor;
mod looking;
mod output;
mod secrets;
mod setup;
