"""What LIO brings back at boot: rtslib's saveconfig.json, and the node's Python program that keeps it. Pure text.

``targetctl save`` writes all that runs, so a LUN that could not be restored (its pool was imported late) is forgotten
by the next save of anything; and it copies over the old file, so a power cut can leave half of one, and nothing comes
back at the next boot. Here only the entries of one volume are replaced, by what the node's own rtslib says of them, the
file is replaced as a whole, and targetcli's lock is held meanwhile.
"""

from remote.script import Argv, Word

_PROGRAM = """\
import fcntl, json, os, sys, time

try:
    from rtslib_fb import FabricModule, Target
    from rtslib_fb.root import default_save_file as path
    from rtslib_fb.tcm import StorageObject
except ImportError as error:
    sys.exit(f"{error}: the node needs python3-rtslib-fb, which brings the LUNs back at boot")
CONFIGFS = "/sys/kernel/config/target"


def locked():
    "The lock targetcli holds while it runs: it writes the file as well."
    lock = open("/var/run/targetcli.lock", "a")
    for _ in range(75):
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
    import glob
    found = glob.glob(f"{CONFIGFS}/core/iblock_*/{glob.escape(name)}")
    return StorageObject.so_from_path(found[0]).dump() if found else None


def live_target(name):
    if not os.path.isdir(f"{CONFIGFS}/iscsi/{name}"):
        return None
    return Target(FabricModule("iscsi"), name, mode="lookup").dump()


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


def save(units, targets):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with locked():
        config = loaded()
        before = json.dumps(config, sort_keys=True)
        for name in units.split():
            entries = config.setdefault("storage_objects", [])
            config["storage_objects"] = put(
                entries, live_unit(name), lambda one: (one.get("plugin"), one.get("name")) == ("block", name))
        for name in targets.split():
            entries = config.setdefault("targets", [])
            config["targets"] = put(entries, live_target(name), lambda one: one.get("wwn") == name)
        if json.dumps(config, sort_keys=True) != before:
            written(config)


def check():
    "Which of our units will come back, and which will not."
    import glob
    saved = {one.get("name") for one in loaded().get("storage_objects", [])}
    runs = {os.path.basename(one) for one in glob.glob(f"{CONFIGFS}/core/iblock_*/xvm-*")}
    for name in sorted(saved | runs):
        if name.startswith("xvm-"):
            print(("runs" if name in runs else "-") + "\\t" + ("saved" if name in saved else "-") + "\\t" + name)


check() if sys.argv[2:] == ["check"] else save(*sys.argv[2:])
"""


def save(units: Word, targets: Word) -> Argv:
    """Write down how these LUs and targets are now, or that they are gone; words with blanks between them."""
    return ("python3", "-c", _PROGRAM, "lio-save", units, targets)


def check() -> Argv:
    """Print a row for each LU of ours: runs or -, saved or -, its name."""
    return ("python3", "-c", _PROGRAM, "lio-check-saved", "check")
