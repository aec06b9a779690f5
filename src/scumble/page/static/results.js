// Results: the one that is shown, and the history.

import { get } from "./api.js";
import { $, arrange, element } from "./dom.js";
import { write, writeSweep } from "./fields.js";
import { arrangeGrid } from "./grid.js";
import { chosen, loadMethods, modelTold } from "./models.js";
import { take, useMask } from "./picture.js";
import { changed } from "./request.js";
import { edited, looksAway, stage, state, trying } from "./state.js";

const percent = (share) => `${(100 * share).toFixed(share < 0.1 ? 1 : 0)} %`;

function choose(result, warnings = []) {
  arrangeGrid(state.results.filter((each) => result.job && each.job === result.job), result, open);
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

// The first result of a request that has ended: several stand in a grid.
export function arrived(result, warnings) {
  choose(result, warnings);
  if (Object.keys(result.values ?? {}).length) stage.look("grid");
  else leaveGrid();
}

// Somebody wants to see this one.
function open(result) {
  const held = $("grid").contains(document.activeElement); // a button that is hidden loses the focus
  looksAway();
  choose(result);
  leaveGrid();
  if (held) $("slider").focus({ preventScroll: true });
}

const leaveGrid = () => { if (stage.view === "grid") stage.look("compare"); };

export function history() {
  $("history-part").hidden = state.results.length === 0;
  const known = new Map([...$("history").children].map((item) => [item.dataset.id, item]));
  arrange($("history"), state.results.map((result) => known.get(result.id) ?? remembered(result)).reverse());
}

function remembered(result) {
  const label = result.heat ? `words of "${result.label}"` : result.label || `"${result.target ?? ""}", ${result.method}`;
  const picture = element("img", { src: `api/results/${result.id}/result.png`, alt: "", loading: "lazy" });
  const button = element("button", { type: "button" }, picture, label);
  button.addEventListener("click", () => open(result));
  const item = element("li", {}, button);
  item.dataset.id = result.id;
  return item;
}

export const reopen = trying(async () => {
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
  $("reference-now").textContent = asked.reference ? "that of the reopened edit" : "";
  if (asked.mask && (await useMask(asked.mask))) edited.add(state.mask);
  changed();
});
