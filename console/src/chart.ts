/** A chart of a result: chosen by its shape, and changed at will. What it shows stands in the table as well. */

import { choice, h } from "./dom";
import { LineChart, type Series } from "./line";
import { counted, grouped, kindOf, numeric, seconds, shown, type Kind, type Row } from "./values";

const BARS = 40;
const LINES = 6;
const ALL = "";

export type Form = "none" | "line" | "bars" | "number";

export interface Result {
  columns: string[];
  types: string[];
  rows: Row[];
}

/** Columns by index. `y` -1 stands for every number; `split` -1 for none, else a line for each value of that column. */
export interface Choice {
  form: Form;
  x: number;
  y: number;
  split: number;
}

export function kindsOf(result: Result): Kind[] {
  return result.columns.map((_, column) =>
    kindOf(
      result.types[column] ?? "",
      result.rows.slice(0, 200).map((row) => row[column]),
    ),
  );
}

/** Time and numbers: a line. A text or a number and numbers: bars. One number alone: that number. Else: none. */
export function choose(result: Result, kinds: Kind[]): Choice {
  const numbers = kinds.flatMap((kind, index) => (kind === "number" ? [index] : []));
  const last = numbers.at(-1) ?? -1;
  const time = kinds.indexOf("time");
  const text = kinds.indexOf("text");
  const none: Choice = { form: "none", x: Math.max(time, 0), y: last, split: -1 };
  if (last < 0 || result.rows.length === 0) return none;
  if (result.rows.length === 1 && result.columns.length === 1) return { ...none, form: "number" };
  if (result.rows.length < 2) return none;
  if (time >= 0) {
    const split = repeats(result.rows, time) ? text : -1;
    return { form: "line", x: time, y: numbers.length > 1 && split < 0 ? -1 : last, split };
  }
  if (text >= 0) return { ...none, form: "bars", x: text, y: numbers.find((number) => number > text) ?? last };
  return numbers.length === 2 && result.rows.length <= BARS ? { ...none, form: "bars", x: numbers[0]! } : none;
}

/** Whether a value of a column comes twice. */
function repeats(rows: Row[], column: number): boolean {
  return new Set(rows.map((row) => row[column])).size < rows.length;
}

export class Chart {
  readonly element = h("section", { class: "chart", "aria-label": "Chart", hidden: true });
  #line: LineChart | null = null;
  #result: Result = { columns: [], types: [], rows: [] };
  #kinds: Kind[] = [];
  #choice: Choice = { form: "none", x: 0, y: -1, split: -1 };

  /** Draw what suits a result. */
  show(result: Result): void {
    this.#result = result;
    this.#kinds = kindsOf(result);
    this.#choice = choose(result, this.#kinds);
    this.#draw();
  }

  hide(): void {
    this.#line?.close();
    this.#line = null;
    this.element.hidden = true;
    this.element.replaceChildren();
  }

  #set(change: Partial<Choice>, label: string): void {
    this.#choice = { ...this.#choice, ...change };
    this.#draw();
    // What was changed is drawn anew, and keeps the keyboard.
    const labels = [...this.element.querySelectorAll("label")];
    labels
      .find((one) => one.firstChild?.textContent === label)
      ?.querySelector("select")
      ?.focus();
  }

  #draw(): void {
    this.hide();
    const numbers = this.#columns("number");
    if (numbers.length === 0 || this.#result.rows.length === 0) return;
    this.element.hidden = false;
    this.element.append(this.#controls(numbers));
    const { form } = this.#choice;
    if (form === "line") this.#drawLine();
    else if (form === "bars") this.#drawBars();
    else if (form === "number") this.#drawNumber();
  }

  #columns(kind: Kind): [string, string][] {
    return this.#result.columns.flatMap((name, index): [string, string][] =>
      this.#kinds[index] === kind ? [[String(index), name]] : [],
    );
  }

  #controls(numbers: [string, string][]): HTMLElement {
    const { form, x, y } = this.#choice;
    const times = this.#columns("time");
    const forms: [Form, string][] = [
      ["none", "None"],
      ["bars", "Bars"],
      ["number", "Number"],
    ];
    if (times.length > 0) forms.splice(1, 0, ["line", "Line"]);
    const row = h(
      "div",
      { class: "row" },
      choice("Chart", forms, form, (value) => this.#change(value as Form)),
    );
    if (form === "line" || form === "bars") {
      const across =
        form === "line" ? times : this.#result.columns.map((name, at): [string, string] => [String(at), name]);
      row.append(choice("X", across, String(x), (value) => this.#set({ x: Number(value) }, "X")));
    }
    if (form !== "none") {
      const many = form === "line" && this.#choice.split < 0 && numbers.length > 1;
      const all: [string, string][] = many ? [[ALL, "all numbers"]] : [];
      const value = y < 0 ? ALL : String(y);
      row.append(choice("Y", [...all, ...numbers], value, (to) => this.#set({ y: to === ALL ? -1 : Number(to) }, "Y")));
    }
    const texts = this.#columns("text");
    if (form === "line" && texts.length > 0) {
      const { split } = this.#choice;
      row.append(choice("Split by", [["-1", "nothing"], ...texts], String(split), (to) => this.#split(Number(to))));
    }
    return row;
  }

  /** Lines that are split are of one column. */
  #split(split: number): void {
    const { y } = this.#choice;
    const numbers = this.#columns("number");
    this.#set({ split, y: split >= 0 && y < 0 ? Number(numbers.at(-1)![0]) : y }, "Split by");
  }

  /** Another form, with columns that it can show. */
  #change(form: Form): void {
    const numbers = this.#columns("number").map(([index]) => Number(index));
    const times = this.#columns("time").map(([index]) => Number(index));
    const { x, y } = this.#choice;
    const across = form === "line" && !times.includes(x) ? (times[0] ?? x) : x;
    const up = form === "line" || numbers.includes(y) ? y : numbers.at(-1)!;
    this.#set({ form, x: across, y: up }, "Chart");
  }

  #name(column: number): string {
    return this.#result.columns[column] ?? "";
  }

  #figure(summary: string, ...content: Node[]): HTMLElement {
    const figure = h("figure", {}, ...content, h("figcaption", { class: "muted small" }, summary));
    this.element.append(figure);
    return figure;
  }

  #drawLine(): void {
    const { x, y, split } = this.#choice;
    const points = this.#result.rows.flatMap((row): [number, Row][] => {
      const time = seconds(row[x]);
      return time === null ? [] : [[time, row]];
    });
    points.sort(([a], [b]) => a - b);
    const [times, series] = split >= 0 ? this.#splitLines(points, split, y) : this.#lines(points, y);
    const names = series.map((one) => one.name).join(", ");
    const what =
      split >= 0 ? `${this.#name(y)} by ${this.#name(x)} and ${this.#name(split)}` : `${names} by ${this.#name(x)}`;
    const plot = h("div", { role: "img", "aria-label": `Line chart of ${what}: ${names}. ${summary(series[0])}` });
    this.#figure(`${what}, ${counted(points.length, "row")}. The table has every value.`, plot);
    this.#line = new LineChart(plot, times, series, split >= 0 ? "bridged" : "shown");
  }

  /** A line for each number, or for one. */
  #lines(points: [number, Row][], y: number): [number[], Series[]] {
    const columns =
      y >= 0
        ? [y]
        : this.#columns("number")
            .map(([index]) => Number(index))
            .slice(0, LINES);
    const series = columns.map((column): Series => ({
      name: this.#name(column),
      values: points.map(([, row]) => numeric(row[column])),
    }));
    return [points.map(([time]) => time), series];
  }

  /** A line for each of the values that have most. */
  #splitLines(points: [number, Row][], split: number, y: number): [number[], Series[]] {
    const times = [...new Set(points.map(([time]) => time))];
    const places = new Map(times.map((time, index) => [time, index]));
    const lines = new Map<string, { sum: number; values: (number | null)[] }>();
    for (const [time, row] of points) {
      const name = shown(row[split]);
      let line = lines.get(name);
      if (!line) lines.set(name, (line = { sum: 0, values: times.map(() => null) }));
      const value = numeric(row[y]);
      line.values[places.get(time)!] = value;
      line.sum += Math.abs(value ?? 0);
    }
    const most = [...lines].sort(([, a], [, b]) => b.sum - a.sum).slice(0, LINES);
    return [times, most.map(([name, { values }]) => ({ name, values }))];
  }

  #drawBars(): void {
    const { x, y } = this.#choice;
    const rows = this.#result.rows.slice(0, BARS);
    const values = rows.map((row) => numeric(row[y]) ?? 0);
    const most = Math.max(...values.map(Math.abs)) || 1;
    const bars = rows.map((row, index) => {
      const bar = h("i", { class: values[index]! < 0 ? "minus" : "" });
      bar.style.width = `${(Math.abs(values[index]!) / most) * 100}%`;
      const name = shown(row[x]);
      return h(
        "li",
        {},
        h("span", { class: "name", title: name }, name),
        h("span", { class: "bar" }, bar),
        h("b", {}, grouped(values[index]!)),
      );
    });
    const rest = this.#result.rows.length - rows.length;
    const more = rest > 0 ? ` The first ${BARS} of ${grouped(this.#result.rows.length)} rows.` : "";
    this.#figure(`${this.#name(y)} by ${this.#name(x)}.${more}`, h("ul", { class: "bars" }, ...bars));
  }

  #drawNumber(): void {
    const value = numeric(this.#result.rows[0]?.[this.#choice.y]);
    const text = value === null ? "NULL" : grouped(value);
    const first = this.#result.rows.length > 1 ? " (the first row)" : "";
    this.#figure(this.#name(this.#choice.y) + first, h("p", { class: "big" }, text));
  }
}

function summary(series: Series | undefined): string {
  const values = (series?.values ?? []).filter((value): value is number => value !== null);
  if (values.length === 0) return "No values.";
  const [least, most] = values.reduce(
    ([low, high], value) => [Math.min(low, value), Math.max(high, value)],
    [Infinity, -Infinity],
  );
  return `${counted(values.length, "value")} from ${grouped(least)} to ${grouped(most)}. The table below has them.`;
}
