//! A simulated Yunxin API on loopback, written from the API's documentation alone.
