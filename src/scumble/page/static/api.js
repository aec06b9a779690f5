// Talking to the server: JSON in, JSON out; errors are the server's own messages.

const PAUSE = 500; // ms before a lost connection is tried again
const TRIES = 6; // in a row

// An error for a reason that may be gone the next time: the server is busy, or away.
export class Passing extends Error {}

async function answer(response) {
  let told;
  try {
    told = await response.json();
  } catch {
    told = { error: `the server answered ${response.status}` };
  }
  if (response.ok) return told;
  throw new (response.status === 429 || response.status >= 500 ? Passing : Error)(told.error);
}

async function call(path, options) {
  let response;
  try {
    response = await fetch(path, options);
  } catch {
    throw new Passing("the server does not answer; is scumble page still running?");
  }
  return answer(response);
}

export const get = (path) => call(path);
export const remove = (path, options = {}) => call(path, { method: "DELETE", ...options });
export const post = (path, body) =>
  call(path, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body ?? {}) });

export const limits = { bytes: Infinity }; // the server's, once they are known

// A server that refuses a large body closes the connection while it is sent, and its message is lost: so it is said here.
export async function upload(blob, name) {
  if (blob.size > limits.bytes) throw new Error(`picture: more than ${limits.bytes / 1e6} MB; make it smaller`);
  return call(`api/pictures?name=${encodeURIComponent(name)}`, { method: "POST", body: blob });
}

// A file of the server's.
export async function file(path) {
  const response = await fetch(path);
  return response.ok ? response.blob() : answer(response);
}

// Calls `told` with the state of a job whenever it changes, and ends when the job has ended.
export async function follow(id, told) {
  for (let failures = 0; failures < TRIES; failures += 1) {
    const end = await watch(id, (now) => {
      failures = 0;
      told(now);
    });
    if (end) return end;
    await new Promise((resolve) => { setTimeout(resolve, PAUSE); });
  }
  throw new Passing("the connection to the server is lost; is scumble page still running?");
}

// The job's last state; null where the connection breaks before.
function watch(id, told) {
  return new Promise((resolve) => {
    const events = new EventSource(`api/jobs/${id}/events`);
    const close = (end) => {
      events.close();
      resolve(end);
    };
    events.onmessage = (event) => {
      const now = JSON.parse(event.data);
      told(now);
      if (["done", "failed", "cancelled"].includes(now.state)) close(now);
    };
    events.onerror = () => close(null);
  });
}
