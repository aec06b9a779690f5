// The page: the form, the request that is made of it, and what comes back.

import { follow, get, post, remove, upload } from "./api.js";
import { Brush } from "./brush.js";
import { Parameters, element, one } from "./parameters.js";
import { Stage } from "./stage.js";

const $ = (id) => document.getElementById(id);
const CHECK = 300; // ms after the last key until the server looks at the request
const WAIT = 1000; // ms between looks at a model that is loading

const state = { models: [], methods: [], picture: null, mask: null, reference: null, job: null, results: [], asking: 0 };
const parameters = new Parameters($("first-parameters"), $("parameters"), () => changed());
const stage = new Stage();
const brush = new Brush($("brushed"), $("brush"), () => masked());

// What goes wrong is said in one place.
const trying = (work) => async (...args) => {
  try {
    return await work(...args);
  } catch (error) {
    $("error").textContent = error.message;
    return undefined;
  }
};

// The request ---------------------------------------------------------------------------------------------

const lines = (text) => text.split("\n").map((line) => line.trim()).filter(Boolean);
const single = (values) => (values.length > 1 ? values : (values[0] ?? null));

function seeds(text) {
  const found = [];
  for (const part of text.split(",").map((p) => p.trim()).filter(Boolean)) {
    const [, first, last] = /^(\d+)(?:-(\d+))?$/.exec(part) ?? [];
    if (first === undefined) throw new Error(`seed: ${part} is not a whole number, 0 or more, or a range such as 0-7`);
    for (let seed = Number(first); seed <= Number(last ?? first) && found.length < 1000; seed += 1) found.push(seed);
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

function body() {
  const over = swept();
  const keep = one($("keep").value.trim() || "auto");
  const made = {
    image: state.picture?.id, model: $("model").value, source: $("source").value.trim() || null,
    target: single(lines($("target").value)), negative: $("negative").value, also: lines($("also").value).map(weighted),
    method: $("method").value || null, settings: parameters.values, seed: single(seeds($("seed").value)),
    keep: keep ?? "none", crop: $("crop").value, form: $("form-kind").value, size: $("size").value ? Number($("size").value) : null,
    paper: $("paper").checked, force: $("force").checked, reference: state.reference?.id ?? null, over,
  };
  if (state.mask) made.mask = state.mask.id;
  if (method()?.editor) made.editor = $("editor").value;
  if (method()?.inverts && $("invert").checked) made.invert = true;
  for (const name of Object.keys(over)) if (name in made.settings) delete made.settings[name];
  return made;
}

async function uploadMask() {
  const blob = await brush.blob();
  if (!blob) state.mask = null;
  else if (!state.mask) state.mask = await upload(blob, "mask.png");
}

const changed = () => {
  clearTimeout(state.checking);
  state.checking = setTimeout(check, CHECK);
};

const check = async () => {
  if (!state.picture) return;
  state.asking += 1;
  const mine = state.asking;
  try {
    await uploadMask();
    const told = await post("api/check", body());
    if (mine !== state.asking) return;
    $("unknown").textContent = told.unknown.length ? `The model does not know: ${told.unknown.join(", ")}` : "";
    $("command").value = told.command;
    $("command").title = told.error;
  } catch {
    $("command").value = ""; // what is wrong is said when the edit is asked for
  }
};

const run = trying(async (path) => {
  if (state.job) return;
  $("error").textContent = "";
  putDown();
  $("stage").scrollIntoView({ block: "nearest" });
  working({ state: "waiting", place: 0 });
  try {
    await uploadMask();
    state.job = await post(path, body());
    const before = state.results.length;
    let preview = 0;
    const end = await follow(state.job.id, (now) => {
      working(now);
      if (now.progress && now.progress.preview > preview) {
        preview = now.progress.preview;
        stage.preview(`api/jobs/${now.id}/preview?${now.progress.cell}-${preview}`);
      }
    });
    state.results.push(...end.results.filter((r) => !state.results.some((known) => known.id === r.id)));
    history();
    if (end.results.length) choose(state.results[before], end.warnings);
    else stage.show(stage.result);
    if (end.state === "failed") throw new Error(end.message);
    if (end.state === "cancelled") $("error").textContent = "Cancelled.";
  } catch (error) {
    stage.show(stage.result);
    throw error;
  } finally {
    state.job = null;
    working(null);
    if (state.models.some((m) => m.name === $("model").value && !m.loaded)) again();
  }
});

function working(now) {
  $("working").hidden = !now;
  $("cancel").disabled = !now;
  $("edit").disabled = $("heat").disabled = Boolean(now);
  if (!now) return;
  const bar = $("progress");
  if (now.progress) {
    const { cell, cells, k, n, left } = now.progress;
    Object.assign(bar, { max: cells * n, value: cell * n + k });
    const which = cells > 1 ? `edit ${cell + 1} of ${cells}, ` : "";
    $("status").textContent = `${which}step ${k} of ${n}, ${Math.ceil(left)} s left`;
  } else {
    bar.removeAttribute("value");
    const before = now.place === 1 ? "1 request is before yours" : `${now.place} requests are before yours`;
    const waiting = now.place ? before : "it begins";
    $("status").textContent = { waiting, loading: "the model is loading", running: "looking at the picture" }[now.state] ?? "";
  }
}

const cancel = trying(async () => {
  if (state.job) await remove(`api/jobs/${state.job.id}`);
});

// Results -------------------------------------------------------------------------------------------------

const percent = (share) => `${(100 * share).toFixed(share < 0.1 ? 1 : 0)} %`;

function choose(result, warnings = []) {
  stage.show(result);
  $("about").hidden = false;
  $("told").textContent = result.heat
    ? `Where the model looks for each word of "${result.label}"`
    : `"${result.target ?? ""}" by ${result.method}, seed ${result.seed}: ${percent(result.changed)} changed, ` +
      `${result.seconds.toFixed(1)} s, ${result.evaluations} evaluations of the network. ${result.advice}`;
  $("warnings").replaceChildren(...warnings.map((text) => element("li", { textContent: text })));
  Object.assign($("download"), { href: `api/results/${result.id}/result.png`, download: result.file });
  Object.assign($("download-layer"), {
    href: `api/results/${result.id}/layer.png`, download: result.file.replace(/\.png$/, ".layer.png"), hidden: Boolean(result.heat),
  });
  $("use").hidden = Boolean(result.heat);
  $("use-mask").hidden = !result.files.includes("mask.png");
  $("passport").textContent = JSON.stringify(result.passport ?? {}, null, 2);
  for (const button of $("history").querySelectorAll("button")) button.setAttribute("aria-current", button.dataset.id === result.id);
}

function history() {
  $("history-part").hidden = state.results.length === 0;
  $("history").replaceChildren(...state.results.map((result) => {
    const label = result.heat ? `words of "${result.label}"` : result.label || `"${result.target ?? ""}", ${result.method}`;
    const picture = element("img", { src: `api/results/${result.id}/result.png`, alt: "", loading: "lazy" });
    const button = element("button", { type: "button" }, picture, label);
    button.dataset.id = result.id;
    button.addEventListener("click", () => choose(result));
    return element("li", {}, button);
  }).reverse());
}

const reopen = trying(async () => {
  const { asked } = stage.result;
  const said = (value) => (Array.isArray(value) ? value.join("\n") : (value ?? ""));
  if ([...$("model").options].some((o) => o.value === asked.model)) $("model").value = asked.model;
  await loadMethods();
  $("source").value = asked.source ?? "";
  $("target").value = said(asked.target);
  $("negative").value = asked.negative ?? "";
  $("also").value = (asked.also ?? []).map((each) => (Array.isArray(each) ? each.join(":") : each)).join("\n");
  $("seed").value = Array.isArray(asked.seed) ? asked.seed.join(", ") : String(asked.seed ?? 0);
  $("keep").value = asked.keep ?? "auto";
  $("crop").value = asked.crop ?? "auto";
  $("form-kind").value = asked.form ?? "latent";
  $("size").value = asked.size ?? "";
  $("paper").checked = Boolean(asked.paper);
  $("force").checked = Boolean(asked.force);
  $("method").value = asked.method ?? "";
  $("invert").checked = Boolean(asked.invert);
  chosen(asked.settings ?? {});
  [1, 2].forEach((k) => {
    const [name, values] = Object.entries(asked.over ?? {})[k - 1] ?? ["", []];
    $(`over-${k}`).value = name;
    $(`values-${k}`).value = values.join(values.some((v) => String(v).includes(",")) ? "|" : ", ");
  });
  const picture = await get("api/pictures").then((all) => all.find((one) => one.id === asked.image));
  if (picture) take(picture, { prompts: false });
  state.reference = asked.reference ? { id: asked.reference } : null;
  if (asked.mask) {
    const mask = await fetch(`api/pictures/${asked.mask}`).then((answer) => answer.blob());
    await brush.load(mask);
    state.mask = { id: asked.mask };
  }
  changed();
});

// The picture and its mask --------------------------------------------------------------------------------

function take(picture) {
  state.picture = picture;
  $("picture-name").textContent = `${picture.name}, ${picture.size[0]}x${picture.size[1]} pixels`;
  stage.picture(`api/pictures/${picture.id}`, picture.size);
  brush.fit(...picture.size);
  $("about").hidden = true;
  changed();
}

const open = trying(async (file) => {
  $("error").textContent = "";
  take(await upload(file, file.name || "pasted.png"));
});

const showExample = trying(async () => {
  const picture = await post("api/example");
  take(picture);
  $("source").value = picture.source;
  $("target").value = picture.target;
  changed();
});

function masked() {
  state.mask = null; // the server has an older one
  $("brushed").dataset.empty = brush.empty ? "yes" : "no";
  $("mask-now").textContent = brush.empty ? "none: anything may change" : "only the magenta part may change";
  changed();
}

function pickUp(erasing) {
  if (!state.picture) throw new Error("image: missing; drop a picture on the page first");
  const button = erasing ? $("mask-erase") : $("mask-draw");
  const on = button.getAttribute("aria-pressed") !== "true";
  putDown();
  button.setAttribute("aria-pressed", on);
  brush.erasing = erasing;
  stage.brush(on);
  if (on) $("about").hidden = true;
  if (on) $("stage").scrollIntoView({ block: "nearest" });
}

function putDown() {
  for (const id of ["mask-draw", "mask-erase"]) $(id).setAttribute("aria-pressed", false);
  stage.brush(false);
}

// Models and methods --------------------------------------------------------------------------------------

const method = () => {
  const name = $("method").value || state.models.find((m) => m.name === $("model").value)?.method;
  return state.methods.find((m) => m.name === name);
};

function chosen(values = {}) {
  const now = method();
  parameters.show(now?.parameters ?? [], values);
  $("method-now").textContent = now ? `${now.name}${$("method").value ? "" : " (the model's choice)"}` : "";
  const needs = now?.needs.length ? ` Needs: ${now.needs.join(", ")}.` : "";
  $("method-about").textContent = now ? now.refused || `${now.summary} ${now.title} (arXiv ${now.arxiv}).${needs}` : "";
  $("editor-part").hidden = !now?.editor;
  $("invert-part").hidden = !now?.inverts;
  for (const k of [1, 2]) {
    const before = $(`over-${k}`).value;
    const names = ["", ...(now?.parameters ?? []).map((p) => p.name), "method", "keep"];
    $(`over-${k}`).replaceChildren(...names.map((name) => element("option", { value: name, textContent: name || "nothing" })));
    if (names.includes(before)) $(`over-${k}`).value = before;
  }
  changed();
}

// The methods as the model that is chosen has them; what is typed already stays.
async function loadMethods() {
  state.methods = await get(`api/methods?model=${encodeURIComponent($("model").value)}`);
  const [before, typed] = [$("method").value, parameters.typed];
  const usual = state.models.find((m) => m.name === $("model").value)?.method;
  const first = element("option", { value: "", textContent: `the model's choice${usual ? ` (${usual})` : ""}` });
  const named = state.methods.map((m) => element("option", { value: m.name, textContent: m.name, disabled: Boolean(m.refused) }));
  $("method").replaceChildren(first, ...named);
  $("method").value = state.methods.some((m) => m.name === before) ? before : "";
  chosen();
  parameters.typed = typed;
}

const loadModels = trying(async () => {
  const told = await get("api");
  const before = $("model").value;
  state.models = told.models;
  $("model").replaceChildren(...told.models.map((m) => element("option", { value: m.name, textContent: m.name })));
  if (before) $("model").value = before;
  $("editor").replaceChildren(...told.editors.map((name) => element("option", { value: name, textContent: name })));
  $("size").max = told.limits.canvas;
  modelTold();
  if (told.models.some((m) => m.loading)) setTimeout(again, WAIT);
  return told;
});

const again = trying(async () => {
  const before = state.models.filter((m) => m.loaded).length;
  await loadModels();
  if (state.models.filter((m) => m.loaded).length !== before) await loadMethods();
});

function modelTold() {
  const now = state.models.find((m) => m.name === $("model").value);
  const domain = now?.domain?.replace(/\.$/, "");
  $("domain").textContent = !now ? "" : now.message || (now.loaded ? `Made for: ${domain}.` : now.loading ? "The model is loading." : "The model is loaded with the first edit.");
  $("words").hidden = !now?.words;
  $("words").querySelector("summary").textContent = `It knows ${now?.words?.length} words`;
  $("words").querySelector("p").textContent = now?.words?.join(", ") ?? "";
  $("heat").hidden = Boolean(now?.loaded && !now.heat);
}

// Everything that can be done -----------------------------------------------------------------------------

function listen() {
  $("form").addEventListener("submit", (event) => {
    event.preventDefault();
    run("api/edits");
  });
  $("form").addEventListener("input", changed);
  $("heat").addEventListener("click", () => run("api/words"));
  $("cancel").addEventListener("click", cancel);
  $("example").addEventListener("click", showExample);
  $("file").addEventListener("change", (event) => {
    const [file] = event.target.files;
    if (file) open(file);
    event.target.value = "";
  });
  $("mask-file").addEventListener("change", trying(async (event) => {
    const [file] = event.target.files;
    event.target.value = "";
    if (!file) return;
    await brush.load(file);
    stage.brush(false);
  }));
  $("reference").addEventListener("change", trying(async (event) => {
    const [file] = event.target.files;
    state.reference = file ? await upload(file, file.name) : null;
    changed();
  }));
  $("mask-draw").addEventListener("click", trying(async () => pickUp(false)));
  $("mask-erase").addEventListener("click", trying(async () => pickUp(true)));
  $("mask-undo").addEventListener("click", () => brush.undo());
  $("mask-invert").addEventListener("click", () => brush.invert());
  $("mask-save").addEventListener("click", trying(async () => {
    const blob = await brush.blob();
    if (!blob) throw new Error("mask: there is none; draw one first");
    const url = URL.createObjectURL(blob);
    element("a", { href: url, download: "mask.png" }).click();
    setTimeout(() => URL.revokeObjectURL(url), 10_000);
  }));
  $("mask-clear").addEventListener("click", () => { brush.clear(); putDown(); });
  $("model").addEventListener("change", trying(async () => { modelTold(); await loadMethods(); }));
  $("method").addEventListener("change", () => chosen());
  $("reset").addEventListener("click", () => parameters.reset());
  $("reopen").addEventListener("click", reopen);
  $("use").addEventListener("click", trying(async () => take(await post(`api/results/${stage.result.id}/use`))));
  $("use-mask").addEventListener("click", trying(async () => {
    const blob = await fetch(`api/results/${stage.result.id}/mask.png`).then((answer) => answer.blob());
    await brush.load(blob);
    stage.show(null);
  }));
  $("copy").addEventListener("click", trying(async () => {
    $("command").select();
    await navigator.clipboard.writeText($("command").value);
    $("copy").textContent = "Copied";
    setTimeout(() => { $("copy").textContent = "Copy"; }, 1500);
  }));
  $("forget").addEventListener("click", trying(async () => {
    await remove("api/client");
    window.location.reload();
  }));
  document.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) run("api/edits");
    if (event.key === "Escape") cancel();
  });
  document.addEventListener("paste", (event) => {
    const file = [...event.clipboardData.files].find((each) => each.type.startsWith("image/"));
    if (file) open(file);
  });
  for (const kind of ["dragover", "drop"]) {
    document.addEventListener(kind, (event) => {
      event.preventDefault();
      $("drop").classList.toggle("over", kind === "dragover");
      if (kind === "drop" && event.dataTransfer.files[0]) open(event.dataTransfer.files[0]);
    });
  }
  document.addEventListener("dragleave", () => $("drop").classList.remove("over"));
  window.addEventListener("pagehide", () => {
    if (state.job) remove(`api/jobs/${state.job.id}`, { keepalive: true });
  });
}

const start = trying(async () => {
  listen();
  await loadModels();
  await loadMethods();
  state.results = await get("api/results");
  history();
  await showExample();
  document.body.dataset.ready = "yes";
});

start();
