//! Names: what the documents list is what there is, and what we say by a convention is written as
//! the convention has it.

use std::collections::BTreeSet;

use opentelemetry_semantic_conventions::{attribute, metric};
use runplane::kernel::telemetry::table;

use crate::harness::collector::Came;

fn document() -> String {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/telemetry.md");
    std::fs::read_to_string(path).expect("docs/telemetry.md")
}

#[test]
fn every_metric_stands_in_the_document_with_its_unit_and_labels() {
    let text = document();
    for row in table::ALL {
        let line = text.lines().find(|line| line.contains(&format!("`{}`", row.name)));
        let line = line.unwrap_or_else(|| panic!("{} is not in docs/telemetry.md", row.name));
        for part in [row.page, row.unit].iter().chain(row.labels) {
            assert!(line.contains(&format!("`{part}`")), "{part}: {line}");
        }
    }
}

#[test]
fn a_metric_is_named_for_prometheus_as_its_rules_say() {
    for row in table::ALL {
        let page = row.page;
        let plain = row.name.replace('.', "_");
        assert!(page.starts_with(&plain), "{page}");
        let suffix = &page[plain.len()..];
        assert!(["", "_seconds", "_total", "_seconds_total", "_info"].contains(&suffix), "{page}");
        assert_eq!(row.unit == "s", suffix.contains("_seconds"), "{page}");
    }
}

/// Checks that everything said of these spans is what a convention has, or ours, and documented.
pub fn check(spans: &[Came]) {
    let (known, text) = (known(), document());
    let names: BTreeSet<&str> =
        spans.iter().flat_map(|span| span.attributes.keys().map(String::as_str)).collect();
    for name in names {
        assert!(known.contains(name) || name.starts_with("runplane."), "{name} is nobody's");
        assert!(text.contains(&format!("`{name}`")), "{name} is not in docs/telemetry.md");
    }
}

/// What the conventions have, of that which we say.
#[expect(deprecated, reason = "moved to a repository of its own, after the revision that we name")]
fn known() -> BTreeSet<&'static str> {
    BTreeSet::from([
        attribute::GEN_AI_OPERATION_NAME,
        attribute::GEN_AI_PROVIDER_NAME,
        attribute::GEN_AI_REQUEST_MODEL,
        attribute::GEN_AI_REQUEST_MAX_TOKENS,
        attribute::GEN_AI_REQUEST_TEMPERATURE,
        attribute::GEN_AI_REQUEST_TOP_P,
        attribute::GEN_AI_REQUEST_STREAM,
        attribute::GEN_AI_RESPONSE_FINISH_REASONS,
        attribute::GEN_AI_USAGE_INPUT_TOKENS,
        attribute::GEN_AI_USAGE_OUTPUT_TOKENS,
        attribute::GEN_AI_AGENT_ID,
        attribute::GEN_AI_AGENT_NAME,
        attribute::GEN_AI_AGENT_VERSION,
        attribute::GEN_AI_CONVERSATION_ID,
        attribute::GEN_AI_TOOL_NAME,
        attribute::GEN_AI_TOOL_TYPE,
        attribute::GEN_AI_TOOL_CALL_ID,
        attribute::GEN_AI_TOOL_CALL_ARGUMENTS,
        attribute::GEN_AI_TOOL_CALL_RESULT,
        attribute::GEN_AI_SYSTEM_INSTRUCTIONS,
        attribute::GEN_AI_INPUT_MESSAGES,
        attribute::GEN_AI_OUTPUT_MESSAGES,
        attribute::GEN_AI_TOKEN_TYPE,
        metric::GEN_AI_CLIENT_TOKEN_USAGE,
        metric::GEN_AI_CLIENT_OPERATION_DURATION,
        attribute::HTTP_REQUEST_METHOD,
        attribute::HTTP_REQUEST_RESEND_COUNT,
        attribute::HTTP_RESPONSE_STATUS_CODE,
        attribute::HTTP_ROUTE,
        attribute::URL_SCHEME,
        attribute::URL_PATH,
        attribute::RPC_SYSTEM_NAME,
        attribute::RPC_METHOD,
        attribute::RPC_RESPONSE_STATUS_CODE,
        attribute::DB_SYSTEM_NAME,
        attribute::DB_OPERATION_NAME,
        attribute::DB_COLLECTION_NAME,
        attribute::SERVER_ADDRESS,
        attribute::SERVER_PORT,
        attribute::ERROR_TYPE,
    ])
}

#[test]
fn what_we_say_by_a_convention_stands_in_the_document() {
    let text = document();
    for name in known() {
        assert!(text.contains(&format!("`{name}`")), "{name} is not in docs/telemetry.md");
    }
}
