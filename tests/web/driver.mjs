// The gRPC-Web door as a browser would use it: one long-lived process that makes calls for the Rust tests.
//
// Started by `tests/harness/web.rs` as `node driver.mjs DESCRIPTOR_SET`. Reads one JSON line per call on stdin:
//   {"id", "url", "method": "pkg.Service/Method", "request_b64", "headers": {name: value}}
// and answers on stdout, in any order between calls, with JSON lines that carry the call's id:
//   {"id", "headers": {…}}                        once, when the answer begins
//   {"id", "message_b64"}                         one for a unary call, any number for a stream
//   {"id", "end": true}                           the call succeeded
//   {"id", "error": {"code", "message", "reason", "metadata", "headers"}}  it failed; no ErrorInfo: `reason` is null
// A line {"id", "drop": true} drops the call with this id. The process ends when stdin ends.
// Messages pass as protobuf bytes: nothing here is generated and nothing knows a resource of ours.
import { readFileSync } from "node:fs";
import { createInterface } from "node:readline";
import { createFileRegistry, fromBinary, toBinary } from "@bufbuild/protobuf";
import { BinaryReader } from "@bufbuild/protobuf/wire";
import { FileDescriptorSetSchema } from "@bufbuild/protobuf/wkt";
import { Code, ConnectError } from "@connectrpc/connect";
import { createGrpcWebTransport } from "@connectrpc/connect-web";

const registry = createFileRegistry(
  fromBinary(FileDescriptorSetSchema, readFileSync(process.argv[2])),
);
const transports = new Map();
const running = new Map();

const say = (line) => process.stdout.write(`${JSON.stringify(line)}\n`);
const base64 = (desc, message) => Buffer.from(toBinary(desc, message)).toString("base64");

function transport(url) {
  if (!transports.has(url)) {
    transports.set(url, createGrpcWebTransport({ baseUrl: url, useBinaryFormat: true }));
  }
  return transports.get(url);
}

function method(name) {
  const [service, call] = name.split("/");
  const found = registry.getService(service)?.methods.find((m) => m.name === call);
  if (!found) {
    throw new ConnectError(`the descriptor set has no method ${name}`, Code.Unimplemented);
  }
  return found;
}

async function* once(message) {
  yield message;
}

// The length-delimited fields of a message, as [number, bytes].
function* fields(bytes) {
  const reader = new BinaryReader(bytes);
  while (reader.pos < reader.len) {
    yield [reader.tag()[0], reader.bytes()];
  }
}

// google.rpc.ErrorInfo: reason 1, domain 2, map metadata 3.
function errorInfo(bytes) {
  const info = { reason: null, metadata: {} };
  const text = (value) => Buffer.from(value ?? []).toString("utf8");
  for (const [number, value] of fields(bytes)) {
    if (number === 1) {
      info.reason = text(value);
    } else if (number === 3) {
      const entry = new Map(fields(value));
      info.metadata[text(entry.get(1))] = text(entry.get(2));
    }
  }
  return info;
}

function failure(error) {
  const { code, rawMessage, details, metadata } = ConnectError.from(error);
  const raw = details.find((detail) => detail.type === "google.rpc.ErrorInfo");
  const info = raw ? errorInfo(raw.value) : { reason: null, metadata: {} };
  return {
    code: Code[code].replace(/(?<!^)([A-Z])/g, "_$1").toUpperCase(),
    message: rawMessage,
    ...info,
    headers: Object.fromEntries(metadata),
  };
}

async function answer({ id, url, method: name, request_b64, headers }, signal) {
  const desc = method(name);
  const message = fromBinary(desc.input, Buffer.from(request_b64 ?? "", "base64"));
  if (desc.methodKind === "unary") {
    const reply = await transport(url).unary(desc, signal, undefined, headers, message);
    say({ id, headers: Object.fromEntries(reply.header) });
    say({ id, message_b64: base64(desc.output, reply.message) });
    return;
  }
  const reply = await transport(url).stream(desc, signal, undefined, headers, once(message));
  say({ id, headers: Object.fromEntries(reply.header) });
  for await (const part of reply.message) {
    say({ id, message_b64: base64(desc.output, part) });
  }
}

async function call(request) {
  const abort = new AbortController();
  running.set(request.id, abort);
  try {
    await answer(request, abort.signal);
    say({ id: request.id, end: true });
  } catch (error) {
    say({ id: request.id, error: failure(error) });
  } finally {
    running.delete(request.id);
  }
}

createInterface({ input: process.stdin })
  .on("line", (line) => {
    const request = JSON.parse(line);
    if (request.drop) {
      running.get(request.id)?.abort();
    } else {
      call(request);
    }
  })
  .on("close", () => process.exit(0));
say({ ready: true });
