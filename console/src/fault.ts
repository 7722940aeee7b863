/** Where in a query an error is: by the place it names, else by the name it complains of. */

import type { Span } from "./editor";

const PLACE = /\bat line (\d+), column (\d+)/;
const NAMED = /\b(?:[Ff]unction|[Tt]able|[Cc]olumn|near) ['"`]?([\w.]+)/;

export function placeOf(message: string, q: string): Span | null {
  const place = PLACE.exec(message);
  if (place) {
    const lines = q.split("\n");
    const line = Number(place[1]) - 1;
    const start = lines.slice(0, line).reduce((sum, text) => sum + text.length + 1, 0) + Number(place[2]) - 1;
    return wordAt(q, Math.min(Math.max(start, 0), Math.max(q.length - 1, 0)));
  }
  const name = NAMED.exec(message)?.[1];
  if (!name) return null;
  const at = new RegExp(`\\b${name.replaceAll(".", "\\.")}\\b`, "i").exec(q);
  return at ? { from: at.index, to: at.index + name.length } : null;
}

function wordAt(q: string, from: number): Span {
  const word = /^\w+/.exec(q.slice(from));
  return { from, to: from + (word ? word[0].length : 1) };
}
