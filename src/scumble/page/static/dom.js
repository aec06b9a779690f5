// Elements: found, made, and put in order without touching those that are in place.

export const $ = (id) => document.getElementById(id);

export const element = (name, values = {}, ...inside) => {
  const made = Object.assign(document.createElement(name), values);
  made.append(...inside);
  return made;
};

// Makes `nodes` the children of `parent`. What stays is not moved, so it keeps its focus, its caret and its open list.
export function arrange(parent, nodes) {
  const wanted = new Set(nodes);
  for (const child of [...parent.children]) if (!wanted.has(child)) child.remove();
  nodes.forEach((node, k) => {
    if (parent.children[k] !== node) parent.insertBefore(node, parent.children[k] ?? null);
  });
}

// Makes `list` the options of `select`; the chosen one stays chosen while it is among them.
export function options(select, list) {
  const before = select.value;
  const known = new Map([...select.options].map((option) => [option.value, option]));
  arrange(select, list.map(({ value, text = value, disabled = false }) => {
    const option = known.get(value) ?? element("option", { value });
    if (option.textContent !== text) option.textContent = text;
    option.disabled = disabled;
    return option;
  }));
  if (select.value !== before && list.some(({ value }) => value === before)) select.value = before;
}

// One after the other is asked; of each, a function says whether it is still the newest.
export function turns() {
  let newest = 0;
  return () => {
    newest += 1;
    const mine = newest;
    return () => mine === newest;
  };
}
