// Requests to the server, with the token that this tab keeps.

const KEY = "ftlit-token";

export const token = {
  get: () => sessionStorage.getItem(KEY),
  set: (value) => sessionStorage.setItem(KEY, value),
  forget: () => sessionStorage.removeItem(KEY),
};

export class Refused extends Error {
  constructor(status, problem, after) {
    super(problem.detail || problem.error?.message || `the server answered with status ${status}`);
    this.status = status;
    this.errors = problem.errors || [];
    this.after = after;
  }
}

export async function request(path, { headers = {}, ...options } = {}) {
  const own = token.get() ? { authorization: `Bearer ${token.get()}` } : {};
  let response;
  try {
    response = await fetch(path, { ...options, headers: { ...own, ...headers }, credentials: "omit", redirect: "error" });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error("the server cannot be reached");
  }
  if (!response.ok) {
    const problem = await response.json().catch(() => ({}));
    throw new Refused(response.status, problem, Number(response.headers.get("retry-after")) || 1);
  }
  return response;
}

export function post(path, body, signal) {
  return request(path, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body), signal });
}

export function page(address) {
  return request(address, { headers: { accept: "text/html" } }).then((response) => response.text());
}

export async function predict(model, rows, scores, signal) {
  const path = `/models/${encodeURIComponent(model)}/predict?scores=${scores ? "true" : "false"}`;
  return (await post(path, rows, signal)).json();
}
