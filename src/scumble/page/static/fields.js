// The form as a request: what is written in its fields, without the pictures.

import { $ } from "./dom.js";
import { one } from "./parameters.js";

const MOST = 1000; // seeds that a range is written out to

const lines = (text) => text.split("\n").map((line) => line.trim()).filter(Boolean);
const single = (values) => (values.length > 1 ? values : (values[0] ?? null));

function seeds(text) {
  const found = [];
  for (const part of text.split(",").map((p) => p.trim()).filter(Boolean)) {
    const [, first, last] = /^(\d+)(?:-(\d+))?$/.exec(part) ?? [];
    if (first === undefined) throw new Error(`seed: ${part} is not a whole number, 0 or more, or a range such as 0-7`);
    for (let seed = Number(first); seed <= Number(last ?? first) && found.length < MOST; seed += 1) found.push(seed);
  }
  return found.length ? found : [0];
}

function weighted(line) {
  const [, prompt, weight] = /^(.*):\s*(-?[\d.]+)$/.exec(line) ?? [];
  return prompt === undefined ? line : [prompt.trim(), Number(weight)];
}

function swept() {
  const over = {};
  for (const k of [1, 2]) {
    const [name, text] = [$(`over-${k}`).value, $(`values-${k}`).value];
    if (name && text.trim()) over[name] = text.split(text.includes("|") ? "|" : ",").map((v) => one(v.trim()));
  }
  return over;
}

// The request, with `settings` of `method`. Throws an error for what cannot be read.
export function written(method, settings) {
  const over = swept();
  if ($("size").validity.badInput) throw new Error("size: it is not a number");
  const keep = one($("keep").value.trim() || "auto");
  const made = {
    model: $("model").value, source: $("source").value.trim() || null,
    target: single(lines($("target").value)), negative: $("negative").value, also: lines($("also").value).map(weighted),
    method: $("method").value || null, settings: { ...settings }, seed: single(seeds($("seed").value)),
    keep: keep ?? "none", crop: $("crop").value, form: $("form-kind").value, size: $("size").value ? Number($("size").value) : null,
    upscale: $("upscale-part").hidden ? 1 : Number($("upscale").value),
    paper: $("paper").checked, force: $("force").checked, over,
  };
  if (method?.editor) made.editor = $("editor").value;
  if (method?.inverts && $("invert").checked) made.invert = true;
  for (const name of Object.keys(over)) delete made.settings[name];
  return made;
}

// Writes a request back into the form: all but its method's settings and its pictures.
export function write(asked) {
  const said = (value) => (Array.isArray(value) ? value.join("\n") : (value ?? ""));
  $("source").value = asked.source ?? "";
  $("target").value = said(asked.target);
  $("negative").value = asked.negative ?? "";
  $("also").value = (asked.also ?? []).map((each) => (Array.isArray(each) ? each.join(":") : each)).join("\n");
  $("seed").value = Array.isArray(asked.seed) ? asked.seed.join(", ") : String(asked.seed ?? 0);
  $("keep").value = asked.keep ?? "auto";
  $("crop").value = asked.crop ?? "auto";
  $("form-kind").value = asked.form ?? "latent";
  $("size").value = asked.size ?? "";
  $("upscale").value = String(asked.upscale ?? 1);
  $("paper").checked = Boolean(asked.paper);
  $("force").checked = Boolean(asked.force);
  $("method").value = asked.method ?? "";
  if (asked.editor) $("editor").value = asked.editor;
  $("invert").checked = Boolean(asked.invert);
}

// Writes a request's sweep back, once the form has its method's parameters.
export function writeSweep(over = {}) {
  [1, 2].forEach((k) => {
    const [name, values] = Object.entries(over)[k - 1] ?? ["", []];
    $(`over-${k}`).value = name;
    $(`values-${k}`).value = values.join(values.some((v) => String(v).includes(",")) ? "|" : ", ");
  });
}
