//! `sensor schema`: the reference of records, as the types have it.

use super::{Error, args::SchemaArgs, write};
use crate::schema::ecs::reference;

pub(super) fn run(args: &SchemaArgs) -> Result<(), Error> {
    let text = if args.markdown { reference::markdown() } else { format!("{:#}\n", reference::json_schema()) };
    write(text.as_bytes())
}
