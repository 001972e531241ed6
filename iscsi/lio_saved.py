"""What LIO brings back at boot: rtslib's saveconfig.json, and the node's Python program that keeps it. Pure text.

``targetctl save`` writes all that runs, so a LUN that could not be restored (its pool was imported late) is forgotten
by the next save of anything; and it copies over the old file, so a power cut can leave half of one, and nothing comes
back at the next boot. Here only the entries of one volume are replaced, by what the node's own rtslib says of them, the
file is replaced as a whole, and targetcli's lock is held meanwhile.
"""

from remote.script import Argv, Word

# Isolated: nothing of the folder a login begins in is imported.
_PYTHON = ("python3", "-Ic")
_PROGRAM = """\
import fcntl, glob, json, os, sys, time

try:
    from rtslib_fb import FabricModule, NodeACL, Target, TPG
    from rtslib_fb.root import default_save_file as path
    from rtslib_fb.tcm import StorageObject
except ImportError as error:
    sys.exit(f"{error}: the node needs python3-rtslib-fb, which brings the LUNs back at boot")
CONFIGFS = "/sys/kernel/config/target"


def locked():
    "The lock targetcli holds while it runs: it writes the file as well."
    lock = open("/var/run/targetcli.lock", "a")
    for _ in range(50):
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return lock
        except BlockingIOError:
            time.sleep(0.2)
    sys.exit("targetcli is open on the node and holds /var/run/targetcli.lock: leave it first")


def loaded():
    try:
        with open(path) as file:
            return json.load(file)
    except FileNotFoundError:
        return {"fabric_modules": [], "storage_objects": [], "targets": []}
    except ValueError as error:
        sys.exit(f"{path} is damaged ({error}): LIO would bring nothing back at boot; mend it or move it away")


def live_unit(name):
    found = glob.glob(f"{CONFIGFS}/core/iblock_*/{glob.escape(name)}")
    return StorageObject.so_from_path(found[0]).dump() if found else None


def bound(part):
    "A LUN's place without anything in it, as after a rename that was cut off, is none to rtslib."
    return any(os.path.islink(os.path.join(part.path, one)) for one in os.listdir(part.path))


def live_target(name):
    if not os.path.isdir(f"{CONFIGFS}/iscsi/{name}"):
        return None
    luns, mapped = TPG.luns, NodeACL.mapped_luns
    TPG.luns = property(lambda tpg: filter(bound, luns.fget(tpg)))
    NodeACL.mapped_luns = property(lambda acl: filter(bound, mapped.fget(acl)))
    return Target(FabricModule("iscsi"), name, mode="lookup").dump()


def keep_what_waits(new, old, config, ours):
    "LUNs of other volumes that the last boot could not restore stay saved, and so does who sees them."
    waiting = {f"/backstores/{one['plugin']}/{one['name']}" for one in config.get("storage_objects", [])
               if one["plugin"] == "block" and one["name"] not in ours and not live_unit(one["name"])}
    for tpg in new["tpgs"]:
        before = next((one for one in old["tpgs"] if one["tag"] == tpg["tag"]), {})
        taken = {lun["index"] for lun in tpg["luns"]}
        kept = [lun for lun in before.get("luns", []) if lun["storage_object"] in waiting and lun["index"] not in taken]
        tpg["luns"] += kept
        numbers = {lun["index"] for lun in kept}
        for acl in before.get("node_acls", []):
            views = [one for one in acl.get("mapped_luns", []) if one["tpg_lun"] in numbers]
            there = next((one for one in tpg["node_acls"] if one["node_wwn"] == acl["node_wwn"]), None)
            if views and there:
                there["mapped_luns"] += views
            elif views:
                tpg["node_acls"].append({**acl, "mapped_luns": views})


def put(entries, new, same):
    "Replace the entry that is the same thing, where it stands; append what is new; drop what is gone."
    kept = [new if same(one) and new else one for one in entries if new or not same(one)]
    return kept + ([new] if new and not any(same(one) for one in entries) else [])


def written(config):
    folder = os.path.dirname(path)
    fresh = path + ".xvmstore"
    with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        json.dump(config, file, sort_keys=True, indent=2)
        file.write("\\n")
        file.flush()
        os.fsync(file.fileno())
    os.replace(fresh, path)
    handle = os.open(folder, os.O_RDONLY)
    os.fsync(handle)
    os.close(handle)


def save_unit(config, name, device):
    entries = config.setdefault("storage_objects", [])
    live = live_unit(name)
    if live is None and device:
        # It does not run, but may be in the file: then it is to be found at the next boot where it is now.
        live = next(({**one, "dev": device} for one in entries if one.get("name") == name), None)
    config["storage_objects"] = put(
        entries, live, lambda one: (one.get("plugin"), one.get("name")) == ("block", name))


def save_target(config, name, ours):
    entries = config.setdefault("targets", [])
    old, new = next((one for one in entries if one.get("wwn") == name), None), live_target(name)
    if old and new:
        keep_what_waits(new, old, config, ours)
    config["targets"] = put(entries, new, lambda one: one.get("wwn") == name)


def unknown(unit, targets):
    "Neither runs nor stands in the file: nothing to forget, though the file be damaged or somebody hold the lock."
    try:
        with open(path) as file:
            text = file.read()
    except FileNotFoundError:
        text = ""
    named = any(f'"{name}"' in text for name in (unit, *targets))
    return not named and not live_unit(unit) and not any(os.path.isdir(f"{CONFIGFS}/iscsi/{name}") for name in targets)


def save(unit, targets, device):
    if unit and unknown(unit, targets.split()):
        return
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with locked():
        config = loaded()
        before = json.dumps(config, sort_keys=True)
        if unit:
            save_unit(config, unit, device)
        for name in targets.split():
            save_target(config, name, {unit} if not device else set())
        if json.dumps(config, sort_keys=True) != before:
            written(config)


def on_its_device(unit, saved):
    try:
        found, there = StorageObject.so_from_path(unit), os.stat(saved["dev"]).st_rdev
    except OSError:
        return False
    return (found.major, found.minor) == (os.major(there), os.minor(there))


def check():
    "Which of our units are served, which will be after a boot, and on what they are now."
    config = loaded()
    saved = {one["name"]: one for one in config.get("storage_objects", []) if one["name"].startswith("xvm-")}
    served = {lun["storage_object"] for one in config.get("targets", []) for tpg in one["tpgs"] for lun in tpg["luns"]}
    live = {os.path.basename(one): one for one in glob.glob(f"{CONFIGFS}/core/iblock_*/xvm-*")}
    linked = {os.path.basename(os.path.realpath(one)) for one in glob.glob(f"{CONFIGFS}/iscsi/*/tpgt_*/lun/lun_*/*")
              if os.path.islink(one)}
    for name in sorted({*saved, *live}):
        runs = name in live and name in linked
        stays = name in saved and f"/backstores/block/{name}" in served
        stays = stays and (name not in live or on_its_device(live[name], saved[name]))
        print(("runs" if runs else "-") + "\\t" + ("saved" if stays else "-") + "\\t" + name)


check() if sys.argv[2:] == ["check"] else save(*sys.argv[2:])
"""


def save(unit: Word, targets: Word, *, device: str = "") -> Argv:
    """Write down how an LU ("" for none) and its target are now, or that they are gone.

    ``targets`` may be several words with blanks between them. ``device``: where the LU's zvol is now, should the LU not
    run; without it, what does not run is forgotten.
    """
    return (*_PYTHON, _PROGRAM, "lio-save", unit, targets, device)


def check() -> Argv:
    """Print a row for each LU of ours: runs or -, saved or -, its name."""
    return (*_PYTHON, _PROGRAM, "lio-check-saved", "check")
