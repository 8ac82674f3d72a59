//! The Parquet sink.
