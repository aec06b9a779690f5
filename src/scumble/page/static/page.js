// The page: everything that can be done, and how it begins.

import { Passing, get, post, remove, upload } from "./api.js";
import { $, element } from "./dom.js";
import { again, chosen, loadMethods, loadModels, modelTold } from "./models.js";
import { firstExample, incoming, layMask, open, openMask, pickUp, putDown, showExample } from "./picture.js";
import { changed, check } from "./request.js";
import { history, reopen } from "./results.js";
import { cancel, run } from "./running.js";
import { WAIT, brush, parameters, stage, state, trying } from "./state.js";

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
    $("error").textContent = "";
    if (chosen) await openMask(chosen);
  }));
  $("reference").addEventListener("change", trying(async (event) => {
    const [chosen] = event.target.files;
    const mine = chosen ? upload(chosen, chosen.name) : null;
    state.reference = mine;
    $("reference-now").textContent = "";
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
    if (!(await layMask(`api/results/${stage.result.id}/mask.png`))) return;
    $("about").hidden = true;
    stage.show(null);
  }));
  $("copy").addEventListener("click", trying(async () => {
    if ($("command").ariaBusy === "true") await check();
    $("command").select();
    if (navigator.clipboard) await navigator.clipboard.writeText($("command").value);
    else document.execCommand("copy"); // over HTTP from another machine, browsers have no other way
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
