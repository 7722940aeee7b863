/** The API key: in this tab's session storage and in request headers, nowhere else. */

const NAME = "novamesh.key";
const KEY = /nm_(live|test)_[0-9A-Za-z]+/g;

type Listener = () => void;
const listeners: Listener[] = [];

export function getKey(): string {
  return sessionStorage.getItem(NAME) ?? "";
}

export function setKey(key: string): void {
  if (key === "") sessionStorage.removeItem(NAME);
  else sessionStorage.setItem(NAME, key);
  for (const listener of listeners) listener();
}

/** Call `listener` whenever the key was set or forgotten. */
export function onKey(listener: Listener): void {
  listeners.push(listener);
}

/** `nm_live_…a1b2`: enough to tell one's keys apart. */
export function hint(key: string): string {
  return `${key.slice(0, 8)}…${key.slice(-4)}`;
}

/** Text without keys: what is kept or shared may have had one pasted into it. */
export function withoutKeys(text: string): string {
  return text.replace(KEY, "nm_$1_…");
}
