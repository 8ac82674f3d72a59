//! The history of a job as pages: what it tells, how it is written, and how it behaves in a browser.

mod browser;
mod writing;
