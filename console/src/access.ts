/** The key, and what stands in the way of an answer: no key, a wrong one, a node that is not ready, no events yet. */

import { ApiError, fetchSchema, type Schema } from "./api";
import { announce, byId, copy, h } from "./dom";
import { getKey, hint, onKey, setKey } from "./key";

const LOOK_AGAIN_MS = 3000;

export type State = "no-key" | "wrong-key" | "unwell" | "empty" | "well";

export interface AccessHooks {
  schema(schema: Schema): void;
  /** The key was set or forgotten. */
  changed(): void;
}

export class Access {
  readonly #box = byId("state");
  #state: State = "well";
  #asking: AbortController | null = null;
  #timer = 0;

  constructor(private readonly hooks: AccessHooks) {
    onKey(() => {
      this.#header();
      this.hooks.changed();
      void this.check();
    });
    document.addEventListener("visibilitychange", () => {
      if (!document.hidden && (this.#state === "empty" || this.#state === "unwell")) void this.check();
    });
    this.#header();
    void this.check();
  }

  /** Ask for the schema: that tells whether the key is good, the node ready, and whether there are events. */
  async check(): Promise<void> {
    clearTimeout(this.#timer);
    this.#asking?.abort();
    if (getKey() === "") return this.#set("no-key");
    const asking = (this.#asking = new AbortController());
    try {
      const schema = await fetchSchema(asking.signal);
      this.hooks.schema(schema);
      this.#set(schema.events.length > 0 ? "well" : "empty");
    } catch (error) {
      if (error instanceof ApiError) this.refused(error);
      else if (!asking.signal.aborted) throw error;
    }
  }

  /** What a refusal says of key and node. */
  refused(error: ApiError): void {
    if (error.status === 401 || error.status === 403) this.#set("wrong-key", error);
    else if (error.status === 0 || error.status >= 500 || error.status === 429) this.#set("unwell", error);
    else this.#set("well"); // it answers, though not that
  }

  /** Show the form for the key and go there. */
  ask(): void {
    if (this.#state !== "wrong-key") this.#set("no-key");
    this.#box.querySelector("input")?.focus();
  }

  #header(): void {
    const key = getKey();
    if (key === "") return byId("key").replaceChildren();
    const forget = (): void => {
      setKey("");
      announce("The key is forgotten");
      this.ask();
    };
    byId("key").replaceChildren(
      h("span", { class: "muted small" }, "Key ", h("code", {}, hint(key))),
      h("button", { type: "button", click: forget }, "Forget"),
    );
  }

  #set(state: State, error?: ApiError): void {
    const same = state === this.#state && state !== "wrong-key" && state !== "unwell";
    this.#state = state;
    document.body.dataset["state"] = state;
    clearTimeout(this.#timer);
    if (state === "empty" || state === "unwell") {
      const wait = Math.max(LOOK_AGAIN_MS, (error?.retryAfterS ?? 0) * 1000);
      this.#timer = setTimeout(() => !document.hidden && void this.check(), wait);
    }
    if (same && this.#box.childElementCount > 0) return; // nobody loses their place in it
    this.#box.replaceChildren(...this.#content(state, error));
    this.#box.hidden = this.#box.childElementCount === 0;
  }

  #content(state: State, error?: ApiError): Node[] {
    switch (state) {
      case "no-key":
        return [
          h("h2", {}, "Paste an API key"),
          h(
            "p",
            {},
            "A key with the scope ",
            h("code", {}, "query"),
            " reads your project's events. It is kept in this tab until you close it, and sent to this node alone.",
          ),
          this.#form(),
          h(
            "p",
            { class: "muted small" },
            "None yet? On the node: ",
            h("code", {}, "novamesh keys create --scope query"),
            ".",
          ),
        ];
      case "wrong-key":
        return [...wrongKey(error), this.#form()];
      case "unwell":
        return [
          h("h2", {}, "The node is not ready"),
          h("p", { role: "alert" }, error?.message ?? ""),
          h(
            "p",
            { class: "row" },
            h("button", { type: "button", click: () => void this.check() }, "Try again"),
            h("a", { href: "./" }, "Status page"),
          ),
        ];
      case "empty":
        return this.#empty();
      case "well":
        return [];
    }
  }

  #form(): HTMLFormElement {
    const input = h("input", {
      id: "key-input",
      type: "password",
      autocomplete: "off",
      spellcheck: "false",
      required: true,
      placeholder: "nm_live_…",
      "aria-label": "API key",
    });
    const submit = (event: Event): void => {
      event.preventDefault();
      setKey(input.value.trim());
    };
    return h("form", { class: "row", submit }, input, h("button", { class: "primary" }, "Use key"));
  }

  #empty(): Node[] {
    const url = new URL("v1/ingest", location.href).href.split("#")[0]!;
    const command = `curl -X POST ${url} -H "Authorization: Bearer $NOVAMESH_KEY" \\
  -H 'Content-Type: application/json' -d '{"event": "page_view", "user_id": "u_1", "properties": {"page": "/"}}'`;
    const button: HTMLButtonElement = h("button", { type: "button", click: () => void copy(command, button) }, "Copy");
    return [
      h("h2", {}, "No events yet"),
      h("p", {}, "Send one; this page notices within seconds. The key needs the scope ", h("code", {}, "ingest"), "."),
      h("pre", { tabindex: 0, role: "group", "aria-label": "Command to send an event" }, command),
      h("p", { class: "row" }, button, h("button", { type: "button", click: () => void this.check() }, "Look again")),
    ];
  }
}

/** What is wrong with the key. */
function wrongKey(error?: ApiError): Node[] {
  const [title, text] =
    error?.status === 403
      ? ["This key may not read", error.message]
      : error?.code === "mistyped_key"
        ? ["This key is mistyped", error.message]
        : ["This key is not known here", "It was mistyped, revoked, has expired, or belongs to another node."];
  return [h("h2", {}, title), h("p", { role: "alert" }, text)];
}
