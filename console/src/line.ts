/** A line chart over time. */

import uPlot from "uplot";
import { compact, grouped } from "./values";

// Told apart by hue and by lightness; the first is the accent.
const COLOURS = ["--accent", "--warn-fill", "--series-3", "--bad-fill", "--series-5", "--none"];
const HEIGHT_PX = 260;

export interface Series {
  name: string;
  values: (number | null)[];
}

function colour(name: string): string {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

function axis(extra: uPlot.Axis): uPlot.Axis {
  return {
    stroke: () => colour("--muted"),
    grid: { stroke: () => colour("--line"), width: 1 },
    ticks: { show: false },
    font: "12px system-ui, sans-serif",
    ...extra,
  };
}

export class LineChart {
  readonly #plot: uPlot;
  readonly #sizes: ResizeObserver;
  readonly #dark = matchMedia("(prefers-color-scheme: dark)");
  readonly #repaint = (): void => this.#plot.redraw(false);

  /** `times` in unix seconds, ascending. Lines of many series have no values at most others' times: theirs are bridged. */
  constructor(parent: HTMLElement, times: number[], series: Series[], gaps: "shown" | "bridged") {
    const width = (): number => Math.max(240, parent.clientWidth);
    this.#plot = new uPlot(
      {
        width: width(),
        height: HEIGHT_PX,
        tzDate: (time) => uPlot.tzDate(new Date(time * 1000), "UTC"), // as the results say it
        cursor: { drag: { x: true, y: false } },
        scales: { y: { range: (_plot, low, high) => range(low, high) } },
        axes: [
          axis({
            space: 64,
            size: 32,
            values: (_plot, ticks, _axis, _space, step) => ticks.map((tick) => label(tick, step)),
          }),
          axis({ size: 56, values: (_plot, ticks) => ticks.map((tick) => compact(tick)) }),
        ],
        series: [
          {
            label: "UTC",
            value: (_plot, value: number | null) => (value === null ? "–" : utc(new Date(value * 1000))),
          },
          ...series.map((one, index) => ({
            label: one.name,
            stroke: () => colour(COLOURS[index % COLOURS.length]!),
            width: 2,
            spanGaps: gaps === "bridged",
            value: (_plot: uPlot, value: number | null) => (value === null ? "–" : grouped(value)),
          })),
        ],
      },
      [times, ...series.map((one) => one.values)],
      parent,
    );
    this.#sizes = new ResizeObserver(() => this.#plot.setSize({ width: width(), height: HEIGHT_PX }));
    this.#sizes.observe(parent);
    this.#dark.addEventListener("change", this.#repaint);
  }

  close(): void {
    this.#sizes.disconnect();
    this.#dark.removeEventListener("change", this.#repaint);
    this.#plot.destroy();
  }
}

/** From zero where that is not far: a bar chart's honesty for lines that count something. */
function range(low: number | null, high: number | null): [number, number] {
  if (low === null || high === null) return [0, 1];
  const bottom = low >= 0 ? 0 : low * 1.05;
  return [bottom, high > bottom ? high + (high - bottom) * 0.05 : bottom + 1];
}

const DAY_S = 86_400;
const DAY = new Intl.DateTimeFormat("en-GB", { timeZone: "UTC", day: "numeric", month: "short" });
const MONTH = new Intl.DateTimeFormat("en-GB", { timeZone: "UTC", month: "short", year: "numeric" });

/** A tick's text: no finer than the ticks are apart. */
function label(tick: number, step: number): string {
  const date = new Date(tick * 1000);
  if (step >= 27 * DAY_S) return MONTH.format(date);
  if (step >= DAY_S || tick % DAY_S === 0) return DAY.format(date);
  return date.toISOString().slice(11, step < 60 ? 19 : 16);
}

function utc(date: Date): string {
  return date.toISOString().slice(0, 16).replace("T", " ");
}
