//! What the tests stand on: a private Postgres cluster, readers of Parquet, the simulator, the binary.
