/** The SQL view: run a query, follow it, show its rows and a chart of them, or where it is wrong. */

import { ApiError, download, runQuery, type Meta } from "./api";
import { Chart, kindsOf } from "./chart";
import type { Completions } from "./complete";
import { announce, byId, copy, h } from "./dom";
import { Editor } from "./editor";
import { placeOf } from "./fault";
import { getKey } from "./key";
import { linkTo, remember, saveDraft } from "./store";
import { Grid } from "./table";
import { counted, grouped, type Row } from "./values";

const MOST = 50_000; // what the node gives at most
const TICK_MS = 100;

export interface QueryHooks {
  /** There is no key to ask with. */
  needKey(): void;
  /** The node refused or did not answer: something that is not about the query. */
  unwell(error: ApiError): void;
  /** A query is in the history, or has an answer. */
  ran(): void;
}

export class QueryView {
  readonly editor: Editor;
  readonly #run = byId<HTMLButtonElement>("run");
  readonly #limit = byId<HTMLSelectElement>("limit");
  readonly #progress = byId("progress");
  readonly #error = byId("error");
  readonly #result = byId("result");
  readonly #chart = new Chart();
  readonly #grid = new Grid("Result");
  #running: AbortController | null = null;
  #columns: string[] = [];
  #rows: Row[] = [];

  constructor(
    text: string,
    completions: Completions,
    private readonly hooks: QueryHooks,
  ) {
    this.editor = new Editor(byId("editor"), text, completions, {
      run: () => this.toggle(),
      changed: (draft) => {
        saveDraft(draft);
        // What was linked is no longer what is there, and would come back with a reload.
        if (location.hash.startsWith("#q=")) history.replaceState(null, "", location.pathname);
      },
    });
    this.#grid.element.hidden = true;
    this.#result.append(this.#chart.element, this.#grid.element);
    this.#run.addEventListener("click", () => this.toggle());
    document.addEventListener("keydown", (event) => this.#onKey(event));
    this.#bar();
    this.#idle();
  }

  /** Run what is in the editor, or cancel what runs. */
  toggle(): void {
    if (!this.cancel()) void this.#start();
  }

  /** Returns whether there was something to cancel. */
  cancel(): boolean {
    this.#running?.abort();
    return this.#running !== null;
  }

  /** Put a query into the editor and run it. */
  take(sql: string): void {
    this.cancel();
    this.editor.text = sql;
    if (getKey() === "") this.hooks.needKey();
    else void this.#start();
  }

  /** Nothing of a result is left: for a key that was forgotten. */
  clear(): void {
    this.cancel();
    this.#rows = [];
    this.#chart.hide();
    this.#grid.element.hidden = true;
    this.#error.hidden = true;
    this.#progress.textContent = "";
  }

  /** Keys that nothing else had a use for: Escape closes what the editor offers first. */
  #onKey(event: KeyboardEvent): void {
    if (byId("query").hidden || event.defaultPrevented || document.querySelector("dialog[open]")) return;
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) this.toggle();
    else if (event.key === "Escape") this.cancel();
  }

  #bar(): void {
    const link: HTMLButtonElement = h(
      "button",
      { type: "button", click: () => void copy(linkTo(this.editor.text), link) },
      "Copy link",
    );
    byId("actions").append(
      link,
      h("button", { type: "button", click: () => void this.#download("csv") }, "CSV"),
      h("button", { type: "button", click: () => void this.#download("parquet") }, "Parquet"),
    );
  }

  #idle(): void {
    this.#running = null;
    this.#run.textContent = "Run";
    this.#run.classList.remove("stop");
    this.#grid.element.removeAttribute("aria-busy");
  }

  #begin(): AbortController {
    const running = new AbortController();
    this.#running = running;
    this.#run.textContent = "Cancel";
    this.#run.classList.add("stop");
    this.#error.hidden = true;
    this.editor.mark(null);
    return running;
  }

  async #start(): Promise<void> {
    const q = this.editor.text;
    if (q.trim() === "") return;
    if (getKey() === "") return this.hooks.needKey();
    const running = this.#begin();
    const started = performance.now();
    this.#rows = [];
    this.#chart.hide();
    this.#grid.element.hidden = true;
    const tick = (): void => {
      const took = ((performance.now() - started) / 1000).toFixed(1);
      this.#progress.textContent = `Running… ${took} s, ${counted(this.#rows.length, "row")}`;
    };
    tick();
    announce("Running");
    const ticking = setInterval(tick, TICK_MS);
    try {
      const meta = await runQuery(
        q,
        Number(this.#limit.value),
        { columns: this.#onColumns, rows: this.#onRows },
        running.signal,
      );
      if (this.#running === running) this.#finished(q, meta);
    } catch (error) {
      if (this.#running === running) this.#failed(q, error);
    } finally {
      clearInterval(ticking);
      if (this.#running === running) this.#idle();
      this.hooks.ran();
    }
  }

  readonly #onColumns = (names: string[]): void => {
    this.#columns = names;
    this.#grid.reset(names.map((name) => ({ name })));
    this.#grid.element.hidden = false;
    this.#grid.element.setAttribute("aria-busy", "true");
  };

  readonly #onRows = (rows: Row[]): void => {
    for (const row of rows) this.#rows.push(row);
    this.#grid.update(this.#rows);
  };

  #finished(q: string, meta: Meta): void {
    const cut = meta.truncated ? `, cut at the limit of ${grouped(this.#rows.length)}` : "";
    const text = `${counted(this.#rows.length, "row")} in ${grouped(meta.elapsed_ms)} ms${cut}`;
    this.#progress.textContent = text;
    announce(text);
    remember(q, this.#rows.length);
    const result = { columns: this.#columns, types: meta.types, rows: this.#rows };
    this.#grid.align(kindsOf(result).map((kind) => kind === "number"));
    this.#chart.show(result);
  }

  #failed(q: string, error: unknown): void {
    this.#progress.textContent = "";
    if (!(error instanceof ApiError)) {
      this.#progress.textContent = `Cancelled after ${counted(this.#rows.length, "row")}`;
      announce("Cancelled");
      return;
    }
    if (error.status === 401 || error.status === 0 || error.status === 503) this.hooks.unwell(error);
    else if (error.status < 500) remember(q, null);
    this.#show(error, q);
  }

  #show(error: ApiError, q: string): void {
    this.#error.hidden = false;
    this.#error.replaceChildren(h("strong", {}, error.message), h("span", { class: "muted small" }, error.code));
    this.editor.mark(error.status < 500 ? placeOf(error.message, q) : null);
  }

  async #download(format: string): Promise<void> {
    const q = this.editor.text;
    if (q.trim() === "") return;
    if (getKey() === "") return this.hooks.needKey();
    if (this.cancel()) return;
    const running = this.#begin();
    this.#progress.textContent = `Downloading ${format}…`;
    try {
      const file = await download(q, format, MOST, running.signal);
      if (this.#running === running) this.#downloaded(file, format);
    } catch (error) {
      if (this.#running !== running) return; // something else runs by now, and what is shown is about that
      if (error instanceof ApiError) this.#failed(q, error);
      else this.#progress.textContent = "Download cancelled";
    } finally {
      if (this.#running === running) this.#idle();
    }
  }

  #downloaded(file: Blob, format: string): void {
    save(file, `novamesh-${stamp()}.${format}`);
    this.#progress.textContent = `Downloaded as ${format}, at most ${grouped(MOST)} rows`;
    announce(this.#progress.textContent);
  }
}

/** 20260131-120000, UTC. */
function stamp(): string {
  return new Date().toISOString().slice(0, 19).replace(/[-:]/g, "").replace("T", "-");
}

function save(blob: Blob, name: string): void {
  const url = URL.createObjectURL(blob);
  h("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000); // the browser may still be reading it
}
