"use strict";
// The sample browser. Columns are decompressed at once, so that filters are fast; texts in blocks, when they are shown
// or searched. Texts enter the page by textContent only.
const $ = (id) => document.getElementById(id);
const H = JSON.parse($("header").textContent);
const ROW = 46, NONE = 0xffffffff, RIGHT = H.statuses.indexOf("correct");
const MARK = { correct: "✓", wrong: "✗", unparsed: "?", malformed: "!", truncated: "…", timeout: "⏱", error: "E" };
const C = {}; // columns by name
const encoded = { columns: [], samples: [], questions: [] }, opened = { samples: [], questions: [] };
for (const s of document.querySelectorAll("[data-block]")) encoded[s.dataset.block].push(s);

async function inflate(script) {
  const text = atob(script.textContent), bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"))).arrayBuffer();
}
function block(kind, n) {
  return (opened[kind][n] ??= inflate(encoded[kind][n]).then((b) => JSON.parse(new TextDecoder().decode(b))));
}
const seedOf = (i) => (H.seeds[C.seed[i]] === null ? "" : `seed ${H.seeds[C.seed[i]]}`);
const rowOf = async (kind, i) => (await block(kind, Math.floor(i / H.block)))[i % H.block];

function el(tag, attributes, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "text") element.textContent = value;
    else element.setAttribute(name, value);
  }
  element.append(...children.filter((c) => c !== null && c !== undefined));
  return element;
}

// -- filters ----------------------------------------------------------------------------------------------------------

let majority, members, offsets; // by condition and question: 1 correct, 0 not, -1 no samples; samples of each question
let shown = new Uint32Array(0), chosen = -1, search = 0;

function prepare(buffer) {
  let at = 0;
  for (const [name, size] of H.columns) {
    C[name] = new { 1: Uint8Array, 2: Uint16Array, 4: Uint32Array }[size](buffer, at, H.samples);
    at += Math.ceil((H.samples * size) / 4) * 4;
  }
  const correct = new Uint32Array(H.conditions.length * H.questions), all = new Uint32Array(correct.length);
  offsets = new Uint32Array(H.questions + 1);
  for (let i = 0; i < H.samples; i++) {
    const place = C.condition[i] * H.questions + C.question[i];
    all[place]++;
    correct[place] += right(i);
    offsets[C.question[i] + 1]++;
  }
  majority = Int8Array.from(all, (n, place) => (n ? +(correct[place] * 2 > n) : -1));
  for (let q = 0; q < H.questions; q++) offsets[q + 1] += offsets[q];
  members = new Uint32Array(H.samples);
  const next = offsets.slice();
  for (let i = 0; i < H.samples; i++) members[next[C.question[i]]++] = i;
}

/** The condition that a sample is compared with: the selected one, or its baseline; undefined where there is none. */
function other(i) {
  const versus = Number($("versus").value);
  const condition = versus < 0 ? H.baseline[C.condition[i]] : versus;
  return condition === null || condition === C.condition[i] ? undefined : condition;
}

/** Whether the question flipped between the two conditions, and this sample agrees with the majority after it. */
function changed(i, how) {
  const from = other(i);
  if (from === undefined) return false;
  const before = majority[from * H.questions + C.question[i]], now = majority[C.condition[i] * H.questions + C.question[i]];
  const flipped = before >= 0 && before !== now && now === right(i);
  return flipped && (how === "flipped" || (how === "gained") === (now === 1));
}

const right = (i) => +(C.status[i] === RIGHT);

function matching() {
  const [c, d, s] = ["condition", "domain", "status"].map((id) => Number($(id).value)), how = $("change").value;
  const matches = new Uint32Array(H.samples);
  let n = 0;
  for (let i = 0; i < H.samples; i++) {
    if (c >= 0 && C.condition[i] !== c) continue;
    if (d >= 0 && C.domain[i] !== d) continue;
    if (s >= 0 && C.status[i] !== s) continue;
    if (how === "any" || changed(i, how)) matches[n++] = i;
  }
  return matches.subarray(0, n);
}

async function filter() {
  const current = ++search, words = $("text").value.trim(), all = matching();
  $("samples").setAttribute("aria-busy", "true");
  if (!words) return list(all);
  const wanted = new RegExp(words.replace(/[.*+?^${}()|[\]\\]/g, "\\$&"), "i"), matches = [], inQuestion = new Map();
  let reported = 0;
  for (const i of all) {
    const q = C.question[i];
    if (!inQuestion.has(q)) inQuestion.set(q, (await rowOf("questions", q)).some((t) => t && wanted.test(t)));
    const [text, answer, reason] = await sample(i);
    if (current !== search) return undefined; // another search started
    if (inQuestion.get(q) || wanted.test(text) || wanted.test(reason) || (answer && wanted.test(answer))) matches.push(i);
    if (performance.now() - reported > 200) {
      reported = performance.now();
      $("count").textContent = `searching… ${matches.length.toLocaleString()} so far`;
      await new Promise((resume) => setTimeout(resume));
      if (current !== search) return undefined;
    }
  }
  return list(Uint32Array.from(matches));
}
const texts = { block: -1, rows: null };
async function sample(i) {
  const n = Math.floor(i / H.block);
  if (texts.block !== n) Object.assign(texts, { rows: await block("samples", n), block: n });
  return texts.rows[i % H.block];
}

// -- the list ---------------------------------------------------------------------------------------------------------

function list(matches) {
  shown = matches;
  const more = H.left_out ? ` (${H.left_out.toLocaleString()} more are in the runs only)` : "";
  $("samples").removeAttribute("aria-busy");
  $("count").textContent = `${shown.length.toLocaleString()} of ${H.samples.toLocaleString()} samples${more}`;
  $("tall").style.height = `${shown.length * ROW}px`;
  $("list").scrollTop = 0;
  chosen = -1;
  draw();
  if (shown.length) choose(0);
  else $("detail").replaceChildren();
}

let drawCount = 0;
async function draw() {
  const current = ++drawCount, box = $("list");
  const first = Math.max(0, Math.floor(box.scrollTop / ROW) - 4);
  const last = Math.min(shown.length, Math.ceil((box.scrollTop + box.clientHeight) / ROW) + 4);
  const rows = [];
  for (let n = first; n < last; n++) rows.push(line(n, await rowOf("questions", C.question[shown[n]])));
  if (current !== drawCount) return;
  $("rows").style.transform = `translateY(${first * ROW}px)`;
  $("rows").replaceChildren(...(rows.length ? rows : [el("div", { class: "empty", text: "No sample matches these filters." })]));
}

function line(n, [id, question]) {
  const i = shown[n], status = H.statuses[C.status[i]];
  const facts = [H.conditions[C.condition[i]], H.domains[C.domain[i]], seedOf(i)].filter(Boolean);
  const attributes = { id: `row-${n}`, class: `row s-${status}`, role: "option", "aria-selected": n === chosen, onclick: () => choose(n) };
  return el("div", attributes,
    el("div", { text: `${MARK[status]} ${question ? question.replace(/\s+/g, " ").slice(0, 120) : id}` }),
    el("small", { text: `${status} · ${facts.join(" · ")}` }));
}

function choose(n) {
  if (!shown.length) return;
  chosen = Math.max(0, Math.min(shown.length - 1, n));
  const box = $("list"), top = chosen * ROW;
  if (top < box.scrollTop) box.scrollTop = top;
  else if (top + ROW > box.scrollTop + box.clientHeight) box.scrollTop = top + ROW - box.clientHeight;
  box.setAttribute("aria-activedescendant", `row-${chosen}`);
  draw();
  detail(shown[chosen]);
}

// -- one sample -------------------------------------------------------------------------------------------------------

let detailCount = 0;
async function detail(i) {
  const current = ++detailCount, [id, question, reference] = await rowOf("questions", C.question[i]), from = other(i);
  const beside = from === undefined ? undefined : twin(i, from);
  const sides = await Promise.all([i, beside].filter((s) => s !== undefined).map(side));
  const frame = H.prompts[C.condition[i]][C.domain[i]], parts = [];
  if (question && frame) parts.push(el("h3", { text: "prompt" }), prompt(frame, question));
  else if (question) parts.push(el("h3", { text: "question" }), el("pre", { text: question }));
  if (reference) parts.push(el("h3", { text: "reference answer" }), el("pre", { text: reference }));
  if (current !== detailCount) return;
  $("detail").replaceChildren(
    el("div", { class: "top" }, el("b", { text: id }), el("span", { class: "soft", text: H.domains[C.domain[i]] })),
    ...parts, el("h3", { text: "this question in every condition" }), attempts(i), el("div", { class: "sides" }, ...sides));
}

const prompt = ([before, after], question) =>
  el("pre", {}, el("span", { class: "soft", text: before }), question, el("span", { class: "soft", text: after.trimEnd() }));

/** Another condition's sample of the same question: with the other outcome where flips are shown; with the same seed and
    index where there is one. */
function twin(i, condition) {
  const flips = $("change").value !== "any";
  let match, best = -1;
  for (const j of members.subarray(offsets[C.question[i]], offsets[C.question[i] + 1])) {
    if (C.condition[j] !== condition) continue;
    const fit = 2 * (flips && right(i) !== right(j)) + (C.seed[j] === C.seed[i] && C.index[j] === C.index[i]);
    if (fit > best) [match, best] = [j, fit];
  }
  return match;
}

function attempts(i) {
  const rows = H.conditions.map(() => []);
  for (const j of members.subarray(offsets[C.question[i]], offsets[C.question[i] + 1])) rows[C.condition[j]].push(j);
  const cells = rows.flatMap((row, c) => row.length === 0 ? [] : [el("span", { text: H.conditions[c] }),
    el("span", {}, ...row.map((j) => {
      const status = H.statuses[C.status[j]], title = [status, seedOf(j), `sample ${C.index[j]}`].filter(Boolean).join(", ");
      return el("button", { class: `s-${status}`, title, "aria-label": title, "aria-pressed": j === i, text: MARK[status], onclick: () => detail(j) });
    }))]);
  return el("div", { class: "attempts" }, ...cells);
}

async function side(i) {
  const [text, answer, reason, start, end] = await rowOf("samples", i), status = H.statuses[C.status[i]];
  const facts = [seedOf(i), `sample ${C.index[i]}`, C.tokens[i] === NONE ? "" : `${C.tokens[i]} tokens`];
  const part = (name, content) => (content ? [el("h3", { text: name }), el("pre", { text: content })] : []);
  const rest = end ? text.slice(end).replace(/^\s*<\/think>\s*/, "") : text;
  return el("div", { class: "side" },
    el("h3", {}, H.conditions[C.condition[i]]),
    el("div", { class: "top" }, el("span", { class: `badge s-${status}`, text: `${MARK[status]} ${status}` }),
      el("span", { class: "soft", text: facts.filter(Boolean).join(" · ") })),
    reason ? el("p", { class: "reason", text: reason }) : null,
    ...part("reasoning", text.slice(start, end)), ...part(end ? "after the reasoning" : "completion", rest), ...part("parsed answer", answer),
    end ? el("details", {}, el("summary", { text: "full completion" }), el("pre", { text })) : null);
}

// -- controls ---------------------------------------------------------------------------------------------------------

function options(id, first, names) {
  $(id).replaceChildren(...[first, ...names].map((text, n) => el("option", { value: n - 1, text })));
}
function only(condition, domain, change) {
  reset();
  $("condition").value = H.conditions.indexOf(condition);
  $("domain").value = H.domains.indexOf(domain);
  $("change").value = change || "any";
  filter();
  $("list").focus({ preventScroll: true });
  $("samples").scrollIntoView();
}
function reset() {
  for (const id of ["condition", "domain", "status", "versus"]) $(id).value = -1;
  $("change").value = "any";
  $("text").value = "";
}

options("condition", "all conditions", H.conditions);
options("domain", "all domains", H.domains);
options("status", "all statuses", H.statuses);
options("versus", "beside its baseline", H.conditions.map((c) => `beside ${c}`));
for (const id of ["condition", "domain", "status", "change", "versus"]) $(id).addEventListener("change", filter);
let typing;
$("text").addEventListener("input", () => { $("samples").setAttribute("aria-busy", "true"); clearTimeout(typing); typing = setTimeout(filter, 200); });
$("reset").addEventListener("click", () => { reset(); filter(); });
$("list").addEventListener("scroll", draw, { passive: true });
addEventListener("resize", draw);
$("list").addEventListener("keydown", (event) => {
  const move = { ArrowDown: 1, ArrowUp: -1, j: 1, k: -1, PageDown: 10, PageUp: -10, Home: -Infinity, End: Infinity }[event.key];
  if (move) { event.preventDefault(); choose(chosen + move); }
});
for (const cell of document.querySelectorAll("[data-condition]")) {
  const open = () => only(cell.dataset.condition, cell.dataset.domain, cell.dataset.change);
  cell.addEventListener("click", open);
  cell.addEventListener("keydown", (event) => { if (event.key === "Enter") { event.preventDefault(); open(); } });
}
$("theme").addEventListener("click", () => {
  const dark = getComputedStyle(document.documentElement).colorScheme === "dark" ||
    (!document.documentElement.style.colorScheme && matchMedia("(prefers-color-scheme: dark)").matches);
  document.documentElement.style.colorScheme = dark ? "light" : "dark";
});
inflate(encoded.columns[0]).then((buffer) => { prepare(buffer); return filter(); })
  .then(() => { document.body.dataset.ready = "true"; });
