#!/usr/bin/env node
// An engine: it plans the next version of package.json. The new file is a state
// artifact, and the evidence says what it is: take-off writes it only where both
// still fit together, and where package.json is the one that was planned over.
import { createHash } from "node:crypto";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

const most = 1 << 20; // bytes of input
const parts = ["major", "minor", "patch"];
const digest = (data) => "sha256:" + createHash("sha256").update(data).digest("hex");

class Refused extends Error {} // exit 2; everything else is exit 1

function readInput() {
  const [flag, mode, ...more] = process.argv.slice(2);
  if (flag !== "--mode" || more.length > 0 || !["flight-plan", "take-off"].includes(mode)) throw new Refused("usage: bump.mjs --mode flight-plan|take-off");
  const raw = readFileSync(0);
  if (raw.length > most) throw new Refused(`the input has more than ${most} bytes`);
  let input;
  try {
    input = JSON.parse(raw);
  } catch (e) {
    throw new Refused(`the input is not JSON: ${e.message}`);
  }
  if (input?.mode !== mode) throw new Refused("the input is not one of this mode");
  const { part = "patch", ...unknown } = input.config ?? {};
  if (!parts.includes(part)) throw new Refused(`config.part is one of ${parts.join(", ")}`);
  if (Object.keys(unknown).length > 0) throw new Refused(`config has no ${Object.keys(unknown).join(", ")}`);
  return { mode, part };
}

function next(version, part) {
  const numbers = /^(\d+)\.(\d+)\.(\d+)$/.exec(version)?.slice(1).map(Number);
  if (!numbers) throw new Error(`${version} is not a version of three numbers`);
  const at = parts.indexOf(part);
  return numbers.map((n, i) => (i < at ? n : i === at ? n + 1 : 0)).join(".");
}

const packageFile = join(process.env.CABINCREW_WORKSPACE ?? "", "package.json");
const artifact = (...name) => join(process.env.CABINCREW_ARTIFACTS_DIR ?? "", ...name);

function write(name, role, about, body) {
  mkdirSync(artifact(name));
  writeFileSync(artifact(name, "body.data"), body);
  writeFileSync(artifact(name, "artifact.json"), JSON.stringify({ ...about, body_file: "body.data" }));
  return { name, role, path: name, hash: digest(body) };
}

function plan(part) {
  const old = readFileSync(packageFile);
  const from = JSON.parse(old).version;
  const to = next(from, part);
  const body = Buffer.from(old.toString().replace(`"version": "${from}"`, `"version": "${to}"`));
  if (JSON.parse(body).version !== to) throw new Error('package.json does not spell its version as "version": "…"');
  const metadata = { before: digest(old), after: digest(body) };
  return [
    write("bump", "evidence", { artifact_type: "summary", action: "inform", mime: "text/plain", metadata }, `${from} -> ${to}\n`),
    write("package", "state", { artifact_type: "file", action: "write", target: "package.json", mime: "application/json" }, body),
  ];
}

function takeOff() {
  const { before, after } = JSON.parse(readFileSync(artifact("bump", "artifact.json"))).metadata;
  const body = readFileSync(artifact("package", "body.data"));
  if (digest(body) !== after) throw new Refused("the planned package.json was changed");
  const now = digest(readFileSync(packageFile));
  if (now === after) return []; // a take-off that was interrupted after this
  if (now !== before) throw new Error("package.json is not the one that was planned over");
  writeFileSync(packageFile, body);
  return [];
}

try {
  const { mode, part } = readInput();
  const artifacts = mode === "flight-plan" ? plan(part) : takeOff();
  process.stdout.write(JSON.stringify({ protocol_version: "draft", engine_id: "bump", mode, receipt_id: `bump-${mode}`, status: "success", artifacts }));
} catch (e) {
  console.error(`bump.mjs: ${e.message}`);
  process.exitCode = e instanceof Refused ? 2 : 1;
}
