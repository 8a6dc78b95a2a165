"""What schemathesis cannot know of this server: which ids exist, what ProtoJSON reads besides what the document says that one
should write, and which rules no schema can say. Each exception names one rule; whatever else it finds stays a failure."""

import json
import os
import re
from pathlib import Path

import jsonschema_rs
import schemathesis
from hypothesis import strategies as st
from schemathesis.core.failures import AcceptedNegativeData

DOCUMENT = json.loads(Path(os.environ["RUNPLANE_DOCUMENT"]).read_text())
SEEDS = json.loads(os.environ["RUNPLANE_SEEDS"])
OWN_KEY = os.environ["RUNPLANE_OWN_KEY"]

# Rules beyond the schema: code of the failure, the field that it names, and the rule.
BEYOND = [
    ("invalid_cursor", r"cursor", "a cursor is opaque: only one that the server made is right"),
    ("invalid_field", r"page", "page and cursor exclude each other; OpenAPI cannot say so of parameters"),
    ("invalid_field", r"version", "the version must exist"),
    ("invalid_field", r"expires_at", "the time must lie in the future"),
    ("invalid_field", r"(tools|parameters)\[\d+\]\.name", "names are unique in their list"),
    ("invalid_field", r"tool_outputs\[\d+\]\.tool_call_id", "a call is answered once"),
    ("missing_field", r"name|model|sim", "the mask names what the body lacks, or the model needs a script"),
    ("invalid_field", r"model", "models are the operator's configuration"),
    ("invalid_field", r"sim", "a script is for the model sim only"),
    ("missing_field", r"parameters\[\d+\]\.options", "an enum has options"),
    ("invalid_field", r"parameters\[\d+\]\.(default|options\[\d+\])", "values fit their declared type"),
    ("invalid_field", r"(parameters\[\d+\]\.schema|tools\[\d+\]\.input_schema)", "it is a JSON Schema"),
    ("invalid_field", r"instructions|sim\.turns\[\d+\]\.(text|when)", "it is a template over known names"),
    ("invalid_field", r"sim\.turns\[\d+\]\.tool_calls\[\d+\]\.(name|arguments)", "the tool exists"),
    ("precondition_failed", r"if_match|", "the tag is that of the resource"),
    ("invalid_field", r"if-(none-)?match|if_match\[\d+\]", "a tag has quotes: schemathesis sends header fields without a value, whatever their least length"),
    ("unknown_parameter", r"parameters\..*", "the agent declares its parameters"),
    ("invalid_parameter_value", r"parameters\..*", "the agent declares their types"),
    ("missing_field", r"parameters\..*", "the agent declares which are required"),
    ("validation_failed", r"id|tool_outputs\.tool_call_id", "the key has no successor; the run waits for the call"),
]


@schemathesis.hook
def flatmap_path_parameters(context, parameters):
    """Mixes in ids that exist."""
    kind = context.operation.path.split("/")[2]
    names = [name for name in parameters or {} if name == "id" or name.endswith("_id")]
    if not names:
        return st.just(parameters)
    planted = st.sampled_from(SEEDS[kind]).map(lambda seed: {**parameters, names[0]: seed})
    return st.one_of(st.just(parameters), planted)


@schemathesis.hook
def filter_path_parameters(_context, parameters):
    """Leaves the key alone that schemathesis itself calls with."""
    return OWN_KEY not in (parameters or {}).values()


@schemathesis.hook
def before_call(_context, case, **_kwargs):
    """Answers the call that a run waits for, where it waits and the outputs are well formed."""
    call = SEEDS["calls"].get((case.path_parameters or {}).get("run_id"))
    outputs = case.body.get("tool_outputs") if isinstance(case.body, dict) else None
    if call and isinstance(outputs, list) and outputs and isinstance(outputs[0], dict):
        if outputs[0].get("tool_call_id"):
            outputs[0]["tool_call_id"] = call


@schemathesis.hook
def filter_failure(_context, failure, case, response):
    """Drops what is no failure."""
    if isinstance(failure, AcceptedNegativeData):
        return not is_read_besides(case)
    if type(failure).__name__ == "RejectedPositiveData":
        error = response.json()["error"]
        told = (error["code"], error["details"].get("field", ""))
        return not any(told[0] == code and re.fullmatch(field, told[1], re.S) for code, field, _ in BEYOND)
    return True


def is_read_besides(case):
    """True when a request is right once its values are in the spelling of the document."""
    operation = DOCUMENT["paths"][case.operation.path][case.operation.method.lower()]
    for parameter in operation.get("parameters", []):
        values = case.query if parameter["in"] == "query" else case.path_parameters
        if parameter["name"] in (values or {}):
            value = spelled(values[parameter["name"]], parameter["schema"])
            if not is_valid(value, parameter["schema"]):
                return False
    known = {parameter["name"] for parameter in operation.get("parameters", [])}
    if set(case.query or {}) - known or "requestBody" not in operation:
        return not set(case.query or {}) - known
    schema = operation["requestBody"]["content"]["application/json"]["schema"]
    if isinstance(case.body, (str, int, float, list, dict, bool, type(None))):
        return is_valid(spelled(case.body, schema), schema)
    return not operation["requestBody"]["required"]


def is_valid(value, schema):
    whole = {"allOf": [schema], "components": DOCUMENT["components"]}
    return jsonschema_rs.Draft202012Validator(whole).is_valid(value)


def spelled(value, schema):
    """The value as the document has it: ProtoJSON takes null for nothing, numbers as texts, and enum numbers."""
    while "$ref" in schema:
        schema = DOCUMENT["components"]["schemas"][schema["$ref"].rsplit("/", 1)[1]]
    kind = schema.get("type")
    if isinstance(value, dict) and "properties" in schema:
        required, members = schema.get("required", []), schema["properties"]
        kept = {name: v for name, v in value.items() if v is not None or name in required or name not in members}
        return {name: spelled(v, members[name]) if name in members else v for name, v in kept.items()}
    if isinstance(value, list) and kind == "array":
        return [spelled(item, schema.get("items", {})) for item in value]
    if "enum" in schema and re.fullmatch(r"-?\d+", str(value)) and not isinstance(value, bool):
        return schema["enum"][0]
    if kind in ("integer", "number") and isinstance(value, str):
        try:
            return json.loads(value)
        except ValueError:
            return value
    return value
