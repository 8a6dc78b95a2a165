//! The other end of Google's runner. `run` starts this test with the runner's pipes as standard
//! input and file descriptor 3, since the test harness itself writes to standard output.

use std::fs::OpenOptions;
use std::io::{Read, Write};

use prost::Message;

use super::answer::{FAILURES, answer};
use super::conformance::conformance_response::Result as Outcome;
use super::conformance::{ConformanceRequest, ConformanceResponse};
use super::corpus::Case;

#[test]
#[ignore = "speaks with Google's runner: tests/conformance/run"]
fn answers_the_runner() {
    let mut requests = std::io::stdin().lock();
    let mut answers = OpenOptions::new().write(true).open("/dev/fd/3").unwrap();
    let log = std::env::var_os("RUNPLANE_TEST_CONFORMANCE_LOG").unwrap();
    let mut log = OpenOptions::new().append(true).create(true).open(log).unwrap();
    let mut length = [0; 4];
    while requests.read_exact(&mut length).is_ok() {
        let mut bytes = vec![0; u32::from_le_bytes(length).try_into().unwrap()];
        requests.read_exact(&mut bytes).unwrap();
        let request = ConformanceRequest::decode(bytes.as_slice()).unwrap();
        let outcome = answer(&request);
        let line = match &outcome {
            Outcome::Skipped(reason) => format!("# {reason}\n"),
            _ if request.message_type == FAILURES => String::new(),
            _ => Case::line(&request, &outcome),
        };
        log.write_all(line.as_bytes()).unwrap();
        let bytes = ConformanceResponse { result: Some(outcome) }.encode_to_vec();
        answers.write_all(&u32::try_from(bytes.len()).unwrap().to_le_bytes()).unwrap();
        answers.write_all(&bytes).unwrap();
    }
}
