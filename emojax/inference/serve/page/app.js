// The page: from what the user does to a session, and what it tells.

import * as microphone from "./microphone.js";
import { Session } from "./session.js";
import { Timeline, clock } from "./timeline.js";

const COLOURS = 8; // Of style.css.
const LOWEST = -60; // dB, where the level's bar begins.
const LOUD = -3; // dB, above which it warns.
const CALM = 4000; // Milliseconds between two announcements.

const $ = (id) => document.getElementById(id);
const percent = (share) => `${Math.round(100 * share)}\u00a0%`;

let about = null; // Of the run: classes, window, hop, …
let session = null;
let source = null; // The open microphone.
let files = {}; // Of the session, by their names.
let wanted = ""; // The file that is downloaded when it comes.
let problem = ""; // That is told when the session has ended.
let announced = { text: "", at: 0 };

const timeline = new Timeline(colourOf, readOut);

// The name of a CSS colour: that of the reports' figures.
function colourOf(label) {
  const index = about ? about.classes.toSorted().indexOf(label) : -1;
  return index < 0 ? "--unsure" : `--c${index % COLOURS}`;
}

// What is going on

function begin(name) {
  const mine = new Session((message) => mine === session && take(message));
  session = mine;
  files = {};
  wanted = "";
  problem = "";
  $("segments").replaceChildren();
  $("no-segments").hidden = false;
  $("counts").hidden = true;
  $("error").hidden = true;
  $("readout").textContent = "";
  timeline.clear(about.hop);
  showNow("listening…", "", "");
  setBusy(true);
  $("status").textContent = name;
  return mine;
}

async function listen() {
  const mine = begin("Waiting for the microphone…");
  let opened;
  try {
    opened = await microphone.open(
      (samples) => {
        if (mine !== session || mine.isOver || !mine.rate) return;
        showLevel(microphone.levelOf(samples));
        mine.hear(samples);
      },
      () => mine === session && stop("The microphone has gone."),
    );
  } catch (error) {
    mine.finish(error.message);
    return;
  }
  if (mine.isOver) {
    opened.close();
    return;
  }
  source = opened;
  await mine.listen(source.rate);
  if (!mine.isOver) $("status").textContent = "Listening";
}

async function upload(file) {
  const mine = begin(`Sending ${file.name}…`);
  await mine.upload(file, (share) => showProgress(share));
  if (!mine.isOver) $("status").textContent = `Listening to ${file.name}`;
}

// What was heard is kept, whatever the reason.
function stop(why) {
  problem = why;
  closeSource();
  $("listen").disabled = true; // Until the last segment is there.
  $("status").textContent = "Finishing…";
  session.stop();
}

function closeSource() {
  source?.close();
  source = null;
}

function setBusy(isBusy) {
  const button = $("listen");
  button.disabled = false;
  button.textContent = isBusy ? "Stop" : "Start listening";
  button.classList.toggle("stops", isBusy);
  $("open").disabled = isBusy;
  for (const save of document.querySelectorAll(".save")) {
    save.disabled = isBusy || !files[save.dataset.file];
  }
}

function finish(line) {
  closeSource();
  session = null;
  setBusy(false);
  $("progress").hidden = true;
  showLevel(-100);
  $("status").textContent = timeline.seconds
    ? `Ended after ${clock(timeline.seconds)}`
    : "Ready";
  $("error").hidden = !line;
  $("error").textContent = line;
  showNow("not listening", "", "");
}

// What the server says

function take(message) {
  switch (message.type) {
    case "ready":
      about = message;
      session.seconds = message.seconds;
      break;
    case "window":
      takeWindow(message);
      break;
    case "segment":
      takeSegment(message);
      break;
    case "counts":
      showCounts(message);
      break;
    case "files":
      files = message.files;
      if (wanted) download(wanted);
      break;
    case "end":
      finish(problem);
      break;
    case "error":
      finish(message.line);
      break;
  }
}

function takeWindow(window) {
  timeline.addWindow(window);
  for (const save of document.querySelectorAll(".save:disabled")) {
    save.disabled = false;
  }
  if (timeline.isFollowing) readOut(window);
  showBars(window.smoothed);
  const heard = (window.end - window.start).toFixed(1);
  if (!window.label) {
    showNow("no speech", "", `Nobody spoke in the last ${heard} s.`);
  } else {
    const best = Math.max(...window.smoothed);
    const isSure = about.classes.includes(window.label);
    const why = isSure
      ? `Smoothed over time; speech in ${window.speech.toFixed(1)} of the ` +
        `last ${heard} s.`
      : `No emotion reaches ${percent(about.threshold)}: naming one would be ` +
        "a guess.";
    showNow(window.label, isSure ? percent(best) : "", why);
  }
  if (session?.seconds) {
    showProgress(Math.min(1, window.end / session.seconds));
  }
  const time = clock(window.end);
  if (source) $("status").textContent = `Listening · ${time}`;
}

function takeSegment(segment) {
  timeline.addSegment(segment);
  const row = document.createElement("tr");
  const [time, emotion, words] = Array.from({ length: 3 }, () =>
    row.appendChild(document.createElement("td")),
  );
  const jump = time.appendChild(document.createElement("button"));
  jump.type = "button";
  jump.textContent = clock(segment.start);
  jump.setAttribute("aria-label", `${clock(segment.start)}, show in timeline`);
  jump.addEventListener("click", () => timeline.show(segment.start));
  const chip = emotion.appendChild(document.createElement("span"));
  chip.className = "chip";
  chip.style.setProperty("--colour", `var(${colourOf(segment.emotion)})`);
  const best = percent(Math.max(...segment.probabilities));
  const isSure = about.classes.includes(segment.emotion);
  chip.textContent = segment.emotion;
  if (isSure) {
    const share = chip.appendChild(document.createElement("span"));
    share.className = "share quiet";
    share.textContent = best;
  }
  for (const { text, start } of segment.words) {
    const word = words.appendChild(document.createElement("span"));
    word.textContent = text;
    word.title = `${start.toFixed(1)} s`;
    words.append(" ");
  }
  words.hidden = !about.transcribes;
  const list = $("list");
  const isAtEnd = list.scrollTop + list.clientHeight >= list.scrollHeight - 24;
  $("segments").append(row);
  $("no-segments").hidden = true;
  if (isAtEnd) list.scrollTop = list.scrollHeight;
}

// What is shown

function showNow(label, confidence, why) {
  const isSure = about?.classes.includes(label);
  $("label").textContent = label;
  $("label").classList.toggle("unsure", !isSure);
  $("label").parentElement.style.setProperty(
    "--colour",
    isSure ? `var(${colourOf(label)})` : "var(--track)",
  );
  $("confidence").textContent = confidence;
  $("why").textContent = why;
  if (session && why) announce(label);
}

// To screen readers: changes only, and not too many of them.
function announce(label) {
  const now = performance.now();
  if (label === announced.text || now - announced.at < CALM) return;
  announced = { text: label, at: now };
  $("announcer").textContent = label;
}

function showLevel(level) {
  const share = Math.min(1, Math.max(0, 1 - level / LOWEST));
  $("level-bar").style.transform = `scaleX(${share})`;
  $("level-bar").classList.toggle("loud", level > LOUD);
  const shown = Math.round(Math.max(LOWEST, level));
  $("level").setAttribute("aria-valuenow", shown);
  $("level").setAttribute("aria-valuetext", `${shown} decibels`);
  $("level-text").textContent = share ? `${shown} dB` : "–";
}

function showProgress(share) {
  $("progress").hidden = false;
  $("progress").value = share;
}

function makeBars() {
  for (const name of about.classes) {
    const row = $("bars").appendChild(document.createElement("div"));
    row.style.setProperty("--colour", `var(${colourOf(name)})`);
    row.appendChild(document.createElement("dt")).textContent = name;
    const value = row.appendChild(document.createElement("dd"));
    value.append(...["div", "span"].map((tag) => document.createElement(tag)));
    value.firstChild.append(document.createElement("div"));
  }
}

function showBars(smoothed) {
  const best = smoothed ? smoothed.indexOf(Math.max(...smoothed)) : -1;
  for (const [i, row] of [...$("bars").children].entries()) {
    const share = smoothed ? smoothed[i] : 0;
    const [track, value] = row.lastChild.children;
    track.firstChild.style.transform = `scaleX(${share})`;
    value.textContent = smoothed ? percent(share) : "–";
    row.classList.toggle("first", i === best);
  }
}

function readOut({ end, label, smoothed }) {
  const said = [clock(end), label || "no speech"];
  if (smoothed) {
    const order = [...smoothed.keys()].sort((a, b) => smoothed[b] - smoothed[a]);
    for (const i of order.slice(0, 3)) {
      said.push(`${about.classes[i]} ${percent(smoothed[i])}`);
    }
  }
  $("readout").textContent = said.join(" · ");
}

function showCounts(counts) {
  const said = [];
  const { dropped_windows: windows, dropped_segments: segments } = counts;
  if (windows) said.push(`${windows} windows left out: too slow`);
  if (segments) said.push(`${segments} segments left out: too slow`);
  if (counts.lost) said.push(`${counts.lost.toFixed(1)} s lost`);
  if (counts.clipped >= 0.01) said.push(`${counts.clipped.toFixed(2)} s too loud`);
  if (counts.not_numbers) said.push("some samples were no numbers");
  $("counts").hidden = !said.length;
  $("counts").textContent = `${said.join("; ")}.`;
}

function download(name) {
  wanted = "";
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([files[name]]));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

// What the user does

$("listen").addEventListener("click", () => (session ? stop("") : listen()));
$("open").addEventListener("click", () => $("file").click());
$("file").addEventListener("change", ({ target }) => {
  const [file] = target.files;
  target.value = ""; // So that the same can be chosen again.
  if (file) upload(file);
});
for (const button of document.querySelectorAll(".save")) {
  button.addEventListener("click", () => {
    const name = button.dataset.file;
    if (!session) return download(name);
    wanted = name;
    session.save();
  });
}

for (const id of ["listen", "open"]) $(id).disabled = true;
try {
  about = await (await fetch("about")).json();
  $("run").textContent =
    `${about.run} · hears ${about.window} s at once, every ${about.hop} s`;
  $("no-words").hidden = about.transcribes;
  $("words").hidden = !about.transcribes;
  makeBars();
  showBars(null);
  setBusy(false);
} catch {
  finish("emojax does not answer: does it still run?");
}
