// The daemon's HTTP interface: requests, event streams and problem details. The only state is
// the API key, kept for the tab.

const KEY = "trmd-api-key";

export const apiKey = () => sessionStorage.getItem(KEY) ?? "";
export const setApiKey = (key) => sessionStorage.setItem(KEY, key);

// A refusal by the server (RFC 9457), or a connection that failed (status 0).
export class Problem extends Error {
  constructor(details) {
    super(details.detail || details.title || "The request failed");
    this.details = details;
  }
}

function headers(more = {}) {
  return { ...more, ...(apiKey() ? { Authorization: `Bearer ${apiKey()}` } : {}) };
}

async function ask(path, options = {}) {
  let response;
  try {
    response = await fetch(path, options);
  } catch (e) {
    if (e.name === "AbortError") throw e;
    throw new Problem({ status: 0, detail: "The server cannot be reached." });
  }
  if (response.ok) return response;
  const fallback = { status: response.status, detail: `The server answered ${response.status}.` };
  throw new Problem(await response.json().catch(() => fallback));
}

export async function models() {
  return (await (await ask("v1/models", { headers: headers() })).json()).models;
}

// Server-sent events out of a body: EventSource can only GET.
async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    text += value;
    for (let end; (end = text.indexOf("\n\n")) >= 0; text = text.slice(end + 2)) {
      const block = text.slice(0, end);
      const name = /^event: (.*)$/m.exec(block)?.[1];
      const data = /^data: (.*)$/m.exec(block)?.[1];
      if (name && data) yield { name, data: JSON.parse(data) };
    }
  }
}

// Posts a puzzle and yields {name, data} as the daemon works on it; the last is "done".
export async function* solve(kind, body, signal) {
  const response = await ask(`v1/${kind}`, {
    method: "POST",
    signal,
    headers: headers({ "Content-Type": "application/json", Accept: "text/event-stream" }),
    body: JSON.stringify(body),
  });
  let last = "";
  for await (const event of events(response.body)) {
    last = event.name;
    yield event;
  }
  if (last !== "done") throw new Problem({ status: 0, detail: "The connection broke before the answer came." });
}

const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;

// The same request for a shell.
export function curl(kind, body) {
  const url = new URL(`v1/${kind}`, location.href.split("#")[0]);
  const key = apiKey() ? ` -H "Authorization: Bearer $API_KEY"` : "";
  return `curl -s ${quoted(url.href)} -H 'Content-Type: application/json'${key} -d ${quoted(JSON.stringify(body))}`;
}
