// The picture that is edited, and its mask.

import { file, post, remove, upload } from "./api.js";
import { $, turns } from "./dom.js";
import { changed } from "./request.js";
import { brush, edited, looksAway, stage, state, trying } from "./state.js";

const opening = turns();
brush.changed = masked;

export function take(picture) {
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
export const incoming = trying(async (ask, then = () => {}) => {
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

export const open = (chosen) => incoming(() => upload(chosen, chosen.name || "pasted.png"));

export const showExample = () => incoming(() => post("api/example"), ({ source, target }) => {
  $("source").value = source;
  $("target").value = target;
});

// At first sight; what somebody was quicker to write stays.
export async function firstExample() {
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
export async function layMask(path) {
  const { picture } = state;
  const blob = await file(path);
  return state.picture === picture && brush.load(blob);
}

// Puts an uploaded mask onto the picture, as the server reads it. It is the mask of edits until it is changed.
export async function useMask(id) {
  if (!state.picture) throw new Error("image: missing; drop a picture on the page first");
  const laid = await layMask(`api/pictures/${id}/mask?of=${state.picture.id}`);
  if (laid) state.mask = Promise.resolve({ id });
  return laid;
}

// Uploads a mask; one that does not fit is not kept.
export async function openMask(chosen) {
  const { id, size } = await upload(chosen, chosen.name);
  let laid = false;
  try {
    brush.fits(...size);
    laid = await useMask(id);
  } finally {
    if (!laid) remove(`api/pictures/${id}`).catch(() => {});
  }
  if (laid) putDown();
}

export function pickUp(erasing) {
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

export function putDown() {
  for (const id of ["mask-draw", "mask-erase"]) $(id).setAttribute("aria-pressed", false);
  stage.brush(false);
}
