// The page for people: a form of the model's features that predicts as one types, and a file's rows.
// Whatever the model or the server says is inserted as text, never as markup.
"use strict";

const PAUSE = 150; // milliseconds without a key until the record is predicted
const LONGEST_SELECT = 200; // categories of a list to choose from; more are searched by typing
const MANY_FIELDS = 16; // from so many on, a field can be searched
const BARS = 12; // classes that are drawn; of more, the likeliest
const REASONS = 12; // fields that are drawn in an explanation; of more, the strongest
const ROWS = 100; // rows of a file that are shown
const PREVIEW = 4 * 1024 * 1024; // bytes of an answered file that are read to show them

const $ = (id) => document.getElementById(id);
const number = new Intl.NumberFormat("en", { maximumSignificantDigits: 6 });
const count = new Intl.NumberFormat("en");
let model; // the manifest, as the route "model" answers it
let fields = [];
let answer = null; // the last prediction
let turn = 0; // counts the predictions that were asked for: only the last one's answer is shown
let running = new AbortController();

class Problem extends Error {
  constructor(detail, errors = []) {
    super(detail);
    this.errors = errors;
  }
}

/** An element with properties and attributes; children that are no elements become text. */
function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name in element && name !== "list") element[name] = value;
    else element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

function show(id, text) {
  $(id).textContent = text;
  $(id).hidden = !text;
}

/** The response of a route beside the page; throws a Problem in the server's words where it is none. */
async function ask(route, options) {
  let response;
  try {
    response = await fetch(route, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem("The server does not answer, or it broke off the request.");
  }
  if (response.ok) return response;
  const document = await response.json().catch(() => ({}));
  const large = response.status === 413 ? "This is too large for one request." : "";
  const words = document.detail || document.message || large || `The server answers with status ${response.status}.`;
  throw new Problem(String(words), Array.isArray(document.errors) ? document.errors : []);
}

// The form -----------------------------------------------------------------------------------------

const isNumber = (feature) => feature.kind === "integer" || feature.kind === "number";
const hasTime = (feature) => /%[HI]/.test(feature.format ?? "");
const stretches = (feature) => Number.isFinite(feature.minimum) && feature.minimum < feature.maximum;

/** Seconds since 1970 as the text of a date. */
function dated(feature, seconds) {
  const date = new Date(seconds * 1000);
  return Number.isNaN(date.getTime()) ? "" : date.toISOString().slice(0, hasTime(feature) ? 19 : 10);
}

/** The seconds since 1970 of a date that is spelled in its feature's format; NaN where it is not. */
function seconds(format, text) {
  const names = [];
  const pattern = format.split(/%(.)/s).map((piece, index) => {
    if (index % 2 === 0) return piece.replace(/[\\^$.*+?()[\]{}|]/g, "\\$&").replace(/\s+/g, " +");
    names.push(piece);
    return { Y: "(\\d{4})", f: "(\\d+)", j: "(\\d{1,3})" }[piece] ?? (/[bBpz]/.test(piece) ? "(\\S+?)" : "(\\d{1,2})");
  }).join("");
  const match = new RegExp(`^${pattern}$`, "i").exec(text);
  if (!match) return NaN;
  const at = Object.fromEntries(names.map((name, index) => [name, match[index + 1]]));
  const year = at.Y ?? Number(at.y) + (at.y < 69 ? 2000 : 1900);
  const word = (at.b ?? at.B ?? "jan").slice(0, 3).toLowerCase();
  const month = at.q ? 3 * at.q - 2 : at.m ?? 1 + "janfebmaraprmayjunjulaugsepoctnovdec".indexOf(word) / 3;
  const hour = at.H ?? (at.I ?? 0) % 12 + (/^p/i.test(at.p) ? 12 : 0);
  const [, sign, hours, minutes] = /^([+-])(\d\d):?(\d\d)?/.exec(at.z) ?? [];
  const zone = sign ? Number(`${sign}1`) * (hours * 60 + Number(minutes ?? 0)) : 0;
  return Date.UTC(year, at.j ? 0 : month - 1, at.j ?? at.d ?? 1, hour, (at.M ?? 0) - zone, at.S ?? 0) / 1000;
}

function range(feature) {
  if (!Number.isFinite(feature.minimum) || !Number.isFinite(feature.maximum)) return "";
  const [low, high] = [feature.minimum, feature.maximum].map((bound) =>
    feature.kind === "date" ? dated(feature, bound).replace("T", " ") : number.format(bound));
  return `${low} to ${high}`;
}

function hint(feature) {
  const words = { text: "free text", category: feature.open && feature.categories.length > LONGEST_SELECT ? "or another" : "" };
  const taken = isNumber(feature) || feature.kind === "date" ? range(feature) : words[feature.kind] ?? "";
  return [taken, feature.nullable ? "optional" : ""].filter(Boolean).join(" · ");
}

/** The controls of a feature: the first has its value, unless it says "another", as the second then does. */
function controls(feature, id) {
  const choices = feature.kind === "boolean" ? ["yes", "no"] : feature.categories ?? [];
  if (feature.kind === "text") return [make("textarea", { id, rows: 3 })];
  if (isNumber(feature)) return [make("input", { id, type: "number", step: feature.kind === "integer" ? 1 : "any", inputMode: "decimal" })];
  if (feature.kind === "date") return [make("input", { id, type: hasTime(feature) ? "datetime-local" : "date", step: hasTime(feature) ? 1 : "any" })];
  if (choices.length > LONGEST_SELECT) {
    const listed = make("datalist", { id: `${id}-list` }, ...choices.map((value) => make("option", { value })));
    return [make("input", { id, type: "text", list: listed.id, autocomplete: "off" }), listed];
  }
  const select = make("select", { id }, ...choices.map((value) => make("option", { value }, value)));
  if (feature.nullable) select.prepend(make("option", { value: "" }, "– missing –"));
  if (!feature.open) return [select];
  select.append(make("option", { className: "another", value: "" }, "another …"));
  return [select, make("input", { type: "text", autocomplete: "off", hidden: true })];
}

/** A slider beside a number; the number's own field is what keyboards and readers use. */
function slider(feature) {
  const step = feature.kind === "integer" ? 1 : 10 ** Math.floor(Math.log10((feature.maximum - feature.minimum) / 100));
  return make("input", { type: "range", min: feature.minimum, max: feature.maximum, step, tabIndex: -1, "aria-hidden": "true" });
}

function field(feature, index) {
  const id = `field-${index}`;
  const [input, other] = controls(feature, id);
  const error = make("p", { id: `${id}-error`, className: "error", hidden: true });
  const outside = make("p", { id: `${id}-outside`, className: "outside", hidden: true });
  input.setAttribute("aria-describedby", `${id}-hint ${error.id} ${outside.id}`);
  const made = { feature, input, error, outside, other, slide: isNumber(feature) && stretches(feature) ? slider(feature) : null };
  made.box = make("div", { className: feature.kind === "text" ? "field wide" : "field" },
    make("div", { className: "head" },
      make("label", { htmlFor: id }, feature.name),
      make("span", { id: `${id}-hint`, className: "hint" }, hint(feature))),
    make("div", { className: "pair" }, input, ...[made.slide, other].filter(Boolean)),
    outside, error);
  other?.setAttribute("aria-label", `Another ${feature.name}`);
  other?.setAttribute("aria-describedby", input.getAttribute("aria-describedby"));
  other?.addEventListener("input", later);
  input.addEventListener("input", () => { follow(made); later(); });
  made.slide?.addEventListener("input", () => { input.value = made.slide.value; follow(made); later(); });
  return made;
}

const another = ({ input }) => Boolean(input.selectedOptions?.[0]?.classList.contains("another"));

/** The slider goes where the number is, and the field for another category is there where one is wanted. */
function follow(each) {
  const { input, other, slide, box } = each;
  if (slide && input.value !== "") slide.value = input.value;
  if (other && input.selectedOptions) other.hidden = !another(each);
  box.classList.toggle("is-empty", input.value === "");
}

/** A record's value as the control spells it; without one, the middle of what training saw. */
function spelled(feature, value) {
  if (feature.kind === "date") {
    if (value === null) return "";
    const middle = (feature.minimum + feature.maximum) / 2;
    return dated(feature, seconds(feature.format ?? "%Y-%m-%d", value ?? "")) || dated(feature, middle);
  }
  if (value === null) return "";
  if (value === undefined) {
    if (feature.nullable) return "";
    if (!isNumber(feature)) return feature.kind === "boolean" ? "no" : feature.categories?.[0] ?? "";
    const middle = ((feature.minimum ?? 0) + (feature.maximum ?? 0)) / 2;
    return String(feature.kind === "integer" ? Math.round(middle) : middle);
  }
  if (feature.kind === "boolean") return [true, 1, "true", "yes", "1", "t", "y"].includes(value) ? "yes" : "no";
  return String(value);
}

function fill(record) {
  for (const each of fields) {
    const { feature, input, other } = each;
    const text = spelled(feature, Object.hasOwn(record, feature.name) ? record[feature.name] : undefined);
    input.value = text;
    if (input.value !== text && other && input.selectedOptions) {
      input.selectedIndex = input.length - 1;
      other.value = text;
    }
    follow(each);
  }
}

/** The value of a feature as JSON has it; null where it is empty. */
function value(each) {
  const { feature, input, other } = each;
  const text = another(each) ? other.value : input.value;
  if (text === "") return null;
  if (isNumber(feature)) return Number(text);
  return feature.kind === "boolean" ? text === "yes" : text;
}

const record = () => Object.fromEntries(fields.map((each) => [each.feature.name, value(each)]));

// The prediction -----------------------------------------------------------------------------------

let timer;
function later() {
  clearTimeout(timer);
  timer = setTimeout(predict, PAUSE);
}

async function predict() {
  const mine = ++turn;
  running.abort();
  running = new AbortController();
  const unread = fields.filter(({ input }) => input.validity.badInput);
  const body = JSON.stringify(record());
  call(body);
  let problem = null;
  try {
    if (unread.length) {
      const message = "this is not a number or a date";
      throw new Problem("", unread.map(({ feature }) => ({ field: feature.name, message })));
    }
    const headers = { "content-type": "application/json" };
    const response = await ask("predict", { method: "POST", headers, body, signal: running.signal });
    const next = await response.json();
    if (mine !== turn) return;
    answer = next;
  } catch (error) {
    if (mine !== turn || error.name === "AbortError") return;
    if (!(error instanceof Problem)) throw error;
    problem = error;
  }
  mark(problem);
  if (!problem && model.explanation?.of) await explain(mine, body);
}

/** Ask why, once the prediction is shown; what goes wrong with that hides the reasons alone. */
async function explain(mine, body) {
  try {
    const headers = { "content-type": "application/json" };
    const response = await ask("explain", { method: "POST", headers, body, signal: running.signal });
    const { contributions } = await response.json();
    if (mine === turn) reason(contributions);
  } catch (error) {
    if (error.name === "AbortError") return;
    if (!(error instanceof Problem)) throw error;
    if (mine === turn) $("why").hidden = true;
  }
}

const SCALES = { "log-odds": "log-odds", probability: "probability", value: "value", "log-value": "logarithm of the value" };

/** What each field adds to the model's output, the strongest first, as bars to both sides of a line. */
function reason({ base, features, of, class: explained }) {
  const listed = Object.entries(features).sort((one, other) => Math.abs(other[1]) - Math.abs(one[1]));
  const drawn = listed.slice(0, REASONS);
  const most = Math.abs(drawn[0]?.[1] ?? 0) || 1;
  const total = listed.reduce((sum, [, added]) => sum + added, base);
  const whose = explained === undefined ? "" : ` of “${explained}”`;
  $("scale").textContent = `What each field adds to the ${SCALES[of] ?? of}${whose}: from ${number.format(base)}, before anything is known, to ${number.format(total)}.`;
  $("adds").replaceChildren(...drawn.map(([name, added]) => {
    const bar = make("i", { className: added < 0 ? "less" : "more" });
    bar.style.width = `${(50 * Math.abs(added)) / most}%`;
    const signed = `${added < 0 ? "−" : "+"}${number.format(Math.abs(added))}`;
    return make("li", {}, make("span", {}, name), make("span", { className: "share", title: String(added) }, signed),
      make("span", { className: "track middle", "aria-hidden": "true" }, bar));
  }), ...(drawn.length < listed.length ? [make("li", {}, `and ${count.format(listed.length - drawn.length)} weaker fields`)] : []));
  $("why").hidden = false;
}

/** Show the problem, at the fields that it names, or else the prediction. */
function mark(problem) {
  const named = new Map();
  const others = [];
  for (const { field: name, message } of problem?.errors ?? []) {
    // A long name is cut in an error.
    const at = fields.find(({ feature }) => feature.name === name) ?? fields.find(({ feature }) => name && feature.name.startsWith(name));
    if (at) named.set(at, message);
    else others.push(message);
  }
  const outside = new Set(problem ? [] : answer.outside ?? []);
  for (const each of fields) {
    const { feature, input, error, box } = each;
    const message = named.get(each) ?? "";
    error.textContent = message;
    error.hidden = !message;
    input.setAttribute("aria-invalid", String(Boolean(message)));
    const beyond = outside.has(feature.name);
    box.classList.toggle("is-outside", beyond);
    each.outside.hidden = !beyond;
    const trained = feature.kind === "category" ? `${count.format(feature.categories.length)} categories` : range(feature);
    each.outside.textContent = beyond ? `Outside of what the model was trained on: ${trained}` : "";
  }
  $("result").classList.toggle("stale", Boolean(problem));
  const general = problem && (others.join("; ") || (named.size ? `See ${[...named.keys()].map(({ feature }) => feature.name).slice(0, 5).join(", ")}.` : problem.message));
  show("problem", problem ? `No prediction. ${general}` : "");
  show("beyond", outside.size ? `Outside of what the model was trained on: ${[...outside].join(", ")}` : "");
  if (problem) $("said").textContent = $("problem").textContent;
  else draw();
}

function percent(share) {
  if (share > 0 && share < 0.0005) return "< 0.1 %";
  if (share < 1 && share >= 0.9995) return "> 99.9 %";
  return `${(100 * share).toFixed(1)} %`;
}

const own = () => model.threshold ?? 0.5;

/** The predicted class, by the threshold of the page where it is moved. */
function label() {
  if ($("cut").hidden) return answer.prediction;
  const at = Number($("threshold").value);
  if (Math.abs(at - own()) < 1e-9) return answer.prediction;
  return model.classes[answer.probabilities[String(model.classes[1])] >= at ? 1 : 0];
}

function draw() {
  const chosen = label();
  const shares = answer.probabilities ? model.classes.map((each) => [each, answer.probabilities[String(each)] ?? 0]) : [];
  const words = {
    regression: () => number.format(chosen),
    anomaly: () => (chosen === -1 ? "An anomaly" : "Not an anomaly"),
    cluster: () => `Cluster ${chosen}`,
  };
  const text = (words[model.task] ?? (() => String(chosen)))();
  const share = shares.find(([each]) => each === chosen)?.[1];
  const score = answer.score === undefined ? "" : `score ${number.format(answer.score)}${model.task === "anomaly" ? "; below zero for an anomaly" : ""}`;
  const sure = [share === undefined ? "" : percent(share), score].filter(Boolean).join(", ");
  $("label").textContent = text;
  $("sure").textContent = sure;
  $("said").textContent = `${$("caption").textContent}: ${text}${sure ? `, ${sure}` : ""}. ${$("beyond").textContent}`;
  const drawn = shares.length <= BARS ? shares : [...shares].sort((one, other) => other[1] - one[1]).slice(0, BARS);
  $("bars").replaceChildren(...drawn.map(([each, share]) => {
    const bar = make("i");
    bar.style.width = `${100 * share}%`;
    return make("li", { className: each === chosen ? "chosen" : "" },
      make("span", {}, String(each)), make("span", { className: "share", title: String(share) }, percent(share)),
      make("span", { className: "track", "aria-hidden": "true" }, bar));
  }), ...(drawn.length < shares.length ? [make("li", {}, `and ${count.format(shares.length - drawn.length)} less likely classes`)] : []));
  $("detail").hidden = !shares.length;
  if ($("cut").hidden) return;
  const at = Number($("threshold").value);
  $("at").textContent = number.format(Number(at.toFixed(3)));
  $("own").disabled = Math.abs(at - own()) < 1e-9;
  $("threshold").setAttribute("aria-valuetext", $("at").textContent);
  $("meaning").textContent = `“${model.classes[1]}” is predicted from this probability on. The model's own threshold: ${number.format(own())}.`;
}

/** The command line that asks for the same prediction. */
function call(body) {
  const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;
  const url = new URL("predict", document.baseURI).href;
  $("call").textContent = `curl ${quoted(url)} \\\n  -H 'content-type: application/json' \\\n  -d ${quoted(body)}`;
}

async function copy() {
  try {
    await navigator.clipboard.writeText($("call").textContent);
    $("copy").textContent = "Copied";
  } catch { // a page that did not come over https may not write there
    getSelection().selectAllChildren($("call"));
    $("copy").textContent = "Selected: press Ctrl+C";
  }
  setTimeout(() => { $("copy").textContent = "Copy"; }, 2000);
}

// A file -------------------------------------------------------------------------------------------

let work = new AbortController();
let urls = [];

async function predictFile(file) {
  work.abort();
  const mine = (work = new AbortController());
  urls.forEach((url) => URL.revokeObjectURL(url));
  urls = [];
  for (const id of ["rejects", "rows", "downloads"]) $(id).replaceChildren();
  $("downloads").hidden = true;
  $("outcome").className = "";
  $("outcome").textContent = "";
  $("work").hidden = false;
  const start = performance.now();
  const since = () => { $("since").textContent = `${file.name}: ${Math.round((performance.now() - start) / 1000)} s`; };
  since();
  const clock = setInterval(since, 1000);
  try {
    const headers = { "content-type": "text/csv" };
    if (file.name.endsWith(".gz")) headers["content-encoding"] = "gzip";
    const send = (accept) => ask("predict_file", { method: "POST", body: file, signal: mine.signal, headers: { ...headers, accept } });
    const listed = await (await send("application/json")).json();
    const joined = await (await send("text/csv")).blob();
    await present(file, listed, joined);
  } catch (error) {
    if (mine !== work) return;
    if (error.name !== "AbortError" && !(error instanceof Problem)) throw error;
    const reasons = (error.errors ?? []).map(({ message }) => message).filter((message) => !error.message.includes(message));
    $("outcome").className = "error";
    $("outcome").textContent = error.name === "AbortError" ? "Cancelled." : [error.message, ...reasons].join("; ");
  } finally {
    clearInterval(clock);
    if (mine === work) $("work").hidden = true;
  }
}

async function present(file, { predictions, rejected }, joined) {
  const total = count.format(predictions.length);
  const bad = count.format(rejected.length);
  $("outcome").textContent = `${file.name}: ${total} ${predictions.length === 1 ? "row" : "rows"}, ${count.format(predictions.length - rejected.length)} predicted, ${bad} rejected.`;
  const stem = file.name.replace(/\.gz$/i, "").replace(/\.\w+$/, "");
  const offer = (blob, name, words) => {
    const href = URL.createObjectURL(blob);
    urls.push(href);
    return make("a", { className: "download", href, download: name }, words);
  };
  $("downloads").append(offer(joined, `${stem}-predictions.csv`, "Download the predictions"));
  if (rejected.length) {
    const names = ["line", "column", "code", "reason"];
    const lines = [names, ...rejected.map((reject) => names.map((name) => reject[name]))];
    const text = lines.map((cells) => cells.map(quotedCell).join(",") + "\n").join("");
    $("downloads").append(offer(new Blob([text], { type: "text/csv" }), `${stem}-rejected.csv`, "Download the rejects"));
    const some = rejected.slice(0, ROWS).map(({ line, column, reason }) => [line, column, reason]);
    $("rejects").replaceChildren(...table(`${some.length < rejected.length ? `The first ${some.length} of ${bad} rejected rows` : "Rejected rows"}`, ["line", "column", "reason"], some, 0, "reasons"));
  }
  $("downloads").hidden = false;
  const [header = [], ...rows] = parsed(await joined.slice(0, PREVIEW).text(), ROWS + 1);
  const golden = model.golden[0] ?? {};
  const shares = !golden.probabilities ? 0 : model.task === "binary" ? 1 : model.classes.length;
  const added = 1 + shares + ("score" in golden ? 1 : 0);
  const turned = (cells) => [...cells.slice(-added), ...cells.slice(0, -added)];
  const some = rows.filter((cells) => cells.length === header.length).map(turned);
  if (some.length) $("rows").replaceChildren(...table(`${some.length < predictions.length ? `The first ${some.length} of ${total} rows` : "Rows"}, with their predictions`, turned(header), some, added, ""));
}

const quotedCell = (cell) => (/[",\r\n]/.test(cell) ? `"${String(cell).replaceAll('"', '""')}"` : String(cell));

function table(caption, header, rows, added, className) {
  return [make("h3", {}, caption),
    make("div", { className: "scroll", tabIndex: 0, role: "region", "aria-label": caption },
      make("table", { className },
        make("thead", {}, make("tr", {}, ...header.map((text) => make("th", { scope: "col", title: text }, text)))),
        make("tbody", {}, ...rows.map((cells) => make("tr", {}, ...cells.map((text, index) => cell(String(text), index, added)))))))];
}

/** A cell of a table, of which the first ``added`` columns are the model's: a rejected row has nothing there. */
function cell(text, index, added) {
  if (index >= added) return make("td", { title: text }, text);
  if (index === 0 && text === "") return make("td", { className: "missed" }, "rejected");
  const shown = /^-?\d*\.\d{5,}(e-?\d+)?$/i.test(text) ? number.format(Number(text)) : text;
  return make("td", { className: index === 0 ? "predicted" : "", title: text }, shown);
}

/** The first records of a CSV with commas, as RFC 4180 has it. */
function parsed(text, most) {
  const records = [];
  let cells = [];
  const pattern = /(?:"((?:[^"]|"")*)"|([^",\r\n]*))(,|\r?\n|$)/y;
  for (let match; records.length < most && pattern.lastIndex < text.length && (match = pattern.exec(text)); ) {
    cells.push(match[1] === undefined ? match[2] : match[1].replaceAll('""', '"'));
    if (match[3] !== ",") {
      records.push(cells);
      cells = [];
    }
  }
  return records;
}

// The start ----------------------------------------------------------------------------------------

function about() {
  const { name, version, target, task, training, links, features } = model;
  document.title = name;
  $("name").textContent = name;
  const many = `${count.format(features.length)} ${features.length === 1 ? "field" : "fields"}`;
  const words = { anomaly: `Finds anomalies, from ${many}`, cluster: `Finds the cluster of a record, from ${many}` };
  $("about").textContent = words[task] ?? `Predicts ${target || "a value"} from ${many}`;
  $("caption").textContent = target ? `Predicted ${target}` : "Prediction";
  $("version").textContent = `${name}, version ${version}, trained on ${training.rows ? `${count.format(training.rows)} rows, ` : ""}${String(model.created).slice(0, 10)}`;
  $("synthetic").hidden = !training.synthetic;
  const pages = [["report", "Report"], ["card", "Card"]].filter(([route]) => route in (links ?? {}));
  $("links").prepend(...pages.map(([route, words]) => make("a", { href: route }, words)));
  $("links").append(make("a", { href: "model" }, "Manifest"));
}

async function start() {
  model = await (await ask("model")).json();
  about();
  fields = model.features.map(field);
  $("fields").replaceChildren(...fields.map(({ box }) => box));
  const examples = model.golden.map((row) => row.record);
  let example = 0;
  fill(examples[0] ?? {});
  $("example").hidden = examples.length < 2;
  $("example").addEventListener("click", () => { fill(examples[(example = (example + 1) % examples.length)]); predict(); });
  $("find").hidden = fields.length < MANY_FIELDS;
  $("search").addEventListener("input", () => {
    const wanted = $("search").value.trim().toLowerCase();
    for (const { feature, box } of fields) box.hidden = !feature.name.toLowerCase().includes(wanted);
  });
  $("form").addEventListener("submit", (event) => { event.preventDefault(); predict(); });
  $("cut").hidden = model.task !== "binary" || !("probabilities" in (model.golden[0] ?? {}));
  $("threshold").value = own();
  $("threshold").addEventListener("input", () => answer && draw());
  $("own").addEventListener("click", () => { $("threshold").value = own(); if (answer) draw(); });
  $("copy").addEventListener("click", copy);
  $("file").addEventListener("change", () => { const [file] = $("file").files; if (file) predictFile(file); $("file").value = ""; });
  $("cancel").addEventListener("click", () => work.abort());
  for (const kind of ["dragover", "dragleave", "drop"]) {
    document.addEventListener(kind, (event) => {
      event.preventDefault();
      document.querySelector(".drop").classList.toggle("over", kind === "dragover");
      if (kind === "drop" && event.dataTransfer.files.length) predictFile(event.dataTransfer.files[0]);
    });
  }
  $("main").hidden = false;
  await predict();
}

start().catch((error) => show("failure", error instanceof Problem ? error.message : "This page failed; reload it, or use apidocs."));
