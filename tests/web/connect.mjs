// Calls by @connectrpc/connect-web, over fetch.
import { ConnectError } from "@connectrpc/connect";
import { createGrpcWebTransport } from "@connectrpc/connect-web";
import { Failed } from "./calls.mjs";

const transports = new Map();

// Who has no key to send calls with a cookie, if the browser has one.
function fetchWithCookie(input, init) {
  const hasKey = new Headers(init.headers).has("authorization");
  return fetch(input, { ...init, credentials: hasKey ? "same-origin" : "include" });
}

function transport(url) {
  if (!transports.has(url)) {
    transports.set(url, createGrpcWebTransport({ baseUrl: url, useBinaryFormat: true, fetch: fetchWithCookie }));
  }
  return transports.get(url);
}

async function* once(message) {
  yield message;
}

export async function* call({ url, desc, message, headers }, signal) {
  const through = transport(url);
  try {
    if (desc.methodKind === "unary") {
      const reply = await through.unary(desc, signal, undefined, headers, message);
      yield { headers: Object.fromEntries(reply.header) };
      yield { message: reply.message };
      return;
    }
    const reply = await through.stream(desc, signal, undefined, headers, once(message));
    yield { headers: Object.fromEntries(reply.header) };
    for await (const part of reply.message) {
      yield { message: part };
    }
  } catch (error) {
    const { code, rawMessage, details, metadata } = ConnectError.from(error);
    throw new Failed(code, rawMessage, details, Object.fromEntries(metadata));
  }
}
