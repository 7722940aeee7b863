/** Small helpers for the DOM. Text goes in as text: nothing here takes HTML. */

type Attribute = string | number | boolean | undefined | ((event: never) => void);

/** An element. An attribute that is a function is a listener of the event of that name; `true` is an empty attribute. */
export function h<Tag extends keyof HTMLElementTagNameMap>(
  tag: Tag,
  attributes: Record<string, Attribute> = {},
  ...children: (Node | string)[]
): HTMLElementTagNameMap[Tag] {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(name, value as EventListener);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== undefined) element.setAttribute(name, String(value));
  }
  element.append(...children);
  return element;
}

/** The element of the page with this id, which index.html must have. */
export function byId<Kind extends HTMLElement = HTMLElement>(id: string): Kind {
  const element = document.getElementById(id);
  if (element === null) throw new Error(`index.html has no #${id}`);
  return element as Kind;
}

/** Say something to those who do not see it. */
export function announce(text: string): void {
  byId("said").textContent = text;
}

/** A `<select>` with its label. */
export function choice(
  label: string,
  options: readonly (readonly [value: string, text: string])[],
  value: string,
  change: (value: string) => void,
): HTMLLabelElement {
  const select = h("select", { change: () => change(select.value) });
  select.append(...options.map(([name, text]) => h("option", { value: name, selected: name === value }, text)));
  return h("label", { class: "choice" }, label, select);
}

/** Put text on the clipboard and say so on the button. Without permission the text is shown to be copied by hand. */
export async function copy(text: string, button: HTMLButtonElement): Promise<void> {
  const before = button.textContent ?? "";
  try {
    await navigator.clipboard.writeText(text);
    button.textContent = "Copied";
    announce("Copied");
    setTimeout(() => (button.textContent = before), 2000);
  } catch {
    showValue("Copy this", text);
  }
}

/** A whole value in a dialog: what does not fit into a cell. */
export function showValue(title: string, text: string): void {
  const copyButton: HTMLButtonElement = h(
    "button",
    { type: "button", click: () => void copy(text, copyButton) },
    "Copy",
  );
  const dialog = h(
    "dialog",
    { "aria-label": title, close: () => dialog.remove() },
    h("h2", {}, title),
    h("pre", { tabindex: 0, role: "group", "aria-label": "Value" }, text),
    h("p", { class: "row" }, copyButton, h("button", { type: "button", click: () => dialog.close() }, "Close")),
  );
  document.body.append(dialog);
  dialog.showModal();
}
