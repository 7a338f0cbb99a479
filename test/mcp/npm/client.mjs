// A client of npm's SDK: does everything that a server offers and prints one JSON
// document with what came of each step, without what differs from run to run.
//
//   node client.mjs MODULES everything|filesystem http URL
//   node client.mjs MODULES everything|filesystem sse URL
//   node client.mjs MODULES everything|filesystem stdio COMMAND...
import { createHash } from "node:crypto";
import { writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { join } from "node:path";
import { pathToFileURL } from "node:url";

const [modules, server, transport, ...target] = process.argv.slice(2);
if (target.length === 0) {
  console.error("wrong arguments");
  process.exit(2);
}
const require = createRequire(join(modules, "of.js"));
const load = (name) => import(pathToFileURL(require.resolve(`@modelcontextprotocol/sdk/${name}`)).href);
const { Client } = await load("client/index.js");
const { StreamableHTTPClientTransport } = await load("client/streamableHttp.js");
const { SSEClientTransport } = await load("client/sse.js");
const { StdioClientTransport } = await load("client/stdio.js");
const types = await load("types.js");

const asked = []; // what the server asked the client
let logged, updated; // are called with what it tells
let where = "file:///nowhere"; // the client's only root
const client = new Client(
  { name: "judge", version: "1.0.0" },
  { capabilities: { sampling: {}, elicitation: { form: {}, url: {} }, roots: { listChanged: true } } },
);
client.setRequestHandler(types.CreateMessageRequestSchema, ({ params }) => {
  asked.push(["sampling", params]);
  return { model: "judge", role: "assistant", content: { type: "text", text: "four" }, stopReason: "endTurn" };
});
client.setRequestHandler(types.ElicitRequestSchema, ({ params }) => {
  asked.push(["elicitation", params]);
  if (params.mode === "url") return { action: "decline" };
  if (params.requestedSchema.properties.interpretation) return { action: "accept", content: { interpretation: "technical" } };
  return { action: "accept", content: { name: "A. Nobody", check: true } };
});
client.setRequestHandler(types.ListRootsRequestSchema, () => ({ roots: [{ uri: where, name: "root" }] }));
client.setNotificationHandler(types.LoggingMessageNotificationSchema, ({ params }) => logged?.(params));
client.setNotificationHandler(types.ResourceUpdatedNotificationSchema, ({ params }) => updated?.(params));

const channels = {
  http: () => new StreamableHTTPClientTransport(new URL(target[0])),
  sse: () => new SSEClientTransport(new URL(target[0])),
  stdio: () => new StdioClientTransport({ command: target[0], args: target.slice(1), env: process.env, stderr: "inherit" }),
};
const channel = channels[transport]();

const steps = {};
// step does one thing; a refusal is as good a result as an answer.
async function step(name, what) {
  try {
    steps[name] = { result: await what() };
  } catch (error) {
    steps[name] = { error: { code: error.code, message: error.message } };
  }
}
// soon gives what a function passes on, or fails.
const soon = (what, wait) =>
  new Promise((resolve, reject) => {
    setTimeout(() => reject(new Error(`no ${what} in 20 s`)), 20_000).unref();
    wait(resolve);
  });
// told asks until the answer speaks of something, or for 20 seconds: a server may tell of
// an earlier change where a later one is waited for.
async function told(ask, something) {
  for (const end = Date.now() + 20_000; ; ) {
    const answer = await ask();
    if (JSON.stringify(answer).includes(something) || Date.now() > end) return answer;
    await new Promise((again) => setTimeout(again, 50));
  }
}
const call = (name, args = {}, options) => client.callTool({ name, arguments: args }, undefined, options);

async function everything() {
  // Some of its tools appear after the client said what it is capable of.
  const patience = AbortSignal.timeout(10_000);
  while (!(await client.listTools()).tools.some((t) => t.name === "trigger-sampling-request")) {
    patience.throwIfAborted();
    await new Promise((again) => setTimeout(again, 50));
  }
  await step("tools", async () => (await client.listTools()).tools.toSorted((a, b) => (a.name < b.name ? -1 : 1)));
  await step("prompts", () => client.listPrompts());
  await step("templates", () => client.listResourceTemplates());
  await step("resources", () => client.listResources());
  await step("ping", () => client.ping());
  await step("echo", () => call("echo", { message: "h\u00e9llo \u{1F30D} \u2028 \\ \" 1e400" }));
  await step("sum", () => call("get-sum", { a: 0.1, b: 9007199254740991 }));
  await step("bad arguments", () => call("get-sum", { a: "one" }));
  await step("structured", () => call("get-structured-content", { location: "New York" }));
  await step("image", () => call("get-tiny-image"));
  await step("annotated", () => call("get-annotated-message", { messageType: "error", includeImage: true }));
  await step("links", () => call("get-resource-links", { count: 3 }));
  await step("reference", () => call("get-resource-reference", { resourceType: "Text", resourceId: 1 }));
  await step("read", () => client.readResource({ uri: "demo://resource/dynamic/text/1" }));
  await step("read blob", () => client.readResource({ uri: "demo://resource/dynamic/blob/2" }));
  await step("read nothing", () => client.readResource({ uri: "demo://nothing" }));
  const zip = { name: "z.gz", data: "data:text/plain,hello", outputType: "resourceLink" };
  await step("link made", () => call("gzip-file-as-resource", zip));
  await step("read made", () => client.readResource({ uri: "demo://resource/session/z.gz" }));
  await step("env", async () => JSON.parse((await call("get-env")).content[0].text).JUDGED);
  const uri = "demo://resource/dynamic/text/1";
  await step("subscribe", () => client.subscribeResource({ uri }));
  const news = soon("update", (resolve) => (updated = resolve));
  news.catch(() => {}); // is awaited below, after a call that may take longer
  await step("updates on", () => call("toggle-subscriber-updates"));
  await step("updated", () => news);
  await step("updates off", () => call("toggle-subscriber-updates"));
  await step("unsubscribe", () => client.unsubscribeResource({ uri }));
  await step("prompt", () => client.getPrompt({ name: "args-prompt", arguments: { city: "Oslo", state: "Oslo" } }));
  const prompt = { type: "ref/prompt", name: "completable-prompt" };
  await step("completion", () => client.complete({ ref: prompt, argument: { name: "department", value: "E" } }));
  const template = { type: "ref/resource", uri: "demo://resource/dynamic/text/{resourceId}" };
  await step("completion of a template", () => client.complete({ ref: template, argument: { name: "resourceId", value: "4" } }));
  await step("sampling", () => call("trigger-sampling-request", { prompt: "two and two", maxTokens: 7 }));
  await step("elicitation", () => call("trigger-elicitation-request"));
  const link = { url: "https://example.com/x", message: "open it", elicitationId: "e" };
  await step("elicitation by URL", () => call("trigger-url-elicitation", link));
  await step("elicitation by error", () => call("trigger-url-elicitation", { ...link, errorPath: true }));
  await step("roots", () => call("get-roots-list"));
  const rooted = soon("new roots", (resolve) => (logged = ({ data }) => /Roots updated/.test(data) && resolve(data)));
  rooted.catch(() => {}); // is awaited below
  where = "file:///elsewhere";
  await step("roots changed", async () => [await client.sendRootsListChanged(), await rooted]);
  await step("roots then", () => told(() => call("get-roots-list"), where));
  await step("task", async () => {
    let last, first;
    const question = { name: "simulate-research-query", arguments: { topic: "python", ambiguous: true } };
    for await (const m of client.experimental.tasks.callToolStream(question, types.CallToolResultSchema, { task: { ttl: 60_000 } })) {
      first ??= m.type;
      last = m;
    }
    return [first, last.type, last.result ?? last.error?.message];
  });
  const progress = [];
  await step("progress", () =>
    call("trigger-long-running-operation", { duration: 0.3, steps: 3 }, { onprogress: (p) => progress.push(p) }),
  );
  steps["progress seen"] = progress.slice(0, 2); // the SDK may drop the last one: its answer comes right behind
  await step("cancel", async () => {
    const stop = new AbortController();
    const begun = () => stop.abort("enough");
    return call("trigger-long-running-operation", { duration: 60, steps: 600 }, { onprogress: begun, signal: stop.signal });
  });
  await step("after cancel", () => call("echo", { message: "still here" }));
  await step("level", () => client.setLoggingLevel("debug"));
  const message = soon("log", (resolve) => (logged = ({ data }) => /-level message|level-message/.test(data) && resolve("told")));
  message.catch(() => {}); // is awaited below
  await step("logging", async () => [await call("toggle-simulated-logging"), await message]);
  await step("logging off", () => call("toggle-simulated-logging"));
  // Over HTTP a server with a store of events may send again what a client has answered.
  const once = new Map(asked.map((a) => [JSON.stringify(a), a]));
  steps.asked = transport === "http" ? [...once.values()] : asked;
}

async function filesystem() {
  await step("tools", () => client.listTools());
  await step("allowed", () => call("list_allowed_directories"));
  const { content } = await call("list_allowed_directories");
  const root = content[0].text.split("\n")[1];
  const at = (...names) => ({ path: join(root, ...names) });
  const png = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";
  await writeFile(join(root, "dot.png"), Buffer.from(png, "base64"));
  await step("write", () => call("write_file", { ...at("a.txt"), content: "one\ntwo \u00e9\n" }));
  await step("edit", () => call("edit_file", { ...at("a.txt"), edits: [{ oldText: "one", newText: "eins" }] }));
  await step("read", () => call("read_text_file", at("a.txt")));
  await step("head", () => call("read_text_file", { ...at("a.txt"), head: 1 }));
  await step("read, older", () => call("read_file", at("a.txt")));
  await step("image", () => call("read_media_file", at("dot.png")));
  await step("many", () => call("read_multiple_files", { paths: [at("a.txt").path, at("none.txt").path] }));
  await step("mkdir", () => call("create_directory", at("d", "e")));
  await step("move", () => call("move_file", { source: at("a.txt").path, destination: at("d", "b.txt").path }));
  await step("list", () => call("list_directory", at()));
  await step("sizes", () => call("list_directory_with_sizes", { ...at(), sortBy: "name" }));
  await step("tree", () => call("directory_tree", at()));
  await step("search", () => call("search_files", { ...at(), pattern: "**/*.txt" }));
  await step("info", async () => (await call("get_file_info", at("d", "b.txt"))).content[0].text.replace(/^(created|modified|accessed): .*/gm, "$1"));
  await step("gone", () => call("read_text_file", at("a.txt")));
  await step("outside", () => call("read_text_file", { path: "/etc/hostname" }));
}

// same takes out what differs from run to run: times, sessions, where the root lies.
function same(text) {
  return text
    .replace(/\d{1,2}:\d\d:\d\d(\s|\u202f)?[AP]M/g, "TIME")
    .replace(/\b[0-9a-f]{32}\b/g, "TASK")
    .replace(/SessionId [\w-]+|session [0-9a-f-]{36}|session undefined/g, "SESSION")
    .replace(/\/[\w./-]*\/root-of-test[\w-]*/g, "/ROOT");
}
function normal(value) {
  if (typeof value === "string") {
    // Blobs of this server are texts with the time in them.
    if (/^[A-Za-z0-9+/]{40,}={0,2}$/.test(value)) value = Buffer.from(value, "base64").toString("latin1");
    value = same(value);
    return value.length > 300 ? `sha256 ${createHash("sha256").update(value).digest("hex")}` : value;
  }
  if (Array.isArray(value)) return value.map(normal);
  if (value && typeof value === "object") return Object.fromEntries(Object.entries(value).map(([k, v]) => [same(k), normal(v)]));
  return value;
}

await client.connect(channel);
steps.server = [client.getServerVersion(), client.getServerCapabilities(), client.getInstructions()];
await (server === "everything" ? everything() : filesystem());
if (transport === "http") await step("end", () => channel.terminateSession());
await client.close();
process.stdout.write(JSON.stringify(normal(steps), null, 1) + "\n");
process.exit(0);
