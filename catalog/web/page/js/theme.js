// Sets the colours before the page is painted: the reader's choice, else what the system prefers.
(() => {
  "use strict";
  let kept = null;
  try {
    kept = localStorage.getItem("holdfast.theme");
  } catch {
    // Storage can be forbidden; the system's preference holds then.
  }
  if (kept === "light" || kept === "dark") document.documentElement.dataset.theme = kept;
})();
