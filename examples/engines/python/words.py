#!/usr/bin/env python3
"""An engine: it counts the words of Markdown files. There is nothing to apply."""
import hashlib
import json
import os
import sys

MOST = 1 << 20  # bytes of input


class Refused(Exception):
    """The input is not right: exit 2. Everything else is exit 1."""


def digest(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


def read_input():
    if len(sys.argv) != 3 or sys.argv[1] != "--mode" or sys.argv[2] not in ("flight-plan", "take-off"):
        raise Refused("usage: words.py --mode flight-plan|take-off")
    raw = sys.stdin.buffer.read(MOST + 1)
    if len(raw) > MOST:
        raise Refused(f"the input has more than {MOST} bytes")
    try:
        doc = json.loads(raw)
    except ValueError as e:
        raise Refused(f"the input is not JSON: {e}") from None
    if not isinstance(doc, dict) or doc.get("mode") != sys.argv[2]:
        raise Refused("the input is not one of this mode")
    config = doc.get("config") or {}
    unknown = sorted(set(config) - {"suffix"})
    if unknown or not isinstance(config.get("suffix", ""), str):
        raise Refused(f"config has suffix, a text, and nothing else; not {', '.join(unknown) or 'this'}")
    return sys.argv[2], config.get("suffix", ".md")


def count(suffix):
    """Names are bytes here: what they mean must not depend on the locale."""
    top = os.fsencode(os.environ["CABINCREW_WORKSPACE"])
    words = {}
    for directory, below, names in os.walk(top):
        below[:] = [d for d in below if d != b".git"]
        for name in names:
            path = os.path.join(directory, name)
            if not name.endswith(suffix.encode()) or os.path.islink(path):
                continue
            with open(path, "rb") as f:
                words[os.path.relpath(path, top).decode("utf-8", "replace")] = len(f.read().split())
    return words


def plan(suffix):
    words = count(suffix)
    # sort_keys: the order in which a directory lists its files is chance.
    body = json.dumps({"files": words, "total": sum(words.values())}, indent=2, sort_keys=True).encode() + b"\n"
    about = {"artifact_type": "report", "action": "none", "mime": "application/json", "body_file": "body.data", "metadata": {"sha256": digest(body)}}
    at = os.path.join(os.environ["CABINCREW_ARTIFACTS_DIR"], "words")
    os.mkdir(at)
    for name, data in (("body.data", body), ("artifact.json", json.dumps(about).encode())):
        with open(os.path.join(at, name), "wb") as f:
            f.write(data)
    return digest(body), [{"name": "words", "role": "evidence", "path": "words", "hash": digest(body)}]


def take_off():
    at = os.path.join(os.environ["CABINCREW_ARTIFACTS_DIR"], "words")
    with open(os.path.join(at, "artifact.json"), "rb") as f:
        about = json.load(f)
    with open(os.path.join(at, "body.data"), "rb") as f:
        body = f.read()
    if digest(body) != about["metadata"]["sha256"]:
        raise Refused("the planned report was changed")
    print(f"words.py: {json.loads(body)['total']} words, as planned", file=sys.stderr)
    return digest(body), []


def main():
    mode, suffix = read_input()
    of, artifacts = plan(suffix) if mode == "flight-plan" else take_off()
    receipt = {"protocol_version": "draft", "engine_id": "words", "mode": mode, "receipt_id": "words-" + of[7:23], "status": "success", "artifacts": artifacts}
    json.dump(receipt, sys.stdout)


try:
    main()
except (Refused, OSError, KeyError, ValueError) as e:
    print(f"words.py: {e}", file=sys.stderr)
    sys.exit(2 if isinstance(e, Refused) else 1)
