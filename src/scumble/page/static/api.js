// Talking to the server: JSON in, JSON out; errors are the server's own messages.

async function answer(response) {
  let told;
  try {
    told = await response.json();
  } catch {
    told = { error: `the server answered ${response.status}` };
  }
  if (!response.ok) throw new Error(told.error);
  return told;
}

async function call(path, options) {
  let response;
  try {
    response = await fetch(path, options);
  } catch {
    throw new Error("the server does not answer; is scumble page still running?");
  }
  return answer(response);
}

export const get = (path) => call(path);
export const remove = (path, options = {}) => call(path, { method: "DELETE", ...options });
export const post = (path, body) =>
  call(path, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body ?? {}) });
export const upload = (blob, name) =>
  call(`api/pictures?name=${encodeURIComponent(name)}`, { method: "POST", body: blob });

// Calls `told` with the state of a job whenever it changes, and ends when the job has ended.
export function follow(id, told) {
  return new Promise((resolve, reject) => {
    const events = new EventSource(`api/jobs/${id}/events`);
    let failures = 0;
    events.onmessage = (event) => {
      failures = 0;
      const state = JSON.parse(event.data);
      told(state);
      if (["done", "failed", "cancelled"].includes(state.state)) {
        events.close();
        resolve(state);
      }
    };
    events.onerror = () => {
      failures += 1;
      if (failures > 3 || events.readyState === EventSource.CLOSED) {
        events.close();
        reject(new Error("the connection to the server is lost; is scumble page still running?"));
      }
    };
  });
}
