//! `schema config|parquet|postgres`

use super::arguments::{Schema, SchemaOf};
use super::{Exit, output};
use crate::{archive, config};

pub(super) fn schema(arguments: &Schema) -> Result<u8, Exit> {
    match arguments.of {
        SchemaOf::Config => output::json(&config::json_schema())?,
        SchemaOf::Parquet => output::line(&archive::parquet::schema::text())?,
        SchemaOf::Postgres => {
            output::line(&archive::postgres::script("public", "messages", false).map_err(Exit::words)?)?;
        }
    }
    Ok(0)
}
