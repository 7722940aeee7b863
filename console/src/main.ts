/** The console: its parts, put together. */

import "uplot/dist/uPlot.min.css";
import "./console.css";
import { Access } from "./access";
import { Completions } from "./complete";
import { byId } from "./dom";
import { getKey } from "./key";
import { QueryView } from "./query";
import { Sidebar } from "./sidebar";
import { linkedQuery, readDraft } from "./store";
import { Tabs } from "./tabs";
import { TailView } from "./tail";

const FIRST = "SELECT event, count()\nFROM events\nGROUP BY event\nORDER BY count DESC";

async function showNode(): Promise<void> {
  const answer = await fetch("v1/health", { cache: "no-store" });
  const { node, status } = (await answer.json()) as { node: string; status: string };
  byId("node").textContent = node;
  byId("node").classList.toggle("degraded", status !== "ok");
  document.title = `Console — ${node}`;
}

const completions = new Completions();
const tabs = new Tabs(["query", "tail"]);
const sidebar = new Sidebar({
  run: (sql) => view.take(sql),
  fill: (sql) => {
    view.editor.text = sql;
    view.editor.focus();
  },
  insert: (text) => view.editor.insert(text),
});
const view = new QueryView(linkedQuery() ?? (readDraft() || FIRST), completions, {
  needKey: () => access.ask(),
  unwell: (error) => access.refused(error),
  ran: () => sidebar.history(),
});
const tail = new TailView({ needKey: () => access.ask() });
const access = new Access({
  schema: (schema) => {
    completions.learn(schema);
    sidebar.schema(schema);
    tail.events(schema.events.map((event) => event.name));
  },
  changed: () => {
    if (getKey() === "") {
      view.clear();
      tail.forget();
    }
  },
});

// A link that is opened fills the editor. It does not run: whoever made it is not who pays for it.
addEventListener("hashchange", () => {
  const linked = linkedQuery();
  if (linked === null) return;
  tabs.select("query");
  view.editor.text = linked;
});
showNode().catch(() => {}); // what is wrong with the node is said where it matters
