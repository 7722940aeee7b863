/** The node's API, on the page's own origin. The key goes into the header and nowhere else. */

import { getKey } from "./key";
import { parse, type Row } from "./values";

/** What the node refused, or the connection did not carry: one code, one sentence. `status` is 0 without an answer. */
export class ApiError extends Error {
  constructor(
    readonly code: string,
    message: string,
    readonly status: number,
    readonly retryAfterS: number | null = null,
  ) {
    super(message);
  }
}

export interface Meta {
  elapsed_ms: number;
  rows: number;
  truncated: boolean;
  types: string[];
}

export interface Schema {
  columns: { name: string; type: string }[];
  events: { name: string; count: number }[];
  properties: { path: string; name: string; types: string[]; share: number; examples: unknown[] }[];
  functions: string[];
}

/** A request with the key. Raises {@link ApiError} unless the answer is a success; an abort stays an AbortError. */
export async function request(path: string, init: RequestInit = {}): Promise<Response> {
  const headers = new Headers(init.headers);
  const key = getKey();
  if (key !== "") authorize(headers, key);
  let answer: Response;
  try {
    // The path is relative, so that a node below a prefix of a proxy is found.
    answer = await fetch(path, {
      ...init,
      headers,
      cache: "no-store",
      credentials: "omit",
      referrerPolicy: "no-referrer",
    });
  } catch (error) {
    throw unlessAborted(error, "The node does not answer; see whether it runs, then try again.");
  }
  if (!answer.ok) throw await refusal(answer);
  return answer;
}

/** Raises {@link ApiError} for what no header can carry, such as the ellipsis of a key that was shown cut. */
function authorize(headers: Headers, key: string): void {
  try {
    headers.set("authorization", `Bearer ${key}`);
  } catch {
    throw new ApiError("mistyped_key", "The key holds a character that no key has; copy it whole, without “…”.", 401);
  }
}

function unlessAborted(error: unknown, message: string): unknown {
  const aborted = error instanceof DOMException && error.name === "AbortError";
  return aborted || error instanceof ApiError ? error : new ApiError("no_answer", message, 0);
}

async function refusal(answer: Response): Promise<ApiError> {
  const retryAfter = Number(answer.headers.get("retry-after") ?? NaN);
  const wait = Number.isFinite(retryAfter) ? retryAfter : null;
  try {
    const { error, message } = (await answer.json()) as { error: string; message: string };
    return new ApiError(error, message, answer.status, wait);
  } catch {
    return new ApiError("unknown", `The answer was ${answer.status} ${answer.statusText}.`, answer.status, wait);
  }
}

export async function fetchSchema(signal?: AbortSignal): Promise<Schema> {
  const answer = await request("v1/schema", signal ? { signal } : {});
  try {
    return (await answer.json()) as Schema;
  } catch (error) {
    throw unlessAborted(error, "The node's answer was cut off; try again.");
  }
}

function post(q: string, format: string, limit: number, signal: AbortSignal): Promise<Response> {
  return request("v1/query", {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ q, format, limit }),
    signal,
  });
}

export interface Sink {
  columns(names: string[]): void;
  rows(rows: Row[]): void;
}

/** Run a query; columns and rows go to `sink` as they come. Aborting `signal` ends the query in the node as well. */
export async function runQuery(q: string, limit: number, sink: Sink, signal: AbortSignal): Promise<Meta> {
  const answer = await post(q, "json", limit, signal);
  const reader = new ResultReader(sink);
  try {
    for await (const batch of linesOf(answer)) reader.take(batch);
  } catch (error) {
    throw unlessAborted(error, "The result was cut off; run the query again.");
  }
  return reader.end();
}

/** Reads the node's JSON form, which has a row a line, without waiting for its end. */
export class ResultReader {
  #begun = false;
  #end: { meta?: Meta; error?: string; message?: string } | null = null;

  constructor(private readonly sink: Sink) {}

  /** Some whole lines. */
  take(lines: string[]): void {
    const rows: Row[] = [];
    for (const line of lines) {
      if (!this.#begun) {
        this.#begun = true;
        this.sink.columns((parse(line + "]}") as { columns: string[] }).columns);
      } else if (line.startsWith("], ")) {
        this.#end = parse("{" + line.slice(3)) as { meta: Meta };
      } else if (line !== "") {
        rows.push(parse(line.endsWith(",") ? line.slice(0, -1) : line) as Row);
      }
    }
    if (rows.length > 0) this.sink.rows(rows);
  }

  /** How it ended. Raises {@link ApiError}, also if it did not. */
  end(): Meta {
    if (this.#end?.meta) return this.#end.meta;
    const { error = "cut_off", message = "The result was cut off; run the query again." } = this.#end ?? {};
    throw new ApiError(error, message, 200);
  }
}

/** The whole lines of an answer, as many at a time as arrive together. */
export async function* linesOf(answer: Response): AsyncGenerator<string[]> {
  const reader = answer.body!.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) break;
      const lines = (rest + value).split("\n");
      rest = lines.pop()!;
      yield lines;
    }
    if (rest !== "") yield [rest];
  } finally {
    await reader.cancel().catch(() => {}); // whoever stopped reading wants no more of it
  }
}

/** A result as a file. */
export async function download(q: string, format: string, limit: number, signal: AbortSignal): Promise<Blob> {
  const answer = await post(q, format, limit, signal);
  try {
    return await answer.blob();
  } catch (error) {
    throw unlessAborted(error, "The download was cut off: the query failed midway, or the connection broke.");
  }
}
