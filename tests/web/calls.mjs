// Calls that a test has asked for, by whichever client makes them: in Node (`driver.mjs`) and in a page (`page.mjs`).
//
// A call is an object of one of two kinds:
//   {"id", "url", "method": "pkg.Service/Method", "request_b64", "headers": {name: value}}   over gRPC-Web
//   {"id", "url", "fetch": {"method", "headers", "body"}}                                    over plain HTTP
// and is answered, in any order between calls, with objects that carry its id:
//   {"id", "headers": {…}, "status"}               once: headers, as far as the caller may read them; `status` of HTTP
//   {"id", "message_b64"} or {"id", "chunk"}       one for a unary call, any number for a stream; text as it comes
//   {"id", "end": true}                            the call succeeded
//   {"id", "error": {"code", "message", "reason", "metadata", "violations", "headers"}}  it failed
// {"id", "drop": true} drops the call with this id. Messages pass as protobuf bytes: nothing here knows a resource of ours.
import { createFileRegistry, fromBinary, toBinary } from "@bufbuild/protobuf";
import { base64Decode, base64Encode, BinaryReader } from "@bufbuild/protobuf/wire";
import { FileDescriptorSetSchema } from "@bufbuild/protobuf/wkt";

// A failure, whichever client found it: gRPC code, message, details as [{type, value}], headers and trailers.
export class Failed extends Error {
  constructor(code, message, details, headers) {
    super(message);
    Object.assign(this, { code, details, headers });
  }
}

// Makes the function that takes calls. `clients.call` and `clients.fetch` are async generators of {headers}, {message}…
export function taker(descriptorSet, clients, say) {
  const registry = createFileRegistry(fromBinary(FileDescriptorSetSchema, descriptorSet));
  const running = new Map();
  return async (call) => {
    if (call.drop) {
      running.get(call.id)?.abort();
      return;
    }
    const abort = new AbortController();
    running.set(call.id, abort);
    try {
      const parts = call.fetch
        ? clients.fetch(call, abort.signal)
        : asked(registry, call, clients.call, abort.signal);
      for await (const part of parts) {
        say({ id: call.id, ...part });
      }
      say({ id: call.id, end: true });
    } catch (error) {
      say({ id: call.id, error: told(error) });
    } finally {
      running.delete(call.id);
    }
  };
}

async function* asked(registry, { url, method: name, request_b64, headers }, client, signal) {
  const [service, call] = name.split("/");
  const desc = registry.getService(service)?.methods.find((m) => m.name === call);
  if (!desc) {
    throw new Failed(12, `the descriptor set has no method ${name}`, [], {});
  }
  const message = fromBinary(desc.input, base64Decode(request_b64 ?? ""));
  for await (const part of client({ url, desc, message, headers }, signal)) {
    const { message: bytes, ...rest } = part;
    yield bytes ? { message_b64: base64Encode(toBinary(desc.output, bytes)) } : rest;
  }
}

const CODES =
  "OK CANCELLED UNKNOWN INVALID_ARGUMENT DEADLINE_EXCEEDED NOT_FOUND ALREADY_EXISTS PERMISSION_DENIED RESOURCE_EXHAUSTED \
FAILED_PRECONDITION ABORTED OUT_OF_RANGE UNIMPLEMENTED INTERNAL UNAVAILABLE DATA_LOSS UNAUTHENTICATED".split(" ");

function told(error) {
  const failed = error instanceof Failed ? error : new Failed(2, String(error), [], {});
  const values = (type) => failed.details.filter((d) => d.type === type).map((d) => d.value);
  const info = values("google.rpc.ErrorInfo").map(errorInfo)[0];
  const { reason, metadata } = info ?? { reason: null, metadata: {} };
  const violations = values("google.rpc.BadRequest").flatMap(badRequest);
  const { code, message, headers } = failed;
  return { code: CODES[code], message, reason, metadata, violations, headers };
}

// The length-delimited fields of a message, as [number, bytes]; numbers are passed over.
function* fields(bytes) {
  const reader = new BinaryReader(bytes);
  while (reader.pos < reader.len) {
    const [number, type] = reader.tag();
    if (type === 2) {
      yield [number, reader.bytes()];
    } else {
      reader.skip(type, number);
    }
  }
}

const text = (bytes) => new TextDecoder().decode(bytes);

// google.rpc.ErrorInfo: reason 1, domain 2, map metadata 3.
function errorInfo(bytes) {
  const info = { reason: null, metadata: {} };
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

// google.rpc.BadRequest: repeated field_violations 1, each with field 1 and description 2.
function badRequest(bytes) {
  return [...fields(bytes)].map(([, violation]) => {
    const entry = new Map(fields(violation));
    return { field: text(entry.get(1)), description: text(entry.get(2)) };
  });
}

// google.rpc.Status: code 1, message 2, repeated Any 3, each with type_url 1 and value 2.
export function statusDetails(bytes) {
  const anys = [...fields(bytes)].filter(([number]) => number === 3);
  return anys.map(([, any]) => {
    const entry = new Map(fields(any));
    return { type: text(entry.get(1)).split("/").pop(), value: entry.get(2) ?? new Uint8Array() };
  });
}
