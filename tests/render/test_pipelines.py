"""Pipelines are shared by what they are made of, and bounded in number."""

import wgpu

from render import pipelines
from render.device import request_device
from render.pipelines import render_pipeline

CODE = """
@group(0) @binding(0) var<uniform> shade: vec4<f32>;
@vertex fn vertex(@builtin(vertex_index) i: u32) -> @builtin(position) vec4<f32> {{
    return vec4<f32>(f32(i) - 1.0, f32(i % 2u) - 0.5, 0.0, 1.0);
}}
@fragment fn fragment() -> @location(0) vec4<f32> {{ return shade * {share:.1f}; }}
"""


def layout() -> list[dict[str, object]]:
    return [{"binding": 0, "visibility": wgpu.ShaderStage.FRAGMENT, "buffer": {"type": "uniform"}}]


def test_what_is_the_same_is_made_once() -> None:
    device, _ = request_device()
    target = [{"format": "rgba8unorm"}]
    first = render_pipeline(device, CODE.format(share=0.5), [layout()], target)
    assert render_pipeline(device, CODE.format(share=0.5), [layout()], target) is first
    assert render_pipeline(device, CODE.format(share=0.6), [layout()], target) is not first
    assert render_pipeline(device, CODE.format(share=0.5), [layout()], [{"format": "rgba16float"}]) is not first


def test_those_that_nobody_asks_for_go() -> None:
    device, _ = request_device()
    target = [{"format": "rgba8unorm"}]
    first = render_pipeline(device, CODE.format(share=1000.0), [layout()], target)
    for share in range(pipelines.MOST_KEPT):
        render_pipeline(device, CODE.format(share=1001.0 + share), [layout()], target)
    assert len(pipelines._kept) == pipelines.MOST_KEPT
    assert render_pipeline(device, CODE.format(share=1000.0), [layout()], target) is not first


def test_bindings_of_an_equal_layout_fit() -> None:
    device, _ = request_device()
    pipeline = render_pipeline(device, CODE.format(share=1.0), [layout()], [{"format": "rgba8unorm"}])
    texture = device.create_texture(
        size=(8, 8, 1),
        format="rgba8unorm",
        usage=wgpu.TextureUsage.RENDER_ATTACHMENT | wgpu.TextureUsage.COPY_SRC,
    )
    uniform = device.create_buffer_with_data(data=bytes(16), usage=wgpu.BufferUsage.UNIFORM)
    bindings = device.create_bind_group(
        layout=device.create_bind_group_layout(entries=layout()),
        entries=[{"binding": 0, "resource": {"buffer": uniform, "offset": 0, "size": 16}}],
    )
    encoder = device.create_command_encoder()
    attachment = {"view": texture.create_view(), "load_op": "clear", "store_op": "store", "clear_value": (0, 0, 0, 0)}
    draw = encoder.begin_render_pass(color_attachments=[attachment])
    draw.set_pipeline(pipeline)
    draw.set_bind_group(0, bindings)
    draw.draw(3)
    draw.end()
    device.queue.submit([encoder.finish()])
    assert len(device.queue.read_texture({"texture": texture}, {"bytes_per_row": 32}, (8, 8, 1))) == 256
