"""What schemathesis cannot know of this server: which ids exist, what ProtoJSON reads besides what the document says that one
should write, and, in `beyond.py`, which rules no schema can say. Whatever else it finds stays a failure."""

import json
import os
import re
import uuid
from pathlib import Path

import jsonschema_rs
import schemathesis
from beyond import BEYOND, RARE
from hypothesis import strategies as st
from schemathesis.core.failures import AcceptedNegativeData

DOCUMENT = json.loads(Path(os.environ["RUNPLANE_DOCUMENT"]).read_text())
SEEDS = json.loads(os.environ["RUNPLANE_SEEDS"])
KEY = os.environ["RUNPLANE_KEY"]
OPERATOR = os.environ["RUNPLANE_OPERATOR"]
OWN = json.loads(os.environ["RUNPLANE_OWN"])
IDEMPOTENCY_KEY = re.compile("[!-~]{1,255}")
# A line for each answer that a rule of BEYOND explains.
BROKEN = os.environ["RUNPLANE_BROKEN"]


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
def before_call(_context, case, **_kwargs):
    """Leaves out conditions without a value, which schemathesis sends whatever their least length is, and which would hide all
    else. Answers the call that a run waits for, where it waits and the outputs are well formed."""
    for name in ("If-Match", "If-None-Match"):
        if case.headers and case.headers.get(name) == "":
            del case.headers[name]
    # The key that schemathesis itself calls with, and what it belongs to, stay as they are; answers tell their ids.
    for name, value in (case.path_parameters or {}).items():
        if value in OWN:
            case.path_parameters[name] = SEEDS[case.operation.path.split("/")[2]][0]
    # The operator's methods take the operator's key, wherever a right one would stand.
    if case.operation.path.startswith(("/v1/organisations", "/v1/projects")):
        for name, value in (case.headers or {}).items():
            if isinstance(value, str) and KEY in value:
                case.headers[name] = value.replace(KEY, OPERATOR)
    # A key that is used for two requests is refused, rightly.
    if IDEMPOTENCY_KEY.fullmatch((case.headers or {}).get("Idempotency-Key") or ""):
        case.headers["Idempotency-Key"] = str(uuid.uuid4())
    call = SEEDS["calls"].get((case.path_parameters or {}).get("run_id"))
    outputs = case.body.get("tool_outputs") if isinstance(case.body, dict) else None
    if call and isinstance(outputs, list) and outputs and isinstance(outputs[0], dict):
        if outputs[0].get("tool_call_id"):
            outputs[0]["tool_call_id"] = call


@schemathesis.hook
def filter_failure(_context, failure, case, response):
    """Drops what is no failure. Runs and keys stay, to be read, once they are cancelled or revoked."""
    if isinstance(failure, AcceptedNegativeData):
        return not is_read_besides(case)
    if type(failure).__name__ == "UseAfterFree":
        return not case.operation.path.startswith(("/v1/runs/", "/v1/keys/"))
    if type(failure).__name__ == "RejectedPositiveData":
        return not is_beyond(operation(case)["operationId"], response.json()["error"])
    return True


def is_beyond(name, error):
    """True when a failure of an operation comes of a rule beyond the schema. Notes which, for `gate.py`."""
    field = error["details"].get("field", "")
    for at, (operations, code, fields, _) in enumerate(BEYOND + RARE):
        if name in operations.split() and error["code"] == code and re.fullmatch(fields, field, re.S):
            with open(BROKEN, "a") as broken:
                broken.write(f"{at} {name}\n")
            return True
    return False


def operation(case):
    """What the document says of the operation of a request."""
    return DOCUMENT["paths"][case.operation.path][case.operation.method.lower()]


def is_read_besides(case):
    """True when a request is right once its values are in the spelling of the document."""
    described = operation(case)
    places = {"query": case.query, "path": case.path_parameters, "header": case.headers}
    for parameter in described.get("parameters", []):
        values = places[parameter["in"]] or {}
        if parameter["name"] in values:
            value = spelled(values[parameter["name"]], parameter["schema"])
            if not is_valid(value, parameter["schema"]):
                return False
    known = {parameter["name"] for parameter in described.get("parameters", [])}
    if set(case.query or {}) - known or "requestBody" not in described:
        return not set(case.query or {}) - known
    schema = described["requestBody"]["content"]["application/json"]["schema"]
    if isinstance(case.body, (str, int, float, list, dict, bool, type(None))):
        return is_valid(spelled(case.body, schema), schema)
    return not described["requestBody"]["required"]


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
