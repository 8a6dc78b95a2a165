// Calls by fetch alone: what any page sees of status, headers and body, as it comes.
import { Failed } from "./calls.mjs";

export async function* call({ url, fetch: init }, signal) {
  let response;
  try {
    response = await fetch(url, { ...init, signal });
  } catch (error) {
    // A browser does not tell a page why: refused and unreachable look the same.
    throw new Failed(14, String(error), [], {});
  }
  yield { status: response.status, headers: Object.fromEntries(response.headers) };
  if (!response.body) {
    return;
  }
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  for (let part = await reader.read(); !part.done; part = await reader.read()) {
    yield { chunk: part.value };
  }
}
