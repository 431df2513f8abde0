"""Shader text, composed without a GPU; and the curve in WGSL against the curve in numpy, on one."""

from __future__ import annotations

import re

import numpy as np
import pytest
import wgpu

from render import wgsl
from render.content import N_COUNTERS, Kind
from render.curves import HILBERT, table_words
from render.look import MODES
from render.march import Outputs, Switches, march_code

OUTPUTS: tuple[Outputs, ...] = ("color", "depth", "voxel")
EVERY_MARCH = [
    (Switches(mode, by_page, hides, outputs, cut, sheets, lit), layout, parts)
    for mode in MODES
    for by_page in (True, False)
    for hides in (True, False)
    for outputs in OUTPUTS
    for cut in (True, False)
    for sheets in (True, False)
    for lit in (True, False)
    for layout, parts in (("texture", 1), ("texture", 4), ("linear", 1), ("linear", 9))
]


def bindings(code: str) -> list[int]:
    return [int(number) for number in re.findall(r"@binding\((\d+)\)", code)]


def test_march_composes() -> None:
    for switches, layout, parts in EVERY_MARCH:
        code = march_code(switches, layout, parts, 1000)
        assert not re.search(r"\{\{|\{\$|\$\$", code), "a template mark was left"
        assert "const MAX_STEPS = 1000;" in code
        assert bindings(code) == list(range((9 if layout == "texture" else 11) + parts))
        assert ("@location(1) depth" in code) == (switches.outputs != "color")
        assert ("@location(2) voxel" in code) == (switches.outputs == "voxel")
        assert ("textureLoad(brick_pages" in code) == (layout == "linear")
        assert ("leave_opening(ray)" in code) == switches.cut
        assert ("textureLoad(page_values" in code) == switches.by_page
        assert ("nearest_sheet(ray)" in code) == switches.sheets
        assert ("lit_words[" in code) == switches.lit
        assert code.count("fn march_ray(") == 1


def test_every_loop_ends() -> None:
    """A loop counts up to a number that is known when it begins: nothing that a volume holds can make it hang."""
    heads = []
    for path in wgsl.SHADER_DIRECTORY.glob("*.wgsl"):
        text = re.sub(r"//.*", "", path.read_text())
        assert not re.search(r"\b(while|loop)\b", text), path.name
        heads += re.findall(r"\bfor \((.*)\{", text)
    assert len(heads) > 5
    bound = r"(\d+u?|MAX_STEPS|MAX_INSIDE|\{\{ \w+ \}\}u?|min\([^;]*, \d+\)|n_\w+u?)"
    for head in heads:
        assert re.fullmatch(r"var (\w+) = [^;]+; \1 <=? " + bound + r"[^;]*; \1(\+\+| \+= \d+u)\) ", head), head


@pytest.mark.parametrize("layout", ["texture", "linear"])
def test_update_composes(layout: str) -> None:
    code = wgsl.compose(
        "bricks_update.wgsl",
        curve_binding=0,
        n_states=24,
        layout=layout,
        n_counters=N_COUNTERS,
        random_entropy=245,
        kinds=Kind,
    )
    assert bindings(code) == list(range(9))
    assert ("textureStore(voxels" in code) == (layout == "texture")
    assert f"kind = {int(Kind.RANDOM)}u;" in code


def test_missing_switch_is_said() -> None:
    with pytest.raises(ValueError, match="n_states"):
        wgsl.compose("curve.wgsl")


def test_every_file_is_taken_in_by_something() -> None:
    """No shader lies about unused: each is composed by the program or included by another."""
    files = {path.name for path in wgsl.SHADER_DIRECTORY.glob("*.wgsl")}
    texts = [path.read_text() for path in wgsl.SHADER_DIRECTORY.glob("*.wgsl")]
    texts += [path.read_text() for path in (wgsl.SHADER_DIRECTORY.parent / "render").glob("*.py")]
    for name in files - {f"march_{mode}.wgsl" for mode in MODES}:  # chosen by the mode's name
        assert any(name in text for text in texts), name


WALK = """
{$ include 'glassbox.curve.wgsl' $}

@group(0) @binding(1) var<storage, read_write> numbers: array<vec4u>;

// {{ order }} levels, two at a step: x, y, z in, or the address in w, and the other back.
@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3u) {
    var number = numbers[id.x];
    var state = {{ start }}u;
    var voxel = vec3u(0u);
    for (var below = {{ order - 2 }}; below >= 0; below -= 2) {
        let digits = (number.w >> u32(3 * below)) & 63u;
        let entry = curve_forward(state, digits);
        voxel = (voxel << vec3u(2u)) | curve_cell(entry);
        state = entry >> 8u;
    }
    state = {{ start }}u;
    var address = 0u;
    for (var below = {{ order - 2 }}; below >= 0; below -= 2) {
        let here = (number.xyz >> vec3u(u32(below))) & vec3u(3u);
        let digits = curve_inverse(state, here.x | here.y << 2u | here.z << 4u);
        address = address << 6u | digits;
        state = curve_forward(state, digits) >> 8u;
    }
    numbers[id.x] = vec4u(voxel, address);
}
"""


@pytest.mark.parametrize("order", [4, 6, 10])
def test_curve_equals_numpy(device: wgpu.GPUDevice, order: int) -> None:
    """Bit for bit: all 4096 addresses of order 4, and as many of the others as one dispatch takes."""
    rng = np.random.default_rng(order)
    n = 4096 if order == 4 else 1 << 16
    addresses = np.arange(4096) if order == 4 else rng.integers(0, 8**order, n)
    voxels = rng.integers(0, 2**order, (n, 3))
    numbers = np.column_stack([voxels, addresses]).astype("<u4")

    from pygfx.renderers.wgpu.shader.templating import apply_templating

    code = apply_templating(WALK, curve_binding=0, n_states=24, order=order, start=HILBERT.start_state(order))
    usage = wgpu.BufferUsage
    tables = device.create_buffer_with_data(data=table_words(HILBERT), usage=usage.STORAGE)
    buffer = device.create_buffer_with_data(data=numbers, usage=usage.STORAGE | usage.COPY_SRC)
    pipeline = device.create_compute_pipeline(
        layout="auto", compute={"module": device.create_shader_module(code=code), "entry_point": "main"}
    )
    group = device.create_bind_group(
        layout=pipeline.get_bind_group_layout(0),
        entries=[
            {"binding": 0, "resource": {"buffer": tables, "offset": 0, "size": tables.size}},
            {"binding": 1, "resource": {"buffer": buffer, "offset": 0, "size": buffer.size}},
        ],
    )
    encoder = device.create_command_encoder()
    compute = encoder.begin_compute_pass()
    compute.set_pipeline(pipeline)
    compute.set_bind_group(0, group)
    compute.dispatch_workgroups(n // 64)
    compute.end()
    device.queue.submit([encoder.finish()])
    result = np.frombuffer(device.queue.read_buffer(buffer), "<u4").reshape(n, 4)
    np.testing.assert_array_equal(result[:, :3], HILBERT.voxel_from_address(addresses.astype(np.uint64), order))
    np.testing.assert_array_equal(result[:, 3], HILBERT.address_from_voxel(voxels.astype(np.uint32), order))
