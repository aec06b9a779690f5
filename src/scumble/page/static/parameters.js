// The form of a method: its parameters, read off what the server tells about its dataclass.

import { arrange, element } from "./dom.js";

const FIRST = 3; // parameters in front; the others are folded away

const shown = (value) => (value === null || value === undefined ? "none" : String(value));

function range(p) {
  const parts = [];
  if (p.choices) return "";
  if (p.min !== null) parts.push(`at least ${p.min}`);
  if (p.above !== null) parts.push(`above ${p.above}`);
  if (p.max !== null) parts.push(`at most ${p.max}`);
  if (p.below !== null) parts.push(`below ${p.below}`);
  return parts.join(", ");
}

function usual(p) {
  const paper = shown(p.default);
  return p.recommended === null || shown(p.recommended) === paper ? paper : `${shown(p.recommended)} (paper: ${paper})`;
}

const choices = (p) => p.choices ?? (p.kind === "switch" ? [true, false] : null);
const numeric = (p) => p.kind === "whole" || p.kind === "number";

// What decides which element a field is.
const shape = (p) => JSON.stringify([p.name, numeric(p), choices(p)]);

function field(p) {
  const id = `parameter-${p.name}`;
  const label = element("label", { htmlFor: id }, p.name, element("small"));
  const input = element(choices(p) ? "select" : "input", { id });
  if (numeric(p)) input.type = "number";
  if (!choices(p)) return { shape: shape(p), label, input };
  input.append(element("option", { value: "" }));
  for (const value of choices(p)) input.append(element("option", { value: JSON.stringify(value), textContent: shown(value) }));
  return { shape: shape(p), label, input };
}

// What a field says, and what it takes.
function describe({ label, input }, p) {
  label.lastChild.textContent = [p.help, range(p)].filter(Boolean).join("; ");
  if (choices(p)) input.options[0].textContent = usual(p);
  else input.placeholder = usual(p);
  if (numeric(p)) Object.assign(input, { step: p.kind === "whole" ? 1 : "any", min: p.min ?? "", max: p.max ?? "" });
}

// Where the focus and the caret are, to be put back if they get lost.
function holding() {
  const { id, selectionStart, selectionEnd } = document.activeElement;
  return () => {
    const now = document.getElementById(id);
    if (!id || !now || now === document.activeElement) return;
    const folded = now.closest("details");
    if (folded) folded.open = true;
    now.focus({ preventScroll: true });
    if (Number.isInteger(selectionStart)) now.setSelectionRange?.(selectionStart, selectionEnd);
  };
}

function read(p, text) {
  if (p.choices || p.kind === "switch") return JSON.parse(text);
  if (p.kind === "whole" || p.kind === "number") return Number(text);
  if (p.kind === "word") return text;
  return text.split(",").map((part) => one(part.trim()));
}

// A value as the command line would read it.
export function one(text) {
  const words = { true: true, false: false, none: null };
  if (text.toLowerCase() in words) return words[text.toLowerCase()];
  return text !== "" && !Number.isNaN(Number(text)) ? Number(text) : text;
}

export class Parameters {
  constructor(first, rest) {
    Object.assign(this, { first, rest, parameters: [], fields: new Map() });
  }

  // The fields of `parameters`. Fields that are there already stay as they are, with what is typed into them.
  show(parameters) {
    const back = holding();
    const before = this.fields;
    this.parameters = parameters;
    this.fields = new Map(parameters.map((p) => [p.name, this.#field(p, before.get(p.name))]));
    const nodes = [...this.fields.values()].map(({ label, input }) => [label, input]);
    arrange(this.first, nodes.slice(0, FIRST).flat());
    arrange(this.rest, nodes.slice(FIRST).flat());
    this.rest.parentElement.hidden = parameters.length <= FIRST;
    back();
  }

  #field(p, before) {
    const made = before?.shape === shape(p) ? before : field(p);
    if (before && made !== before && before.input.value) made.input.value = before.input.value;
    describe(made, p);
    return made;
  }

  // Puts values into the fields; the others get empty.
  fill(values) {
    for (const [name, { input }] of this.fields) {
      if (!(name in values)) input.value = "";
      else input.value = input.tagName === "SELECT" ? JSON.stringify(values[name]) : values[name];
    }
  }

  // Only what is set: everything else is recommended, or the paper's.
  get values() {
    const found = {};
    for (const p of this.parameters) {
      const { input } = this.fields.get(p.name);
      if (input.validity?.badInput) throw new Error(`${p.name}: it is not a number`);
      if (input.value !== "") found[p.name] = read(p, input.value);
    }
    return found;
  }
}
