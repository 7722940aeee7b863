/** Values of results: JSON as the node writes it, and text as it is shown. */

export type Value = null | boolean | number | bigint | string | Value[] | { [key: string]: Value };
export type Row = Value[];

/** What JSON.parse gives its reviver in browsers that have "source text access". */
interface Source {
  source?: string;
}
type Reviver = (this: unknown, key: string, value: unknown, context?: Source) => unknown;

const LONG_INTEGER = /\d{16}/;

/** Parse JSON; an integer that a double would round becomes a bigint, where the browser tells how it was written. */
export function parse(text: string): unknown {
  return LONG_INTEGER.test(text)
    ? JSON.parse(text, keepDigits as (key: string, value: unknown) => unknown)
    : JSON.parse(text);
}

const keepDigits: Reviver = (_key, value, context) => {
  const source = context?.source;
  if (typeof value !== "number" || Number.isSafeInteger(value) || source === undefined || !/^-?\d+$/.test(source))
    return value;
  return BigInt(source);
};

/** JSON of a value, bigints as numbers. */
export function json(value: Value, indent = ""): string {
  if (value === null || typeof value !== "object")
    return typeof value === "bigint" ? String(value) : JSON.stringify(value);
  const inner = indent === "" ? "" : indent + "  ";
  const [open, close, parts] = Array.isArray(value)
    ? ["[", "]", value.map((item) => json(item, inner))]
    : [
        "{",
        "}",
        Object.entries(value).map(
          ([key, item]) => `${JSON.stringify(key)}:${indent === "" ? "" : " "}${json(item, inner)}`,
        ),
      ];
  if (parts.length === 0) return open + close;
  return indent === "" ? open + parts.join(",") + close : `${open}${inner}${parts.join("," + inner)}${indent}${close}`;
}

/** A value on many lines. */
export function pretty(value: Value): string {
  return typeof value === "string" ? value : json(value, "\n");
}

/** A value in one line, as a cell shows it. A NULL is shown as an empty cell with a mark of its own. */
export function shown(value: Value | undefined): string {
  if (value === null || value === undefined) return "NULL";
  return typeof value === "string" ? value : json(value);
}

export type Kind = "number" | "time" | "text" | "other";

/** What a column is, by DuckDB's name of its type and, for paths, by the values that came. */
export function kindOf(type: string, values: Iterable<Value | undefined>): Kind {
  if (/^(U?(TINY|SMALL|BIG|HUGE)INT|U?INTEGER|DOUBLE|FLOAT|DECIMAL.*)$/.test(type)) return "number";
  if (/^(TIMESTAMP.*|DATE)$/.test(type) && !type.endsWith("]")) return "time";
  if (/^(VARCHAR|UUID|BOOLEAN|ENUM.*)$/.test(type)) return "text";
  if (type !== "VARIANT" && type !== "JSON") return "other";
  const kinds = new Set<string>();
  for (const value of values) if (value !== null && value !== undefined) kinds.add(typeof value);
  if (kinds.has("object") || kinds.size === 0) return "other";
  return [...kinds].every((kind) => kind === "number" || kind === "bigint") ? "number" : "text";
}

/** A number for a chart; null for what is none. */
export function numeric(value: Value | undefined): number | null {
  return typeof value === "number" ? value : typeof value === "bigint" ? Number(value) : null;
}

/** Unix seconds of an ISO 8601 time or date; null for what is none. */
export function seconds(value: Value | undefined): number | null {
  if (typeof value !== "string") return null;
  const ms = Date.parse(value.includes("T") ? value : `${value}T00:00:00Z`);
  return Number.isNaN(ms) ? null : ms / 1000;
}

const GROUPED = new Intl.NumberFormat("en-US", { maximumFractionDigits: 3 });
const COMPACT = new Intl.NumberFormat("en-US", { notation: "compact", maximumFractionDigits: 1 });

/** `1,234,567.89` */
export function grouped(value: number | bigint): string {
  return GROUPED.format(value);
}

/** `1.2M`, for axes. */
export function compact(value: number): string {
  return COMPACT.format(value);
}

/** `1 row`, `2 rows`. */
export function counted(count: number, one: string, many = one + "s"): string {
  return `${grouped(count)} ${count === 1 ? one : many}`;
}

/** `42 %` of a share from 0 to 1. Nothing that occurs is shown as 0 %, and nothing that is missing somewhere as 100 %. */
export function percent(share: number): string {
  if (share > 0 && share < 0.01) return "< 1 %";
  return share > 0.99 && share < 1 ? "> 99 %" : `${Math.round(share * 100)} %`;
}
