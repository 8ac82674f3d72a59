//! The job's durable memory.
