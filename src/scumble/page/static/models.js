// Models and methods: what can be chosen, and the form of what is chosen.

import { Passing, get, limits } from "./api.js";
import { $, options, turns } from "./dom.js";
import { changed } from "./request.js";
import { WAIT, method, parameters, state } from "./state.js";

const [looking, choosing] = [turns(), turns()];

// The form of the method that is chosen now. values: of its parameters; what is typed already stays without them.
export function chosen(values) {
  const now = method();
  parameters.show(now?.parameters ?? []);
  if (values) parameters.fill(values);
  $("method-now").textContent = now ? `${now.name}${$("method").value ? "" : " (the model's choice)"}` : "";
  const needs = now?.needs.length ? ` Needs: ${now.needs.join(", ")}.` : "";
  $("method-about").textContent = now ? now.refused || `${now.summary} ${now.title} (arXiv ${now.arxiv}).${needs}` : "";
  $("editor-part").hidden = !now?.editor;
  $("invert-part").hidden = !now?.inverts;
  const names = [...(now?.parameters ?? []).map((p) => p.name), "method", "keep"];
  const swept = [{ value: "", text: "nothing" }, ...names.map((value) => ({ value }))];
  for (const k of [1, 2]) options($(`over-${k}`), swept);
  changed();
}

const knows = () => {
  const now = state.models.find((m) => m.name === $("model").value);
  return JSON.stringify([$("model").value, Boolean(now?.loaded)]);
};

// The methods as the model that is chosen has them. Where another is chosen meanwhile, that one's.
export function loadMethods() {
  state.choosing = askMethods();
  return state.choosing;
}

async function askMethods() {
  const [newest, known] = [choosing(), knows()];
  const told = await get(`api/methods?model=${encodeURIComponent($("model").value)}`);
  if (!newest()) {
    await state.choosing;
    return;
  }
  Object.assign(state, { methods: told, known });
  const usual = state.models.find((m) => m.name === $("model").value)?.method;
  const first = { value: "", text: `the model's choice${usual ? ` (${usual})` : ""}` };
  options($("method"), [first, ...told.map((m) => ({ value: m.name, disabled: Boolean(m.refused) }))]);
  chosen();
}

export async function loadModels() {
  const newest = looking();
  const told = await get("api");
  if (!newest()) return;
  state.models = told.models;
  Object.assign(limits, told.limits);
  options($("model"), told.models.map((m) => ({ value: m.name })));
  options($("editor"), told.editors.map((value) => ({ value })));
  $("size").max = told.limits.canvas;
  modelTold();
}

// Looks at the models, and at the methods where they are others; again and again while a model loads.
export async function again() {
  clearTimeout(state.again);
  let failed = false;
  try {
    await loadModels();
    if (state.known !== knows()) await loadMethods();
  } catch (error) {
    failed = error instanceof Passing;
    if (!failed) $("error").textContent = error.message;
  }
  clearTimeout(state.again);
  if (failed || state.models.some((m) => m.loading)) state.again = setTimeout(again, WAIT);
}

export function modelTold() {
  const now = state.models.find((m) => m.name === $("model").value);
  const domain = now?.domain?.replace(/\.$/, "");
  $("domain").textContent = !now ? "" : now.message || (now.loaded ? `Made for: ${domain}.` : now.loading ? "The model is loading." : "The model is loaded with the first edit.");
  $("words").hidden = !now?.words;
  $("words").querySelector("summary").textContent = `It knows ${now?.words?.length} words`;
  $("words").querySelector("p").textContent = now?.words?.join(", ") ?? "";
  $("upscale-part").hidden = !now?.upscales;
  $("heat").hidden = Boolean(now?.loaded && !now.heat);
}
