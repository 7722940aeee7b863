/** What the browser keeps between visits: history of queries (never a key), and this tab's draft. */

import { withoutKeys } from "./key";

const HISTORY = "novamesh.history";
const DRAFT = "novamesh.draft";
const KEPT = 50;

export interface Past {
  q: string;
  at: number;
  rows: number | null;
}

export function readHistory(): Past[] {
  try {
    const read: unknown = JSON.parse(localStorage.getItem(HISTORY) ?? "[]");
    return Array.isArray(read) ? (read as Past[]).filter((past) => typeof past?.q === "string") : [];
  } catch {
    return []; // somebody else's, or damaged
  }
}

/** Put a query first; the same one further down goes. `rows`: null for one that failed. */
export function remember(q: string, rows: number | null): void {
  const clean = withoutKeys(q.trim());
  const others = readHistory().filter((past) => past.q !== clean);
  write(localStorage, HISTORY, JSON.stringify([{ q: clean, at: Date.now(), rows }, ...others].slice(0, KEPT)));
}

export function clearHistory(): void {
  localStorage.removeItem(HISTORY);
}

export function readDraft(): string {
  return sessionStorage.getItem(DRAFT) ?? "";
}

export function saveDraft(q: string): void {
  write(sessionStorage, DRAFT, withoutKeys(q));
}

function write(storage: Storage, name: string, value: string): void {
  try {
    storage.setItem(name, value);
  } catch {
    // The storage is full or switched off: the console works without.
  }
}

/** A link to this page that carries the query in its fragment, which browsers send nowhere. */
export function linkTo(q: string): string {
  return `${location.origin}${location.pathname}#q=${encodeURIComponent(withoutKeys(q))}`;
}

/** The query of the address, or null. */
export function linkedQuery(): string | null {
  const found = /^#q=(.*)$/s.exec(location.hash);
  try {
    return found ? decodeURIComponent(found[1]!) : null;
  } catch {
    return null; // not a link of ours
  }
}
