// The march: one ray a pixel through the bricks, into colour, depth and voxel.

{$ include 'glassbox.march_common.wgsl' $}
{$ include 'glassbox.march_' + mode + '.wgsl' $}
$$ if sheets
{$ include 'glassbox.sheet_common.wgsl' $}
{$ include 'glassbox.march_sheets.wgsl' $}
$$ endif

struct Sample {
    @location(0) color: vec4f,      // premultiplied, linear light
$$ if outputs != "color"
    @location(1) depth: f32,        // 0: nothing
$$ endif
$$ if outputs == "voxel"
    @location(2) voxel: vec4u,      // x, y, z, what was hit: 0 nothing, 1 the volume, 2 to 5 the x, y, z or oblique sheet
$$ endif
}

@vertex
fn vertex(@builtin(vertex_index) index: u32) -> @builtin(position) vec4f {
    return vec4f(f32(i32(index & 1u) * 4 - 1), f32(i32(index >> 1u) * 4 - 1), 0.0, 1.0);
}

@fragment
fn fragment(@builtin(position) position: vec4f) -> Sample {
    let ray = ray_through(position.xy);
    var result = Result(vec4f(0.0), 0.0, vec3i(0));
    let walk = enter_volume(ray);
    var end = leave_volume(ray);
$$ if sheets
    let sheet = nearest_sheet(ray);
    end = min(end, sheet.depth - BEFORE_SHEET);
$$ endif
    if (end > walk.depth) {
        result = march_ray(ray, walk, end);
    }
    var what = select(0u, 1u, result.depth > 0.0);
$$ if sheets
    if (sheet.axis >= 0) {
        what = select(what, 2u + u32(sheet.axis), hit_is_sheet(result));
        result = over_sheet(ray, result, sheet);
    }
$$ endif
$$ if lit and mode != "slice"
    if (outlines.light.a > 0.0) {
        result.color = under_outlines(result.color);
        result.depth = select(result.depth, outlines.depth, result.depth <= 0.0);
    }
$$ endif
    var out: Sample;
    out.color = result.color;
$$ if outputs != "color"
    out.depth = result.depth;
$$ endif
$$ if outputs == "voxel"
    out.voxel = vec4u(vec3u(result.voxel), what);
$$ endif
    return out;
}
