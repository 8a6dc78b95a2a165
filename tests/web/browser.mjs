// A real browser for the Rust tests: Debian's Chromium without a window, driven over DevTools' pipe, and the pages that it opens.
//
// Started by `tests/harness/browser.rs` as `node browser.mjs DESCRIPTOR_SET`. Says {"ready", "port"} when pages can be had, then
// reads calls from stdin, one JSON object a line, each call with {"page": {"client", "host"}} beside what `calls.mjs` says: the page
// that is to make it, opened when it is first named and kept. `localhost` and `127.0.0.1` are the same server and two origins.
// Answers on stdout; {"console"} is a line that a page wrote, or the browser about it. Ends, with the browser, when stdin ends.
import { spawn, spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { extname, join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

const here = fileURLToPath(new URL(".", import.meta.url));
const say = (line) => process.stdout.write(`${JSON.stringify(line)}\n`);

function program() {
  const known = ["chromium", "chromium-browser", "google-chrome"];
  const named = process.env.RUNPLANE_TEST_CHROMIUM;
  const found = (named ? [named] : known).find((name) => spawnSync("sh", ["-c", `command -v "${name}"`]).status === 0);
  if (!found) {
    throw new Error("no Chromium is installed; `./test --setup` installs it, RUNPLANE_TEST_CHROMIUM names another");
  }
  return found;
}

// Packages as pages import them, read off what each exports to modules.
function importMap() {
  const imports = {};
  for (const name of ["@bufbuild/protobuf", "@connectrpc/connect", "@connectrpc/connect-web", "grpc-web"]) {
    const about = JSON.parse(readFileSync(join(here, "node_modules", name, "package.json")));
    const exported = about.exports ?? { ".": { import: `./${about.module}` } };
    for (const [path, { import: file }] of Object.entries(exported)) {
      imports[join(name, path)] = join("/node_modules", name, file);
    }
  }
  return { imports };
}

// The pages and what they import; nothing above this folder.
function pages(descriptors) {
  const html = `<!doctype html><title>calls</title><link rel="icon" href="data:,"><script type="importmap">${JSON.stringify(importMap())}</script>
<script type="module" src="/page.mjs"></script>`;
  return createServer((request, response) => {
    const { pathname } = new URL(request.url, "http://page");
    const send = (type, body) => response.writeHead(200, { "content-type": type, "cache-control": "max-age=600" }).end(body);
    if (pathname === "/") {
      return send("text/html", html);
    }
    if (pathname === "/descriptors") {
      return send("application/octet-stream", descriptors);
    }
    try {
      if (![".mjs", ".js"].includes(extname(pathname))) {
        throw new Error("no such page");
      }
      return send("text/javascript", readFileSync(join(here, pathname)));
    } catch {
      return response.writeHead(404).end();
    }
  });
}

// Chromium, and `send(method, params, session)` to it; `hear` gets its events.
function chromium(folder, hear) {
  const flags =
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking \
--disable-component-update --disable-sync --disable-extensions --disable-dev-shm-usage --disable-background-timer-throttling \
--disable-renderer-backgrounding --disable-backgrounding-occluded-windows --no-proxy-server --remote-debugging-pipe".split(" ");
  const stdio = ["ignore", "ignore", "pipe", "pipe", "pipe"];
  const child = spawn(program(), [...flags, `--user-data-dir=${folder}`, "about:blank"], { stdio });
  let lastWords = "";
  child.stderr.on("data", (data) => (lastWords = (lastWords + data).slice(-4000)));
  child.on("exit", (code) => {
    process.stderr.write(`Chromium has ended with ${code}:\n${lastWords}\n`);
    process.exit(1);
  });
  const [, , , input, output] = child.stdio;
  const asked = new Map();
  let last = 0;
  let rest = "";
  output.setEncoding("utf8").on("data", (data) => {
    const messages = (rest + data).split("\0");
    rest = messages.pop();
    for (const { id, result, error, ...event } of messages.map((message) => JSON.parse(message))) {
      if (id) {
        const { resolve, reject } = asked.get(id);
        asked.delete(id);
        error ? reject(new Error(error.message)) : resolve(result);
      } else {
        hear(event);
      }
    }
  });
  const send = (method, params = {}, sessionId = undefined) =>
    new Promise((resolve, reject) => {
      last += 1;
      asked.set(last, { resolve, reject });
      input.write(`${JSON.stringify({ id: last, method, params, sessionId })}\0`);
    });
  return { child, send };
}

const folder = mkdtempSync(join(tmpdir(), "runplane-browser-"));
const server = pages(readFileSync(process.argv[2]));
await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
const { port } = server.address();

const ready = new Map(); // session -> told once its page can take calls
const browser = chromium(folder, ({ method, params, sessionId }) => {
  if (method === "Runtime.bindingCalled") {
    const line = JSON.parse(params.payload);
    line.ready ? ready.get(sessionId)() : say(line);
  } else if (method === "Runtime.consoleAPICalled") {
    say({ console: `${params.type}: ${params.args.map((arg) => arg.value ?? arg.description).join(" ")}` });
  } else if (method === "Runtime.exceptionThrown") {
    const { text, exception } = params.exceptionDetails;
    say({ console: `${text} ${exception?.description ?? ""}` });
  } else if (method === "Log.entryAdded") {
    say({ console: `${params.entry.level}: ${params.entry.text} ${params.entry.url ?? ""}` });
  }
});

const tabs = new Map(); // client and host -> session of their page
const takers = new Map(); // id of a call -> the page that makes it

async function open({ client, host }) {
  const { targetId } = await browser.send("Target.createTarget", { url: "about:blank" });
  const { sessionId } = await browser.send("Target.attachToTarget", { targetId, flatten: true });
  const opened = new Promise((resolve) => ready.set(sessionId, resolve));
  for (const domain of ["Runtime", "Log", "Page"]) {
    await browser.send(`${domain}.enable`, {}, sessionId);
  }
  await browser.send("Runtime.addBinding", { name: "tell" }, sessionId);
  const url = `http://${host}:${port}/?client=${client}`;
  const { errorText } = await browser.send("Page.navigate", { url }, sessionId);
  if (errorText) {
    throw new Error(`${url}: ${errorText}`);
  }
  await opened;
  return sessionId;
}

async function take({ page, ...call }) {
  if (page) {
    const name = `${page.client}@${page.host}`;
    if (!tabs.has(name)) {
      tabs.set(name, open(page));
    }
    takers.set(call.id, tabs.get(name));
  }
  const expression = `void take(${JSON.stringify(call)})`;
  const { exceptionDetails } = await browser.send("Runtime.evaluate", { expression }, await takers.get(call.id));
  if (call.drop) {
    takers.delete(call.id);
  }
  if (exceptionDetails) {
    throw new Error(exceptionDetails.exception?.description ?? exceptionDetails.text);
  }
}

createInterface({ input: process.stdin })
  .on("line", (line) => take(JSON.parse(line)))
  .on("close", () => {
    browser.child.removeAllListeners("exit").on("exit", () => {
      rmSync(folder, { recursive: true, force: true, maxRetries: 3 });
      process.exit(0);
    });
    browser.send("Browser.close");
  });
say({ ready: true, port });
