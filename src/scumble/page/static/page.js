// The page: the form, the request that is made of it, and what comes back.

import { Passing, file, follow, get, post, remove, upload } from "./api.js";
import { Brush } from "./brush.js";
import { $, arrange, element, options, turns } from "./dom.js";
import { write, writeSweep, written } from "./fields.js";
import { Parameters } from "./parameters.js";
import { Stage } from "./stage.js";

const CHECK = 300; // ms after the last key until the server looks at the request
const WAIT = 1000; // ms between looks at a model that is loading, and until what failed in passing is tried again

// mask, reference, coming: promises of what is being uploaded, so that a request waits for it. running: the request
// that is under way. known: the model, and whether it was loaded, that `methods` were told for.
const state = {
  models: [], methods: [], known: "", picture: null, mask: null, reference: null, coming: null, running: null, results: [],
};
const parameters = new Parameters($("first-parameters"), $("parameters"));
const stage = new Stage();
const brush = new Brush($("brushed"), $("brush"), () => masked());
const edited = new WeakSet(); // masks that edits were made with
const [opening, checking, looking, choosing] = [turns(), turns(), turns(), turns()];

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

// All that is asked for now, its mask uploaded. What changes while it is on its way changes the next request.
async function request(edit = false) {
  const [made, mask, reference] = [written(method(), parameters.values), sentMask(), state.reference];
  if (mask && edit) edited.add(mask);
  made.image = state.picture?.id;
  made.reference = (await reference)?.id ?? null;
  if (mask) made.mask = (await mask).id;
  return made;
}

// The mask as it is now, uploaded once.
function sentMask() {
  if (brush.empty) return null;
  state.mask ??= brush.blob().then((blob) => upload(blob, "mask.png"));
  const mine = state.mask;
  mine.catch(() => { if (state.mask === mine) state.mask = null; });
  return mine;
}

function changed() {
  checking(); // an answer to what was written before does not count any more
  $("command").ariaBusy = true;
  clearTimeout(state.checking);
  state.checking = setTimeout(check, CHECK);
}

async function check() {
  if (!state.picture) return;
  const newest = checking();
  let told;
  try {
    told = await post("api/check", await request());
  } catch (error) {
    if (newest() && error instanceof Passing) state.checking = setTimeout(check, WAIT);
    told = { unknown: [], command: "", error: error.message }; // it is shown when the edit is asked for
  }
  if (!newest()) return;
  $("unknown").textContent = told.unknown.length ? `The model does not know: ${told.unknown.join(", ")}` : "";
  $("command").value = told.command;
  $("command").title = told.error;
  $("command").ariaBusy = false;
}

const run = trying(async (path) => {
  if (state.running) return;
  const mine = { job: null, stopped: false, watched: true, first: null, warnings: [] };
  state.running = mine;
  $("error").textContent = "";
  putDown();
  $("stage").scrollIntoView({ block: "nearest" });
  working({ state: "waiting", place: 0 });
  try {
    await state.coming;
    mine.watched = true;
    const made = await request(true);
    if (!mine.stopped) mine.job = await post(path, made);
    if (mine.stopped) await cancel();
    const end = mine.job ? await follow(mine.job.id, following(mine)) : { state: "cancelled" };
    if (end.state === "failed") throw new Error(end.message);
    if (end.state === "cancelled") $("error").textContent = "Cancelled.";
  } finally {
    state.running = null;
    if (mine.watched && mine.first) choose(mine.first, mine.warnings);
    else if (mine.watched) stage.show(stage.result);
    working(null);
    if (state.models.some((m) => m.name === $("model").value && !m.loaded)) again();
  }
});

// What to do with each state of the job: results are remembered as they come, previews shown to who still looks.
function following(mine) {
  let preview = "";
  return (now) => {
    working(now);
    const made = now.results.filter((result) => !state.results.some((known) => known.id === result.id));
    state.results.push(...made);
    if (made.length) history();
    mine.first ??= made[0];
    mine.warnings = now.warnings;
    const newer = now.progress?.preview ? `${now.progress.cell}-${now.progress.preview}` : preview;
    if (mine.watched && newer !== preview) stage.preview(`api/jobs/${now.id}/preview?${newer}`);
    preview = newer;
  };
}

// Who looks at something else is not called back when the edit is done.
function looksAway() {
  if (state.running) state.running.watched = false;
}

function working(now) {
  $("working").hidden = !now;
  const [from, to] = now ? ["edit", "cancel"] : ["cancel", "edit"];
  const held = document.activeElement === $(from); // a button that is disabled loses the focus
  $("cancel").disabled = !now;
  $("edit").disabled = $("heat").disabled = Boolean(now);
  if (held) $(to).focus({ preventScroll: true });
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
  if (!state.running) return;
  state.running.stopped = true; // where it has not been sent yet
  if (state.running.job) await remove(`api/jobs/${state.running.job.id}`);
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
  for (const item of $("history").children) item.firstChild.setAttribute("aria-current", item.dataset.id === result.id);
}

function history() {
  $("history-part").hidden = state.results.length === 0;
  const known = new Map([...$("history").children].map((item) => [item.dataset.id, item]));
  arrange($("history"), state.results.map((result) => known.get(result.id) ?? remembered(result)).reverse());
}

function remembered(result) {
  const label = result.heat ? `words of "${result.label}"` : result.label || `"${result.target ?? ""}", ${result.method}`;
  const picture = element("img", { src: `api/results/${result.id}/result.png`, alt: "", loading: "lazy" });
  const button = element("button", { type: "button" }, picture, label);
  button.addEventListener("click", () => {
    looksAway();
    choose(result);
  });
  const item = element("li", {}, button);
  item.dataset.id = result.id;
  return item;
}

const reopen = trying(async () => {
  const { asked } = stage.result;
  if ([...$("model").options].some((o) => o.value === asked.model)) $("model").value = asked.model;
  modelTold();
  await loadMethods();
  write(asked);
  chosen(asked.settings ?? {});
  writeSweep(asked.over);
  const picture = await get("api/pictures").then((all) => all.find((one) => one.id === asked.image));
  if (!picture) throw new Error("image: it is not on the server any more; upload it again");
  take(picture);
  state.reference = asked.reference ? Promise.resolve({ id: asked.reference }) : null;
  $("reference").value = "";
  if (asked.mask && (await useMask(`api/pictures/${asked.mask}`))) {
    state.mask = Promise.resolve({ id: asked.mask });
    edited.add(state.mask);
  }
  changed();
});

// The picture and its mask --------------------------------------------------------------------------------

function take(picture) {
  looksAway();
  opening(); // what is still on its way comes too late
  state.picture = picture;
  $("picture-name").textContent = `${picture.name}, ${picture.size[0]}x${picture.size[1]} pixels`;
  stage.picture(`api/pictures/${picture.id}`, picture.size);
  brush.fit(...picture.size);
  $("about").hidden = true;
  changed();
}

// Takes the picture that `ask` answers, unless another is chosen meanwhile. A request waits for it.
const incoming = trying(async (ask, then = () => {}) => {
  $("error").textContent = "";
  const newest = opening();
  const mine = ask().then((picture) => {
    if (!newest()) return;
    take(picture);
    then(picture);
  });
  state.coming = mine;
  try {
    await mine;
  } finally {
    if (state.coming === mine) state.coming = null;
  }
});

const open = (chosen) => incoming(() => upload(chosen, chosen.name || "pasted.png"));

const showExample = () => incoming(() => post("api/example"), ({ source, target }) => {
  $("source").value = source;
  $("target").value = target;
});

// At first sight; what somebody was quicker to write stays.
async function firstExample() {
  if (state.picture || state.coming) return;
  const [source, target] = [$("source").value, $("target").value];
  await showExample();
  if (source || target) [$("source").value, $("target").value] = [source, target];
}

function masked() {
  const older = state.mask;
  state.mask = null;
  if (older && !edited.has(older)) older.then(({ id }) => remove(`api/pictures/${id}`)).catch(() => {});
  $("brushed").dataset.empty = brush.empty ? "yes" : "no";
  $("mask-now").textContent = brush.empty ? "none: anything may change" : "only the magenta part may change";
  changed();
}

// Puts a mask from the server onto the picture; false where another picture is chosen meanwhile.
async function useMask(path) {
  const { picture } = state;
  const blob = await file(path);
  return state.picture === picture && brush.load(blob);
}

function pickUp(erasing) {
  if (!state.picture) throw new Error("image: missing; drop a picture on the page first");
  const button = erasing ? $("mask-erase") : $("mask-draw");
  const on = button.getAttribute("aria-pressed") !== "true";
  putDown();
  button.setAttribute("aria-pressed", on);
  brush.erasing = erasing;
  stage.brush(on);
  if (on) looksAway();
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

// The form of the method that is chosen now. values: of its parameters; what is typed already stays without them.
function chosen(values) {
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
function loadMethods() {
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

async function loadModels() {
  const newest = looking();
  const told = await get("api");
  if (!newest()) return;
  state.models = told.models;
  options($("model"), told.models.map((m) => ({ value: m.name })));
  options($("editor"), told.editors.map((value) => ({ value })));
  $("size").max = told.limits.canvas;
  modelTold();
}

// Looks at the models, and at the methods where they are others; again and again while a model loads.
async function again() {
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
    const [chosen] = event.target.files;
    if (chosen) open(chosen);
    event.target.value = "";
  });
  $("mask-file").addEventListener("change", trying(async (event) => {
    const [chosen] = event.target.files;
    event.target.value = "";
    if (!chosen) return;
    await brush.load(chosen);
    stage.brush(false);
  }));
  $("reference").addEventListener("change", trying(async (event) => {
    const [chosen] = event.target.files;
    const mine = chosen ? upload(chosen, chosen.name) : null;
    state.reference = mine;
    try {
      await mine;
    } catch (error) {
      if (state.reference === mine) [state.reference, event.target.value] = [null, ""];
      throw error;
    } finally {
      changed();
    }
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
  $("model").addEventListener("change", () => { modelTold(); again(); });
  $("method").addEventListener("change", () => chosen({}));
  $("reset").addEventListener("click", () => { parameters.fill({}); changed(); });
  $("reopen").addEventListener("click", reopen);
  $("use").addEventListener("click", () => incoming(() => post(`api/results/${stage.result.id}/use`)));
  $("use-mask").addEventListener("click", trying(async () => {
    await useMask(`api/results/${stage.result.id}/mask.png`);
    stage.show(null);
  }));
  $("copy").addEventListener("click", trying(async () => {
    if ($("command").ariaBusy === "true") await check();
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
    const pasted = [...event.clipboardData.files].find((each) => each.type.startsWith("image/"));
    if (pasted) open(pasted);
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
    if (state.running?.job) remove(`api/jobs/${state.running.job.id}`, { keepalive: true });
  });
}

const start = trying(async () => {
  try {
    await loadModels();
    await loadMethods();
    state.results = await get("api/results");
    history();
    await firstExample();
  } catch (error) {
    if (error instanceof Passing) setTimeout(start, WAIT);
    throw error;
  }
  if (state.models.some((m) => m.loading)) state.again = setTimeout(again, WAIT);
  document.body.dataset.ready = "yes";
});

listen();
start();
