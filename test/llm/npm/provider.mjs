// A provider of models that answers by a script, in OpenAI's and Anthropic's forms. It says
// on standard output where it listens.
import { LLMock } from "@copilotkit/aimock";

const mock = new LLMock({ port: 0, host: "127.0.0.1", chunkSize: 7 });
// The made-up secret is put together here, so that nobody takes this file for a leak.
const secret = "ghp_" + "x9Qk2mZ7Lr4TvB8nW1sYc6Hd3Jf5Gp0aEoUi";
mock.onMessage(/leak/, { content: `Here it is: ${secret} and that was it.` });
mock.onMessage(/weather/, { toolCalls: [{ name: "weather", arguments: JSON.stringify({ city: "Zürich", days: 2 }) }] });
mock.onMessage(/think/, { content: "The answer is 42.", reasoning: "Six times nine, in base thirteen." });
mock.onMessage(/fail/, { error: { message: "the model is overloaded", type: "server_error", code: "overloaded" }, status: 503 });
mock.onMessage(/cut/, { content: "This answer breaks off before it has ended, which nobody may take for its end." }, { truncateAfterChunks: 4 });
mock.onMessage(/hello/, { content: "Hello! I am the crew of the cabin, and I look after those who fly. Grüße aus Zürich 🙂." });
mock.onEmbedding(/hello/, { embedding: [0.1, -0.25, 0.5] });
await mock.start();
console.log(mock.url);
process.on("SIGTERM", () => mock.stop().then(() => process.exit(0)));
