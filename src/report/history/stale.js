"use strict";
const days = Math.floor((Date.now() - Date.parse(document.querySelector("time.made").dateTime)) / 864e5);
const stale = document.getElementById("stale");
if (days >= stale.dataset.days) {
  stale.querySelector("span").textContent = days;
  stale.hidden = false;
}
