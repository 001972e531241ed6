"""itadm create-target, modify-target, delete-target, list-target."""

from embedded.answer import Answer
from embedded.itadm_call import EBUSY, EEXIST, EINVAL, Call, Failure, column, iscsi_name, unless_none
from embedded.model import STMF, Node, Target
from embedded.targets import drop_sessions, sessions

_FIRST_TAG, _LAST_TAG = 2, 65535


def _tags(node: Node, names: str, *, refusal: str) -> dict[str, int]:
    """Portal groups with their tags, newest first: a numeric name is its own tag, others get the next free one."""
    tags: dict[str, int] = {}
    for name in names.split(","):
        if name not in node.portal_groups:
            raise Failure(refusal.format(name=name), 1)
        own = int(name) if name.isdecimal() and _FIRST_TAG <= int(name) <= _LAST_TAG else None
        free = next(tag for tag in range(_FIRST_TAG, _LAST_TAG) if tag not in tags.values())
        tags = {name: own or free, **tags}
    return tags


def _check_auth(call: Call) -> None:
    auth = call.option("a")
    if auth is None:
        return
    errors = []
    if auth not in {"none", "chap", "radius", "default"}:
        errors.append(f"{auth}: must be none, chap, radius or default")
    defaults = call.node.defaults
    if auth == "radius" and not defaults.radius_server:
        errors.append("radiusserver: missing required property")
    if auth == "radius" and not defaults.radius_secret:
        errors.append("radiussecret: missing required property")
    if errors:
        lines = "".join(f"\t{error}\n" for error in errors)
        raise Failure(f"Error setting target properties: {EINVAL}\n{lines}", EINVAL)


def _apply(call: Call, target: Target) -> None:
    """Put the options' values on the target; all of them were checked."""
    auth, user, alias = call.option("a"), call.option("u"), call.option("l")
    if auth is not None:
        target.auth = None if auth == "default" else auth
    if user is not None:
        target.chap_user = unless_none(user)
    if alias is not None:
        target.alias = unless_none(alias)
    if call.secret is not None:
        target.chap_secret = call.secret


def create(call: Call) -> Answer:
    """Make a target; it is online at once."""
    node = call.node
    wanted = call.option("n")
    name = node.flavour.iqn_prefix + node.uuid() if wanted is None else iscsi_name(wanted)
    if name in node.targets:
        raise Failure(f"iSCSI target {name} already configured\n", EEXIST)
    groups = call.option("t")
    tags = {}
    if groups not in {None, "default"}:
        tags = _tags(node, groups or "", refusal="Invalid tpg-tag {name}, tag not defined\n")
    _check_auth(call)
    target = Target(portal_groups=tags, state="Online" if node.online(STMF) else "Offline")
    _apply(call, target)
    node.targets[name] = target
    call.commit()
    return Answer(f"Target {name} successfully created\n")


def modify(call: Call) -> Answer:
    """Change a target; -n renames it and keeps its place in the list."""
    node = call.node
    name = iscsi_name(call.operand)
    target = node.targets.get(name)
    if target is None:
        raise Failure(f"Target {name} not found\n", EINVAL)
    wanted = call.option("n")
    new_name = name if wanted is None else iscsi_name(wanted)
    if new_name != name and new_name in node.targets:
        raise Failure(f"A target with name {new_name} already exists\n", 1)
    groups = call.option("t")
    tags = target.portal_groups
    if groups is not None:
        default = groups == "default"
        tags = {} if default else _tags(node, groups, refusal="Invalid tpg-name {name}: not defined\n")
    _check_auth(call)
    target.portal_groups = tags
    _apply(call, target)
    node.targets = {new_name if key == name else key: value for key, value in node.targets.items()}
    if new_name != name:
        drop_sessions(node, name)
    call.commit()
    return Answer(f"Target {new_name} successfully modified\n")


def delete(call: Call) -> Answer:
    """Delete a target; -f takes it offline first."""
    node = call.node
    name = iscsi_name(call.operand)
    if name not in node.targets:
        raise Failure(f"Target {name} not found\n", 1)
    if node.targets[name].state != "Offline" and not call.parsed.has("f"):
        raise Failure(
            f"The target is online or busy. Use the -f (force) option, or 'stmfadm offline-target {name}'\n",
            EBUSY,
        )
    del node.targets[name]
    drop_sessions(node, name)
    call.commit()
    return Answer()


def show(call: Call) -> Answer:
    """List targets, newest first; no header when there are none."""
    node = call.node
    known = {name: target for name, target in reversed(node.targets.items()) if target.provider == "iscsit"}
    if call.parsed.operands:
        name = iscsi_name(call.operand)
        if name not in known:
            extra = "\n" if node.flavour.double_newline else ""
            raise Failure(f"Target {call.operand} not found!\n{extra}", 1)
        known = {name: known[name]}
    verbose = call.parsed.has("v")
    logged_in = {name: len(found) for name, found in sessions(node).items()}
    status = {name: (target.state.lower(), str(logged_in.get(name, 0))) for name, target in known.items()}
    if call.parsed.has("p"):
        return Answer("".join(_fields(node, name, status=status[name], verbose=verbose) for name in known))
    header = f"{'TARGET NAME':<61}{'STATE':<9}{'SESSIONS':<9}\n" if known else ""
    return Answer(header + "".join(_rows(node, name, status=status[name], verbose=verbose) for name in known))


def _facts(node: Node, name: str) -> list[tuple[str, str]]:
    target = node.targets[name]
    inherited = target.auth is None
    auth = (node.defaults.auth or "none") if inherited else target.auth
    tags = ",".join(f"{group} = {tag}" for group, tag in target.portal_groups.items())
    return [
        ("alias:", target.alias or "-"),
        ("auth:", f"{auth} {'(defaults)' if inherited else ''}"),
        ("targetchapuser:", target.chap_user or "-"),
        ("targetchapsecret:", "set" if target.chap_secret else "unset"),
        ("tpg-tags:", tags or "default"),
    ]


def _fields(node: Node, name: str, *, status: tuple[str, str], verbose: bool) -> str:
    values = [value for _, value in _facts(node, name)] if verbose else []
    return "\t".join([name, *status, *values]) + "\n"


def _rows(node: Node, name: str, *, status: tuple[str, str], verbose: bool) -> str:
    state, logged_in = status
    row = f"{column(name)}{state:<9}{logged_in:<9}\n"
    facts = _facts(node, name) if verbose else []
    return row + "".join(f"\t{label:<20}\t{value}\n" for label, value in facts)
