"""Whether another reader of JSON Schema judges messages as the tests' own does.

    schema.py FILE      a line each: [definition, message, whether it is right]
"""

import json
import pathlib
import sys

import jsonschema

ROOT = pathlib.Path(__file__).parents[2]
SCHEMA = json.loads((ROOT / "docs/wire.schema.json").read_text())
DRAFTS = [jsonschema.Draft202012Validator, jsonschema.Draft7Validator]


def validators(draft):
    draft.check_schema(SCHEMA)
    return {
        name: draft({"$ref": f"#/$defs/{name}", "$defs": SCHEMA["$defs"]})
        for name in ("ClientMessage", "GatewayMessage")
    }


def main():
    lines = [json.loads(line) for line in pathlib.Path(sys.argv[1]).read_text().splitlines()]
    for draft in DRAFTS:
        by_name = validators(draft)
        for definition, message, right in lines:
            if by_name[definition].is_valid(message) != right:
                sys.exit(f"{draft.__name__} does not call it {right}: {definition} {json.dumps(message)}")
    print(f"{len(DRAFTS) * len(lines)} as one")


main()
