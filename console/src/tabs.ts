/** Tabs after the pattern of ARIA: arrows go from one to the next. */

import { byId } from "./dom";

export class Tabs {
  constructor(private readonly names: string[]) {
    names.forEach((name, index) => {
      const tab = byId(`tab-${name}`);
      tab.addEventListener("click", () => this.select(name));
      tab.addEventListener("keydown", (event) => {
        const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
        if (step === undefined) return;
        const next = names[(index + step + names.length) % names.length]!;
        this.select(next);
        byId(`tab-${next}`).focus();
        event.preventDefault();
      });
    });
  }

  select(name: string): void {
    for (const one of this.names) {
      byId(one).hidden = one !== name;
      const tab = byId(`tab-${one}`);
      tab.setAttribute("aria-selected", String(one === name));
      tab.tabIndex = one === name ? 0 : -1;
    }
  }
}
