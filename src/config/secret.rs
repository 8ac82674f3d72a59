//! Values that no output shows.

use std::fmt;

use secrecy::{ExposeSecret as _, SecretString};

use super::environment::{Environment, Indirect};
use super::mistake::{ConfigError, Mistake};
use super::reader::Reader;
use super::setting::{DigestValues, INDIRECT, Setting, text};
use super::written::Position;

/// A value that is looked up only when a command needs it, and that no output shows.
#[derive(Clone)]
pub struct Secret {
    pub(super) key: String,
    pub(super) at: Position,
    origin: Origin,
    environment: Environment,
    check: fn(&str) -> Result<(), String>,
}

#[derive(Clone)]
enum Origin {
    Indirect(Indirect),
    Literal(SecretString),
}

impl Secret {
    /// Whether both name the same variable or file, or hold the same text.
    pub(super) fn same(&self, other: &Self) -> bool {
        match (&self.origin, &other.origin) {
            (Origin::Indirect(a), Origin::Indirect(b)) => a == b,
            (Origin::Literal(a), Origin::Literal(b)) => a.expose_secret() == b.expose_secret(),
            _ => false,
        }
    }

    /// Looks the value up, and checks its form.
    pub fn look_up(&self) -> Result<SecretString, ConfigError> {
        let text = match &self.origin {
            Origin::Literal(text) => text.clone(),
            Origin::Indirect(place) => place.read(&self.environment).map_err(|message| self.error(message))?.into(),
        };
        (self.check)(text.expose_secret()).map_err(|message| self.error(message))?;
        Ok(text)
    }

    /// Says what is wrong with the value.
    pub fn error(&self, message: impl Into<String>) -> ConfigError {
        self.environment.error(self.mistake(message))
    }

    pub(super) fn mistake(&self, message: impl Into<String>) -> Mistake {
        Mistake { at: self.at, key: self.key.clone(), message: message.into() }
    }
}

/// A value that is in no file.
impl From<SecretString> for Secret {
    fn from(text: SecretString) -> Self {
        Self {
            key: String::new(),
            at: Position::default(),
            origin: Origin::Literal(text),
            environment: Environment::empty(),
            check: |_| Ok(()),
        }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.origin {
            Origin::Indirect(Indirect::Env(name)) => write!(f, "env:{name}"),
            Origin::Indirect(Indirect::File(path)) => write!(f, "file:{}", path.display()),
            Origin::Literal(_) => f.write_str("[written out]"),
        }
    }
}

/// A kind of [`Secret`].
pub(super) trait Kind {
    /// Whether the value may stand in the file itself.
    const MAY_BE_LITERAL: bool = true;

    /// What the documentation calls the type.
    const FORM: &'static str;

    /// Checks a value that stands in the file itself. The error never quotes it.
    fn literal(text: &str) -> Result<(), String>;

    /// Checks the value when it is looked up. The error never quotes it.
    fn check(_: &str) -> Result<(), String> {
        Ok(())
    }
}

/// The setting of a [`Secret`]. The digest does not tell it, not even as a hash, which could be guessed at.
pub(super) struct Lookup<K>(std::marker::PhantomData<K>);

impl<K: Kind> Setting for Lookup<K> {
    type Written = String;
    type Value = Secret;

    fn schema() -> serde_json::Value {
        let mut schema = text(K::FORM);
        if !K::MAY_BE_LITERAL {
            schema["pattern"] = serde_json::json!(INDIRECT);
        }
        schema
    }

    fn read(reader: &mut Reader<'_>, written: String, key: &str) -> Option<Secret> {
        let origin = match Indirect::parse(&written, reader.base) {
            Some(Err(message)) => Err(message.to_owned()),
            Some(Ok(place)) => {
                if let Some(message) = place.warning() {
                    reader.notes.push(Mistake { at: reader.place(key), key: key.to_owned(), message });
                }
                Ok(Origin::Indirect(place))
            }
            None => K::literal(&written).map(|()| Origin::Literal(written.into())),
        };
        match origin {
            Ok(origin) => {
                let environment = reader.environment.clone();
                Some(Secret { key: key.to_owned(), at: reader.place(key), origin, environment, check: K::check })
            }
            Err(message) => {
                reader.mistake(key, message);
                None
            }
        }
    }

    fn tell(_: &Secret, _: &str, _: &mut DigestValues) {}
}
