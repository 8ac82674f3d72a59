//! The fields of an item that have no column: unknown ones, and known ones whose type surprised.

use super::escape::repair_into;
use super::json::{Text, Traits, value_into};

/// Which object of an item a field stands in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub(super) enum Scope {
    Item,
    Config,
    Root,
    Reply,
}

const SCOPES: usize = 4;

#[derive(Debug, Clone, Copy)]
struct Unknown<'t> {
    key: Text<'t>,
    json: &'t str,
    traits: Traits,
}

#[derive(Debug, Clone, Copy)]
struct Surprise<'t> {
    scope: Scope,
    name: &'static str,
    json: &'t str,
    traits: Traits,
}

/// What goes to the column `extra`, as slices of the answer.
#[derive(Debug, Default)]
pub(super) struct Extra<'t> {
    unknown: [Vec<Unknown<'t>>; SCOPES],
    /// At most one for each known field of each scope.
    surprises: Vec<Surprise<'t>>,
}

impl<'t> Extra<'t> {
    /// Forgets everything and keeps the memory.
    pub(super) fn clear(&mut self) {
        self.unknown.iter_mut().for_each(Vec::clear);
        self.surprises.clear();
    }

    /// Forgets the fields of one object.
    pub(super) fn clear_scope(&mut self, scope: Scope) {
        self.unknown[scope as usize].clear();
        self.surprises.retain(|field| field.scope != scope);
    }

    /// Keeps a field that no column is known for. Of equal keys all are kept: readers of JSON take the last.
    pub(super) fn keep(&mut self, scope: Scope, key: Text<'t>, json: &'t str, traits: Traits) {
        self.unknown[scope as usize].push(Unknown { key, json, traits });
    }

    /// Keeps a known field whose value its column cannot hold, instead of what was kept of it before.
    pub(super) fn surprise(&mut self, scope: Scope, name: &'static str, json: &'t str, traits: Traits) {
        self.forget(scope, name);
        self.surprises.push(Surprise { scope, name, json, traits });
    }

    /// Forgets a known field: a later value of the same key fits its column.
    #[inline]
    pub(super) fn forget(&mut self, scope: Scope, name: &'static str) {
        if !self.surprises.is_empty() {
            self.forget_surprise(scope, name);
        }
    }

    #[cold]
    fn forget_surprise(&mut self, scope: Scope, name: &'static str) {
        self.surprises.retain(|field| field.scope != scope || field.name != name);
    }

    /// Whether nothing was kept.
    pub(super) fn is_empty(&self) -> bool {
        self.surprises.is_empty() && self.unknown.iter().all(Vec::is_empty)
    }

    /// Whether an escape of half a surrogate pair is among what was kept.
    pub(super) fn is_lone(&self) -> bool {
        self.surprises.iter().any(|field| field.traits.lone)
            || self.unknown.iter().flatten().any(|field| field.key.lone || field.traits.lone)
    }

    /// Appends a JSON object of what was kept, values as they came, those of `thread_config` under that name.
    pub(super) fn write_into(&self, out: &mut String) {
        out.push('{');
        let mut first = self.write_scope(out, Scope::Item);
        if [Scope::Config, Scope::Root, Scope::Reply].into_iter().any(|scope| self.has(scope)) {
            begin_field(out, &mut first, "thread_config");
            out.push('{');
            let mut first = self.write_scope(out, Scope::Config);
            for (scope, name) in [(Scope::Root, "thread_root"), (Scope::Reply, "thread_reply")] {
                if self.has(scope) {
                    begin_field(out, &mut first, name);
                    out.push('{');
                    self.write_scope(out, scope);
                    out.push('}');
                }
            }
            out.push('}');
        }
        out.push('}');
    }

    fn has(&self, scope: Scope) -> bool {
        !self.unknown[scope as usize].is_empty() || self.surprises.iter().any(|field| field.scope == scope)
    }

    /// Returns whether nothing was written.
    fn write_scope(&self, out: &mut String, scope: Scope) -> bool {
        let mut first = true;
        for field in &self.unknown[scope as usize] {
            if field.key.lone {
                let mut key = String::new();
                repair_into(&mut key, field.key.raw);
                begin_field(out, &mut first, &key);
            } else {
                begin_field(out, &mut first, field.key.raw);
            }
            value_into(out, field.json, field.traits);
        }
        for field in self.surprises.iter().filter(|field| field.scope == scope) {
            begin_field(out, &mut first, field.name);
            value_into(out, field.json, field.traits);
        }
        first
    }
}

/// Appends a key, which is JSON text already, and what goes before and after it.
fn begin_field(out: &mut String, first: &mut bool, key: &str) {
    if !std::mem::take(first) {
        out.push(',');
    }
    out.push('"');
    out.push_str(key);
    out.push_str("\":");
}
