// The official clients of models' APIs make the same calls to a base URL, and say what came
// of each: what the client's own code made of the answer, or which error it raised.
import OpenAI from "openai";
import Anthropic from "@anthropic-ai/sdk";
import { createOpenAI } from "@ai-sdk/openai";
import { createAnthropic } from "@ai-sdk/anthropic";
import { generateText, streamText, tool } from "ai";
import { z } from "zod";

const base = process.argv[2];
const openai = new OpenAI({ baseURL: base + "/v1", apiKey: "any", maxRetries: 0 });
const anthropic = new Anthropic({ baseURL: base, apiKey: "any", maxRetries: 0 });
const vercel = { openai: createOpenAI({ baseURL: base + "/v1", apiKey: "any" }), anthropic: createAnthropic({ baseURL: base + "/v1", apiKey: "any" }) };

const user = (content) => [{ role: "user", content }];
const parameters = { type: "object", properties: { city: { type: "string" }, days: { type: "integer" } }, required: ["city"] };
const chatTools = [{ type: "function", function: { name: "weather", description: "Tells the weather.", parameters } }];
const claudeTools = [{ name: "weather", description: "Tells the weather.", input_schema: parameters }];
const responseTools = [{ type: "function", name: "weather", description: "Tells the weather.", parameters, strict: false }];
const aiTools = { weather: tool({ description: "Tells the weather.", inputSchema: z.object({ city: z.string(), days: z.number().optional() }) }) };

const chat = (content, more) => openai.chat.completions.create({ model: "gpt-4o", messages: user(content), ...more });
const choice = (r) => r.choices.map((c) => ({ finish: c.finish_reason, text: c.message.content, calls: c.message.tool_calls?.map((t) => [t.function.name, t.function.arguments]) }));
const chatStream = async (content, more) => {
  const s = openai.chat.completions.stream({ model: "gpt-4o", messages: user(content), stream_options: { include_usage: true }, ...more });
  const r = await s.finalChatCompletion();
  return { choices: choice(r), usage: r.usage };
};
const claude = (content, more) => anthropic.messages.create({ model: "claude-made-up", max_tokens: 100, messages: user(content), ...more });
const blocks = (m) => ({ stop: m.stop_reason, content: m.content.map((b) => b.text ?? b.thinking ?? [b.name, b.input]), usage: m.usage });
const claudeStream = async (content, more) => blocks(await anthropic.messages.stream({ model: "claude-made-up", max_tokens: 100, messages: user(content), ...more }).finalMessage());
const responses = (input, more) => openai.responses.create({ model: "gpt-4o", input, ...more });
const output = (r) => ({ status: r.status, text: r.output_text, calls: r.output.filter((o) => o.type === "function_call").map((o) => [o.name, o.arguments]), usage: r.usage });
const responsesStream = async (input, more) => {
  let last, text = "";
  for await (const e of await openai.responses.create({ model: "gpt-4o", input, stream: true, ...more })) {
    if (e.type === "response.output_text.delta") text += e.delta;
    if (e.type === "response.completed") last = e.response;
  }
  if (!last) throw new Error("the stream had no end");
  return { ...output(last), text };
};
const generated = (r) => ({ text: r.text, finish: r.finishReason, calls: r.toolCalls.map((c) => [c.toolName, c.input]), usage: [r.usage.inputTokens, r.usage.outputTokens] });
const vercelText = async (model, prompt, more) => generated(await generateText({ model, prompt, maxRetries: 0, ...more }));
const vercelStream = async (model, prompt, more) => {
  let failed;
  const s = streamText({ model, prompt, maxRetries: 0, onError: (e) => (failed ??= e.error), ...more });
  let text = "";
  for await (const part of s.textStream) text += part;
  if (failed) throw failed;
  return { text, finish: await s.finishReason, calls: (await s.toolCalls).map((c) => [c.toolName, c.input]), usage: [(await s.usage).inputTokens, (await s.usage).outputTokens] };
};

// Those that fail come last: a provider that fails too often is left alone for a while.
const cases = {
  "openai chat": async () => { const r = await chat("hello"); return { choices: choice(r), usage: r.usage, model: r.model }; },
  "openai chat stream": () => chatStream("hello"),
  "openai chat tools": async () => choice(await chat("weather", { tools: chatTools })),
  "openai chat tools stream": () => chatStream("weather", { tools: chatTools }),
  "openai chat reasoning stream": () => chatStream("think"),
  "openai responses": async () => output(await responses("hello")),
  "openai responses stream": () => responsesStream("hello"),
  "openai responses tools": async () => output(await responses("weather", { tools: responseTools })),
  "openai responses tools stream": () => responsesStream("weather", { tools: responseTools }),
  "openai embeddings": async () => (await openai.embeddings.create({ model: "text-embedding-3-small", input: "hello" })).data.map((d) => d.embedding),
  "openai embeddings floats": async () => (await openai.embeddings.create({ model: "text-embedding-3-small", input: "hello", encoding_format: "float" })).data.map((d) => d.embedding),
  "openai models": async () => { const ids = []; for await (const m of openai.models.list()) ids.push(m.id); return ids.length > 0; },
  "anthropic messages": async () => blocks(await claude("hello")),
  "anthropic stream": () => claudeStream("hello"),
  "anthropic tools": async () => blocks(await claude("weather", { tools: claudeTools })),
  "anthropic tools stream": () => claudeStream("weather", { tools: claudeTools }),
  "anthropic thinking stream": () => claudeStream("think"),
  "fail: anthropic count tokens": async () => (await anthropic.messages.countTokens({ model: "claude-made-up", messages: user("hello") })).input_tokens > 0,
  "ai openai chat": () => vercelText(vercel.openai.chat("gpt-4o"), "hello"),
  "ai openai chat stream": () => vercelStream(vercel.openai.chat("gpt-4o"), "hello"),
  "ai openai chat tools stream": () => vercelStream(vercel.openai.chat("gpt-4o"), "weather", { tools: aiTools }),
  "ai openai responses": () => vercelText(vercel.openai.responses("gpt-4o"), "hello"),
  "ai openai responses stream": () => vercelStream(vercel.openai.responses("gpt-4o"), "hello"),
  "ai anthropic": () => vercelText(vercel.anthropic("claude-made-up"), "hello"),
  "ai anthropic stream": () => vercelStream(vercel.anthropic("claude-made-up"), "hello"),
  "ai anthropic tools": () => vercelText(vercel.anthropic("claude-made-up"), "weather", { tools: aiTools }),
  "leak: openai chat": async () => choice(await chat("leak")),
  "leak: openai chat stream": () => chatStream("leak"),
  "leak: openai responses": async () => output(await responses("leak")),
  "leak: openai responses stream": () => responsesStream("leak"),
  "leak: anthropic messages": async () => blocks(await claude("leak")),
  "leak: anthropic stream": () => claudeStream("leak"),
  "leak: ai openai chat stream": () => vercelStream(vercel.openai.chat("gpt-4o"), "leak"),
  "leak: ai anthropic stream": () => vercelStream(vercel.anthropic("claude-made-up"), "leak"),
  "fail: openai chat": () => chat("fail"),
  "fail: anthropic messages": () => claude("fail"),
  "cut: openai chat stream": () => chatStream("cut"),
  "cut: openai responses stream": () => responsesStream("cut"),
  "cut: anthropic stream": () => claudeStream("cut"),
};

const results = {};
for (const [name, run] of Object.entries(cases)) {
  try {
    results[name] = { value: await run() };
  } catch (e) {
    results[name] = { error: e.constructor.name, status: e.status ?? e.statusCode ?? null, message: String(e.message).slice(0, 300) };
  }
}
console.log(JSON.stringify(results, null, 1));
process.exit(0);
