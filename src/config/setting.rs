//! What a setting is: how it is written, described, checked, and told in the digest.

use std::collections::BTreeMap;
use std::path::Path;

use serde::de::DeserializeOwned;
use serde_json::{Value as Json, json};

use super::environment::Environment;
use super::mistake::unknown;
use super::reader::{Reader, join};
use super::written::{Entries, Mapping, Written};

/// What is in the digest of a job: values by the paths of their keys.
pub(super) type DigestValues = BTreeMap<String, Json>;

/// A type of setting: what is accepted in the file, and the value that it becomes.
pub(super) trait Setting {
    /// The YAML that it is written as.
    type Written: DeserializeOwned;
    /// The value that rooms use.
    type Value;

    /// The JSON schema. Its title is what the documentation calls the type, where the schema alone does not say it.
    fn schema() -> Json;

    /// The keys of a mapping.
    fn keys() -> Vec<Key> {
        Vec::new()
    }

    /// Reads what is written at `key`. `None` after a mistake.
    fn read(reader: &mut Reader<'_>, written: Self::Written, key: &str) -> Option<Self::Value>;

    /// The value in the digest, the same for everything that means the same.
    fn canonical(value: &Self::Value) -> Json {
        let mut told = DigestValues::new();
        Self::tell(value, "", &mut told);
        json!(told)
    }

    /// Puts the value into the digest, whole or part by part. `key` is its path, without the names of jobs and kinds.
    fn tell(value: &Self::Value, key: &str, told: &mut DigestValues) {
        told.insert(key.to_owned(), Self::canonical(value));
    }
}

/// A setting that is a single value, in the file itself or by `env:` or `file:`.
pub(super) trait Scalar {
    type Value;

    /// Whether mistakes quote the text. Not where it may hold a secret.
    const QUOTED: bool = true;

    fn schema() -> Json;

    /// Understands the text; the error says, after the quoted text, what would be right.
    fn parse(text: &str) -> Result<Self::Value, String>;

    fn canonical(value: &Self::Value) -> Json;
}

impl<S: Scalar> Setting for S {
    type Written = String;
    type Value = S::Value;

    fn schema() -> Json {
        let schema = S::schema();
        if schema["type"] == "string" {
            schema
        } else {
            json!({ "anyOf": [schema, { "type": "string", "pattern": INDIRECT }] })
        }
    }

    fn read(reader: &mut Reader<'_>, written: String, key: &str) -> Option<S::Value> {
        reader.scalar::<S>(written, key)
    }

    fn canonical(value: &S::Value) -> Json {
        S::canonical(value)
    }
}

/// A scalar whose value is its text.
pub(super) trait Text {
    /// What the documentation calls the type.
    const FORM: &'static str;

    /// The text that counts; the error says what would be right.
    fn parse(text: &str) -> Result<&str, &'static str>;
}

impl<T: Text> Scalar for T {
    type Value = String;

    fn schema() -> Json {
        text(T::FORM)
    }

    fn parse(text: &str) -> Result<String, String> {
        T::parse(text).map(str::to_owned).map_err(str::to_owned)
    }

    fn canonical(value: &String) -> Json {
        json!(value)
    }
}

/// The schema of any text.
pub(super) fn text(form: &str) -> Json {
    json!({ "type": "string", "title": form })
}

/// A text that says where the value is.
pub(super) const INDIRECT: &str = "^(env|file):.+";

/// What is declared of a key.
#[derive(Debug)]
pub(super) struct Spec {
    pub(super) name: &'static str,
    /// The lines of its documentation. The first sentence is its comment in the template.
    pub(super) about: &'static [&'static str],
    /// The default, as YAML. A key without one must be written.
    pub(super) default: Option<&'static str>,
    /// What the template shows instead of the default, as YAML.
    pub(super) sample: Option<&'static str>,
    /// The version that brought it, for keys later than the digest's form: they are told only where they have an effect.
    pub(super) since: Option<&'static str>,
    /// Why the digest does not tell it.
    pub(super) undigested: Option<&'static str>,
}

impl Spec {
    /// The first sentence of the documentation, without its full stop.
    pub(super) fn summary(&self) -> String {
        let about = plain(&self.about.concat());
        about.split(". ").next().unwrap_or_default().trim_end_matches('.').to_owned()
    }
}

/// A key with what its type says of it.
pub(super) struct Key {
    pub(super) spec: &'static Spec,
    pub(super) schema: Json,
    /// The keys below it.
    pub(super) keys: Vec<Key>,
}

impl Key {
    pub(super) fn of<S: Setting>(spec: &'static Spec) -> Self {
        Self { spec, schema: S::schema(), keys: S::keys() }
    }
}

impl Reader<'_> {
    /// Reports the keys of the mapping `key` that are not among `known`.
    pub(super) fn unknown(&mut self, what: &str, found: &[Written<String>], key: &str, known: &[Key]) {
        let names: Vec<&str> = known.iter().map(|key| key.spec.name).collect();
        for found in found {
            self.mistake_at(found.at, key, unknown(what, &found.value, &names));
        }
    }

    /// Reads the value of one key of the mapping `parent`, or else its default.
    pub(super) fn key<S: Setting>(
        &mut self,
        written: Option<Written<S::Written>>,
        parent: &str,
        spec: &Spec,
    ) -> Option<S::Value> {
        let key = join(parent, spec.name);
        let value = match (written, spec.default) {
            (Some(written), _) => {
                self.places.insert(key.clone(), written.at);
                written.value
            }
            (None, Some(default)) => serde_saphyr::from_str(default).expect("a default is right YAML"),
            (None, None) => {
                let summary = spec.summary();
                let summary = summary.chars().take(1).flat_map(char::to_lowercase).chain(summary.chars().skip(1));
                let sample = spec.sample.map(|sample| format!(", such as {}: {sample}", spec.name));
                let message = format!("is missing: {}{}", summary.collect::<String>(), sample.unwrap_or_default());
                self.mistake(&key, message);
                return None;
            }
        };
        S::read(self, value, &key)
    }

    /// Reads a single value, which may be indirect.
    pub(super) fn scalar<S: Scalar>(&mut self, written: String, key: &str) -> Option<S::Value> {
        self.text(written, key, S::QUOTED, S::parse)
    }
}

/// A text of Markdown without the targets of its links.
pub(super) fn plain(text: &str) -> String {
    let mut plain = String::new();
    let mut rest = text.trim();
    while let Some((before, after)) = rest.split_once("](") {
        let (opened, linked) = before.rsplit_once('[').unwrap_or((before, ""));
        plain += opened;
        plain += linked;
        rest = after.split_once(')').map_or("", |(_, rest)| rest);
    }
    plain + rest
}

/// Puts the value of a key into the digest.
pub(super) fn tell<S: Setting>(value: &S::Value, parent: &str, spec: &Spec, told: &mut DigestValues) {
    let is_default = |yaml| S::canonical(&alone::<S>(yaml)) == S::canonical(value);
    let has_effect = spec.since.is_none() || !spec.default.is_some_and(is_default);
    if spec.undigested.is_none() && has_effect {
        S::tell(value, &join(parent, spec.name), told);
    }
}

/// A mapping of which every key has its default.
pub(super) fn defaults<S: Setting>() -> S::Value {
    alone::<S>("{}")
}

/// A mapping as the template shows it: every required key has its sample, and the others have their defaults.
pub(super) fn sample<S: Setting>() -> S::Value {
    let required = S::keys().into_iter().filter(|key| key.spec.default.is_none());
    let line = |key: Key| format!("{}: {}\n", key.spec.name, key.spec.sample.unwrap_or_default());
    alone::<S>(&required.map(line).collect::<String>())
}

/// What YAML means that needs nothing around it, such as a default.
fn alone<S: Setting>(yaml: &str) -> S::Value {
    let environment = Environment::empty();
    let written = serde_saphyr::from_str(yaml).expect("a default is right YAML");
    S::read(&mut Reader::new(Path::new("/"), &environment), written, "").expect("a default is right")
}

/// An absent value is `null`.
impl<S: Setting> Setting for Option<S> {
    type Written = Option<S::Written>;
    type Value = Option<S::Value>;

    fn schema() -> Json {
        S::schema()
    }

    fn keys() -> Vec<Key> {
        S::keys()
    }

    fn read(reader: &mut Reader<'_>, written: Self::Written, key: &str) -> Option<Self::Value> {
        match written {
            None => Some(None),
            Some(written) => S::read(reader, written, key).map(Some),
        }
    }

    fn canonical(value: &Self::Value) -> Json {
        value.as_ref().map_or(Json::Null, S::canonical)
    }
}

/// A list in which each value stands once; `null` is empty.
impl<S: Setting> Setting for Vec<S>
where
    S::Value: PartialEq,
{
    type Written = Option<Vec<Written<S::Written>>>;
    type Value = Vec<S::Value>;

    fn schema() -> Json {
        json!({ "type": "array", "items": S::schema(), "uniqueItems": true })
    }

    fn read(reader: &mut Reader<'_>, written: Self::Written, key: &str) -> Option<Self::Value> {
        let mut values = Vec::new();
        let mut is_right = true;
        for (n, item) in written.into_iter().flatten().enumerate() {
            let key = format!("{key}[{n}]");
            reader.places.insert(key.clone(), item.at);
            match S::read(reader, item.value, &key) {
                Some(value) if values.contains(&value) => reader.mistake(&key, "stands here a second time"),
                Some(value) => values.push(value),
                None => is_right = false,
            }
        }
        is_right.then_some(values)
    }

    fn canonical(value: &Self::Value) -> Json {
        value.iter().map(S::canonical).collect()
    }
}

/// A mapping of names to values of one type, at least one.
pub(super) struct Named<S>(std::marker::PhantomData<S>);

impl<S: Setting> Setting for Named<S> {
    type Written = Mapping<Entries<S::Written>>;
    type Value = Vec<S::Value>;

    fn schema() -> Json {
        json!({ "type": "object", "title": "map of names", "additionalProperties": S::schema(), "minProperties": 1 })
    }

    fn keys() -> Vec<Key> {
        S::keys()
    }

    fn read(reader: &mut Reader<'_>, written: Self::Written, key: &str) -> Option<Self::Value> {
        if written.known.0.is_empty() {
            reader.mistake(key, "is empty: write at least one");
            return None;
        }
        let mut values = Some(Vec::new());
        for (name, value) in written.known.0 {
            let text = &name.value;
            let letter = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
            if !text.starts_with(letter) || !text.chars().all(|c| letter(c) || "_-".contains(c)) || text.len() > 64 {
                let message = format!(
                    "{:?} cannot be a name: up to 64 lower-case letters, digits, _ and -, beginning with a letter or digit",
                    text.chars().take(64).collect::<String>()
                );
                reader.mistake_at(name.at, key, message);
            }
            let key = join(key, text);
            reader.places.insert(key.clone(), name.at);
            let value = S::read(reader, value.value, &key);
            values = values.zip(value).map(|(mut values, value)| {
                values.push(value);
                values
            });
        }
        values
    }

    fn canonical(value: &Self::Value) -> Json {
        value.iter().map(S::canonical).collect()
    }
}

/// The schema of a mapping with these keys and no others.
pub(super) fn object(keys: &[Key]) -> Json {
    let property = |key: &Key| {
        let about = plain(&key.spec.about.concat());
        let mut property = match key.spec.default {
            None => key.schema.clone(),
            Some(_) => json!({ "anyOf": [key.schema, { "type": "null" }] }),
        };
        property["description"] = json!(about);
        if let Some(default) = key.spec.default {
            let options = serde_saphyr::options! { strict_booleans: true };
            property["default"] =
                serde_saphyr::from_str_with_options(default, options).expect("a default is right YAML");
        }
        (key.spec.name.to_owned(), property)
    };
    let required: Vec<&str> = keys.iter().filter(|key| key.spec.default.is_none()).map(|key| key.spec.name).collect();
    json!({
        "type": "object",
        "properties": keys.iter().map(property).collect::<serde_json::Map<String, Json>>(),
        "required": required,
        "additionalProperties": false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::scalar::Whole;

    settings! {
        /// A mapping.
        pub(super) Sample {
            /// A key of the first form of the digest.
            old: bool, default "false";
            /// A key that came later.
            new: u32 as Whole<u32, 1, 9>, default "1", since "0.2.0";
        }
    }

    #[test]
    fn a_later_key_changes_no_digest_before_it_is_used() {
        let canonical = |yaml| Sample::canonical(&alone::<Sample>(yaml)).to_string();
        assert_eq!(canonical("{}"), r#"{"old":false}"#);
        assert_eq!(canonical("new: 1"), r#"{"old":false}"#);
        assert_eq!(canonical("new: 2"), r#"{"new":2,"old":false}"#);
    }
}
