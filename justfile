# The commands of this repository. Each is one line that also works without `just`.

# Lists the commands.
default:
    @just --list

# Starts the server on an embedded database, runs an example agent and keeps serving.
demo *args:
    cargo run -- demo {{args}}

# Runs every test; installs what they need.
test *args:
    ./test {{args}}

# Injects faults into three replicas, checks what was promised and tells it in a table; see docs/reliability.md.
chaos *args:
    tests/chaos/run {{args}}

# Google's ProtoJSON conformance suite against the generated codec; see tests/conformance/README.md.
conformance *args:
    tests/conformance/run {{args}}

# Fuzzes a target (json, path, query, event_id), or each in turn, for some seconds (300).
fuzz *args:
    tests/fuzz/run {{args}}

# Asks Envoy what our transcoder is asked, and compares with the table in docs/transcoding.md.
oracle:
    .ci/envoy && cargo test --locked --test suite oracle:: -- --nocapture

# Every lint: fmt, buf, typos, shellcheck, clippy, doc, the client feature.
lint:
    .ci/lint

# Exactly what CI runs: lints, tests, faults, the Envoy oracle, schemathesis, the chart, ProtoJSON conformance.
check:
    .ci/run

# Costs per call against hand-written handlers and other transcoders; see docs/benchmarks.md.
bench *args:
    benches/run {{args}}

# The product beside agent platforms from PyPI, which it installs into target/peers; see benches/peers/README.md.
bench-peers *args:
    benches/peers/run {{args}}

# Refreshes the committed description of the REST API.
openapi:
    cargo run --quiet -- openapi >docs/openapi.json

# Lets schemathesis loose on a server of its own.
schemathesis *args:
    tests/openapi/schemathesis {{args}}

# Lints and renders the Helm chart, and checks the image's files, the dashboard and the alarms.
helm *args:
    tests/helm/run {{args}}

# Formats Rust.
fmt:
    cargo fmt --all

# The documentation of the code.
doc *args:
    cargo doc --no-deps {{args}}

# Lints the contract, and checks that nothing which worked at the last release is broken.
proto against=`git describe --tags --abbrev=0 --match 'v*' 2>/dev/null || git rev-list --max-parents=0 HEAD`:
    ./test --setup && tests/web/node_modules/.bin/buf lint proto
    tests/web/node_modules/.bin/buf breaking proto --against '.git#ref={{against}},subdir=proto'
