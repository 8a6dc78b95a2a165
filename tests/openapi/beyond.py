"""Rules that no schema can say, with the operations that have them. `hooks.py` takes them for no failure; `gate.py` fails when one
of them was never broken: then it is one too many."""

DEFINE = "Agents_CreateAgent Agents_UpdateAgent"
INVOKE = "Agents_InvokeAgent Agents_RunAgent Agents_StreamAgent Agents_StreamAgent_2 Runs_CreateRun"
LIST = (
    "Agents_ListAgents Agents_ListAgentVersions Keys_ListKeys Runs_ListRuns"
    " Organisations_ListOrganisations Projects_ListProjects"
)
SESSION = "Auth_CreateSession Auth_CreateToken"
TENANT = (
    "Organisations_CreateOrganisation Organisations_UpdateOrganisation Projects_CreateProject Projects_UpdateProject"
)

# Operations, code of the failure, the field that it names, and the rule.
BEYOND = [
    (LIST, "invalid_cursor", r"cursor", "a cursor is opaque: only one that the server made is right"),
    (LIST, "invalid_field", r"page", "page and cursor exclude each other; OpenAPI cannot say so of parameters"),
    (INVOKE, "invalid_field", r"version", "the version must exist"),
    (INVOKE, "unknown_parameter", r"parameters\..*", "the agent declares its parameters"),
    (INVOKE, "missing_field", r"parameters\..*", "the agent declares which are required"),
    (DEFINE, "invalid_field", r"(tools|parameters)\[\d+\]\.name", "names are unique in their list"),
    (
        "Agents_UpdateAgent Keys_UpdateKey Organisations_UpdateOrganisation Projects_UpdateProject",
        "missing_field", r"name|model|sim", "the mask names what the body lacks",
    ),
    (TENANT, "invalid_field", r"plan", "plans are the operator's configuration"),
    ("Keys_CreateKey " + SESSION, "invalid_field", r"scopes\[\d+\]", "each level has its own scopes"),
    ("Keys_CreateKey", "invalid_field", r"project_id|organisation_id", "only an operator's key may name them"),
    ("Agents_CreateAgent", "missing_field", r"sim", "the model sim needs a script"),
    (DEFINE, "invalid_field", r"model", "models are the operator's configuration"),
    (DEFINE, "missing_field", r"parameters\[\d+\]\.options", "an enum has options"),
    (DEFINE, "invalid_field", r"parameters\[\d+\]\.(default|options\[\d+\])", "values fit their declared type"),
    (DEFINE, "invalid_field", r"instructions|sim\.turns\[\d+\]\.(text|when)", "it is a template over known names"),
    (DEFINE, "invalid_field", r"sim\.turns\[\d+\]\.tool_calls\[\d+\]\.(name|arguments)", "the tool exists"),
    ("Agents_UpdateAgent Agents_DeleteAgent", "invalid_field", r"if-match", "the header and the query exclude each other"),
    ("Agents_UpdateAgent Agents_DeleteAgent", "precondition_failed", r"if_match", "the tag is that of the resource"),
    ("Keys_CreateKey", "invalid_field", r"expires_at", "the time must lie in the future"),
    ("Keys_RegenerateKey Keys_RotateKey", "validation_failed", r"id", "the key has no successor"),
    ("Runs_SubmitToolOutputs", "invalid_field", r"tool_outputs\[\d+\]\.tool_call_id", "a call is answered once"),
    ("Runs_SubmitToolOutputs", "validation_failed", r"tool_outputs\.tool_call_id", "the run waits for the call"),
]

# Broken so seldom that a run without it says nothing.
RARE = [
    ("Organisations_DeleteOrganisation", "validation_failed", r"", "an organisation with projects stays"),
    (DEFINE, "invalid_field", r"(tools|parameters)\[\d+\]\.(schema|parameters|input_schema).*", "it is a JSON Schema"),
    (DEFINE, "invalid_field", r"tools\[\d+\]\.http\.url", "the URL has a host and a port that can be"),
]
