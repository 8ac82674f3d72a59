//! What an archive holds: messages, and the one table of their columns. Pure.

pub mod columns;
pub mod message;

pub use columns::{Column, ColumnType};
