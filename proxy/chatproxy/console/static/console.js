// What pages can do beyond forms: ask before something is lost, and keep the part of a page fresh that says it wants to be.
// Without it everything works, but for these two.

document.addEventListener("submit", (event) => {
  const sure = event.target.dataset.sure;
  if (sure && !window.confirm(sure)) event.preventDefault();
});

// <section id="x" data-fresh="5"> is fetched again every 5 seconds for as long as the page is looked at, and until the
// fetched one no longer has that attribute.
async function refresh(id) {
  const part = document.getElementById(id);
  if (!part?.dataset.fresh) return;
  if (!document.hidden && !part.contains(document.activeElement)) {
    try {
      const answer = await fetch(window.location.href, { headers: { Accept: "text/html", "Console-Refresh": "1" } });
      if (answer.redirected) return window.location.reload(); // logged out meanwhile
      if (answer.ok) {
        const page = new DOMParser().parseFromString(await answer.text(), "text/html");
        const fresh = page.getElementById(id);
        // Not under the hands of somebody who has come to it while that was fetched.
        if (fresh && !part.contains(document.activeElement)) part.replaceWith(document.adoptNode(fresh));
      }
    } catch {
      // Out of reach for a moment: what is there stays.
    }
  }
  window.setTimeout(refresh, Number(part.dataset.fresh) * 1000, id);
}

for (const part of document.querySelectorAll("[data-fresh][id]")) {
  window.setTimeout(refresh, Number(part.dataset.fresh) * 1000, part.id);
}
