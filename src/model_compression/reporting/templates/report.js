const darkMedia = matchMedia("(prefers-color-scheme: dark)");
const figures = [...document.querySelectorAll(".chart")];

/* The figures carry the neutral colours of a light page; a dark one exchanges them. */
function draw(figure, dark, width, scale = 1) {
  const recolour = (_, value) =>
    dark && typeof value === "string" && Object.hasOwn(exchange, value) ? exchange[value] : value;
  const { data, layout } = JSON.parse(figure.querySelector("script").textContent, recolour);
  const plot = figure.querySelector(".plot");
  /* No dragging: on a phone it would catch the finger that scrolls the page. */
  Object.assign(layout, { dragmode: false, paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)" });
  /* A page of paper is 267 mm high, and a chart is never cut: a taller one is drawn denser. */
  layout.height = Math.min(layout.height * scale, width ? 940 : Infinity);
  plot.style.height = `${layout.height}px`;
  fitNumbers(data, width || plot.clientWidth);
  if (width) Object.assign(layout, { width, autosize: false });
  return Plotly.react(plot, data, layout, { displayModeBar: false, responsive: !width });
}

/* The numbers of a wide heat map would run into each other on a phone and on paper. They are set
   smaller there, as far as 8 px can be read (6 pt on paper); beyond that a tap still tells them. */
function fitNumbers(data, width) {
  const [nameLetter, letter, apart, smallest] = [6.6, 0.56, 5, 8];
  const longest = (texts) => Math.max(...texts.flat().map((text) => `${text}`.length));
  for (const trace of data) {
    if (trace.type !== "heatmap" || !trace.text) continue;
    const cell = (width - 30 - longest(trace.y) * nameLetter) / trace.x.length;
    const size = Math.floor((cell - apart) / (letter * longest(trace.text)));
    if (size < smallest) trace.texttemplate = "";
    else trace.textfont.size = Math.min(trace.textfont.size, size);
  }
}

function drawAll() {
  figures.forEach((figure) => draw(figure, darkMedia.matches));
}

drawAll();
darkMedia.addEventListener("change", drawAll);
/* Paper is white and has its own width: 180 mm are 680 px, of which a gallery's column has half. */
addEventListener("beforeprint", () => {
  figures.forEach((figure) => {
    const half = figure.closest(".gallery");
    draw(figure, false, half ? 330 : 680, half ? 0.82 : 1);
  });
});
addEventListener("afterprint", drawAll);
