/** What is remembered in the page's localStorage: the visitor's token, the open conversations, the consent. */

/** Without `lasting` (or where the browser forbids storage) it is remembered until the page is left. */
export function openStore(name, lasting) {
  let memory = {};
  const read = () => {
    if (!lasting) return memory;
    try {
      return JSON.parse(localStorage.getItem(name) ?? "{}") ?? {};
    } catch {
      return memory;
    }
  };
  return {
    get: (key) => read()[key],
    set(key, value) {
      // Read anew each time: another tab may have written meanwhile.
      memory = { ...read(), [key]: value };
      if (!lasting) return;
      try {
        localStorage.setItem(name, JSON.stringify(memory));
      } catch {
        lasting = false; // forbidden or full
      }
    },
  };
}
