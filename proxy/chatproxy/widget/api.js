/** Calls to the chat's server, in the visitor's name. */

/** Why a call failed: the server's code, or "offline" where it could not be reached. */
export class ApiError extends Error {
  constructor(code, message, status = 0, retryAfter = null) {
    super(message);
    Object.assign(this, { code, status, retryAfter });
  }

  /** Whether nobody answered, or only the server in front of one that restarts. */
  get lost() {
    return this.code === "offline" || this.code === "unavailable";
  }
}

// A token that ends sooner than this (ms) is renewed before it is used.
const RENEW_BEFORE = 30_000;

export class Api {
  #buying = null;

  constructor(origin, siteKey, store) {
    Object.assign(this, { origin, siteKey, store });
  }

  /** The bot's public description. */
  async describe(bot) {
    const query = new URLSearchParams();
    if (bot) query.set("bot", bot);
    if (this.siteKey) query.set("site_key", this.siteKey);
    return (await this.#fetch("GET", `/api/v1/widget?${query}`)).json();
  }

  /** A JSON answer to a call. */
  async json(method, path, body) {
    return (await this.call(method, path, { body })).json();
  }

  /** A response that is fine. Raises ApiError. */
  async call(method, path, { body, headers, signal } = {}) {
    for (let renewed = false; ; renewed = true) {
      const token = await this.#token(renewed);
      try {
        const all = { Authorization: `Bearer ${token}`, ...headers };
        if (body !== undefined) all["Content-Type"] = "application/json";
        return await this.#fetch(method, path, { body, headers: all, signal });
      } catch (error) {
        if (error.code === "offline") throw await this.#reason(error);
        if (error.status !== 401 || renewed) throw error;
      }
    }
  }

  /**
   * Why nothing came back. A browser tells a page nothing about an answer that is not for its origin, as after the site
   * key was revoked; the bot's description may be asked for without permission, and says it.
   */
  async #reason(error) {
    try {
      await this.describe();
      return error;
    } catch (told) {
      if (told.lost) return error;
      console.error(`[chat widget] ${told.code}: ${told.message}`);
      return told;
    }
  }

  async #token(anew) {
    const { token, until } = this.store.get("token") ?? {};
    if (token && !anew && until - Date.now() > RENEW_BEFORE) return token;
    this.#buying ??= this.#buy(token).finally(() => (this.#buying = null));
    return this.#buying;
  }

  async #buy(token) {
    const ask = (old) =>
      this.#fetch("POST", "/api/v1/visitors", { body: { site_key: this.siteKey || undefined, token: old } });
    let response;
    try {
      response = await ask(token);
    } catch (error) {
      if (!token || error.lost || error.status >= 500 || error.status === 429) throw error;
      response = await ask(); // too old to be renewed: a new visitor
    }
    const bought = await response.json();
    this.store.set("token", { token: bought.token, until: Date.now() + bought.expires_in_s * 1000 });
    return bought.token;
  }

  async #fetch(method, path, { body, headers, signal } = {}) {
    let response;
    try {
      response = await fetch(this.origin + path, {
        method,
        headers,
        signal,
        body: body === undefined ? undefined : JSON.stringify(body),
        credentials: "omit",
      });
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new ApiError("offline", error.message);
    }
    if (response.ok) return response;
    const told = (await response.json().catch(() => null))?.error;
    const retryAfter = Number(response.headers.get("Retry-After")) || null;
    throw new ApiError(told?.code ?? "unavailable", told?.message ?? response.statusText, response.status, retryAfter);
  }
}
