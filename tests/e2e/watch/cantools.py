"""Random frames for a DBC file, and what cantools makes of frames.

    cantools.py frames DBC COUNT     a candump log on stdout
    cantools.py compare DBC          `canhub watch --json` on stdin; prints how many frames were equal
"""

import json
import math
import random
import sys

sys.path.pop(0)  # the folder of this file, which has the name of the library
import cantools

job, path = sys.argv[1:3]
database = cantools.database.load_file(path, encoding="utf-8", strict=False)


def frames(count):
    chance = random.Random(11)
    for number in range(count):
        message = chance.choice(database.messages)
        length = message.length
        if not message.is_multiplexed() and length == 8 and chance.random() < 0.1:
            length = chance.randrange(8)  # cut off: some signals are missing
        digits = 8 if message.is_extended_frame else 3
        separator = "##1" if length > 8 else "#"
        data = chance.randbytes(length).hex().upper()
        print(f"({number}.000000) can0 {message.frame_id:0{digits}X}{separator}{data}")


def is_equal(ours, theirs):
    if ours is None:
        return not math.isfinite(theirs)
    return math.isclose(ours, theirs, rel_tol=1e-9, abs_tol=1e-9)


def compare():
    equal = 0
    for line in sys.stdin:
        frame = json.loads(line)
        if "message" not in frame:
            continue
        message = database.get_message_by_name(frame["message"])
        assert message.frame_id == int(frame["id"], 16), line
        data = bytes.fromhex(frame["data"])
        values = message.decode(data, decode_choices=False, allow_truncated=True)
        labels = message.decode(data, decode_choices=True, allow_truncated=True)
        assert frame["signals"].keys() == values.keys(), f"{line} {values}"
        for name, ours in frame["signals"].items():
            assert is_equal(ours["value"], values[name]), f"{name} of {line} is {values[name]}"
            label = None if isinstance(labels[name], (int, float)) else str(labels[name])
            assert ours.get("label") == label, f"{name} of {line} is {label}"
            unit = message.get_signal_by_name(name).unit or ""
            assert ours.get("unit", "") == unit, f"the unit of {name} in {line} is {unit}"
        equal += 1
    print(equal)


frames(int(sys.argv[3])) if job == "frames" else compare()
