//! How settings are declared, each in one place.
//!
//! [`settings!`] declares a mapping of the file, one entry for each of its keys. It makes the struct that rooms use, and
//! everything that is said of the keys: descriptions and defaults in the JSON schema, tables in docs/configuration.md,
//! lines of the template, entries of the digest. The type of a key is a `Setting`; most are a `Scalar`.

/// The literal that is written, if one is.
macro_rules! optional {
    () => {
        None
    };
    ($literal:literal) => {
        Some($literal)
    };
}

/// The name of a key: that of its field, unless another is written.
macro_rules! key {
    ($field:ident) => {
        stringify!($field)
    };
    ($field:ident $name:literal) => {
        $name
    };
}

/// The type of setting: that of its value, unless another is written.
macro_rules! kind {
    ($value:ty) => {
        $value
    };
    ($value:ty, $kind:ty) => {
        $kind
    };
}

/// Declares a mapping of the file, with an entry for each key:
///
/// ```text
/// /// What the key means. The first sentence is its comment in the file that `init` writes.
/// field ("key"): Value as Setting, default "YAML", sample "YAML", since "0.2.0", undigested "reason";
/// ```
///
/// - `("key")` is its name, where that is not the name of the field.
/// - `as Setting` is its type in the file, where the value is not its own.
/// - `default` is used when the key is absent. A key without a default is required.
/// - `sample` is what `init` writes, instead of the default in a comment.
/// - `since` is the version that brought the key. The digest tells such a key only where it differs from the default.
/// - `undigested` is the reason why the digest never tells the key.
///
/// `@name;` is a field for the name that the mapping has in the mapping around it. `..field: Type;` takes the keys of
/// another mapping as its own. `check` completes the value, and finds mistakes that concern several keys.
macro_rules! settings {
    (
        $(#[doc = $about:literal])*
        $vis:vis $name:ident {
            $( @$named:ident; )?
            $(
                $(#[doc = $doc:literal])*
                $field:ident $(($key:literal))?: $value:ty $(as $kind:ty)?
                $(, default $default:literal)? $(, sample $sample:literal)? $(, since $since:literal)? $(, undigested $undigested:literal)?;
            )*
            $( ..$flat:ident: $group:ty; )*
        }
        $(check $check:expr)?
    ) => {
        $(#[doc = $about])*
        #[derive(Debug, Clone)]
        $vis struct $name {
            $(
                /// Its name in the file.
                pub $named: String,
            )?
            $( $(#[doc = $doc])* pub $field: $value, )*
            $(
                /// Keys that mappings of several kinds have.
                pub $flat: $group,
            )*
        }

        #[allow(dead_code, unused_imports, unused_mut, reason = "not every mapping has everything")]
        const _: () = {
            use crate::config::reader::Reader;
            use crate::config::setting::{Key, Setting, Spec, DigestValues, object, tell};
            use crate::config::written::{self, Mapping, Written};

            struct Specs {
                $( $field: Spec, )*
            }

            static SPECS: Specs = Specs {
                $( $field: Spec {
                    name: key!($field $($key)?),
                    about: &[$($doc),*],
                    default: optional!($($default)?),
                    sample: optional!($($sample)?),
                    since: optional!($($since)?),
                    undigested: optional!($($undigested)?),
                }, )*
            };

            #[derive(Default)]
            pub(crate) struct Keys {
                $( $field: Option<Written<<kind!($value $(, $kind)?) as Setting>::Written>>, )*
                $( $flat: <$group as Setting>::Written, )*
            }

            impl written::Keys for Keys {
                fn take<'de, A: serde::de::MapAccess<'de>>(
                    &mut self,
                    key: &Written<String>,
                    map: &mut A,
                ) -> Result<bool, A::Error> {
                    $( if key.value == SPECS.$field.name {
                        self.$field = map.next_value()?;
                        return Ok(true);
                    } )*
                    $( if self.$flat.known.take(key, map)? {
                        return Ok(true);
                    } )*
                    Ok(false)
                }
            }

            impl Setting for $name {
                type Written = Mapping<Keys>;
                type Value = Self;

                fn schema() -> serde_json::Value {
                    object(&Self::keys())
                }

                fn keys() -> Vec<Key> {
                    let mut keys = vec![$( Key::of::<kind!($value $(, $kind)?)>(&SPECS.$field) ),*];
                    $( keys.extend(<$group as Setting>::keys()); )*
                    keys
                }

                fn read(reader: &mut Reader<'_>, written: Self::Written, key: &str) -> Option<Self> {
                    reader.unknown("key", &written.unknown, key, &Self::keys());
                    let written = written.known;
                    $( let $field = reader.key::<kind!($value $(, $kind)?)>(written.$field, key, &SPECS.$field); )*
                    $( let $flat = <$group as Setting>::read(reader, written.$flat, key); )*
                    let mut read = Self {
                        $( $named: key.rsplit('.').next().unwrap_or_default().to_owned(), )?
                        $( $field: $field?, )*
                        $( $flat: $flat?, )*
                    };
                    $(
                        let check: fn(&mut Self, &mut Reader<'_>, &str) = $check;
                        check(&mut read, reader, key);
                    )?
                    Some(read)
                }

                fn tell(value: &Self, key: &str, told: &mut DigestValues) {
                    $( tell::<kind!($value $(, $kind)?)>(&value.$field, key, &SPECS.$field, told); )*
                    $( <$group as Setting>::tell(&value.$flat, key, told); )*
                }
            }
        };
    };
}

/// Declares a mapping of exactly one key, which says what kind of thing its value describes.
macro_rules! one_of {
    (
        $(#[doc = $about:literal])*
        $name:ident, $kinds:ident {
            $( $(#[doc = $doc:literal])* $kind:ident($group:ty) = $key:literal; )*
        }
    ) => {
        $(#[doc = $about])*
        #[derive(Debug, Clone)]
        #[allow(clippy::large_enum_variant, reason = "there are only a few of them")]
        pub enum $name {
            $( $(#[doc = $doc])* $kind($group), )*
        }

        choice! {
            $(#[doc = $about])*
            $kinds {
                $( $(#[doc = $doc])* $kind = $key; )*
            }
        }

        impl $name {
            /// The kind, by which it is written.
            pub fn kind(&self) -> $kinds {
                match self {
                    $( Self::$kind(_) => $kinds::$kind, )*
                }
            }
        }

        const _: () = {
            use crate::config::reader::{Reader, join};
            use crate::config::setting::{Key, Setting, Spec, DigestValues, object};
            use crate::config::written::{self, Mapping, Written};

            static SPECS: &[Spec] = &[$(
                Spec { name: $key, about: &[$($doc),*], default: Some("null"), sample: None, since: None, undigested: None }
            ),*];

            #[allow(clippy::large_enum_variant, reason = "there are only a few of them")]
            pub(crate) enum One {
                $( $kind(<$group as Setting>::Written), )*
            }

            #[derive(Default)]
            pub(crate) struct Kinds(Vec<One>);

            impl written::Keys for Kinds {
                fn take<'de, A: serde::de::MapAccess<'de>>(
                    &mut self,
                    key: &Written<String>,
                    map: &mut A,
                ) -> Result<bool, A::Error> {
                    match key.value.as_str() {
                        $( $key => self.0.push(One::$kind(map.next_value()?)), )*
                        _ => return Ok(false),
                    }
                    Ok(true)
                }
            }

            impl Setting for $name {
                type Written = Mapping<Kinds>;
                type Value = Self;

                fn schema() -> serde_json::Value {
                    let mut schema = object(&Self::keys());
                    schema["title"] = serde_json::json!("map of one kind");
                    schema["minProperties"] = serde_json::json!(1);
                    schema["maxProperties"] = serde_json::json!(1);
                    schema
                }

                fn keys() -> Vec<Key> {
                    let mut specs = SPECS.iter();
                    vec![$( Key::of::<$group>(specs.next().expect("one for each kind")) ),*]
                }

                fn read(reader: &mut Reader<'_>, written: Self::Written, key: &str) -> Option<Self> {
                    reader.unknown("kind", &written.unknown, key, &Self::keys());
                    let Ok([one]) = <[One; 1]>::try_from(written.known.0) else {
                        if written.unknown.is_empty() {
                            let kinds = $kinds::ALL.map($kinds::as_str).join(", ");
                            reader.mistake(key, format!("needs exactly one kind: one of {kinds}"));
                        }
                        return None;
                    };
                    match one {
                        $( One::$kind(written) => {
                            <$group as Setting>::read(reader, written, &join(key, $key)).map(Self::$kind)
                        } )*
                    }
                }

                fn tell(value: &Self, key: &str, told: &mut DigestValues) {
                    told.insert(join(key, "kind"), serde_json::json!(value.kind().as_str()));
                    match value {
                        $( Self::$kind(one) => <$group as Setting>::tell(one, key, told), )*
                    }
                }
            }
        };
    };
}

/// Declares a setting that is one of a few words.
macro_rules! choice {
    (
        $(#[doc = $about:literal])*
        $name:ident {
            $( $(#[doc = $doc:literal])* $choice:ident = $word:literal $(| $also:literal)?; )*
        }
    ) => {
        $(#[doc = $about])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $name {
            $( $(#[doc = $doc])* $choice, )*
        }

        impl $name {
            /// Every one.
            pub const ALL: [Self; [$($word),*].len()] = [$( Self::$choice ),*];

            /// The word for it.
            pub fn as_str(self) -> &'static str {
                match self {
                    $( Self::$choice => $word, )*
                }
            }
        }

        impl crate::config::setting::Scalar for $name {
            type Value = Self;

            fn schema() -> serde_json::Value {
                serde_json::json!({ "enum": [$($word $(, serde_json::from_str::<serde_json::Value>($also).ok())?),*] })
            }

            fn parse(text: &str) -> Result<Self, String> {
                match text {
                    $( $word $(| $also)? => Ok(Self::$choice), )*
                    _ => Err(format!("is unknown here: write one of {}", Self::ALL.map(Self::as_str).join(", "))),
                }
            }

            fn canonical(value: &Self) -> serde_json::Value {
                serde_json::json!(value.as_str())
            }
        }
    };
}
