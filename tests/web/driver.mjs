// The gRPC-Web door as a browser would use it, without one: a long-lived process that makes calls for the Rust tests.
//
// Started by `tests/harness/web.rs` as `node driver.mjs DESCRIPTOR_SET`. Reads calls from stdin, one JSON object a line, and
// answers on stdout in the same way; `calls.mjs` says in which form. The process ends when stdin ends.
import { readFileSync } from "node:fs";
import { createInterface } from "node:readline";
import { taker } from "./calls.mjs";
import { call } from "./connect.mjs";
import { call as fetch } from "./plain.mjs";

const say = (line) => process.stdout.write(`${JSON.stringify(line)}\n`);
const take = taker(readFileSync(process.argv[2]), { call, fetch }, say);

createInterface({ input: process.stdin })
  .on("line", (line) => take(JSON.parse(line)))
  .on("close", () => process.exit(0));
say({ ready: true });
