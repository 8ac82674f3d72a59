//! What the file says, and where: the YAML mappings and values that settings are read from.

use std::cell::RefCell;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// A place in the file, both counted from 1; 0 when unknown.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// The line.
    pub line: u64,
    /// The column, in characters.
    pub column: u64,
}

impl From<serde_saphyr::Location> for Position {
    fn from(location: serde_saphyr::Location) -> Self {
        Self { line: location.line(), column: location.column() }
    }
}

/// A value and its place.
///
/// Not `Debug`: a literal secret must reach no output, even where it is a mistake.
pub(super) struct Written<T> {
    pub(super) value: T,
    pub(super) at: Position,
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Written<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = serde_saphyr::Spanned::<T>::deserialize(deserializer)?;
        Ok(Self { value: spanned.value, at: spanned.referenced.into() })
    }
}

thread_local! {
    /// The keys of the mappings that are being read, outermost first. An error leaves those that lead to it.
    static TRAIL: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// Reads a text. With an error come the keys that lead to it, outermost first.
pub(super) fn read<T: for<'de> Deserialize<'de>>(text: &str) -> Result<T, Box<(serde_saphyr::Error, Vec<String>)>> {
    TRAIL.take();
    let options = serde_saphyr::options! { with_snippet: false };
    serde_saphyr::from_str_with_options(text, options).map_err(|error| Box::new((error, TRAIL.take())))
}

/// Takes the values of the keys of a mapping.
pub(super) trait Keys: Default {
    /// Takes the value of `key` from `map`. `false`: there is no such key, and the value is still to be taken.
    fn take<'de, A: MapAccess<'de>>(&mut self, key: &Written<String>, map: &mut A) -> Result<bool, A::Error>;
}

/// A mapping: the values of its known keys, and the keys that are unknown.
#[derive(Default)]
pub(super) struct Mapping<K> {
    pub(super) known: K,
    pub(super) unknown: Vec<Written<String>>,
}

impl<'de, K: Keys> Deserialize<'de> for Mapping<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Taking<K>(PhantomData<K>);

        impl<'de, K: Keys> Visitor<'de> for Taking<K> {
            type Value = Mapping<K>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a mapping")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut mapping = Mapping { known: K::default(), unknown: Vec::new() };
                while let Some(key) = map.next_key::<Written<String>>()? {
                    TRAIL.with_borrow_mut(|trail| trail.push(key.value.clone()));
                    let is_known = mapping.known.take(&key, &mut map)?;
                    TRAIL.with_borrow_mut(Vec::pop);
                    if !is_known {
                        map.next_value::<IgnoredAny>()?;
                        mapping.unknown.push(key);
                    }
                }
                Ok(mapping)
            }
        }

        deserializer.deserialize_map(Taking(PhantomData))
    }
}

/// The keys of a mapping whose keys the user chooses, in the order of the file.
pub(super) struct Entries<T>(pub(super) Vec<(Written<String>, Written<T>)>);

impl<T> Default for Entries<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T: serde::de::DeserializeOwned> Keys for Entries<T> {
    fn take<'de, A: MapAccess<'de>>(&mut self, key: &Written<String>, map: &mut A) -> Result<bool, A::Error> {
        let name = Written { value: key.value.clone(), at: key.at };
        self.0.push((name, map.next_value()?));
        Ok(true)
    }
}
