// Light or dark: the system's choice until the toggle is used, which is then remembered.
(() => {
  const KEY = "gan-serve-theme";
  const system = matchMedia("(prefers-color-scheme: dark)");

  /** Storage can be forbidden; the page then forgets, and works. */
  const remembered = () => {
    try {
      return localStorage.getItem(KEY);
    } catch {
      return null;
    }
  };
  const remember = (theme) => {
    try {
      localStorage.setItem(KEY, theme);
    } catch {
      // As above.
    }
  };

  const apply = () => {
    const theme = remembered() ?? (system.matches ? "dark" : "light");
    document.documentElement.dataset.theme = theme;
    document.getElementById("theme-toggle")?.setAttribute("aria-pressed", String(theme === "dark"));
  };

  // The first frame in the page is that of no link.
  if (location.hash.length > 1) document.documentElement.dataset.linked = "";
  apply();
  system.addEventListener("change", apply);
  document.addEventListener("DOMContentLoaded", () => {
    apply();
    document.getElementById("theme-toggle").addEventListener("click", () => {
      remember(document.documentElement.dataset.theme === "dark" ? "light" : "dark");
      apply();
    });
  });
})();
