/** Server-Sent Events, read from a fetch: EventSource cannot send the key in a header. */

import { linesOf } from "./api";

export interface Message {
  event: string;
  data: string;
}

/** The messages of a stream, as many at a time as arrive together. Comments and fields that are not used are left out. */
export async function* messagesOf(answer: Response): AsyncGenerator<Message[]> {
  let event = "";
  let data: string[] = [];
  for await (const lines of linesOf(answer)) {
    const messages: Message[] = [];
    for (const raw of lines) {
      const line = raw.endsWith("\r") ? raw.slice(0, -1) : raw;
      if (line === "") {
        if (data.length > 0) messages.push({ event: event || "message", data: data.join("\n") });
        event = "";
        data = [];
        continue;
      }
      const [field, value] = split(line);
      if (field === "event") event = value;
      else if (field === "data") data.push(value);
    }
    yield messages;
  }
}

function split(line: string): [string, string] {
  const colon = line.indexOf(":");
  if (colon < 0) return [line, ""];
  const value = line.slice(colon + 1);
  return [line.slice(0, colon), value.startsWith(" ") ? value.slice(1) : value];
}
