"""Real ids for generated calls: without them almost every call would end at "not found"."""

import json
import os
import uuid
from datetime import UTC, datetime
from functools import cache
from itertools import cycle

import requests
import schemathesis
from requests.adapters import HTTPAdapter
from urllib3 import Retry

BASE = os.environ["GURURMM_URL"]
OWNER = {"Authorization": "Bearer " + os.environ["GURURMM_TOKEN"]}
PASSWORD = os.environ["GURURMM_PASSWORD"]
SETUP = json.loads(os.environ["GURURMM_SETUP"])
# A real, connected agent, which has sent a sample. Nothing here removes it.
AGENT = os.environ["GURURMM_AGENT"]
# A file that the server hands out.
PACKAGE = os.environ["GURURMM_PACKAGE"]


class Adapter(HTTPAdapter):
    """Calls from an address of this machine. A server may close an idle connection just as it is used again."""

    def __init__(self, address):
        self.address = address
        super().__init__(max_retries=Retry(total=3, allowed_methods=None))

    def init_poolmanager(self, *arguments, **options):
        super().init_poolmanager(*arguments, source_address=(self.address, 0), **options)


def caller(address):
    session = requests.Session()
    session.mount("http://", Adapter(address))
    return session


HTTP = caller("127.0.0.1")
# Machines enroll from networks of their own: from one, a hundred a minute do, and this would wait for minutes.
NETWORKS = cycle([caller(f"127.0.0.{last}") for last in range(2, 34)])


def ask(method, path, body=None, http=HTTP):
    answer = http.request(method, BASE + path, json=body, headers=OWNER, timeout=15)
    answer.raise_for_status()
    return answer.json()


def enroll(machine):
    return ask("POST", "/api/enroll", machine, next(NETWORKS))


def new_client():
    return ask("POST", "/api/v1/clients", {"name": f"Client {uuid.uuid4()}"})["id"]


def new_site():
    return ask("POST", "/api/v1/sites", {"client_id": SETUP["client"]["id"], "name": f"Site {uuid.uuid4()}"})["id"]


def invite():
    person = {"email": f"{uuid.uuid4()}@example.com", "name": "Toni Tech", "role": "tech"}
    return ask("POST", "/api/v1/users", person)


def new_user():
    return invite()["user"]["id"]


def new_session():
    # Not ask(): after some of these the server says "too many", and one of the earlier sessions will do.
    requests.post(BASE + "/api/auth/login", json=credentials(), timeout=15)
    others = (s["id"] for s in ask("GET", "/api/v1/sessions")["items"] if not s["current"])
    return next(others, str(uuid.uuid4()))


def credentials():
    return {"email": SETUP["session"]["user"]["email"], "password": PASSWORD}


def machine():
    return {
        "site_code": SETUP["site"]["code"],
        "enrollment_key": SETUP["enrollment_key"]["secret"],
        "machine_uid": uuid.uuid4().hex,
        "os_type": "linux",
    }


def new_agent():
    more = {
        "hostname": "pc-1",
        "os_version": "Debian GNU/Linux 12",
        "arch": "x86_64",
        "agent_version": "0.1.0",
        "machine_uid_source": "smbios_uuid",
    }
    return enroll(machine() | more)["agent_id"]


def new_command():
    order = {"command_type": "shell", "command": "true"}
    return ask("POST", f"/api/agents/{one(new_agent)}/command", order)["command_id"]


def new_alert():
    # A second machine with the same hardware id has to be looked at by somebody.
    twin = machine()
    for hostname in ("pc-1", "pc-2"):
        more = {"hostname": hostname, "os_version": "12", "arch": "x86_64", "agent_version": "0.1.0"}
        enroll(twin | more | {"machine_uid_source": "smbios_uuid", "board_serial": hostname})
    return ask("GET", "/api/v1/alerts?status=open")["items"][0]["id"]


def new_key():
    return ask("POST", f"/api/v1/sites/{SETUP['site']['id']}/enrollment-keys", {"expires_in_hours": 1})["key"]["id"]


def new_tunnel():
    return ask("POST", "/api/v1/tunnel/open", {"agent_id": AGENT})["session_id"]


def some_log():
    asked = ask("GET", f"/api/v1/agents/{AGENT}/logs")
    return (asked[0] if asked else ask("POST", f"/api/v1/agents/{AGENT}/logs"))["id"]


def old_crash():
    return ask("GET", f"/api/v1/agents/{AGENT}/crashes")[0]["id"]


@cache
def one(make):
    """Something that is there for the whole run."""
    return make()


# What an id in a path means, by what stands before it.
BY_PATH = {
    "/api/agents/{id}": new_agent,
    "/api/commands/{id}": new_command,
    "/api/v1/agent-crashes/{id}": old_crash,
    "/api/v1/agent-logs/{id}": some_log,
    "/api/v1/agents/{id}": new_agent,
    "/api/v1/alerts/{id}": new_alert,
    "/api/v1/clients/{id}": new_client,
    "/api/v1/commands/{id}": new_command,
    "/api/v1/enrollment-keys/{id}": new_key,
    "/api/v1/sessions/{id}": new_session,
    "/api/v1/sites/{id}": new_site,
    "/api/v1/users/{id}": new_user,
}

# What a field of a body means.
BY_FIELD = {
    "agent_id": lambda: one(new_agent),
    "client_id": lambda: SETUP["client"]["id"],
    "site_id": lambda: SETUP["site"]["id"],
    "partner_id": lambda: SETUP["partner"]["id"],
}

# Seconds that a call may wait and that nobody here does.
LONG_WAITS = {str(seconds) for seconds in range(2, 31)}

# Calls that somebody makes with something special in hand.
BY_CALL = {
    "POST /api/auth/login": credentials,
    "POST /api/v1/session": credentials,
    "POST /api/enroll": machine,
    "POST /api/v1/tunnel/open": lambda: {"agent_id": AGENT},
    "POST /api/v1/tunnel/close": lambda: {"session_id": new_tunnel()},
    "POST /api/v1/invitations/check": lambda: {"token": invitation_token()},
    "POST /api/v1/agents/{id}/merge": lambda: {"merged_id": new_agent()},
    "POST /api/v1/sites/{id}/installers": lambda: {"file": PACKAGE},
    "POST /api/v1/invitations/accept": lambda: {"token": invitation_token()},
}


def invitation_token():
    return invite()["invitation"]["url_path"].split("token=")[1]


def is_uuid(value):
    try:
        return bool(uuid.UUID(str(value)))
    except ValueError:
        return False


@schemathesis.hook
def before_call(context, case, kwargs):
    path, method = case.operation.path, case.method.upper()
    parameters = case.path_parameters or {}
    make = next((make for start, make in BY_PATH.items() if path.startswith(start)), None)
    # What is not even an id was generated to be refused.
    if make and is_uuid(parameters.get("id")):
        # A call that changes things gets a thing of its own, so that the next call finds what it needs.
        parameters["id"] = one(make) if method == "GET" else make()
    if method == "POST" and path == "/api/v1/agents/{id}/logs" and is_uuid(parameters.get("id")):
        parameters["id"] = AGENT
    if path == "/install/packages/{file}" and len(str(parameters.get("file"))) % 2:
        parameters["file"] = PACKAGE
    if path.startswith("/api/v1/policies/") and is_uuid(parameters.get("id")):
        parameters.update(scope="site", id=SETUP["site"]["id"])
    if path == "/api/v1/system/follow-me" and isinstance(case.body, dict) and case.body.get("server_url"):
        # The one agent that is there would go and look for that server.
        case.body["not_before"] = "2090-01-01T00:00:00Z"
    if str((case.query or {}).get("wait_seconds")) in LONG_WAITS:
        case.query["wait_seconds"] = 1
    if path.startswith("/api/v1/tunnel/status/") and is_uuid(parameters.get("session_id")):
        parameters["session_id"] = new_tunnel()
    if path.endswith("/metrics/at") and is_uuid(parameters.get("id")) and "T" in str((case.query or {}).get("time")):
        parameters["id"] = AGENT
        case.query["time"] = datetime.now(UTC).isoformat()
    if isinstance(case.body, dict):
        for field, value in BY_FIELD.items():
            if is_uuid(case.body.get(field)):
                case.body[field] = value()
            several = case.body.get(field + "s")
            if isinstance(several, list) and any(is_uuid(id) for id in several):
                case.body[field + "s"] = [value()]
        special = BY_CALL.get(f"{method} {path}")
        if special:
            case.body.update(special())
