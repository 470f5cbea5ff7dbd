/** Starts the page: asks for the models, then shows what the address names and follows its changes. */

import { Api } from "./api.js";
import { Controls } from "./controls.js";
import { Detail } from "./detail.js";
import { $, wireCopy } from "./dom.js";
import { GridView } from "./grid.js";
import { Images } from "./images.js";
import { askForKey } from "./key.js";
import { LabelsView } from "./labels.js";
import { Problem, Status } from "./notices.js";
import { pageRequest, sheetRequest, walkRequest } from "./requests.js";
import { pageFrom } from "./seeds.js";
import { Store, asksForLabels, withoutLabels } from "./state.js";
import { wireTabs } from "./tabs.js";
import { Takeaway } from "./takeaway.js";
import { Tray } from "./tray.js";
import { WalkView } from "./walk.js";

const FIRST_PAGE = 32; // images of a page that nobody asked for
let models = [];
let limits = { max_images: 1024 };

const store = new Store();
const status = new Status($("status"));
const problem = new Problem($("problem"));
const api = new Api({
  askForKey,
  onWait: (text) => status.busy(text),
});
const images = new Images(api);
const parts = { api, images, store, status, problem, retry, limits: () => limits, model: currentModel };

const controls = new Controls(parts);
const views = {
  grid: new GridView($("grid"), parts, () => tray.update(store.get())),
  walk: new WalkView($("view-walk"), parts),
  labels: new LabelsView($("view-labels"), parts),
};
const takeaway = new Takeaway($("takeaway"), api);
const tray = new Tray($("tray"), parts);
const detail = new Detail($("detail"), parts);
const markTab = wireTabs(document.querySelector(".stage-bar .tabs"), (tab) =>
  store.set({ view: tab.id.replace("tab-", "") }),
);

wireCopy($("copy-link"), $("copy-link").querySelector("span"), () => location.href);
$("skip").addEventListener("click", () => $("stage").focus()); // a link would overwrite the state in the address
store.subscribe(render);
start();

async function start() {
  status.busy("Asking the server…");
  problem.clear();
  try {
    const answer = await api.get("models");
    models = answer.models;
    limits = { ...limits, ...answer.limits };
  } catch (error) {
    status.say("");
    problem.show(error, { action: start });
    return;
  }
  controls.setModels(models, choose);
  document.body.classList.remove("starting");
  const first = models.find((model) => model.ready) ?? models[0];
  const { model, seeds } = store.get();
  const firstPage = pageFrom(0, Math.min(FIRST_PAGE, limits.max_images));
  store.set({ model: model || first?.name || "", seeds: seeds || firstPage }, { replace: true });
  render(store.get());
}

/** Another model, with what of the state makes sense for it. */
function choose(name) {
  const model = models.find((other) => other.name === name);
  const { label, view } = store.get();
  store.set({
    model: name,
    label: model?.class_names?.includes(label) ? label : null,
    view: view === "labels" && !model?.c_dim ? "grid" : view,
    open: null,
  });
}

/** The model of the state. One that the server does not name is tried all the same: the server says what is wrong. */
function currentModel() {
  const { model } = store.get();
  return models.find(({ name }) => name === model) ?? { name: model, ready: true, c_dim: 0, class_names: [] };
}

/** @param {import("./state.js").State} state */
function render(state, before = state) {
  const model = currentModel();
  if (before.view !== state.view || before.model !== state.model) problem.clear();
  if (asksForLabels(state) && models.includes(model) && model.ready && !model.c_dim) {
    store.set(withoutLabels(state), { replace: true });
    return;
  }
  controls.update(state, model);
  showTabs(state, model);
  for (const [name, view] of Object.entries(views)) {
    if (name !== state.view || !model.ready) view.leave();
  }
  $("takeaway").hidden =
    !model.ready || !models.includes(model) || (state.view === "walk" && state.picks.length < 2);
  if (!model.ready) {
    showNotReady(model);
    return;
  }
  views[state.view].update(state, model);
  showTakeaway(state, model);
  tray.update(state);
  detail.update(state, model);
}

function showTabs(state, model) {
  $("tab-labels").hidden = !model.c_dim;
  $("pick-count").hidden = state.picks.length === 0;
  $("pick-count").textContent = state.picks.length;
  markTab($(`tab-${state.view}`));
  for (const name of Object.keys(views)) $(`view-${name}`).hidden = name !== state.view || !model.ready;
}

function showNotReady({ name, error }) {
  status.say("");
  problem.show(error ?? { message: `${name} is not ready.`, hint: "It may still be loading." }, {
    name: "Check again",
    action: start,
  });
}

function showTakeaway(state, model) {
  if ($("takeaway").hidden) return;
  try {
    const request = {
      grid: pageRequest,
      walk: walkRequest,
      labels: (page) => sheetRequest(page, model.class_names, limits.max_images),
    }[state.view](state);
    takeaway.update(request, model.precision);
  } catch {
    $("takeaway").hidden = true; // seeds that are none: the view says so
  }
}

function retry() {
  views[store.get().view].retry();
  render(store.get());
}
