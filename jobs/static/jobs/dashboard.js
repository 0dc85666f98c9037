// Fetches the live part of the dashboard again every two seconds, while it is looked at and nobody has paused it.
(function () {
  "use strict";
  var PERIOD_MS = 2000;

  function keepLive(part) {
    var button = document.createElement("button");
    var paused = false;
    var underWay = false;

    function label() {
      button.textContent = paused ? "Go on refreshing" : "Pause refreshing";
    }

    function refresh() {
      // Whoever reads within it is not interrupted.
      if (paused || underWay || document.hidden || part.contains(document.activeElement)) {
        return;
      }
      underWay = true;
      fetch(part.dataset.live, { credentials: "same-origin", redirect: "error" })
        .then(function (answer) {
          return answer.ok ? answer.text() : Promise.reject(new Error(String(answer.status)));
        })
        .then(function (html) {
          part.innerHTML = html;
          part.removeAttribute("data-stale");
        })
        .catch(function () {
          part.setAttribute("data-stale", "");
        })
        .finally(function () {
          underWay = false;
        });
    }

    button.type = "button";
    button.className = "button";
    button.addEventListener("click", function () {
      paused = !paused;
      label();
      refresh();
    });
    label();
    part.after(button);
    window.setInterval(refresh, PERIOD_MS);
  }

  document.querySelectorAll("[data-live]").forEach(keepLive);
})();
