/** The live tail: events as they are accepted, newest first. What could not be shown is counted and said. */

import { ApiError, request } from "./api";
import { announce, byId, h } from "./dom";
import { getKey } from "./key";
import { messagesOf, type Message } from "./sse";
import { Grid } from "./table";
import { counted, grouped, parse, type Row, type Value } from "./values";

const KEPT = 1000;
const LONGEST_WAIT_S = 15;
const COLUMNS = ["received_at", "event", "user_id", "properties", "context", "id"];

type Phase = "stopped" | "connecting" | "live" | "waiting";

export interface TailHooks {
  needKey(): void;
}

export class TailView {
  readonly #grid = new Grid("Live events");
  readonly #start = byId<HTMLButtonElement>("tail-start");
  readonly #pause = byId<HTMLButtonElement>("tail-pause");
  readonly #event = byId<HTMLInputElement>("tail-event");
  readonly #user = byId<HTMLInputElement>("tail-user");
  #connection: AbortController | null = null;
  #phase: Phase = "stopped";
  #note = "";
  #paused = false;
  #rows: Row[] = [];
  #held: Row[] = [];
  #heldBack = 0;
  #seen = 0;
  #dropped = 0;

  constructor(private readonly hooks: TailHooks) {
    byId("tail-events").append(this.#grid.element);
    this.#start.addEventListener("click", () => (this.#connection ? this.stop() : this.start()));
    this.#pause.addEventListener("click", () => this.#togglePause());
    byId("tail-clear").addEventListener("click", () => this.#clear());
    byId<HTMLFormElement>("tail-form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.stop();
      this.start();
    });
    this.#clear();
  }

  /** Names for the filter to choose from. */
  events(names: string[]): void {
    byId("tail-names").replaceChildren(...names.map((value) => h("option", { value })));
  }

  start(): void {
    if (getKey() === "") return this.hooks.needKey();
    const connection = (this.#connection = new AbortController());
    void this.#follow(connection);
  }

  stop(note = ""): void {
    this.#connection?.abort();
    this.#connection = null;
    this.#set("stopped", note);
  }

  /** Stop, and show nothing: for a key that was forgotten. */
  forget(): void {
    this.stop();
    this.#clear();
  }

  /** Follow until stopped: connect again after a break, waiting longer each time. */
  async #follow(connection: AbortController): Promise<void> {
    for (let wait = 1; !connection.signal.aborted; wait = Math.min(wait * 2, LONGEST_WAIT_S)) {
      try {
        this.#set("connecting");
        const answer = await request(`v1/tail${this.#filter()}`, { signal: connection.signal });
        this.#set("live");
        wait = 1;
        let why = "The connection ended.";
        for await (const messages of messagesOf(answer)) why = this.#take(messages, connection) ?? why;
        if (connection.signal.aborted) return;
        this.#set("waiting", `${why} Connecting again in ${wait} s.`);
      } catch (error) {
        if (connection.signal.aborted) return;
        const refused = error instanceof ApiError ? error : null;
        if (refused && refused.status > 0 && refused.status !== 503 && refused.status !== 429)
          return this.stop(refused.message);
        wait = Math.max(wait, refused?.retryAfterS ?? 0);
        this.#set("waiting", `${refused?.message ?? "The connection broke."} Connecting again in ${wait} s.`);
      }
      await sleep(wait * 1000, connection.signal);
    }
  }

  #filter(): string {
    const parameters = new URLSearchParams();
    for (const [name, value] of [
      ["event", this.#event.value],
      ["user_id", this.#user.value],
    ] as const) {
      if (value.trim() !== "") parameters.set(name, value.trim());
    }
    const text = parameters.toString();
    return text === "" ? "" : `?${text}`;
  }

  /** Show what came. Returns why the node ends the tail, if it does. */
  #take(messages: Message[], connection: AbortController): string | null {
    if (connection.signal.aborted) return null;
    let why: string | null = null;
    const rows: Row[] = [];
    for (const { event, data } of messages) {
      const read = parse(data) as Record<string, Value>;
      if (event === "event") rows.push(COLUMNS.map((name) => read[name] ?? null));
      else if (event === "dropped") this.#dropped += Number(read["count"]);
      else if (event === "end") {
        why = String(read["message"] ?? `The node ended the tail: ${read["reason"]}.`);
        if (read["reason"] === "key_revoked") this.stop(why); // trying again would not help
      }
    }
    this.#add(rows);
    return why;
  }

  #add(rows: Row[]): void {
    this.#seen += rows.length;
    const newest = rows.reverse();
    if (this.#paused) {
      this.#heldBack += newest.length;
      this.#held = [...newest, ...this.#held].slice(0, KEPT);
    } else if (newest.length > 0) {
      this.#rows = [...newest, ...this.#rows].slice(0, KEPT);
      this.#grid.update(this.#rows, newest.length);
    }
    this.#say();
  }

  #togglePause(): void {
    this.#paused = !this.#paused;
    this.#pause.setAttribute("aria-pressed", String(this.#paused));
    if (!this.#paused) {
      const held = this.#held.reverse();
      this.#seen -= held.length; // they were counted when they came
      this.#held = [];
      this.#heldBack = 0;
      this.#add(held);
    }
    this.#say();
  }

  #clear(): void {
    this.#rows = [];
    this.#held = [];
    this.#heldBack = this.#seen = this.#dropped = 0;
    this.#grid.reset(COLUMNS.map((name) => ({ name })));
    this.#say();
  }

  #set(phase: Phase, note = ""): void {
    this.#phase = phase;
    this.#note = note;
    this.#start.textContent = this.#connection ? "Stop" : "Start";
    this.#start.classList.toggle("stop", this.#connection !== null);
    this.#pause.disabled = this.#connection === null && !this.#paused;
    this.#say();
  }

  /** Counts change all the time, so they are no part of what is read out; that they begin to be incomplete is. */
  #say(): void {
    const text = { stopped: "Stopped.", connecting: "Connecting…", live: "Live.", waiting: "" }[this.#phase];
    const status = byId("tail-status");
    const said = (this.#note || text) + (this.#paused ? " Paused." : "");
    if (status.textContent !== said) status.textContent = said;
    const newest = this.#seen > KEPT ? `, the newest ${grouped(KEPT)} shown` : "";
    const held = this.#paused ? ` ${counted(this.#heldBack, "new event")} held back.` : "";
    byId("tail-count").textContent = `${counted(this.#seen, "event")}${newest}.${held}`;
    const dropped = byId("tail-dropped");
    const were = this.#dropped === 1 ? "event was" : "events were";
    if (dropped.hidden && this.#dropped > 0) announce("Events are left out: more come than a tail is given.");
    dropped.textContent = `${grouped(this.#dropped)} ${were} left out: more came than a tail is given.`;
    dropped.hidden = this.#dropped === 0;
    const none = byId("tail-none");
    none.hidden = this.#rows.length > 0;
    none.textContent =
      this.#phase === "stopped"
        ? "Events appear here the moment they are accepted. Start, then send some."
        : "Waiting for events.";
    this.#grid.element.hidden = this.#rows.length === 0;
  }
}

/** Wait, or until aborted. */
function sleep(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    signal.addEventListener("abort", () => {
      clearTimeout(timer);
      resolve();
    });
  });
}
