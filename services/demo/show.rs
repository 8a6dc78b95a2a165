//! What the demo prints: for a stranger, line by line.

use std::io::Write;

use futures::StreamExt;
use serde_json::Value;

use super::Outcome;

/// A server-sent event, as it came.
#[derive(Debug, Default)]
struct Frame {
    id: String,
    event: String,
    data: String,
}

pub(super) fn model_of(provider: &str) -> &'static str {
    match provider {
        "openai" => "openai/gpt-4o-mini",
        _ => "anthropic/claude-3-5-haiku-latest",
    }
}

pub(super) fn welcome(base: &str, model: &str) {
    say(&format!("Runplane is at {base} (gRPC, gRPC-Web and REST on one port; data in SQLite)."));
    if model == "sim" {
        say("Model: sim, a scripted one. Set OPENAI_API_KEY or ANTHROPIC_API_KEY for a real one.");
    } else {
        say(&format!("Model: {model}."));
    }
}

pub(super) fn agent(agent: &Value) {
    say(&format!(
        "\nAgent {} ({}) is defined and published.",
        text(&agent["id"]),
        text(&agent["name"])
    ));
}

/// Prints the events as they come; the run's id.
pub(super) async fn events(response: reqwest::Response, question: &str) -> Outcome<String> {
    say(&format!("\nPOST /v1/runs  {{\"input\": {question:?}, \"stream\": true}}\n"));
    let mut stream = response.bytes_stream();
    let mut buffer = Vec::new();
    let (mut run_id, mut in_text) = (String::new(), false);
    while let Some(chunk) = stream.next().await {
        buffer.extend_from_slice(&chunk?);
        while let Some(end) = buffer.windows(2).position(|w| w == b"\n\n") {
            let frame: Vec<u8> = buffer.drain(..end + 2).collect();
            let frame = parse(&String::from_utf8_lossy(&frame));
            if frame.event.is_empty() {
                continue;
            }
            if frame.event == "run.created" {
                let data: Value = serde_json::from_str(&frame.data)?;
                text(&data["id"]).clone_into(&mut run_id);
            }
            in_text = event(&frame, in_text);
        }
    }
    Ok(run_id)
}

/// Prints one event; true when the line is still open, because live text may go on.
fn event(frame: &Frame, in_text: bool) -> bool {
    let data: Value = serde_json::from_str(&frame.data).unwrap_or_default();
    if frame.event == "token" {
        if !in_text {
            print(&format!("{:>6}  token                ", frame.id));
        }
        print(text(&data["delta"]));
        return true;
    }
    if in_text {
        print("\n");
    }
    let mut shown = frame.data.clone();
    if shown.chars().count() > 150 {
        shown = shown.chars().take(149).chain(['…']).collect();
    }
    say(&format!("{:>6}  {:<20} {shown}", frame.id, frame.event));
    false
}

pub(super) fn result(run: &Value) {
    say(&format!("\nResult: {}", text(&run["output"]["result"])));
    say(&format!(
        "Status {}, {} tokens, {} ms, every step in the journal.",
        text(&run["status"]),
        run["tokens_used"],
        run["latency_ms"]
    ));
}

pub(super) fn next(base: &str, key: &str, agent_id: &str, run_id: &str) {
    let address = base.trim_start_matches("http://");
    say(&format!(
        "\nStill serving; stop with Ctrl-C. Go on with:\n
  export RUNPLANE_KEY={key}

  # REST: ask again and wait for the answer
  curl -s {base}/v1/agents/{agent_id}/invoke -H \"Authorization: Bearer $RUNPLANE_KEY\" \\
    -H 'Content-Type: application/json' -d '{{\"query\": \"Summarize failed payments\"}}'

  # REST: watch the run again from any event, live or long over
  curl -sN {base}/v1/runs/{run_id}/events -H \"Authorization: Bearer $RUNPLANE_KEY\" \\
    -H 'Accept: text/event-stream' -H 'Last-Event-ID: 3'

  # gRPC, by reflection (buf is on npm as @bufbuild/buf)
  buf curl --protocol grpc --http2-prior-knowledge -H \"Authorization: Bearer $RUNPLANE_KEY\" \\
    -d '{{\"id\": \"{run_id}\"}}' http://{address}/runplane.v1.RunsService/GetRun

  # gRPC-Web, the same
  buf curl --protocol grpcweb -H \"Authorization: Bearer $RUNPLANE_KEY\" \\
    -d '{{\"agent_id\": \"{agent_id}\", \"query\": \"Summarize failed payments\"}}' \\
    http://{address}/runplane.v1.AgentsService/StreamAgent"
    ));
}

fn parse(frame: &str) -> Frame {
    let mut parsed = Frame::default();
    for line in frame.lines() {
        let Some((name, value)) = line.split_once(':') else { continue };
        let value = value.strip_prefix(' ').unwrap_or(value);
        match name {
            "id" => value.clone_into(&mut parsed.id),
            "event" => value.clone_into(&mut parsed.event),
            "data" => parsed.data.push_str(value),
            _ => {}
        }
    }
    parsed
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn say(line: &str) {
    print(&format!("{line}\n"));
}

fn print(text: &str) {
    let mut out = std::io::stdout().lock();
    // A closed pipe ends the show, not the run.
    let _closed = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}
