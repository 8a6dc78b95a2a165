//! The probe's descriptors as Envoy takes them: without the rules that it refuses to start with,
//! and with the types of a failure, which it reads from there.

use prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage, Value};

use runplane::proto::DESCRIPTOR_SET as CONTRACT;

use crate::probe::standard::DESCRIPTOR_SET;

/// Methods whose rules Envoy refuses. It takes `response_body` only when that is a
/// `google.api.HttpBody`.
const REFUSED: [&str; 3] = ["ListTags", "PlainParts", "GetMember"];

/// The encoded descriptor set.
pub(super) fn for_envoy() -> Vec<u8> {
    let pool = DescriptorPool::decode(DESCRIPTOR_SET).unwrap();
    let kind = pool.get_message_by_name("google.protobuf.FileDescriptorSet").unwrap();
    let mut set = DynamicMessage::decode(kind.clone(), DESCRIPTOR_SET).unwrap();
    let mut left_out = Vec::new();
    each(&mut set, "file", |file| {
        each(file, "service", |service| {
            each(service, "method", |method| {
                let name = text(method, "name");
                if REFUSED.contains(&name.as_str()) {
                    method.clear_field_by_name("options");
                    left_out.push(name);
                }
            });
        });
    });
    assert_eq!(left_out.len(), REFUSED.len(), "{left_out:?}");
    let mut contract = DynamicMessage::decode(kind, CONTRACT).unwrap();
    let mut bytes = set.encode_to_vec();
    let mut failures = Vec::new();
    each(&mut contract, "file", |file| {
        if text(file, "package") == "google.rpc"
            && pool.get_file_by_name(&text(file, "name")).is_none()
        {
            failures.push(Value::Message(file.clone()));
        }
    });
    contract.set_field_by_name("file", Value::List(failures));
    // Two sets, one after the other, are one.
    contract.encode(&mut bytes).unwrap();
    bytes
}

fn text(message: &DynamicMessage, field: &str) -> String {
    message.get_field_by_name(field).unwrap().as_str().unwrap().to_owned()
}

fn each(message: &mut DynamicMessage, list: &str, mut change: impl FnMut(&mut DynamicMessage)) {
    let Some(Value::List(items)) = message.get_field_by_name_mut(list) else {
        panic!("no {list}");
    };
    for item in items {
        let Value::Message(item) = item else { panic!("{list} holds no messages") };
        change(item);
    }
}
