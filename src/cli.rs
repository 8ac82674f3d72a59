//! Commands: what was typed, what it means, and what is printed.
