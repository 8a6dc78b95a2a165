//! One word for a failure: the table of `kernel/error.rs`, the enum of the contract and the page
//! `docs/errors.md` say the same.

use std::path::Path;

use runplane::kernel::error::{Reason, Row, TABLE};
use tonic::Code;

#[test]
fn the_contract_lists_the_reasons_of_the_table_in_its_order() {
    let values: Vec<_> = proto_values(&read("proto/runplane/v1/errors.proto"));
    let expected = TABLE.iter().map(|row| format!("ERROR_REASON_{}", row.info));
    let expected: Vec<_> = std::iter::once("ERROR_REASON_UNSPECIFIED".to_owned())
        .chain(expected)
        .enumerate()
        .map(|(number, name)| (name, number))
        .collect();
    assert_eq!(values, expected);
}

#[test]
fn the_page_says_what_the_table_says() {
    let page = read("docs/errors.md");
    let rows: Vec<_> = page.lines().filter(|line| line.starts_with("| `")).collect();
    assert_eq!(rows.len(), TABLE.len(), "docs/errors.md has another number of rows than the table");
    for (row, line) in TABLE.iter().zip(rows) {
        let expected = documented(row);
        let advice = line.strip_prefix(&expected).map(|rest| rest.trim_end_matches(" |").trim());
        assert!(
            advice.is_some_and(|advice| !advice.is_empty()),
            "docs/errors.md should have this row, and then what to do:\n{expected}\nbut has\n{line}"
        );
    }
}

#[test]
fn every_reason_reads_back_in_both_spellings() {
    for row in TABLE {
        assert_eq!(row.info, row.code.to_uppercase());
        assert_eq!(Reason::parse(row.code), Some(row.reason));
        assert_eq!(Reason::parse(row.info), Some(row.reason));
        assert_eq!(row.reason.row().code, row.code);
    }
    assert_eq!(Reason::parse("no_such_reason"), None);
}

#[test]
fn status_code_and_retry_agree_with_each_other() {
    for row in TABLE {
        let expected: &[Code] = match row.http {
            400 | 406 | 415 => &[Code::InvalidArgument],
            401 => &[Code::Unauthenticated],
            403 => &[Code::PermissionDenied],
            404 => &[Code::NotFound, Code::Unimplemented],
            405 | 501 => &[Code::Unimplemented],
            412 => &[Code::Aborted],
            409 => &[Code::Aborted, Code::FailedPrecondition, Code::AlreadyExists],
            413 | 414 | 429 | 431 => &[Code::ResourceExhausted],
            422 => &[Code::FailedPrecondition],
            499 => &[Code::Cancelled],
            500 => &[Code::Internal],
            502 | 503 => &[Code::Unavailable],
            504 => &[Code::DeadlineExceeded],
            _ => &[],
        };
        assert!(expected.contains(&row.grpc), "{}: {} and {:?}", row.code, row.http, row.grpc);
        let transient = [429, 499, 500, 502, 503, 504].contains(&row.http);
        assert!(row.retryable == transient || row.http == 409, "{}: retryable?", row.code);
    }
}

#[test]
fn examples_are_messages_of_the_house() {
    for row in TABLE {
        let first = row.example.chars().next();
        let shouts = first.is_some_and(char::is_uppercase) && !row.example.starts_with("PUT ");
        assert!(!shouts && !row.example.ends_with('.'), "{}: {}", row.code, row.example);
    }
}

fn documented(row: &Row) -> String {
    let again = if row.retryable { "yes" } else { "no" };
    let grpc = screaming(&format!("{:?}", row.grpc));
    format!("| `{}` | {} | {grpc} | {again} | {} |", row.code, row.http, row.example)
}

/// `NotFound` as `NOT_FOUND`.
fn screaming(camel: &str) -> String {
    let mut text = String::new();
    for c in camel.chars() {
        if c.is_uppercase() && !text.is_empty() {
            text.push('_');
        }
        text.extend(c.to_uppercase());
    }
    text
}

/// The values of the enum in this file, with their numbers.
fn proto_values(proto: &str) -> Vec<(String, usize)> {
    let pairs = proto.lines().filter_map(|line| line.trim().strip_suffix(';')?.split_once(" = "));
    pairs
        .filter(|(name, _)| name.starts_with("ERROR_REASON_"))
        .map(|(name, number)| (name.to_owned(), number.parse().expect("a number")))
        .collect()
}

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}
