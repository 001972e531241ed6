"""itadm's initiators (their CHAP accounts) and the defaults of all targets."""

from embedded.answer import Answer
from embedded.itadm_call import EINVAL, ENOENT, Call, Failure, UsageError, column, iscsi_name, portal, unless_none
from embedded.model import Initiator

_RADIUS_PORT, _ISNS_PORT = 1812, 3205


def _apply(call: Call, account: Initiator) -> None:
    user = call.option("u")
    if user is not None:
        account.user = unless_none(user)
    if call.secret is not None:
        account.secret = call.secret


def create(call: Call) -> Answer:
    """Make an initiator known."""
    name = iscsi_name(call.operand)
    if name in call.node.initiators:
        raise Failure(f"Initiator {name} already exists\n", EINVAL)
    account = Initiator()
    _apply(call, account)
    call.node.initiators[name] = account
    call.commit()
    return Answer()


def modify(call: Call) -> Answer:
    """Change user or secret; nothing to change is success."""
    name = iscsi_name(call.operand)
    if name not in call.node.initiators:
        raise Failure(f"Error, initiator {name} not found\n", ENOENT)
    _apply(call, call.node.initiators[name])
    call.commit()
    return Answer()


def delete(call: Call) -> Answer:
    """Forget an initiator."""
    name = iscsi_name(call.operand)
    if call.node.initiators.pop(name, None) is None:
        raise Failure(f"Initiator {name} not found\n", 1)
    call.commit()
    return Answer()


def show(call: Call) -> Answer:
    """List initiators, newest first."""
    known = dict(reversed(call.node.initiators.items()))
    if call.parsed.operands:
        name = iscsi_name(call.operand)
        if name not in known:
            raise Failure(f"Initiator {call.operand} not found!\n", 1)
        known = {name: known[name]}
    rows = [(name, account.user or "<none>", "set" if account.secret else "unset") for name, account in known.items()]
    if call.parsed.has("p"):
        return Answer("".join("\t".join(row) + "\n" for row in rows))
    header = f"{'INITIATOR NAME':<61}{'CHAPUSER':<10}{'SECRET':<7}\n" if rows else ""
    return Answer(header + "".join(f"{column(name)}{user:<15}{secret:<4}\n" for name, user, secret in rows))


def _server(text: str, *, port: int, field: str) -> str:
    address = portal(text, port=port)
    if address is None:  # unrecorded
        raise Failure(f"Error setting global properties: {EINVAL}\n\t{field}: invalid address\n", EINVAL)
    return address


def _isns_servers(text: str) -> list[str]:
    if text == "none":
        return []
    return [_server(part, port=_ISNS_PORT, field="isnsserver") for part in text.split(",")]


def modify_defaults(call: Call) -> Answer:
    """Change what targets without settings of their own use; nothing to change is an error."""
    flag = call.option("i")
    if flag not in {None, "enable", "disable"}:
        raise UsageError("invalid value for -i\n", 1)
    secret = call.read_secret("D", prompt="d")
    if not call.parsed.options:
        raise Failure("Error, no properties specified\n", EINVAL)
    server, isns = call.option("r"), call.option("I")
    radius = None if server in {None, "none"} else _server(server or "", port=_RADIUS_PORT, field="radiusserver")
    servers = None if isns is None else _isns_servers(isns)
    _check_auth(call, server=radius, secret=secret)
    defaults = call.node.defaults
    auth = call.option("a")
    defaults.auth = defaults.auth if auth is None else auth
    defaults.radius_server = defaults.radius_server if server is None else radius
    defaults.radius_secret = secret or defaults.radius_secret
    defaults.isns = defaults.isns if flag is None else flag == "enable"
    defaults.isns_servers = defaults.isns_servers if servers is None else servers
    call.commit()
    return Answer()


def _check_auth(call: Call, *, server: str | None, secret: str | None) -> None:
    auth = call.option("a")
    errors = []
    if auth not in {None, "none", "chap", "radius"}:
        errors.append("auth: must be none, chap or radius")
    if auth == "radius" and not (server or call.node.defaults.radius_server):
        errors.append("radiusserver: missing required property")
    if auth == "radius" and not (secret or call.node.defaults.radius_secret):
        errors.append("radiussecret: missing required property")
    if errors:
        lines = "".join(f"\t{error}\n" for error in errors)
        raise Failure(f"Error setting global properties: {EINVAL}\n{lines}", EINVAL)


def show_defaults(call: Call) -> Answer:
    """List the defaults; the alias of the first line cannot be set by anything."""
    defaults = call.node.defaults
    lines = [
        ("alias:", "<none>"),
        ("auth:", defaults.auth or "<none>"),
        ("radiusserver:", defaults.radius_server or "<none>"),
        ("radiussecret:", "set" if defaults.radius_secret else "unset"),
        ("isns:", "enabled" if defaults.isns else "disabled"),
        ("isnsserver:", ",".join(defaults.isns_servers) or "<none>"),
    ]
    if call.parsed.has("p"):
        return Answer("\t".join(value for _, value in lines) + "\n")
    return Answer("iSCSI Target Default Properties:\n\n" + "".join(f"{label:<15}\t{value}\n" for label, value in lines))
