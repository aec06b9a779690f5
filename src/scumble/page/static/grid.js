// The edits of one request in a table: the last value that differs in columns, all others in rows.

import { $, element } from "./dom.js";

// The values that the edits have: for each name, {name: value} in the order of the edits.
function axes(results) {
  const found = new Map();
  for (const { values } of results) {
    for (const [name, value] of Object.entries(values)) found.set(name, new Set(found.get(name)).add(value));
  }
  return [...found].map(([name, values]) => [...values].map((value) => ({ [name]: value })));
}

// All combinations of one of each.
const combined = (lists) =>
  lists.reduce((made, list) => made.flatMap((some) => list.map((one) => ({ ...some, ...one }))), [{}]);

const said = (values) =>
  Object.entries(values).map(([name, value]) => (name === "target" ? `"${value}"` : `${name} ${value}`)).join(", ");

// A method that lacks a swept parameter is edited with once, and stands under each of its values.
const fits = (result, values) =>
  Object.entries(values).every(([name, value]) => !(name in result.values) || result.values[name] === value);

function cell(result, values, current, open) {
  const picture = element("img", { src: `api/results/${result.id}/result.png`, alt: "", loading: "lazy" });
  const made = element("button", { type: "button", ariaLabel: `${said(values)}: show it`, ariaCurrent: result === current }, picture);
  made.addEventListener("click", () => open(result));
  return made;
}

// results: of one request, of which one is `current`. open: called with the one that is chosen.
export function arrangeGrid(results, current, open) {
  const found = axes(results);
  const [columns, rows] = [found.at(-1) ?? [], combined(found.slice(0, -1))];
  const heading = (scope, values) => element("th", { scope, textContent: said(values) });
  const line = (first, cells) => element("tr", {}, ...(found.length > 1 ? [first] : []), ...cells);
  const head = line(element("td"), columns.map((values) => heading("col", values)));
  const body = rows.map((row) => line(heading("row", row), columns.map((column) => {
    const values = { ...row, ...column };
    const result = results.find((each) => fits(each, values));
    return element("td", {}, ...(result ? [cell(result, values, current, open)] : []));
  })));
  $("grid").replaceChildren(element("thead", {}, head), element("tbody", {}, ...body));
}
