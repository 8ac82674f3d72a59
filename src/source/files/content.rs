//! The text of a file: decompressed, and as UTF-8. The first bytes of the file say how it is compressed.

use std::io::{self, BufRead, BufReader, Cursor, Read};
use std::path::Path;

use encoding_rs_io::DecodeReaderBytesBuilder;
use flate2::bufread::GzDecoder;

use crate::source::error::SourceError;

/// How many bytes show what a file is. A tar archive shows it at byte 257.
const HEAD: usize = 512;

/// What cannot be read: the bytes that it has at a place, and what to do about it.
const OTHERS: [(usize, &[u8], &str); 17] = [
    (4, b"1AY&SY", "is compressed by bzip2; unpack it, or compress it by gzip or zstd"),
    (0, b"\xFD7zXZ\0", "is compressed by xz; unpack it, or compress it by gzip or zstd"),
    (0, b"\x04\x22\x4D\x18", "is compressed by lz4; unpack it, or compress it by gzip or zstd"),
    (0, b"\xFF\x06\0\0sNaPpY", "is compressed by snappy; unpack it, or compress it by gzip or zstd"),
    (0, b"LZIP\x01", "is compressed by lzip; unpack it, or compress it by gzip or zstd"),
    (0, b"\x5D\0\0", "is compressed by lzma; unpack it, or compress it by gzip or zstd"),
    (0, b"\x89LZO\0", "is compressed by lzop; unpack it, or compress it by gzip or zstd"),
    (0, b"\x1F\x9D", "is compressed by compress (.Z); unpack it, or compress it by gzip or zstd"),
    (0, b"PK\x03\x04", "is a ZIP archive or a workbook (.xlsx); unpack it, or save the sheet as CSV"),
    (0, b"\xD0\xCF\x11\xE0", "is a workbook (.xls); save the sheet as CSV"),
    (0, b"7z\xBC\xAF\x27\x1C", "is a 7-Zip archive; unpack it"),
    (0, b"Rar!\x1A\x07", "is a RAR archive; unpack it"),
    (257, b"ustar", "is a tar archive; unpack it"),
    (0, b"PAR1", "is a Parquet file; read it by `parquet` instead"),
    (0, b"PARE", "is an encrypted Parquet file; write it without encryption, and read it by `parquet` instead"),
    (0, b"SQLite format 3\0", "is a SQLite database; read it by `sqlite` instead"),
    (0, b"Obj\x01", "is an Avro file; write it as Parquet, CSV or JSON lines"),
];

/// The text of an input. An input that begins like gzip or Zstandard is decompressed; one that is named `.gz` or `.zst`
/// must begin so. A byte order mark is removed, and UTF-16 is decoded if the mark says so.
pub(super) fn text<'a>(
    input: impl Read + 'a,
    path: Option<&Path>,
    name: &str,
) -> Result<Box<dyn Read + 'a>, SourceError> {
    let input = Peeked::new(input);
    let (head, length) = (&input.head.get_ref()[..], input.head.get_ref().len());
    let gzip = head.starts_with(&[0x1F, 0x8B]);
    // A skippable frame may come first, as pzstd writes it.
    let zstandard = head.starts_with(&[0x28, 0xB5, 0x2F, 0xFD]) || matches!(head, [0x50..=0x5F, 0x2A, 0x4D, 0x18, ..]);
    let ending = path.and_then(Path::extension).map(std::ffi::OsStr::to_ascii_lowercase);
    let is_named = |wanted: &str| ending.as_deref().is_some_and(|ending| ending == wanted);
    if (is_named("gz") && !gzip) || (is_named("zst") && !zstandard) {
        refuse(head, name)?;
        let kind = if length < 4 { io::ErrorKind::UnexpectedEof } else { io::ErrorKind::InvalidData };
        return Err(SourceError::of_file(name, io::Error::new(kind, "it does not begin as its ending says it does")));
    }
    let plain: Box<dyn Read + 'a> = if gzip {
        Box::new(Members { current: Some(GzDecoder::new(BufReader::new(input))) })
    } else if zstandard {
        Box::new(zstd::stream::read::Decoder::new(input).map_err(|error| SourceError::of_file(name, error))?)
    } else {
        Box::new(input)
    };
    let decoded = DecodeReaderBytesBuilder::new().utf8_passthru(true).strip_bom(true).build(plain);
    let text = Peeked::new(decoded);
    refuse(text.head.get_ref(), name)?;
    Ok(Box::new(text))
}

/// Refuses an input that is known to be no text.
fn refuse(head: &[u8], name: &str) -> Result<(), SourceError> {
    let other = OTHERS.iter().find(|(place, bytes, _)| head.get(*place..).is_some_and(|rest| rest.starts_with(bytes)));
    let why = match other {
        Some((_, _, why)) => why,
        None if head.contains(&0) => {
            "is no text in UTF-8: it holds zero bytes, as UTF-16 without a byte order mark does; save it as UTF-8"
        }
        None => return Ok(()),
    };
    Err(SourceError::Unusable(format!("{name}: {why}")))
}

/// A reader whose first bytes have been looked at. An error that follows them is returned after them.
struct Peeked<R> {
    head: Cursor<Vec<u8>>,
    error: Option<io::Error>,
    rest: R,
}

impl<R: Read> Peeked<R> {
    fn new(mut rest: R) -> Self {
        let mut head = Vec::with_capacity(HEAD);
        let error = rest.by_ref().take(HEAD as u64).read_to_end(&mut head).err();
        Self { head: Cursor::new(head), error, rest }
    }
}

impl<R: Read> Read for Peeked<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.head.read(buffer)? {
            0 if !buffer.is_empty() => self.error.take().map_or_else(|| self.rest.read(buffer), Err),
            read => Ok(read),
        }
    }
}

/// The members of a gzip file, one after the other. Zeros behind a member are padding, as for gzip itself; the
/// `MultiGzDecoder` of `flate2` takes them for damage.
struct Members<R> {
    current: Option<GzDecoder<R>>,
}

impl<R: BufRead> Read for Members<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let Some(member) = &mut self.current else { return Ok(0) };
            let read = member.read(buffer)?;
            if read > 0 || buffer.is_empty() {
                return Ok(read);
            }
            let rest = member.get_mut();
            let next = loop {
                let zeros = match rest.fill_buf()? {
                    [] => break None,
                    [0, ..] => rest.fill_buf()?.iter().take_while(|byte| **byte == 0).count(),
                    [byte, ..] => break Some(*byte),
                };
                rest.consume(zeros);
            };
            let rest = self.current.take().map(GzDecoder::into_inner);
            self.current = match next {
                None => None,
                Some(0x1F) => rest.map(GzDecoder::new),
                Some(_) => {
                    let what =
                        "something that is no gzip follows the last member: the file is damaged, or two were mixed";
                    return Err(io::Error::new(io::ErrorKind::InvalidData, what));
                }
            };
        }
    }
}
