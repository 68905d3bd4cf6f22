#!/usr/bin/env bash
# Prints docs/reference/reasons.md from proto/reason.def, the one table of reasons.
set -euo pipefail
cd "$(dirname "$0")/.."
cat <<'EOF'
# Reasons

Generated from `proto/reason.def` by `make docs`. One code names a refusal or an end everywhere: in
REST's problem documents (`code`), in `err` and `bye` frames, in MQTT reason codes, in logs and metrics.
Retryable means: the same request with the same message id may succeed later. WebSocket close codes
4000-4099 ask the client to reconnect, 4100-4199 to log in again, 4200-4299 to stop and tell the user.

| code | retryable | WebSocket | MQTT 5 connection | MQTT 5 packet | MQTT 3.1.1 CONNACK | HTTP | what to do |
|---|---|---|---|---|---|---|---|
EOF
python3 - <<'PY'
import re

text = re.sub(r"/\*.*?\*/", "", open("proto/reason.def").read(), flags=re.S)
row = re.compile(
    r'REASON_ROW\(\s*(\w+),\s*(\d+),\s*"([^"]*)",\s*"([^"]*)",\s*(\d+),\s*(0x[0-9A-Fa-f]+),\s*(0x[0-9A-Fa-f]+),'
    r'\s*(\d+),\s*(\d+),\s*(true|false),\s*"([^"]*)"\s*\)', re.S)
rows = row.findall(text)
assert len(rows) == text.count("REASON_ROW("), "a row does not parse"
for _, _, code, _, close, connection, packet, old, http, retryable, advice in rows:
    print(f"| `{code}` | {'yes' if retryable == 'true' else 'no'} | {close} | {connection} | {packet} "
          f"| {old} | {http} | {advice} |")
PY
