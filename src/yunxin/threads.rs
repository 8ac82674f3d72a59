//! The thread of a message: the message that started it, and the one that this one answers.

use std::sync::LazyLock;

use super::extra::Scope;
use super::json::{Broken, Scanner, Value};
use super::keys::{Key, Keys, Known};
use super::value::{Columns, Field, fields};
use crate::model::columns::Origin;

/// One of the two links of a thread.
struct Link {
    scope: Scope,
    name: &'static str,
    fields: Vec<Known<Field>>,
}

impl Link {
    fn new(scope: Scope, name: &'static str, is_of_link: fn(Origin) -> bool) -> Self {
        Self { scope, name, fields: fields(is_of_link).map(|(key, field)| Known::new(key, field)).collect() }
    }
}

static LINKS: LazyLock<[Link; 2]> = LazyLock::new(|| {
    [
        Link::new(Scope::Root, "thread_root", |origin| matches!(origin, Origin::ThreadRoot(_))),
        Link::new(Scope::Reply, "thread_reply", |origin| matches!(origin, Origin::ThreadReply(_))),
    ]
});
/// The links by their place among [`LINKS`].
static NAMES: LazyLock<[Known<usize>; 2]> = LazyLock::new(|| [0, 1].map(|place| Known::new(LINKS[place].name, place)));

/// Reads `thread_config` objects; keeps what order fields come in from one to the next.
#[derive(Debug)]
pub(super) struct ThreadReader {
    links: Keys<usize>,
    fields: [Keys<Field>; 2],
}

impl ThreadReader {
    pub(super) fn new() -> Self {
        Self { links: Keys::new(&*NAMES), fields: LINKS.each_ref().map(|link| Keys::new(&link.fields)) }
    }

    /// Reads the next value of `scanner` as a message's `thread_config`.
    pub(super) fn read<'t>(&mut self, scanner: &mut Scanner<'t>, columns: &mut Columns<'_, 't>) -> Result<(), Broken> {
        columns.extra.forget(Scope::Item, "thread_config");
        columns.extra.clear_scope(Scope::Config);
        LINKS.iter().for_each(|link| columns.clear_link(link));
        if scanner.peek() != b'{' {
            return columns.no_object(scanner, Scope::Item, "thread_config");
        }
        self.links.enter(scanner)?;
        while let Some(key) = self.links.next(scanner)? {
            match key {
                Key::Known(known) => read_link(&LINKS[known.field], &mut self.fields[known.field], scanner, columns)?,
                Key::Unknown(key) => {
                    let (_, json, traits) = scanner.value_text()?;
                    columns.extra.keep(Scope::Config, key, json, traits);
                }
            }
        }
        Ok(())
    }
}

fn read_link<'t>(
    link: &Link,
    fields: &mut Keys<Field>,
    scanner: &mut Scanner<'t>,
    columns: &mut Columns<'_, 't>,
) -> Result<(), Broken> {
    columns.extra.forget(Scope::Config, link.name);
    columns.clear_link(link);
    if scanner.peek() != b'{' {
        return columns.no_object(scanner, Scope::Config, link.name);
    }
    fields.enter(scanner)?;
    while let Some(key) = fields.next(scanner)? {
        match key {
            Key::Known(known) => columns.read(scanner, link.scope, known.name, known.field)?,
            Key::Unknown(key) => {
                let (_, json, traits) = scanner.value_text()?;
                columns.extra.keep(link.scope, key, json, traits);
            }
        }
    }
    Ok(())
}

impl<'t> Columns<'_, 't> {
    /// Forgets what an earlier value of the same key stored.
    fn clear_link(&mut self, link: &Link) {
        self.extra.clear_scope(link.scope);
        link.fields.iter().for_each(|known| self.clear(known.field));
    }

    /// Takes a value where an object should be; null is nothing at all.
    fn no_object(&mut self, scanner: &mut Scanner<'t>, scope: Scope, name: &'static str) -> Result<(), Broken> {
        let (value, json, traits) = scanner.value_text()?;
        if value != Value::Null {
            self.extra.surprise(scope, name, json, traits);
        }
        Ok(())
    }
}
