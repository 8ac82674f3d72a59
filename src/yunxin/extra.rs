//! The column `extra`: fields of a message that have no column, and known ones whose value their column cannot hold.

use super::field::Scope;
use super::json::Json;

#[derive(Debug)]
struct Kept<'t> {
    scope: Scope,
    /// The field's name, when it is known.
    known: Option<&'static str>,
    key: Json<'t>,
    value: Json<'t>,
}

/// What goes to the column `extra`, as slices of the answer.
#[derive(Debug, Default)]
pub(super) struct Extra<'t>(Vec<Kept<'t>>);

impl<'t> Extra<'t> {
    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// Forgets the fields of one object.
    pub(super) fn clear_scope(&mut self, scope: Scope) {
        self.0.retain(|kept| kept.scope != scope);
    }

    /// Keeps an unknown field. Of equal keys all are kept: readers of JSON take the last.
    pub(super) fn keep(&mut self, scope: Scope, key: Json<'t>, value: Json<'t>) {
        self.0.push(Kept { scope, known: None, key, value });
    }

    /// Keeps a known field.
    pub(super) fn keep_known(&mut self, scope: Scope, name: &'static str, key: Json<'t>, value: Json<'t>) {
        self.0.push(Kept { scope, known: Some(name), key, value });
    }

    /// Forgets a known field: a later value of the same key takes its place.
    pub(super) fn forget(&mut self, scope: Scope, name: &str) {
        if !self.is_empty() {
            self.0.retain(|kept| kept.scope != scope || kept.known != Some(name));
        }
    }

    /// Whether nothing was kept.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether half a surrogate pair is among what was kept.
    pub(super) fn is_lone(&self) -> bool {
        self.0.iter().any(|kept| kept.key.is_lone() || kept.value.is_lone())
    }

    /// A JSON object of what was kept.
    pub(super) fn object(&self) -> String {
        let mut object = String::new();
        self.write(Scope::Item, &mut object);
        object
    }

    /// Appends an object: unknown fields, then known ones, then the objects in it.
    fn write(&self, scope: Scope, out: &mut String) {
        let mut separator = '{';
        for is_known in [false, true] {
            for kept in self.0.iter().filter(|kept| kept.scope == scope && kept.known.is_some() == is_known) {
                out.push(std::mem::replace(&mut separator, ','));
                out.push_str(&kept.key.readable());
                out.push(':');
                out.push_str(&kept.value.readable());
            }
        }
        for (name, inner) in scope.objects().iter().filter(|(_, inner)| self.holds(*inner)) {
            out.push(std::mem::replace(&mut separator, ','));
            out.push_str(&format!("\"{name}\":"));
            self.write(*inner, out);
        }
        out.push('}');
    }

    /// Whether a field of this object, or of one in it, was kept.
    fn holds(&self, scope: Scope) -> bool {
        self.0.iter().any(|kept| kept.scope == scope) || scope.objects().iter().any(|(_, inner)| self.holds(*inner))
    }
}
