"""Shader text: the files in `shaders/`, put together by template.

What changes a frame is a uniform; what changes the code (the mode, how many textures hold the volume) is a template
variable. The syntax is pygfx's own (`{{ name }}`, `$$ if`, `{$ include 'glassbox.name.wgsl' $}`), so that the same
files serve our own passes and pygfx's world objects. Nothing here needs a GPU.
"""

from __future__ import annotations

from pathlib import Path

import jinja2
from pygfx.renderers.wgpu import register_wgsl_loader
from pygfx.renderers.wgpu.shader.templating import apply_templating, root_loader

SHADER_DIRECTORY = Path(__file__).resolve().parent.parent / "shaders"
_NAMESPACE = "glassbox"

if _NAMESPACE not in root_loader.mapping:
    register_wgsl_loader(_NAMESPACE, jinja2.FileSystemLoader(SHADER_DIRECTORY))


def compose(name: str, **variables: object) -> str:
    """The finished WGSL of `shaders/NAME`, its includes resolved. A variable that is missing raises ValueError."""
    return str(apply_templating(include(name), **variables))


def include(name: str) -> str:
    """The line by which a pygfx shader takes in `shaders/NAME`."""
    return f"{{$ include '{_NAMESPACE}.{name}' $}}"
