// Requests to the server that served this page, with its token.

const KEY = "trioagent.token";

export class ServerError extends Error {
  constructor(message, advice, type, status) {
    super(message);
    this.advice = advice;
    this.type = type;
    this.status = status;
  }
}

// The token comes in the address's fragment, which browsers send to nobody; it is kept for this tab only.
export function takeToken() {
  const given = /^#token=([^&]+)/.exec(location.hash);
  if (given) {
    sessionStorage.setItem(KEY, decodeURIComponent(given[1]));
    history.replaceState(null, "", `${location.pathname}#/`);
  }
  return sessionStorage.getItem(KEY);
}

export const token = () => sessionStorage.getItem(KEY);
export const keepToken = (value) => sessionStorage.setItem(KEY, value);
export const forgetToken = () => sessionStorage.removeItem(KEY);

export async function get(path, signal) {
  return (await request("GET", path, { signal })).body;
}

export async function request(method, path, { body, headers, signal } = {}) {
  const options = { method, signal, cache: "no-store", headers: { Authorization: `Bearer ${token()}`, ...headers } };
  if (body !== undefined) {
    options.body = JSON.stringify(body);
    options.headers["Content-Type"] = "application/json";
  }
  let response;
  try {
    response = await fetch(path, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ServerError("The server does not answer", "start it again, or reload the page", "away", 0);
  }
  let content;
  try {
    content = await response.json();
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ServerError(`The server answered ${response.status} without words`, "reload the page", "garbled", response.status);
  }
  if (!response.ok) {
    const { message, advice, type } = content.error ?? {};
    if (response.status === 401) dispatchEvent(new CustomEvent("signed-out"));
    throw new ServerError(message ?? `The server answered ${response.status}`, advice, type, response.status);
  }
  return { body: content, version: response.headers.get("ETag") };
}

// A path's parts, each encoded: a note's name may hold any character.
export const encodePath = (path) => path.split("/").map(encodeURIComponent).join("/");

export const memoryUrl = (name, rest) => `/api/memories/${encodeURIComponent(name)}/${rest}`;
export const runUrl = (name, rest = "") => `/api/runs/${encodeURIComponent(name)}${rest && `/${rest}`}`;

// Addresses within the page.
export const memoryHref = (name, view = "notes", path = "") =>
  `#/memory/${encodeURIComponent(name)}/${view}${path && `/${encodePath(path)}`}`;
export const runHref = (name, rest = "") => `#/run/${encodeURIComponent(name)}${rest && `/${rest}`}`;
