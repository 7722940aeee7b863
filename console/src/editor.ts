/**
 * The SQL editor. It lives in a shadow root, where CodeMirror uses constructed style sheets: the page's policy allows
 * no inline style, and the editor needs none.
 */

import {
  acceptCompletion,
  autocompletion,
  closeBrackets,
  closeBracketsKeymap,
  closeCompletion,
  completionKeymap,
  completionStatus,
} from "@codemirror/autocomplete";
import { defaultKeymap, history, historyKeymap } from "@codemirror/commands";
import { sql } from "@codemirror/lang-sql";
import { bracketMatching, HighlightStyle, syntaxHighlighting } from "@codemirror/language";
import { EditorState, Prec, StateEffect, StateField } from "@codemirror/state";
import {
  Decoration,
  drawSelection,
  EditorView,
  keymap,
  lineNumbers,
  placeholder,
  type DecorationSet,
} from "@codemirror/view";
import { tags } from "@lezer/highlight";
import type { Completions } from "./complete";
import { dialect } from "./dialect";

/** From one character to another. */
export interface Span {
  from: number;
  to: number;
}

const setMark = StateEffect.define<Span | null>();
const MARK = Decoration.mark({ class: "cm-wrong" });

/** The place of an error, until the text changes. */
const marked = StateField.define<DecorationSet>({
  create: () => Decoration.none,
  update(marks, transaction) {
    for (const effect of transaction.effects) {
      if (effect.is(setMark))
        return effect.value ? Decoration.set([MARK.range(effect.value.from, effect.value.to)]) : Decoration.none;
    }
    return transaction.docChanged ? Decoration.none : marks;
  },
  provide: (field) => EditorView.decorations.from(field),
});

const colours = HighlightStyle.define([
  { tag: tags.keyword, color: "var(--accent)", fontWeight: "600" },
  { tag: [tags.typeName, tags.standard(tags.name)], color: "var(--code-type)" },
  { tag: [tags.string, tags.special(tags.string)], color: "var(--code-text)" },
  { tag: [tags.number, tags.bool, tags.null], color: "var(--code-number)" },
  { tag: tags.comment, color: "var(--muted)", fontStyle: "italic" },
]);

const theme = EditorView.theme({
  "&": { color: "var(--text)", backgroundColor: "var(--card)", fontSize: "0.875rem" },
  "&.cm-focused": { outline: "2px solid var(--accent)", outlineOffset: "-2px", borderRadius: "8px" },
  ".cm-scroller": { fontFamily: "var(--mono)", lineHeight: "1.55", minHeight: "8.5rem", maxHeight: "min(45vh, 26rem)" },
  ".cm-content": { padding: "0.6rem 0", caretColor: "var(--text)" },
  ".cm-gutters": { backgroundColor: "transparent", color: "var(--muted)", border: "none", paddingLeft: "0.25rem" },
  ".cm-cursor": { borderLeftColor: "var(--text)" },
  "&.cm-focused > .cm-scroller > .cm-selectionLayer .cm-selectionBackground, .cm-selectionBackground": {
    backgroundColor: "var(--select) !important",
  },
  "&.cm-focused .cm-matchingBracket": { backgroundColor: "var(--select)" },
  ".cm-placeholder": { color: "var(--muted)" },
  ".cm-wrong": {
    textDecoration: "underline wavy var(--bad)",
    textUnderlineOffset: "3px",
    backgroundColor: "var(--bad-wash)",
  },
  ".cm-tooltip": {
    backgroundColor: "var(--card)",
    color: "var(--text)",
    border: "1px solid var(--line)",
    borderRadius: "6px",
    boxShadow: "0 4px 16px #0003",
  },
  ".cm-tooltip.cm-completionInfo": {
    padding: "0.4rem 0.6rem",
    maxWidth: "18rem",
    fontSize: "0.8125rem",
    overflowWrap: "anywhere",
  },
  ".cm-tooltip-autocomplete > ul": { fontFamily: "var(--mono)", fontSize: "0.8125rem", maxWidth: "min(32rem, 92vw)" },
  ".cm-tooltip-autocomplete > ul > li": { padding: "0.15rem 0.5rem", lineHeight: "1.5" },
  ".cm-tooltip-autocomplete > ul > li[aria-selected]": { backgroundColor: "var(--accent)", color: "var(--on-accent)" },
  ".cm-completionDetail": { color: "var(--muted)", fontStyle: "normal", marginLeft: "1rem" },
  "li[aria-selected] .cm-completionDetail": { color: "inherit" },
  ".cm-completionMatchedText": { textDecoration: "none", fontWeight: "700" },
});

/**
 * Typing over a selection is done here and not by the browser, which would keep the look of what is replaced in a style
 * attribute. The page's policy refuses those, and reports each.
 */
const typingOver = EditorView.domEventHandlers({
  beforeinput(event, view) {
    const { from, to } = view.state.selection.main;
    const text = event.data;
    if (event.inputType !== "insertText" || event.isComposing || text === null || from === to) return false;
    const insert = () =>
      view.state.update(view.state.replaceSelection(text), { userEvent: "input.type", scrollIntoView: true });
    const handled = view.state.facet(EditorView.inputHandler).some((handle) => handle(view, from, to, text, insert));
    if (!handled) view.dispatch(insert());
    return true;
  },
});

/** Tab takes what is offered; while something is, it does not leave the editor, though it be too early to take it. */
function takeCompletion(view: EditorView): boolean {
  return acceptCompletion(view) || completionStatus(view.state) === "active";
}

export interface EditorHooks {
  /** Ctrl-Enter, or Cmd-Enter. */
  run: () => void;
  changed: (text: string) => void;
}

export class Editor {
  readonly #view: EditorView;

  constructor(host: HTMLElement, text: string, completions: Completions, hooks: EditorHooks) {
    const root = host.attachShadow({ mode: "open" });
    const run = (view: EditorView): boolean => {
      closeCompletion(view); // else Escape would close that, and not end the query
      hooks.run();
      return true;
    };
    this.#view = new EditorView({
      root,
      parent: root,
      state: EditorState.create({
        doc: text,
        extensions: [
          Prec.highest(
            keymap.of([
              { key: "Mod-Enter", run },
              { key: "Tab", run: takeCompletion },
            ]),
          ),
          lineNumbers(),
          history(),
          drawSelection(),
          bracketMatching(),
          closeBrackets(),
          autocompletion({ override: [completions.source], icons: false }),
          keymap.of([...closeBracketsKeymap, ...completionKeymap, ...historyKeymap, ...defaultKeymap]),
          sql({ dialect }),
          syntaxHighlighting(colours),
          theme,
          marked,
          typingOver,
          placeholder("SELECT event, count() FROM events GROUP BY event"),
          EditorView.lineWrapping,
          EditorView.contentAttributes.of({ "aria-label": "SQL", autocapitalize: "off", spellcheck: "false" }),
          EditorView.updateListener.of((update) => {
            if (update.docChanged) hooks.changed(update.state.doc.toString());
          }),
        ],
      }),
    });
  }

  get text(): string {
    return this.#view.state.doc.toString();
  }

  /** Replace the text. Undo brings back what was there. */
  set text(text: string) {
    const { state } = this.#view;
    this.#view.dispatch({
      changes: { from: 0, to: state.doc.length, insert: text },
      selection: { anchor: 0 },
      scrollIntoView: true,
    });
  }

  insert(text: string): void {
    this.#view.dispatch(this.#view.state.replaceSelection(text));
    this.focus();
  }

  focus(): void {
    this.#view.focus();
  }

  mark(span: Span | null): void {
    const end = this.#view.state.doc.length;
    const inside = span && span.from < span.to && span.to <= end ? span : null;
    const effects = [setMark.of(inside)];
    if (inside) effects.push(EditorView.scrollIntoView(inside.from) as never);
    this.#view.dispatch({ effects });
  }
}
