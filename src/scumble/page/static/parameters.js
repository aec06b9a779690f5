// The form of a method: its parameters, read off what the server tells about its dataclass.

const FIRST = 3; // parameters in front; the others are folded away

export const element = (name, values = {}, ...inside) => {
  const made = Object.assign(document.createElement(name), values);
  made.append(...inside);
  return made;
};

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

function field(p) {
  const id = `parameter-${p.name}`;
  const options = p.choices ?? (p.kind === "switch" ? [true, false] : null);
  if (options) {
    const select = element("select", { id });
    select.append(element("option", { value: "", textContent: usual(p) }));
    for (const option of options) select.append(element("option", { value: JSON.stringify(option), textContent: shown(option) }));
    return select;
  }
  const input = element("input", { id, placeholder: usual(p) });
  if (p.kind === "whole" || p.kind === "number") {
    Object.assign(input, { type: "number", step: p.kind === "whole" ? 1 : "any" });
    if (p.min !== null) input.min = p.min;
    if (p.max !== null) input.max = p.max;
  }
  return input;
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
  constructor(first, rest, changed) {
    Object.assign(this, { first, rest, changed, parameters: [] });
  }

  show(parameters, values = {}) {
    this.parameters = parameters;
    for (const place of [this.first, this.rest]) place.replaceChildren();
    parameters.forEach((p, k) => {
      const input = field(p);
      const hint = [p.help, range(p)].filter(Boolean).join("; ");
      const label = element("label", { htmlFor: input.id }, p.name, element("small", { textContent: hint }));
      if (p.name in values) input.value = input.tagName === "SELECT" ? JSON.stringify(values[p.name]) : values[p.name];
      input.addEventListener("input", this.changed);
      (k < FIRST ? this.first : this.rest).append(label, input);
    });
    this.rest.parentElement.hidden = parameters.length <= FIRST;
  }

  reset() {
    this.show(this.parameters);
    this.changed();
  }

  // What is typed, by name, finished or not.
  get typed() {
    const inputs = this.parameters.map((p) => [p.name, document.getElementById(`parameter-${p.name}`).value]);
    return Object.fromEntries(inputs.filter(([, value]) => value !== ""));
  }

  set typed(values) {
    for (const [name, value] of Object.entries(values)) {
      const input = document.getElementById(`parameter-${name}`);
      if (input) input.value = value;
    }
  }

  // Only what is set: everything else is recommended, or the paper's.
  get values() {
    const found = {};
    for (const p of this.parameters) {
      const input = document.getElementById(`parameter-${p.name}`);
      if (input.validity?.badInput) throw new Error(`${p.name}: it is not a number`);
      if (input.value !== "") found[p.name] = read(p, input.value);
    }
    return found;
  }
}
