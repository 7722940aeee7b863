/** Beside the editor: queries to start with, those that were run, and the fields that occur. */

import type { Schema } from "./api";
import { announce, byId, h } from "./dom";
import { starters } from "./starters";
import { clearHistory, readHistory, type Past } from "./store";
import { counted, percent } from "./values";

export interface SidebarHooks {
  /** Put a query into the editor and run it. */
  run(sql: string): void;
  /** Put a query into the editor. */
  fill(sql: string): void;
  insert(text: string): void;
}

const FIELDS = 100;

export class Sidebar {
  constructor(private readonly hooks: SidebarHooks) {
    this.schema(null);
    this.history();
    // On a phone there is no room for what is beside the editor unless it is asked for.
    const wide = matchMedia("(min-width: 56rem)");
    const fold = (): void =>
      document.querySelectorAll<HTMLDetailsElement>("aside details").forEach((one) => {
        one.toggleAttribute("name", false);
        one.open = wide.matches;
        if (!wide.matches) one.setAttribute("name", "beside"); // one at a time
      });
    wide.addEventListener("change", fold);
    fold();
  }

  schema(schema: Schema | null): void {
    const buttons = starters(schema).map(({ name, sql }) =>
      h(
        "li",
        {},
        h("button", { type: "button", class: "link", click: () => this.#close(() => this.hooks.run(sql)) }, name),
      ),
    );
    byId("starters").replaceChildren(...buttons);
    byId("fields").replaceChildren(...this.#fields(schema));
  }

  history(): void {
    const past = readHistory();
    const clear = h("button", { type: "button", class: "small", click: () => this.#clear() }, "Clear history");
    const list = h("ul", { class: "list" }, ...past.map((one) => this.#past(one)));
    const none = h("p", { class: "muted small" }, "Queries that you run are listed here, in this browser only.");
    byId("history").replaceChildren(...(past.length > 0 ? [list, clear] : [none]));
  }

  #past({ q, at, rows }: Past): HTMLLIElement {
    const line =
      q
        .replace(/^\s*--.*$/gm, "")
        .replace(/\s+/g, " ")
        .trim() || q;
    const time = new Date(at).toISOString().slice(0, 16).replace("T", " ");
    const outcome = rows === null ? "failed" : counted(rows, "row");
    return h(
      "li",
      {},
      h(
        "button",
        { type: "button", class: "link past", title: q, click: () => this.#close(() => this.hooks.fill(q)) },
        line.slice(0, 120),
      ),
      h("span", { class: "muted small" }, `${time} UTC, ${outcome}`),
    );
  }

  #fields(schema: Schema | null): Node[] {
    if (schema === null || schema.properties.length === 0) {
      return [h("p", { class: "muted small" }, "The properties of your events are listed here.")];
    }
    const rows = schema.properties
      .slice(0, FIELDS)
      .map(({ path, types, share }) =>
        h(
          "li",
          {},
          h(
            "button",
            { type: "button", class: "link code", title: `Insert ${path}`, click: () => this.hooks.insert(path) },
            path,
          ),
          h("span", { class: "muted small" }, `${types.join(", ")} · ${percent(share)}`),
        ),
      );
    return [h("ul", { class: "list" }, ...rows)];
  }

  /** On a phone what is beside the editor covers the result, so it is folded once something was chosen. */
  #close(then: () => void): void {
    if (!matchMedia("(min-width: 56rem)").matches) {
      document.querySelectorAll<HTMLDetailsElement>("aside details").forEach((one) => (one.open = false));
    }
    then();
  }

  #clear(): void {
    clearHistory();
    this.history();
    announce("The history is cleared");
    byId("history").closest("details")?.querySelector("summary")?.focus();
  }
}
