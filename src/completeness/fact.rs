//! What is known of a message, on its way through the sort.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read as _, Write};
use std::path::Path;

use serde_json::Value;

use super::error::CompletenessError;
use super::findings::State;
use crate::model::failure::Class;
use crate::sort::Sortable;

/// One thing that is known of a message.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Fact {
    /// It is in the archive.
    Archived,
    /// Its failure is open.
    Failed { class: Class, code: Option<i64> },
    /// Its failure was dismissed.
    Dismissed,
    /// It is still to be fetched, or in a file that is not yet published.
    Pending,
    /// It is referenced.
    Referenced { create_time: i64, conversation_id: Box<str> },
}

impl Fact {
    /// The state of a message whose weightiest fact this is.
    pub(super) fn state(&self) -> State {
        match self {
            Self::Archived => State::Archived,
            Self::Failed { class, code } => State::Failed { class: *class, code: *code },
            Self::Dismissed => State::Dismissed,
            Self::Pending => State::Pending,
            Self::Referenced { .. } => State::Absent,
        }
    }
}

/// A fact and its message.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Entry {
    pub(super) id: i64,
    pub(super) fact: Fact,
}

const NO_CODE: u8 = 0x80;

impl Sortable for Entry {
    fn size(&self) -> usize {
        let heap = match &self.fact {
            // 16 bytes for the allocation itself.
            Fact::Referenced { conversation_id, .. } => conversation_id.len() + 16,
            _ => 0,
        };
        size_of::<Self>() + heap
    }

    fn write(&self, out: &mut impl Write) -> io::Result<()> {
        out.write_all(&self.id.to_le_bytes())?;
        match &self.fact {
            Fact::Archived => out.write_all(&[0]),
            Fact::Pending => out.write_all(&[1]),
            Fact::Dismissed => out.write_all(&[4]),
            Fact::Failed { class, code } => {
                let number = Class::ALL.iter().position(|known| known == class).unwrap_or_default() as u8;
                out.write_all(&[2, number | if code.is_none() { NO_CODE } else { 0 }])?;
                out.write_all(&code.unwrap_or_default().to_le_bytes())
            }
            Fact::Referenced { create_time, conversation_id } => {
                out.write_all(&[3])?;
                out.write_all(&create_time.to_le_bytes())?;
                out.write_all(&(conversation_id.len() as u32).to_le_bytes())?;
                out.write_all(conversation_id.as_bytes())
            }
        }
    }

    fn read(input: &mut impl BufRead) -> io::Result<Option<Self>> {
        if input.fill_buf()?.is_empty() {
            return Ok(None);
        }
        let damaged = || io::Error::new(io::ErrorKind::InvalidData, "a temporary file was altered");
        let id = i64::from_le_bytes(bytes(input)?);
        let fact = match bytes::<1>(input)?[0] {
            0 => Fact::Archived,
            1 => Fact::Pending,
            4 => Fact::Dismissed,
            2 => {
                let [number] = bytes(input)?;
                let class = *Class::ALL.get(usize::from(number & !NO_CODE)).ok_or_else(damaged)?;
                let code = i64::from_le_bytes(bytes(input)?);
                Fact::Failed { class, code: (number & NO_CODE == 0).then_some(code) }
            }
            3 => {
                let create_time = i64::from_le_bytes(bytes(input)?);
                let length = u32::from_le_bytes(bytes(input)?);
                let mut text = String::new();
                if input.take(u64::from(length)).read_to_string(&mut text)? != length as usize {
                    return Err(damaged());
                }
                Fact::Referenced { create_time, conversation_id: text.into_boxed_str() }
            }
            _ => return Err(damaged()),
        };
        Ok(Some(Self { id, fact }))
    }
}

fn bytes<const N: usize>(input: &mut impl BufRead) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    input.read_exact(&mut bytes)?;
    Ok(bytes)
}

type Failure = (i64, Fact);

/// The failures in a file, without those of rows that are no reference.
pub(super) fn failures(
    path: &Path,
) -> Result<impl Iterator<Item = Result<Failure, CompletenessError>>, CompletenessError> {
    let unusable = |what: String| CompletenessError::Unusable(format!("{}{what}", path.display()));
    let file = File::open(path).map_err(|error| unusable(format!(": {error}")))?;
    Ok(BufReader::new(file).lines().enumerate().filter_map(move |(index, line)| {
        let wrong = |what: &str| {
            let what = format!(":{}: {what}; give a file of failures as a run writes it", index + 1);
            CompletenessError::Unusable(format!("{}{what}", path.display()))
        };
        match line {
            Err(error) => Some(Err(wrong(&error.to_string()))),
            Ok(line) if line.trim().is_empty() => None,
            Ok(line) => failure(&line).map_err(wrong).transpose(),
        }
    }))
}

fn failure(line: &str) -> Result<Option<Failure>, &'static str> {
    let value: Value = serde_json::from_str(line).map_err(|_| "is no JSON object")?;
    let class = value["class"].as_str().and_then(|name| name.parse::<Class>().ok()).ok_or("has no failure's class")?;
    if class == Class::Invalid {
        return Ok(None);
    }
    let id = &value["message_server_id"];
    let id = id.as_i64().or_else(|| id.as_str()?.parse().ok()).ok_or("has no message_server_id")?;
    let dismissed = value["dismissed_at"].is_string();
    Ok(Some((id, if dismissed { Fact::Dismissed } else { Fact::Failed { class, code: value["code"].as_i64() } })))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn facts_survive_their_way_to_disk_and_stand_in_the_order_of_their_weight() {
        let facts = [
            Fact::Archived,
            Fact::Failed { class: Class::Unavailable, code: None },
            Fact::Failed { class: Class::Undecodable, code: Some(i64::MIN) },
            Fact::Dismissed,
            Fact::Pending,
            Fact::Referenced { create_time: -1, conversation_id: "爱丽丝|1|bob".into() },
            Fact::Referenced { create_time: i64::MAX, conversation_id: "".into() },
        ];
        assert!(facts.is_sorted());
        let mut out = Vec::new();
        for fact in &facts {
            Entry { id: i64::MIN, fact: fact.clone() }.write(&mut out).unwrap();
        }
        let mut rest = out.as_slice();
        for fact in facts {
            assert_eq!(Entry::read(&mut rest).unwrap(), Some(Entry { id: i64::MIN, fact }));
        }
        assert_eq!(Entry::read(&mut rest).unwrap(), None);
        assert!(Entry::read(&mut &out[..5]).is_err());
    }
}
