//! What `jobs.yaml` says, and what it means.
