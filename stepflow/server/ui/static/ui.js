// Tells whether the page still gets updates, and shows the position of a run in its diagram. htmx does everything else.
(() => {
  const tell = (state) => {
    document.documentElement.dataset.updates = state;
    document.getElementById("connection").hidden = state !== "lost";
    document.getElementById("ended").hidden = state !== "ended";
  };
  const refused = ({ detail }) => tell((detail?.status ?? detail?.ctx?.response?.status) === 401 ? "ended" : "lost");
  for (const name of ["htmx:sse:error", "htmx:error", "htmx:response:error"]) addEventListener(name, refused);
  addEventListener("htmx:sse:after:connection", () => tell("on"));
  const here = document.querySelector(".plan .current, .plan .failed");
  const picture = here && here.closest(".picture");
  if (picture) picture.scrollTop += here.getBoundingClientRect().top - picture.getBoundingClientRect().top - picture.clientHeight / 2;
})();
