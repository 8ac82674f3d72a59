"use strict";
const days = Math.floor((Date.now() - Date.parse(document.querySelector("time.made").dateTime)) / 864e5);
if (days >= 2) {
  const stale = document.getElementById("stale");
  stale.querySelector("span").textContent = days;
  stale.hidden = false;
}
