// What the page has in hand, which its other parts share.

import { Brush } from "./brush.js";
import { $ } from "./dom.js";
import { Parameters } from "./parameters.js";
import { Stage } from "./stage.js";

// mask, reference, coming: promises of what is being uploaded, so that a request waits for it. running: the request
// that is under way. known: the model, and whether it was loaded, that `methods` were told for.
export const state = {
  models: [], methods: [], known: "", picture: null, mask: null, reference: null, coming: null, running: null, results: [],
};
export const parameters = new Parameters($("first-parameters"), $("parameters"));
export const stage = new Stage();
export const brush = new Brush($("brushed"), $("brush"));
export const edited = new WeakSet(); // masks that edits were made with

export const WAIT = 1000; // ms between looks at a model that is loading, and until what failed in passing is tried again

// What goes wrong is said in one place.
export const trying = (work) => async (...args) => {
  try {
    return await work(...args);
  } catch (error) {
    $("error").textContent = error.message;
    $("error").scrollIntoView({ block: "nearest" }); // it may be far from the key or the field that led to it
    return undefined;
  }
};

// The method that is chosen, or the model's own choice.
export const method = () => {
  const name = $("method").value || state.models.find((m) => m.name === $("model").value)?.method;
  return state.methods.find((m) => m.name === name);
};

// Who looks at something else is not called back when the edit is done.
export function looksAway() {
  if (state.running) state.running.watched = false;
}
