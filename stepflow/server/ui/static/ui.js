// Tells whether the page still gets updates, and shows the position of a run in its diagram. htmx does everything else.
(() => {
  const tell = (state) => {
    document.documentElement.dataset.updates = state;
    document.getElementById("connection").hidden = state === "on";
  };
  for (const name of ["htmx:sse:error", "htmx:error", "htmx:response:error"]) addEventListener(name, () => tell("lost"));
  addEventListener("htmx:sse:after:connection", () => tell("on"));
  const here = document.querySelector(".plan .current, .plan .failed");
  const picture = here && here.closest(".picture");
  if (picture) picture.scrollTop += here.getBoundingClientRect().top - picture.getBoundingClientRect().top - picture.clientHeight / 2;
})();
