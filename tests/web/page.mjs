// A page that makes calls for the tests, by the client that its address names. `browser.mjs` opens it, hands it calls by
// `take` and hears the answers by `tell`.
import { taker } from "./calls.mjs";
import { call as fetchPlainly } from "./plain.mjs";

const CLIENTS = {
  connect: async () => (await import("./connect.mjs")).call,
  "google-text": async () => (await import("./google.mjs")).text,
  "google-binary": async () => (await import("./google.mjs")).binary,
  plain: async () => null,
};

const client = new URLSearchParams(location.search).get("client");
const descriptors = await fetch("/descriptors");
const take = taker(
  new Uint8Array(await descriptors.arrayBuffer()),
  { call: await CLIENTS[client](), fetch: fetchPlainly },
  (line) => globalThis.tell(JSON.stringify(line)),
);
globalThis.take = take;
globalThis.tell(JSON.stringify({ ready: true }));
