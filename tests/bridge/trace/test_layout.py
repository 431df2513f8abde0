"""The layout is the C compiler's: each structure's size and each field's offset, and every constant."""

import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from bridge.trace.layout import HEADER, layout, layout_of


@pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler, which ./glassbox installs")
def test_sizes_offsets_and_constants_are_those_of_the_compiler(tmp_path: Path) -> None:
    known = layout()
    lines = []
    for name, dtype in known.types.items():
        lines.append(f'printf("{name} %zu\\n", sizeof(struct gb_{name}));')
        assert dtype.names is not None
        lines.extend(
            f'printf("{name}.{field} %zu %zu\\n", offsetof(struct gb_{name}, {field}), '
            f"sizeof(((struct gb_{name} *)0)->{field}));"
            for field in dtype.names
        )
    lines.extend(f'printf("{name} %llu\\n", (unsigned long long)GB_{name});' for name in known.constants)
    source = tmp_path / "sizes.c"
    source.write_text(
        f'#include <stdio.h>\n#include <stddef.h>\n#include "{HEADER}"\nint main(void) {{\n'
        + "\n".join(lines)
        + "\n}\n"
    )
    subprocess.run(["cc", "-o", tmp_path / "sizes", source], check=True)
    told = subprocess.run([tmp_path / "sizes"], check=True, capture_output=True, text=True).stdout.splitlines()
    expected = []
    for name, dtype in known.types.items():
        expected.append(f"{name} {dtype.itemsize}")
        assert dtype.fields is not None
        expected.extend(f"{name}.{field} {at} {kind.itemsize}" for field, (kind, at, *_) in dtype.fields.items())
    expected.extend(f"{name} {value}" for name, value in known.constants.items())
    assert told == expected
    assert len(known.constants) == len(re.findall(r"^#define GB_\w+ \S", HEADER.read_text(), re.MULTILINE))


def test_arrays_and_structures_within_structures_are_read() -> None:
    found = layout_of(
        "#define GB_TWO 2\nstruct gb_in { uint16_t a; };\nstruct gb_out { uint8_t x; struct gb_in y[3]; };\n"
    )
    assert found.constants == {"TWO": 2}
    assert found["out"].itemsize == 8
    made = np.zeros(1, found["out"])
    made["y"]["a"][0, 2] = 0x1234
    assert made.tobytes() == bytes(6) + b"\x34\x12"
