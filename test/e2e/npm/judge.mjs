// Judges one bundle with npm's sigstore, without the network: what it signs must be a
// statement of a type about an artifact, signed by a key or by a certificate for an
// identity. Exit 0: yes. Exit 1: no, and why. Exit 2: it was not asked properly.
//
//   node judge.mjs MODULES BUNDLE ARTIFACT TYPE key PUBLIC_KEY
//   node judge.mjs MODULES BUNDLE ARTIFACT TYPE certificate TRUSTED_ROOT IDENTITY ISSUER
import { createHash, createPublicKey } from "node:crypto";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";

const [modules, bundleFile, artifact, type, by, trusted, identity, issuer] = process.argv.slice(2);
if (!trusted || (by === "key") === Boolean(identity && issuer)) {
  console.error("wrong arguments");
  process.exit(2);
}
// What sigstore itself depends on: its own verify() takes its trusted root from the
// network only.
const require = createRequire(join(modules, "sigstore", "package.json"));
const { bundleFromJSON } = require("@sigstore/bundle");
const { TrustedRoot } = require("@sigstore/protobuf-specs");
const { Verifier, toSignedEntity, toTrustMaterial } = require("@sigstore/verify");

const read = (file) => readFileSync(file);
const exactly = (text) => `^${text.replace(/[.*+?^${}()|[\]\\/-]/g, "\\$&")}$`;

try {
  const bundle = bundleFromJSON(JSON.parse(read(bundleFile)));
  if (by === "key") {
    const key = { publicKey: createPublicKey(read(trusted)), validFor: () => true };
    const material = toTrustMaterial(TrustedRoot.fromJSON({}), () => key);
    new Verifier(material, { tlogThreshold: 0, ctlogThreshold: 0, timestampThreshold: 0 }).verify(toSignedEntity(bundle));
  } else {
    const material = toTrustMaterial(TrustedRoot.fromJSON(JSON.parse(read(trusted))));
    new Verifier(material, { tlogThreshold: 0, ctlogThreshold: 0, timestampThreshold: 1 }).verify(toSignedEntity(bundle), {
      subjectAlternativeName: exactly(identity),
      extensions: { issuer },
    });
  }
  // The package compares neither subject nor type of a statement with anything.
  const envelope = bundle.content.dsseEnvelope;
  if (envelope.payloadType !== "application/vnd.in-toto+json") throw new Error(`payload of type ${envelope.payloadType}`);
  const statement = JSON.parse(envelope.payload.toString("utf8"));
  const digest = createHash("sha256").update(read(artifact)).digest("hex");
  if (statement.predicateType !== type) throw new Error(`statement of type ${statement.predicateType}`);
  if (statement.subject.length !== 1 || statement.subject[0].digest.sha256 !== digest) throw new Error("about another artifact");
} catch (error) {
  console.error(`refused: ${error.code ?? error.name}: ${error.message}`);
  process.exit(1);
}
