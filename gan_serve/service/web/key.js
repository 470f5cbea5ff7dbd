/** Asks a person for the server's key. */

import { $ } from "./dom.js";

/** @param {boolean} refused whether the last key was not accepted @returns {Promise<string>} */
export function askForKey(refused) {
  const dialog = $("key");
  $("key-text").textContent = refused
    ? "The server did not accept that key. Try another."
    : "The server was started with it (GAN_SERVE_API_KEY). It is stored in this tab only.";
  $("key-input").value = "";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.oncancel = (event) => event.preventDefault(); // there is nothing to see without a key
    $("key-form").onsubmit = (event) => {
      event.preventDefault();
      dialog.close();
      resolve($("key-input").value.trim());
    };
  });
}
