//! What an operator sees while a job runs.
