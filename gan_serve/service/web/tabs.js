/** Tabs as WAI-ARIA describes them: one stop for the Tab key, arrow keys choose. */

/**
 * @param {HTMLElement} list has role=tablist; its buttons have role=tab
 * @param {(tab: HTMLElement) => void} onChoose
 * @returns {(chosen: HTMLElement) => void} marks the tab that is shown
 */
export function wireTabs(list, onChoose) {
  const tabs = () => [...list.querySelectorAll('[role="tab"]:not([hidden])')];
  list.addEventListener("click", ({ target }) => {
    const tab = target.closest('[role="tab"]');
    if (tab) onChoose(tab);
  });
  list.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!step) return;
    event.preventDefault();
    const all = tabs();
    const tab = all[(all.indexOf(event.target) + step + all.length) % all.length];
    tab.focus();
    onChoose(tab);
  });
  return (chosen) => {
    for (const tab of list.querySelectorAll('[role="tab"]')) {
      tab.setAttribute("aria-selected", String(tab === chosen));
      tab.tabIndex = tab === chosen ? 0 : -1;
    }
  };
}
