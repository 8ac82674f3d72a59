//! The whole flow of a job.
