/** The page of a server. A page without one starts with another backend. */

import { start } from "./app.js";
import { $ } from "./dom.js";
import { HttpBackend } from "./http-backend.js";
import { askForKey } from "./key.js";

const models = JSON.parse($("embedded").textContent);
start((onWait) => new HttpBackend({ askForKey, onWait, models }));
