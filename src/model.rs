//! Values that the other rooms exchange: references, messages and the one table of their columns, failures, manifests,
//! and what is told of a run. Pure.

pub mod columns;
pub mod failure;
pub mod fleet;
pub mod manifest;
pub mod message;
pub mod record;
pub mod reference;
pub mod retention;
pub mod selection;
mod span;
pub mod summary;
pub mod timeline;
pub mod trace;

pub use columns::{Column, ColumnType};
