// Calls by Google's grpc-web, over XMLHttpRequest. In text the answer is base64, and handed over as it comes; in binary this
// client reads a stream only when it has ended.
import { fromBinary, toBinary } from "@bufbuild/protobuf";
import { base64Decode } from "@bufbuild/protobuf/wire";
import { GrpcWebClientBase, MethodDescriptor } from "grpc-web";
import { Failed, statusDetails } from "./calls.mjs";

const DETAILS = "grpc-status-details-bin";

// What comes by callbacks, as it is waited for.
function channel() {
  const waiting = [];
  let wake = () => {};
  const put = (part) => {
    waiting.push(part);
    wake();
  };
  async function* parts() {
    for (;;) {
      while (waiting.length === 0) {
        await new Promise((resolve) => (wake = resolve));
      }
      const part = waiting.shift();
      if (part === null) {
        return;
      }
      if (part instanceof Failed) {
        throw part;
      }
      yield part;
    }
  }
  return { put, parts };
}

function failed({ code, message, metadata }) {
  const details = metadata?.[DETAILS] ? statusDetails(base64Decode(metadata[DETAILS])) : [];
  return new Failed(code, message, details, metadata ?? {});
}

const google = (format) => {
  const client = new GrpcWebClientBase({ format });
  return async function* call({ url, desc, message, headers }, signal) {
    const unary = desc.methodKind === "unary";
    const method = new MethodDescriptor(
      `/${desc.parent.typeName}/${desc.name}`,
      unary ? "unary" : "server_streaming",
      Object,
      Object,
      (request) => toBinary(desc.input, request),
      (bytes) => fromBinary(desc.output, bytes),
    );
    const { put, parts } = channel();
    const done = (error, reply) => {
      if (error) {
        put(failed(error));
      } else if (reply) {
        put({ message: reply });
        put(null);
      }
    };
    const target = url + method.getName();
    const stream = unary
      ? client.rpcCall(target, message, headers, method, done)
      : client.serverStreaming(target, message, headers, method);
    stream.on("metadata", (found) => put({ headers: found }));
    if (!unary) {
      stream.on("data", (part) => put({ message: part }));
      stream.on("error", (error) => put(failed(error)));
      stream.on("end", () => put(null));
    }
    signal.addEventListener("abort", () => {
      stream.cancel();
      put(new Failed(1, "dropped", [], {}));
    });
    yield* parts();
  };
};

export const text = google("text");
export const binary = google("binary");
