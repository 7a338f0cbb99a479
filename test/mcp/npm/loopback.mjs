// Loaded before a server of others: whatever it listens on becomes a free port of
// loopback, and standard output says which, and nothing else.
import { Server } from "node:net";

console.log = console.error;
const listen = Server.prototype.listen;
Server.prototype.listen = function (...args) {
  const done = args.find((a) => typeof a === "function");
  return listen.call(this, { host: "127.0.0.1", port: 0 }, () => {
    process.stdout.write(`http://127.0.0.1:${this.address().port}/mcp\n`);
    done?.();
  });
};
