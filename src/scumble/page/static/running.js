// A request on its way: asked, watched, cancelled.

import { follow, limits, post, remove } from "./api.js";
import { $ } from "./dom.js";
import { putDown } from "./picture.js";
import { again } from "./models.js";
import { request } from "./request.js";
import { arrived, history } from "./results.js";
import { stage, state, trying } from "./state.js";

export const run = trying(async (path) => {
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
    if (mine.watched && mine.first) arrived(mine.first, mine.warnings);
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
    state.results.splice(0, state.results.length - (limits.results ?? Infinity)); // the server has dropped them, too
    if (made.length) history();
    mine.first ??= made[0];
    mine.warnings = now.warnings;
    const newer = now.progress?.preview ? `${now.progress.cell}-${now.progress.preview}` : preview;
    if (mine.watched && newer !== preview) stage.preview(`api/jobs/${now.id}/preview?${newer}`);
    preview = newer;
  };
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

export const cancel = trying(async () => {
  if (!state.running) return;
  state.running.stopped = true; // where it has not been sent yet
  if (state.running.job) await remove(`api/jobs/${state.running.job.id}`);
});
