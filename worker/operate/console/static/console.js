// What HTML alone cannot: say whether the page is live, and tell a time in the reader's own zone when asked.
(function () {
  "use strict";

  function live(state, text) {
    var mark = document.getElementById("live");
    if (mark) {
      mark.dataset.live = state;
      mark.textContent = text;
    }
  }

  // The title names the environment and the state, also where the page is live.
  function title() {
    var head = document.querySelector("title[data-environment]");
    var state = document.querySelector(".headline[data-state]");
    var flow = document.querySelector("#story[data-title]");
    var at = document.title.indexOf(": ");
    if (head && state) {
      document.title = head.dataset.environment + " " + state.dataset.state + document.title.slice(at);
    } else if (flow) {
      document.title = document.title.slice(0, at) + ": " + flow.dataset.title + " · tradovate-worker";
    }
  }

  document.addEventListener("htmx:afterSwap", title);
  document.addEventListener("htmx:sseOpen", function () { live("yes", "live, as of"); });
  document.addEventListener("htmx:sseError", function () { live("lost", "Not live any more: reload the page. As of"); });
  document.addEventListener("htmx:sseMessage", function () { live("yes", "live, as of"); title(); });

  function local(event) {
    var time = event.target.closest && event.target.closest("time[datetime]");
    if (time && !time.title) {
      time.title = new Date(time.dateTime).toLocaleString() + " here";
    }
  }

  document.addEventListener("mouseover", local);
  document.addEventListener("focusin", local);
})();
