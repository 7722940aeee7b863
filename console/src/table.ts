/**
 * A grid of any number of rows, of which only those that can be seen are in the document. It has the semantics and the
 * keys of an ARIA grid: arrows, Page Up and Down, Home and End (with Ctrl: of the whole grid), Enter for a whole value.
 */

import { h, showValue } from "./dom";
import { pretty, shown, type Row, type Value } from "./values";

const ROW_PX = 28;
const BEYOND = 8; // rows above and below what is seen
const SAMPLE = 200; // rows that widths are taken from

/** Headings and widths in characters. */
export interface Column {
  name: string;
  /** Aligned to the right. */
  number?: boolean;
}

let grids = 0;

export class Grid {
  readonly element: HTMLDivElement;
  readonly #id = `grid${++grids}`;
  readonly #head = h("div", { role: "row", class: "tr", "aria-rowindex": 1 });
  readonly #body = h("div", { role: "rowgroup", class: "tbody" });
  readonly #drawn = new Map<number, HTMLDivElement>();
  #columns: Column[] = [];
  #rows: readonly Row[] = [];
  #measured = 0;
  #active = { row: 0, column: 0 };
  #waiting = false;

  constructor(label: string) {
    this.element = h(
      "div",
      {
        role: "grid",
        class: "grid",
        tabindex: 0,
        "aria-label": label,
        "aria-readonly": "true",
        keydown: (event: KeyboardEvent) => this.#onKey(event),
        focus: () => this.#markActive(),
        blur: () => this.#markActive(),
        click: (event: MouseEvent) => this.#onClick(event),
        dblclick: () => this.#open(),
      },
      h("div", { role: "rowgroup", class: "thead" }, this.#head),
      this.#body,
    );
    this.element.addEventListener("scroll", () => this.#soon(), { passive: true });
    new ResizeObserver(() => this.#soon()).observe(this.element);
  }

  /** Show other columns, and no rows yet. */
  reset(columns: Column[]): void {
    this.#columns = columns;
    this.#rows = [];
    this.#measured = 0;
    this.#active = { row: 0, column: 0 };
    this.element.scrollTo(0, 0);
    this.#head.replaceChildren(
      ...columns.map((column, index) =>
        h("div", { role: "columnheader", class: "td", "aria-colindex": index + 1, title: column.name }, column.name),
      ),
    );
    this.element.setAttribute("aria-colcount", String(columns.length));
    this.#clear();
    this.#measure();
    this.#soon();
  }

  /** Which columns are numbers is known when the result has ended. */
  align(numbers: readonly boolean[]): void {
    this.#columns = this.#columns.map((column, index) => ({ ...column, number: numbers[index] ?? false }));
    [...this.#head.children].forEach((cell, index) => cell.classList.toggle("number", numbers[index] ?? false));
    this.#clear();
    this.#measure();
    this.#soon();
  }

  /** The rows are now these. `shifted`: so many came before those that were there, and the place in them stays. */
  update(rows: readonly Row[], shifted = 0): void {
    const whole = this.#rows === rows && shifted === 0;
    this.#rows = rows;
    if (!whole) this.#clear();
    if (shifted > 0 && this.element.scrollTop > 0) {
      this.element.scrollTop += shifted * ROW_PX;
      this.#active.row += shifted;
    }
    this.#active.row = Math.max(0, Math.min(this.#active.row, rows.length - 1));
    if (this.#measured < SAMPLE) this.#measure();
    this.#soon();
  }

  get #visible(): number {
    return Math.max(1, Math.floor((this.element.clientHeight - ROW_PX) / ROW_PX));
  }

  #clear(): void {
    this.#drawn.clear();
    this.#body.replaceChildren();
  }

  #measure(): void {
    this.#measured = Math.min(this.#rows.length, SAMPLE);
    const widths = this.#columns.map(({ name }, column) => {
      let most = name.length + 1;
      for (let row = 0; row < this.#measured; row++) most = Math.max(most, shown(this.#rows[row]![column]).length);
      return Math.min(Math.max(most, 4), 44);
    });
    // The last column takes what is left, unless that carries its numbers away from what they belong to.
    const tracks = widths.map((width, index) => {
      const size = `calc(${width}ch + 1.5rem)`;
      return index === widths.length - 1 && !this.#columns[index]!.number ? `minmax(${size}, 1fr)` : size;
    });
    const total = widths.reduce((sum, width) => sum + width, 0);
    this.element.style.setProperty("--tracks", tracks.join(" "));
    this.element.style.setProperty("--width", `calc(${total}ch + ${widths.length * 1.5}rem)`);
  }

  #soon(): void {
    if (this.#waiting) return;
    this.#waiting = true;
    requestAnimationFrame(() => {
      this.#waiting = false;
      this.#draw();
    });
  }

  #draw(): void {
    const { scrollTop, clientHeight } = this.element;
    const first = Math.max(0, Math.floor(scrollTop / ROW_PX) - BEYOND);
    const last = Math.min(this.#rows.length, Math.ceil((scrollTop + clientHeight) / ROW_PX) + BEYOND);
    this.#body.style.height = `${this.#rows.length * ROW_PX}px`;
    this.element.setAttribute("aria-rowcount", String(this.#rows.length + 1));
    for (const [index, row] of this.#drawn) {
      if (index >= first && index < last) continue;
      row.remove();
      this.#drawn.delete(index);
    }
    const added: HTMLDivElement[] = [];
    for (let index = first; index < last; index++) {
      if (this.#drawn.has(index)) continue;
      const row = this.#drawRow(index);
      this.#drawn.set(index, row);
      added.push(row);
    }
    this.#body.append(...added);
    this.#markActive();
  }

  #drawRow(index: number): HTMLDivElement {
    const row = h("div", { role: "row", class: index % 2 ? "tr odd" : "tr", "aria-rowindex": index + 2 });
    row.style.top = `${index * ROW_PX}px`;
    const values = this.#rows[index]!;
    row.append(...this.#columns.map((column, at) => this.#drawCell(index, at, column, values[at])));
    return row;
  }

  #drawCell(row: number, at: number, column: Column, value: Value | undefined): HTMLDivElement {
    const kind = value === null || value === undefined ? "td null" : column.number ? "td number" : "td";
    const id = `${this.#id}-${row}-${at}`;
    return h("div", { role: "gridcell", class: kind, id, "aria-colindex": at + 1 }, shown(value).slice(0, 300));
  }

  /** Show where the keyboard is, if it is in the grid. */
  #markActive(): void {
    this.#body.querySelector(".active")?.classList.remove("active");
    const focused = document.activeElement === this.element && this.#rows.length > 0;
    const id = `${this.#id}-${this.#active.row}-${this.#active.column}`;
    const cell = focused ? document.getElementById(id) : null;
    cell?.classList.add("active");
    if (cell) this.element.setAttribute("aria-activedescendant", id);
    else this.element.removeAttribute("aria-activedescendant");
  }

  #onClick(event: MouseEvent): void {
    const cell = (event.target as Element).closest<HTMLElement>('[role="gridcell"]');
    if (!cell) return;
    const [, row, column] = cell.id.split("-").map(Number);
    this.#active = { row: row!, column: column! };
    this.#markActive();
  }

  #onKey(event: KeyboardEvent): void {
    const last = this.#rows.length - 1;
    const end = this.#columns.length - 1;
    const { row, column } = this.#active;
    const whole = event.ctrlKey || event.metaKey;
    const moves: Record<string, () => [number, number]> = {
      ArrowDown: () => [row + 1, column],
      ArrowUp: () => [row - 1, column],
      ArrowRight: () => [row, column + 1],
      ArrowLeft: () => [row, column - 1],
      PageDown: () => [row + this.#visible, column],
      PageUp: () => [row - this.#visible, column],
      Home: () => [whole ? 0 : row, 0],
      End: () => [whole ? last : row, end],
    };
    const move = moves[event.key];
    if (last < 0 || event.altKey) return;
    if (move) {
      const [toRow, toColumn] = move();
      this.#active = { row: Math.max(0, Math.min(toRow, last)), column: Math.max(0, Math.min(toColumn, end)) };
      this.#reveal();
    } else if (event.key === "Enter" && !whole) this.#open();
    else return;
    event.preventDefault();
  }

  #reveal(): void {
    const top = this.#active.row * ROW_PX;
    const room = this.element.clientHeight - ROW_PX; // below the heading, which stays
    if (top < this.element.scrollTop) this.element.scrollTop = top;
    else if (top + ROW_PX > this.element.scrollTop + room) this.element.scrollTop = top + ROW_PX - room;
    this.#draw();
    const cell = document.getElementById(`${this.#id}-${this.#active.row}-${this.#active.column}`);
    cell?.scrollIntoView({ block: "nearest", inline: "nearest" });
  }

  /** The whole value where the keyboard is: a cell shows one line of it. */
  #open(): void {
    const value = this.#rows[this.#active.row]?.[this.#active.column];
    const column = this.#columns[this.#active.column];
    if (value !== undefined && column) showValue(column.name, value === null ? "NULL" : pretty(value));
  }
}
