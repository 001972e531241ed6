"""itadm create-tpg, delete-tpg, list-tpg."""

from embedded.answer import Answer
from embedded.itadm_call import EBUSY, EEXIST, EINVAL, Call, Failure, portal

_PORT = 3260


def _portals(call: Call) -> list[str]:
    """The portals given, newest first. A portal that is taken does not end the loop, only the command."""
    texts = call.parsed.operands[1:]
    if not texts:
        raise Failure("Error, no portal addresses specified\n", EINVAL)
    taken = {known for portals in call.node.portal_groups.values() for known in portals}
    complaints = ""
    found: list[str] = []
    for text in texts:
        if "," in text:
            raise Failure(f"Bad portal name {text}\n", EINVAL)
        address = portal(text, port=_PORT)
        if address is None:
            raise Failure("Could not create the target portal group: Invalid argument\n", EINVAL)
        if address in taken or address in found:
            complaints += f"Portal {text} already in use\n"
        found.insert(0, address)
    if complaints:
        raise Failure(complaints, EEXIST)
    return found


def create(call: Call) -> Answer:
    """Make a group of portals, each a separate operand; a portal is in one group only."""
    if call.operand in call.node.portal_groups:
        raise Failure(f"Target Portal Group {call.operand} already exists\n", 1)
    call.node.portal_groups[call.operand] = _portals(call)
    call.commit()
    return Answer()


def delete(call: Call) -> Answer:
    """Delete a group; with -f the targets that use it lose it."""
    name = call.operand
    if name not in call.node.portal_groups:
        raise Failure(f"Target portal group {name} does not exist\n", 1)
    users = [target for target in call.node.targets.values() if name in target.portal_groups]
    if users and not call.parsed.has("f"):
        raise Failure("Target portal group associated with one or more targets.  Cannot delete.\n", EBUSY)
    for target in users:
        del target.portal_groups[name]
    del call.node.portal_groups[name]
    call.commit()
    return Answer()


def show(call: Call) -> Answer:
    """List groups, newest first."""
    known = dict(reversed(call.node.portal_groups.items()))
    if call.parsed.operands:
        if call.operand not in known:
            raise Failure(f"Target Portal Group {call.operand} not found!\n\n", 1)
        known = {call.operand: known[call.operand]}
    verbose = call.parsed.has("v")
    if call.parsed.has("p"):
        return Answer("".join(_fields(name, portals, verbose=verbose) for name, portals in known.items()))
    header = f"{'TARGET PORTAL GROUP':<30}{'PORTAL COUNT':<9}\n" if known else ""
    return Answer(header + "".join(_rows(name, portals, verbose=verbose) for name, portals in known.items()))


def _fields(name: str, portals: list[str], *, verbose: bool) -> str:
    return "\t".join([name, str(len(portals)), *([",".join(portals)] if verbose else [])]) + "\n"


def _rows(name: str, portals: list[str], *, verbose: bool) -> str:
    row = f"{name:<30}{len(portals):<9}\n"
    return row + (f"    portals:\t{','.join(portals)}\n" if verbose else "")
