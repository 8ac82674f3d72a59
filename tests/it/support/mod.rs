//! What the tests stand on: a private Postgres cluster, readers of Parquet, the simulator, the binary.

pub(crate) mod browser;
pub(crate) mod bucket;
pub(crate) mod caller;
pub(crate) mod circles;
pub(crate) mod credentials;
pub(crate) mod export;
pub(crate) mod faulty_api;
pub(crate) mod faulty_store;
pub(crate) mod host;
pub(crate) mod house;
pub(crate) mod ledger;
pub(crate) mod mariadb;
pub(crate) mod nights;
pub(crate) mod page;
pub(crate) mod parquet;
pub(crate) mod past;
pub(crate) mod pgbouncer;
pub(crate) mod postgres;
pub(crate) mod proxy;
pub(crate) mod refs;
pub(crate) mod server;
pub(crate) mod site;
pub(crate) mod storm;
pub(crate) mod threads;
pub(crate) mod tls;
