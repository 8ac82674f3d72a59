//! Which column or member of an input is which field.

use std::collections::BTreeMap;

use crate::source::error::SourceError;
use crate::source::settings::Format;
use crate::source::value::Value;

/// The number of fields of either format.
pub(in crate::source) const FIELDS: usize = 6;

/// The fields of one row, in the places below.
pub(in crate::source) type Fields<'a> = [Value<'a>; FIELDS];

/// The whole conversation ID of a reference.
pub(super) const WHOLE: usize = 0;
/// The `eventType` of a copy event.
pub(super) const EVENT_TYPE: usize = 0;
pub(super) const OWNER: usize = 1;
pub(super) const TYPE: usize = 2;
pub(super) const OTHER: usize = 3;
pub(super) const ID: usize = 4;
pub(super) const TIME: usize = 5;

/// The parts that stand for a whole conversation ID.
pub(super) const PARTS: [usize; 3] = [OWNER, TYPE, OTHER];

const REFERENCE: [&[&str]; FIELDS] = [
    &["conversation_id"],
    &["owner_id"],
    &["conversation_type"],
    &["other_id"],
    &["message_server_id"],
    &["create_time"],
];

const COPY_EVENT: [&[&str]; FIELDS] = [
    &["eventType", "event_type"],
    &["fromAccount", "from_account"],
    &["convType", "conv_type"],
    &["to"],
    &["msgidServer", "msgid_server", "msg_id_server"],
    &["msgTimestamp", "msg_timestamp"],
];

/// The field that stands for a whole copy event as JSON, and the columns that are taken for it by default.
const EVENT: &str = "event";
const EVENT_COLUMNS: [&str; 3] = [EVENT, "payload", "body"];

/// The fields that `columns` may rename.
pub fn field_names(format: Format) -> Vec<&'static str> {
    let event = (format == Format::CopyEvent).then_some(EVENT);
    aliases(format).iter().map(|names| names[0]).chain(event).collect()
}

/// The input's names of the create time.
pub(in crate::source) fn time_names(format: Format, columns: &BTreeMap<String, String>) -> Vec<&str> {
    let names = aliases(format)[TIME];
    match names.iter().find_map(|name| columns.get(*name)) {
        Some(renamed) => vec![renamed],
        None => names.to_vec(),
    }
}

pub(super) fn aliases(format: Format) -> &'static [&'static [&'static str]; FIELDS] {
    match format {
        Format::Reference => &REFERENCE,
        Format::CopyEvent => &COPY_EVENT,
    }
}

/// The input's names of every field.
#[derive(Debug, Clone)]
pub(in crate::source) struct Names {
    pub(in crate::source) format: Format,
    fields: [Vec<String>; FIELDS],
    renamed: [bool; FIELDS],
    /// The name that `columns` gives for a member or column that holds a whole copy event.
    pub(in crate::source) event: Option<String>,
}

impl Names {
    pub(super) fn new(format: Format, columns: &BTreeMap<String, String>) -> Result<Self, SourceError> {
        let aliases = aliases(format);
        let fields = aliases.map(|names| names.iter().map(|&name| name.to_owned()).collect());
        let mut names = Self { format, fields, renamed: [false; FIELDS], event: None };
        for (field, input) in columns {
            if let Some(place) = aliases.iter().position(|names| names.contains(&field.as_str())) {
                names.fields[place] = vec![input.clone()];
                names.renamed[place] = true;
            } else if format == Format::CopyEvent && field == EVENT {
                names.event = Some(input.clone());
            } else {
                let known = field_names(format).join(", ");
                return Err(SourceError::Unusable(format!("columns: {field:?} is no field: there are {known}")));
            }
        }
        Ok(names)
    }

    /// The field that an input's name stands for, and whether its case fits too.
    pub(super) fn place(&self, input: &str) -> Option<(usize, bool)> {
        let place = |fits: fn(&str, &str) -> bool| {
            self.fields.iter().position(|names| names.iter().any(|name| fits(name, input)))
        };
        let exact = place(|a, b| a == b).map(|place| (place, true));
        exact.or_else(|| Some((place(str::eq_ignore_ascii_case)?, false)))
    }

    /// The names of all fields, for a message.
    pub(in crate::source) fn expected(&self) -> String {
        self.fields.concat().join(", ")
    }

    /// Whether an input's name stands for the message's ID.
    pub(in crate::source) fn is_id(&self, input: &str) -> bool {
        self.place(input).is_some_and(|(place, _)| place == ID)
    }

    /// Finds the fields among the columns of `input`, or says which are missing.
    pub(in crate::source) fn columns(&self, input: &str, found: &[String]) -> Result<Columns, SourceError> {
        let mut places = [None; FIELDS];
        for (place, names) in self.fields.iter().enumerate() {
            places[place] = find(input, found, names)?;
            if self.renamed[place] && places[place].is_none() {
                return Err(renamed_away(input, &names[0], found));
            }
        }
        match self.format {
            Format::Reference => {
                let parts_renamed = PARTS.iter().any(|&place| self.renamed[place]);
                if places[WHOLE].is_some() && (self.renamed[WHOLE] || !parts_renamed) {
                    for part in PARTS {
                        places[part] = None;
                    }
                } else {
                    places[WHOLE] = None;
                }
            }
            Format::CopyEvent => {
                let event = self.event_column(input, found, &places)?;
                if event.is_some() {
                    return Ok(Columns { places: [None; FIELDS], event });
                }
            }
        }
        match self.lacking(&places) {
            Some(needed) => Err(missing(input, &needed, found, "; `columns` maps fields to other names")),
            None => Ok(Columns { places, event: None }),
        }
    }

    /// The fields that lack a column, for a message; `None` if there are none.
    fn lacking(&self, places: &[Option<usize>; FIELDS]) -> Option<String> {
        let lacks = |place: &usize| places[*place].is_none();
        let named = |lacking: &[usize]| -> Vec<&str> {
            lacking.iter().filter(|place| lacks(place)).map(|place| self.fields[*place][0].as_str()).collect()
        };
        let conversation = match self.format {
            Format::CopyEvent => named(&PARTS),
            Format::Reference if lacks(&WHOLE) && PARTS.iter().any(lacks) => {
                vec!["conversation_id (or owner_id, conversation_type and other_id)"]
            }
            Format::Reference => Vec::new(),
        };
        let lacking = [conversation, named(&[ID, TIME])].concat();
        (!lacking.is_empty()).then(|| lacking.join(", "))
    }

    /// The column that holds copy events as JSON: the one that `columns` names; or, if the fields have no columns of
    /// their own, the only column or one with a telling name.
    fn event_column(
        &self,
        input: &str,
        found: &[String],
        places: &[Option<usize>; FIELDS],
    ) -> Result<Option<usize>, SourceError> {
        if let Some(event) = &self.event {
            let place = find(input, found, std::slice::from_ref(event))?;
            return place.map(Some).ok_or_else(|| renamed_away(input, event, found));
        }
        match found {
            _ if places[TYPE].is_some() || places[ID].is_some() => Ok(None),
            [_] => Ok(Some(0)),
            _ => find(input, found, &EVENT_COLUMNS.map(str::to_owned)),
        }
    }
}

/// The column of one of these names; a name whose case fits wins.
pub(in crate::source) fn find(input: &str, found: &[String], names: &[String]) -> Result<Option<usize>, SourceError> {
    for fits in [|a: &str, b: &str| a == b, |a: &str, b: &str| a.eq_ignore_ascii_case(b)] {
        for name in names {
            let mut places = (0..found.len()).filter(|&place| fits(&found[place], name));
            if let Some(place) = places.next() {
                if places.next().is_some() {
                    return Err(SourceError::Unusable(format!("{input}: there is more than one column {name:?}")));
                }
                return Ok(Some(place));
            }
        }
    }
    Ok(None)
}

fn renamed_away(input: &str, name: &str, found: &[String]) -> SourceError {
    missing(input, &format!("{name:?}, which `columns` names"), found, "")
}

fn missing(input: &str, needed: &str, found: &[String], hint: &str) -> SourceError {
    const SHOWN: usize = 32;
    let quoted = |name: &String| Value::text(name).to_string().trim_matches('"').to_owned();
    let shown: Vec<String> = found.iter().take(SHOWN).map(quoted).collect();
    let more = if found.len() > SHOWN { ", …" } else { "" };
    SourceError::Unusable(format!("{input}: missing {needed}; found {}{more}{hint}", shown.join(", ")))
}

/// The columns of one input that hold the fields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::source) struct Columns {
    /// The column of each field.
    pub(in crate::source) places: [Option<usize>; FIELDS],
    /// The column that holds a whole copy event as JSON. If there is one, no field has a column of its own.
    pub(in crate::source) event: Option<usize>,
}

impl Columns {
    /// All columns that are read.
    pub(in crate::source) fn used(&self) -> impl Iterator<Item = usize> {
        self.places.into_iter().chain([self.event]).flatten()
    }

    /// What a row must have something of, for a message.
    pub(in crate::source) fn expected(&self, header: &[String]) -> String {
        if let Some(event) = self.event {
            return format!("a copy event in {:?}", header[event]);
        }
        let names: Vec<String> = self.used().map(|place| format!("{:?}", header[place])).collect();
        format!("anything in {}", names.join(", "))
    }
}
