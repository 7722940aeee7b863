/** What the editor offers: columns, the paths and events that really occur, functions and keywords. */

import type { Completion, CompletionContext, CompletionResult, CompletionSource } from "@codemirror/autocomplete";
import { keywordCompletionSource } from "@codemirror/lang-sql";
import { syntaxTree } from "@codemirror/language";
import type { Schema } from "./api";
import { dialect } from "./dialect";
import { grouped, json, percent, type Value } from "./values";

const COLUMNS = ["id", "event", "user_id", "timestamp", "properties", "context", "received_at", "batch_id"];
// A name, or a path as far as it is written: properties.cart, properties['odd key'], e.properties.page.
const WRITTEN = /[\w.[\]'"-]*$/;
const IN_STRING = /\bevent\s*(?:=|<>|!=|IN\s*\((?:\s*'[^']*'\s*,)*)\s*'([^']*)$/i;
const PATH = /(?:^|\.)((?:properties|context)[.[].*)$/;

export class Completions {
  #names: Completion[] = COLUMNS.map((label) => ({ label, type: "property", boost: 20 }));
  #paths: Completion[] = [];
  #events: Completion[] = [];
  #keywords: CompletionSource = keywordCompletionSource(dialect, true);

  learn(schema: Schema): void {
    const functions = schema.functions.map((label): Completion => ({
      label,
      type: "function",
      apply: `${label}(`,
      boost: -10,
    }));
    this.#names = [
      ...schema.columns.map(({ name, type }): Completion => ({
        label: name,
        detail: type,
        type: "property",
        boost: 20,
      })),
      { label: "events", type: "class", detail: "table", boost: 15 },
      { label: "quarantine", type: "class", detail: "table" },
      ...functions,
    ];
    this.#paths = schema.properties.map(({ path, types, share, examples }, at) => ({
      label: path,
      type: "property",
      detail: types.join(" | "),
      info: `in ${share === 1 ? "all" : percent(share)} of recent events; ${examples.map((one) => json(one as Value)).join(", ")}`,
      boost: 10 - Math.min(at, 200) / 20,
    }));
    this.#events = schema.events.map(({ name, count }) => ({
      label: name,
      type: "text",
      detail: grouped(count),
      apply: name.replaceAll("'", "''"),
    }));
  }

  readonly source: CompletionSource = async (context): Promise<CompletionResult | null> => {
    if (/Comment$/.test(syntaxTree(context.state).resolveInner(context.pos, -1).name)) return null;
    const line = context.state.doc.lineAt(context.pos);
    const before = context.state.sliceDoc(Math.max(line.from, context.pos - 1000), context.pos);
    const string = IN_STRING.exec(before);
    if (string) return { from: context.pos - string[1]!.length, options: this.#events, validFor: /^[^']*$/ };
    const written = WRITTEN.exec(before)![0];
    const path = PATH.exec(written);
    if (path) return { from: context.pos - path[1]!.length, options: this.#paths, validFor: /^[\w.[\]'" -]*$/ };
    if (written === "" && !context.explicit) return null;
    if (/['"]/.test(written) || /^\d/.test(written)) return null; // inside of a text, or a number
    return this.#anything(context, written);
  };

  async #anything(context: CompletionContext, written: string): Promise<CompletionResult> {
    const from = context.pos - /\w*$/.exec(written)![0].length;
    const keywords = (await this.#keywords(context))?.options ?? [];
    const others = keywords.map((one) => ({ ...one, boost: -5 }));
    return { from, options: [...this.#names, ...this.#paths, ...others], validFor: /^\w*$/ };
  }
}
