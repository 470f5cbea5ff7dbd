/** The page without a server, which `gan-serve export-web` writes. */

import { start } from "./app.js";
import { $ } from "./dom.js";
import { LocalBackend } from "./local-backend.js";
import { beside, inside } from "./local-files.js";

const site = JSON.parse($("embedded").textContent);
start((onWait) => new LocalBackend(site, site.is_single_file ? inside : beside, onWait));

// Everything is kept for a visit without a network; after the first picture, which it would slow down.
if (!site.is_single_file && "serviceWorker" in navigator) {
  addEventListener("load", () => setTimeout(() => navigator.serviceWorker.register("service-worker.js"), 3000));
}
