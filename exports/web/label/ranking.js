/* The starter's views: all images in order, one image's comparisons, the judges. */
import { about, ask, say, showProgress } from "./page.js";

const find = (id) => document.getElementById(id);
const CHUNK = 120; // images that are added at a time while one scrolls
const FEW = 4; // judgements below which an image has few
const NAMES = ["compare", "ranking", "judges"];

function element(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

// ---- Views ------------------------------------------------------------------------------------

export function openView(name) {
  document.body.dataset.view = name;
  for (const one of NAMES) {
    find(one).hidden = one !== name;
    find(`tab-${one}`).setAttribute("aria-selected", String(one === name));
    find(`tab-${one}`).tabIndex = one === name ? 0 : -1;
  }
  if (name === "ranking") showRanking();
  if (name === "judges") showJudges();
}

for (const name of NAMES) {
  find(`tab-${name}`).addEventListener("click", () => openView(name));
}
find("tabs").addEventListener("keydown", (event) => {
  const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  if (!step) return;
  event.stopPropagation();
  const there = NAMES.map((name) => find(`tab-${name}`)).filter((tab) => !tab.hidden);
  const next = there[(there.indexOf(event.target) + step + there.length) % there.length];
  next.focus();
  next.click();
});

// ---- The ranking --------------------------------------------------------------------------------

let ranking = { images: [], answers: -1, notes: [] }, chosen = [], drawn = 0;

async function showRanking() {
  const found = await ask("ranking").catch((error) => say(error.message));
  if (!found) return;
  const same = found.answers === ranking.answers && found.images.length === ranking.images.length;
  ranking = found;
  const count = found.notes.length;
  find("notes").querySelector("summary").textContent = `${count} remark${count > 1 ? "s" : ""}`;
  find("notes").querySelector("ul").replaceChildren(
    ...found.notes.map((text) => element("li", { textContent: text })));
  find("notes").hidden = !found.notes.length;
  if (!same) draw();
}

/** Called with every progress: the order may have changed. */
export function showOrder({ answers }) {
  if (document.body.dataset.view === "ranking" && answers !== ranking.answers) showRanking();
}

setInterval(async () => {
  const { view } = document.body.dataset;
  if (view === "compare" || document.hidden || find("detail").open) return;
  if (view === "ranking") await showRanking(); else await showJudges();
  if (about.judge === null) showProgress(await ask("state"));
}, 4000);

function draw() {
  const { images } = ranking, kind = find("filter").value;
  const widths = images.map(({ best, worst }) => worst - best).sort((a, b) => a - b);
  const wide = widths[Math.floor(0.75 * widths.length)] || 0;
  chosen = images.filter((one) => kind === "all" || (kind === "few" && one.judgements < FEW)
    || (kind === "wide" && one.worst - one.best >= wide && wide > 0) || (kind === "disagreed" && one.disagreed));
  const some = chosen.length < images.length ? `${chosen.length.toLocaleString()} of ` : "";
  find("ranked-of").textContent = images.length
    ? `${some}${images.length.toLocaleString()} images, by ${ranking.answers.toLocaleString()} answers; 95 % ranges` : "";
  find("ranked").replaceChildren();
  drawn = 0;
  if (!chosen.length) {
    find("ranked").append(element("p", {
      className: "nothing",
      textContent: images.length ? "No such images." : "The order appears after the first answers.",
    }));
  }
  more();
}

function more() {
  const low = Math.min(...ranking.images.map((one) => one.low));
  const high = Math.max(...ranking.images.map((one) => one.high));
  const at = (value) => `${(100 * (value - low)) / (high - low || 1)}%`;
  find("ranked").append(...chosen.slice(drawn, drawn + CHUNK).map((one) => {
    const range = element("i"), dot = element("b");
    Object.assign(range.style, { left: at(one.low), right: `calc(100% - ${at(one.high)})` });
    dot.style.left = at(one.score);
    const image = element("img", { src: `image/${one.number}/320`, alt: "", loading: "lazy", decoding: "async" });
    const item = element("button", { type: "button", className: "item", title: one.name },
      element("span", { className: "thumb" }, image),
      element("span", { className: "facts" },
        element("span", { className: "line" },
          element("b", { textContent: `${one.rank}` }),
          element("span", { textContent: one.best === one.worst ? "" : `${one.best}–${one.worst}` })),
        element("span", { className: "name", textContent: one.name }),
        element("span", { className: "interval" }, range, dot)));
    item.setAttribute("aria-label", `rank ${one.rank}, ${one.best} to ${one.worst}: ${one.name}, ${one.judgements} judgements`);
    item.addEventListener("click", () => showDetail(one));
    return item;
  }));
  drawn = Math.min(drawn + CHUNK, chosen.length);
}

new IntersectionObserver(([entry]) => {
  if (entry.isIntersecting && drawn < chosen.length) more();
}, { rootMargin: "600px" }).observe(find("more"));

find("filter").addEventListener("change", draw);
for (const name of ["sheet", "list"]) {
  find(name).addEventListener("click", () => {
    find("ranked").className = name;
    find("sheet").setAttribute("aria-pressed", String(name === "sheet"));
    find("list").setAttribute("aria-pressed", String(name === "list"));
  });
}

// ---- One image ----------------------------------------------------------------------------------

async function showDetail(one) {
  const found = await ask("comparisons", { image: one.number }).catch((error) => say(error.message));
  if (!found) return;
  find("detail-title").textContent = one.name;
  find("detail-image").replaceChildren(element("img", { src: `image/${one.number}/1024`, alt: one.name }));
  const { state } = await ask("training").catch(() => ({ state: "none" }));
  find("places").hidden = state !== "done";
  find("places").open = false;
  find("places").ontoggle = () => {
    const shown = element("img", { src: `places/${one.number}`, alt: "bright places raise the score, dark ones lower it" });
    find("places-map").replaceChildren(...(find("places").open ? [shown] : []));
  };
  find("detail-facts").textContent = `Rank ${one.rank} (${one.best} to ${one.worst}), score ${one.score.toFixed(2)} `
    + `(${one.low.toFixed(2)} to ${one.high.toFixed(2)}), ${one.judgements} judgements`;
  find("comparisons").replaceChildren(...found.comparisons.map((answer) => {
    const picture = (side) => element("img", {
      src: `image/${answer[side]}/320`, alt: side, loading: "lazy",
      className: answer.label === side ? "higher" : "",
    });
    const back = element("button", { type: "button", textContent: "Take back" });
    back.addEventListener("click", async () => {
      back.disabled = true;
      try {
        await ask("withdraw", { row: answer.row, key: answer.key });
      } catch (error) {
        say(error.message);
      }
      await showDetail(one);
    });
    const who = [answer.label === "tie" ? "equal" : `${answer.label} chosen`, answer.judge, answer.time.replace("T", " ").replace("Z", " UTC")];
    return element("li", {}, picture("left"), picture("right"),
      element("span", { className: "soft", textContent: who.filter(Boolean).join(", ") }), back);
  }));
  if (!find("detail").open) find("detail").showModal();
}

find("detail").addEventListener("close", showRanking);

// ---- Judges -------------------------------------------------------------------------------------

async function showJudges() {
  const found = await ask("judges").catch((error) => say(error.message));
  if (!found) return;
  const share = (value) => element("td", {},
    ...(value ? [`${Math.round(100 * value[0])} % `, element("span", {
      className: "soft", textContent: `${Math.round(100 * value[1])}–${Math.round(100 * value[2])}`,
    })] : ["–"]));
  find("judge-rows").replaceChildren(...found.judges.map((one) => {
    const link = element("td");
    if (one.link) {
      const copy = element("button", { type: "button", textContent: "Copy link", title: one.link });
      copyOnClick(copy, () => one.link);
      link.append(copy);
    }
    return element("tr", {}, element("td", { textContent: one.name }),
      element("td", { textContent: one.answers.toLocaleString() }), share(one.agreement),
      share(one.consistency), share(one.right_side),
      element("td", { textContent: one.last.replace("T", " ").replace("Z", " UTC") || "–" }), link);
  }));
  find("alpha").textContent = found.alpha === null ? "Agreement appears once pairs have been judged twice."
    : `Krippendorff's alpha over all answers: ${found.alpha.toFixed(2)} (1 is perfect agreement, 0 chance).`;
}

// ---- What comes next ----------------------------------------------------------------------------

/** Make a button copy a text; where the browser forbids it, show the text, selected. */
function copyOnClick(button, text) {
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(text());
      button.textContent = "Copied";
    } catch { // not over plain HTTP from another machine
      const shown = element("code", { textContent: text() });
      button.replaceWith(shown);
      getSelection().selectAllChildren(shown);
    }
  });
}

for (const box of document.querySelectorAll(".command")) {
  copyOnClick(box.querySelector(".copy"), () => box.querySelector("pre").textContent);
}

let asking = 0;
const STEPS = { 1: "Starting Keras", 2: "Learning from the answers", 3: "Writing and checking the network's file" };

/** Show the state of the training, and look again while it runs. */
async function showTraining(path = "training") {
  const told = await ask(path).catch((error) => ({ state: "failed", error: error.message }));
  const running = told.state === "running", done = told.state === "done";
  find("train-said").textContent = {
    none: "", failed: told.error, running: `${STEPS[told.step]} … (step ${told.step} of 3, ${told.seconds} s). You can go on comparing.`,
    done: done && `Saved in ${told.run}.${told.wrong === null ? ""
      : ` It orders ${Math.round(100 * told.wrong)} % of ${told.pairs.toLocaleString()} held-out answers wrongly.`} To rank new images:`,
  }[told.state];
  find("train-said").classList.toggle("bad", told.state === "failed");
  find("train-start").disabled = running;
  find("train-start").textContent = done ? "Train again" : "Train now";
  find("train-file").hidden = find("train-next").hidden = !done;
  find("train-next").querySelector("pre").textContent = told.rank || "";
  clearTimeout(asking);
  if (running && find("train").open) asking = setTimeout(showTraining, 1000);
}

find("train-start").addEventListener("click", () => showTraining("train"));
find("next-step").addEventListener("click", () => {
  find("train-where").textContent = about.command.where;
  find("train-command").querySelector("pre").textContent = about.command.train;
  find("train").showModal();
  showTraining();
});

find("finish").addEventListener("click", async () => {
  await ask("end");
  document.body.replaceChildren(element("p", {
    className: "nothing", textContent: `Ended. The answers are in ${about.table}; the same command goes on.`,
  }));
});
