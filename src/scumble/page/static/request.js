// The request: all that is asked for now, checked while it is written.

import { Passing, post, upload } from "./api.js";
import { $, turns } from "./dom.js";
import { written } from "./fields.js";
import { WAIT, brush, edited, method, parameters, state } from "./state.js";

const CHECK = 300; // ms after the last key until the server looks at the request
const checking = turns();

// All that is asked for now, its mask uploaded. What changes while it is on its way changes the next request.
export async function request(edit = false) {
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

export function changed() {
  checking(); // an answer to what was written before does not count any more
  $("command").ariaBusy = true;
  clearTimeout(state.checking);
  state.checking = setTimeout(check, CHECK);
}

export async function check() {
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
