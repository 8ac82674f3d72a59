//! The Yunxin API: signing, requests, answers, codes, pace, endpoints and the client.
