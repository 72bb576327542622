"""Writes what fuzzing starts from: seeds.py TARGET DIRECTORY, called by ../fuzz.sh.

Configurations that hako is held to in other tests: the golden ones, those of engines, and one for each
row of the tables of malformed input. A fuzzer changes bytes; these know the words.
"""

import json
import pathlib
import sys

HERE = pathlib.Path(__file__).parent.parent
TABLES = ["document", "process", "mounts", "linux", "hooks", "resources", "seccomp"]


def table(name):
    return json.loads((HERE / "malformed" / f"{name}.json").read_text())


def change(document, pointer, change):
    """Calls `change` with the object that holds what a JSON pointer leads to, and its key."""
    *path, last = [key.replace("~1", "/").replace("~0", "~") for key in pointer.split("/")[1:]]
    for key in path:
        if isinstance(document, list):
            document = document[int(key)]
        else:
            document = document.setdefault(key, {})
    change(document, int(last) if isinstance(document, list) and last.isdigit() else last)


def spoilt(row, document):
    """The document with a fault in one place, as tests/malformed.rs makes it."""
    for pointer, value in row.get("set", {}).items():
        change(document, pointer, lambda holder, key: put(holder, key, value))
    if row.get("at"):
        if "value" in row:
            change(document, row["at"], lambda holder, key: put(holder, key, row["value"]))
        else:
            change(document, row["at"], lambda holder, key: holder.pop(key))
    return document


def put(holder, key, value):
    if isinstance(holder, list) and (key == "-" or key == len(holder)):
        holder.append(value)
    else:
        holder[key] = value


def configurations():
    for folder in ["golden/plans", "golden/faults", "bundles"]:
        for file in sorted((HERE / folder).glob("*.json")):
            yield file.read_text()
    sound = (HERE / "src/default-config.json").read_text()
    for name in TABLES:
        for row in table(name):
            yield json.dumps(spoilt(row, json.loads(sound)))
    for row in table("text"):
        yield row["text"]


def records():
    sound = (HERE / "golden/state.json").read_text()
    yield sound
    for row in table("state"):
        yield json.dumps(spoilt(row, json.loads(sound)))


def seeds(target):
    return records() if target == "state" else configurations()


def main():
    target, directory = sys.argv[1:]
    for number, seed in enumerate(seeds(target)):
        # The last byte chooses options (compile.rs): the end of a line is what a file has there.
        (pathlib.Path(directory) / f"seed-{number:04}").write_text(seed.rstrip("\n") + "\n")


if __name__ == "__main__":
    main()
