"""A check of JSON against the part of JSON Schema (draft 7) that docs/*.schema.json use.

A keyword that is not known here is an error, so that no rule of a schema is passed over in silence.
"""
import re

KNOWN = {"$schema", "title", "description", "type", "properties", "required", "additionalProperties", "items",
         "minItems", "enum", "const", "pattern", "minimum", "maximum"}
TYPES = {
    "object": lambda value: isinstance(value, dict),
    "array": lambda value: isinstance(value, list),
    "string": lambda value: isinstance(value, str),
    "boolean": lambda value: isinstance(value, bool),
    "null": lambda value: value is None,
    "number": lambda value: isinstance(value, (int, float)) and not isinstance(value, bool),
    "integer": lambda value: isinstance(value, int) and not isinstance(value, bool),
}


def problems(value, schema, place="$"):
    """What is wrong with a value, a line each."""
    found = [f"{place}: the schema has the unknown keyword {word}" for word in schema.keys() - KNOWN]
    types = schema.get("type")
    if types is not None:
        types = [types] if isinstance(types, str) else types
        if not any(TYPES[name](value) for name in types):
            return found + [f"{place}: {value!r} is not of type {' or '.join(types)}"]
    if "const" in schema and value != schema["const"]:
        found.append(f"{place}: {value!r} is not {schema['const']!r}")
    if "enum" in schema and value not in schema["enum"]:
        found.append(f"{place}: {value!r} is none of {schema['enum']}")
    if isinstance(value, str) and "pattern" in schema and not re.search(schema["pattern"], value):
        found.append(f"{place}: {value!r} does not match {schema['pattern']}")
    if TYPES["number"](value):
        if value < schema.get("minimum", value):
            found.append(f"{place}: {value} is below {schema['minimum']}")
        if value > schema.get("maximum", value):
            found.append(f"{place}: {value} is above {schema['maximum']}")
    if isinstance(value, list):
        if len(value) < schema.get("minItems", 0):
            found.append(f"{place}: has {len(value)} items, fewer than {schema['minItems']}")
        for i, item in enumerate(value):
            found += problems(item, schema.get("items", {}), f"{place}[{i}]")
    if isinstance(value, dict):
        found += object_problems(value, schema, place)
    return found


def object_problems(value, schema, place):
    found = [f"{place}: {key} is missing" for key in schema.get("required", []) if key not in value]
    others = schema.get("additionalProperties", True)
    for key, item in value.items():
        if key in schema.get("properties", {}):
            found += problems(item, schema["properties"][key], f"{place}.{key}")
        elif others is False:
            found.append(f"{place}: {key} is not described")
        elif isinstance(others, dict):
            found += problems(item, others, f"{place}.{key}")
    return found
