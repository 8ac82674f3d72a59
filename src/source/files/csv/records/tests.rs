//! Tests of the records of CSV.

use proptest::prelude::*;

use super::*;

type Row = (u64, Result<Vec<String>, String>);

fn rows(text: &[u8], header: usize) -> Vec<Row> {
    let mut records = Records::begin(Lines::new(text), b',').unwrap();
    let mut rows = Vec::new();
    while let Some(record) = records.next().unwrap() {
        let row = record.and_then(|()| records.check(header, header, |_| false));
        let field = |field: &[u8]| String::from_utf8_lossy(field).into_owned();
        rows.push((records.line(), row.map(|()| records.fields().iter().map(field).collect())));
    }
    rows
}

fn ok(line: u64, cells: &[&str]) -> Row {
    (line, Ok(cells.iter().map(|&cell| cell.to_owned()).collect()))
}

#[test]
fn records_end_with_their_lines() {
    assert_eq!(rows(b"a,b\r\n\r\n c ,\n,d", 2), [ok(1, &["a", "b"]), ok(3, &[" c ", ""]), ok(4, &["", "d"])]);
}

#[test]
fn quoted_fields_may_hold_anything() {
    let text = b"\"a,\"\"1\"\"\",\"two\nlines\"\r\n\"\",x\"y\n\"b\",c";
    assert_eq!(rows(text, 2), [ok(1, &["a,\"1\"", "two\nlines"]), ok(3, &["", "x\"y"]), ok(4, &["b", "c"])]);
}

#[test]
fn a_stray_quote_costs_its_own_row_and_no_other() {
    let found = rows(b"a,b\n\"c,d\ne,f\ng,h\n", 2);
    assert_eq!(found[0], ok(1, &["a", "b"]));
    assert!(found[1].1.as_ref().unwrap_err().contains("never closed"));
    assert_eq!(found[2..], [ok(3, &["e", "f"]), ok(4, &["g", "h"])]);
    let found = rows(b"\"a,b\nc,d\n\"e\",f\n", 2);
    assert!(found[0].1.is_err());
    assert_eq!(found[1..], [ok(2, &["c", "d"]), ok(3, &["e", "f"])]);
    let found = rows(b"\"a\"x,b\nc,d\n", 2);
    assert!(found[0].1.as_ref().unwrap_err().contains("closing quote"));
    assert_eq!(found[1], ok(2, &["c", "d"]));
}

#[test]
fn a_row_with_another_number_of_fields_is_no_row() {
    let found = rows(b"a\nb,c,d\n\"e\nf\",g,h\n", 2);
    assert_eq!(found[0].1.as_ref().unwrap_err(), "has 1 fields where the header has 2");
    assert_eq!(found[1].1.as_ref().unwrap_err(), "has 3 fields where the header has 2");
    assert_eq!(found.iter().map(|(line, _)| *line).collect::<Vec<_>>(), [1, 2, 3, 4]);
}

#[test]
fn a_line_of_any_length_is_passed_over() {
    let mut text = vec![b'x'; LONGEST + 10];
    text.extend_from_slice(b"\na,b\n");
    let found = rows(&text, 2);
    assert!(found[0].1.as_ref().unwrap_err().contains("longer than"));
    assert_eq!(found[1], ok(2, &["a", "b"]));
}

#[test]
fn the_first_line_says_what_ends_all() {
    assert_eq!(rows(b"a,b\r\"c\nd\",e\r\rf,\"g\"", 2), [ok(1, &["a", "b"]), ok(2, &["c\nd", "e"]), ok(4, &["f", "g"])]);
    assert_eq!(rows(b"\"a\rb\",c\nd\re,f\r\n", 2), [ok(1, &["a\rb", "c"]), ok(2, &["d\re", "f"])]);
    assert_eq!(rows(b"a,b\r", 2), [ok(1, &["a", "b"])]);
}

proptest! {
    #[test]
    fn what_was_written_as_csv_is_read_back(
        cells in proptest::collection::vec(proptest::collection::vec("[a-z\",\n\r ü]{0,8}", 3), 1..20),
    ) {
        let mut text = String::new();
        let mut line = 1;
        let mut expected = Vec::new();
        for row in &cells {
            expected.push((line, Ok(row.clone())));
            let written: Vec<String> =
                row.iter().map(|cell| format!("\"{}\"", cell.replace('"', "\"\""))).collect();
            text.push_str(&written.join(","));
            text.push('\n');
            line += 1 + row.concat().matches('\n').count() as u64;
        }
        prop_assert_eq!(rows(text.as_bytes(), 3), expected);
    }

    #[test]
    fn no_bytes_make_it_panic_and_every_row_has_its_own_line(text in "[a\",\n\r]{0,60}") {
        let found = rows(text.as_bytes(), 2);
        prop_assert!(found.windows(2).all(|pair| pair[0].0 < pair[1].0));
        let lines = text.split('\n').count().max(text.split('\r').count());
        prop_assert!(found.last().is_none_or(|(line, _)| *line <= lines as u64));
    }
}
