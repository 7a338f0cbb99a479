"""A small MCP server on stdin and stdout: it lists, reads and deletes notes of its directory."""
import json
import os
import sys

PATH = {"type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"]}
TOOLS = [
    {"name": "list_notes", "description": "Lists the notes.", "inputSchema": {"type": "object"}, "annotations": {"readOnlyHint": True}},
    {"name": "read_note", "description": "Reads a note.", "inputSchema": PATH, "annotations": {"readOnlyHint": True}},
    {"name": "delete_note", "description": "Deletes a note.", "inputSchema": PATH, "annotations": {"destructiveHint": True}},
]


def call(name, arguments):
    if name == "list_notes":
        return "\n".join(sorted(os.listdir()))
    path = arguments["path"]
    if name == "read_note":
        with open(path, encoding="utf-8") as note:
            return note.read()
    os.remove(path)
    return "deleted"


def answer(message):
    params = message.get("params", {})
    if message["method"] == "initialize":
        return {"protocolVersion": params["protocolVersion"], "capabilities": {"tools": {}}, "serverInfo": {"name": "notes", "version": "1"}}
    if message["method"] == "tools/list":
        return {"tools": TOOLS}
    if message["method"] != "tools/call":
        return {}
    try:
        return {"content": [{"type": "text", "text": call(params["name"], params.get("arguments", {}))}]}
    except (KeyError, OSError) as error:
        return {"content": [{"type": "text", "text": str(error)}], "isError": True}


for line in sys.stdin:
    request = json.loads(line)
    if "id" in request:
        print(json.dumps({"jsonrpc": "2.0", "id": request["id"], "result": answer(request)}), flush=True)
