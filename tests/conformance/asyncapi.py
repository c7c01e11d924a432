"""Whether docs/asyncapi.yaml is a document of AsyncAPI, by the schema that its makers publish: every
reference leads somewhere, and each example is what its message says.
"""

import json
import pathlib

import jsonschema
import yaml

HERE = pathlib.Path(__file__).parent
DOCS = HERE.parents[1] / "docs"
SPECS = HERE / "node_modules/@asyncapi/specs/schemas"

DOCUMENT = yaml.safe_load((DOCS / "asyncapi.yaml").read_text())
SCHEMA = json.loads((DOCS / "wire.schema.json").read_text())
FILES = {"": DOCUMENT, "./wire.schema.json": SCHEMA}


def references(value):
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        value = list(value.values())
    if isinstance(value, list):
        for inner in value:
            yield from references(inner)


def found(reference):
    file, pointer = reference.split("#")
    value = FILES[file]
    for name in pointer.strip("/").split("/"):
        value = value[name]
    return value


def main():
    specification = json.loads((SPECS / f"{DOCUMENT['asyncapi']}-without-$id.json").read_text())
    jsonschema.Draft7Validator(specification).validate(DOCUMENT)
    for reference in references(DOCUMENT):
        found(reference)
    for reference in references(SCHEMA):
        found("./wire.schema.json" + reference)
    messages = DOCUMENT["components"]["messages"]
    for name, message in messages.items():
        schema = {"$ref": message["payload"]["$ref"].removeprefix("./wire.schema.json"), "$defs": SCHEMA["$defs"]}
        for example in message["examples"]:
            jsonschema.Draft202012Validator(schema).validate(example["payload"])
    for operation in DOCUMENT["operations"].values():
        for reference in operation["messages"]:
            print(DOCUMENT["channels"][operation["channel"]["$ref"].rsplit("/", 1)[1]]["address"],
                  operation["action"], found(found(reference["$ref"])["$ref"])["name"])


main()
