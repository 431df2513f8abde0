// Slice planes in the volume: opaque sheets that a ray ends at. What is in front of the nearest one is drawn over it.

struct SheetHit {
    depth: f32,
    voxel: vec3i,
    axis: i32,      // 0 to 2: x, y, z; 3: oblique; -1: none was met
    index: i32,     // of those that are shown
}

const NO_SHEET = 1e30;
// A ray ends so far before a sheet, so that rounding lets no voxel behind it through.
const BEFORE_SHEET = 1e-3;

fn nearest_sheet(ray: Ray) -> SheetHit {
    var hit = SheetHit(NO_SHEET, vec3i(0), -1, -1);
    for (var i = 0; i < 4 && i < march.n_sheets; i++) {
        let sheet = march.sheets[i];
        let along = dot(sheet.normal, ray.direction);
        if (abs(along) < 1e-7) {
            continue;
        }
        let depth = sheet.distance / along;
        if (depth <= 1e-4 || depth >= hit.depth) {
            continue;
        }
        // An x, y or z plane shows its layer; rounding must not decide on which side of the face it is met.
        let layered = vec3<bool>(sheet.axis == 0, sheet.axis == 1, sheet.axis == 2);
        let voxel = select(voxel_at(ray, depth), vec3i(sheet.layer), layered);
        if (!outside(voxel) && is_shown(voxel)) {
            hit = SheetHit(depth, voxel, sheet.axis, i);
        }
    }
    return hit;
}

$$ if lit
// Whether a highlight ends on a sheet so near to a point as its outline is wide.
fn ends_on_sheet(ray: Ray, sheet: SheetHit, group: u32) -> bool {
    let normal = march.sheets[sheet.index].normal;
    let right = normalize(cross(select(vec3f(0.0, 0.0, 1.0), vec3f(1.0, 0.0, 0.0), abs(normal.z) > 0.9), normal));
    let reach = march.outline_voxels * sheet.depth;
    let layered = vec3<bool>(sheet.axis == 0, sheet.axis == 1, sheet.axis == 2);
    let at = march.camera_part + ray.direction * sheet.depth;
    var ends = false;
    for (var i = 0; i < 4; i++) {
        let along = select(right, cross(normal, right), (i & 1) == 0) * f32(1 - (i & 2)) * reach;
        let voxel = select(march.camera_voxel + vec3i(floor(at + along)), sheet.voxel, layered);
        ends = ends || group_of(voxel >> vec3u(4u)) != group;
    }
    return ends && march.outline_voxels > 0.0;
}
$$ endif

fn light_of_sheet(ray: Ray, sheet: SheetHit) -> vec3f {
    // Each pixel and each sample changes level elsewhere: gathered, they blend.
    let voxels = march.detail * march.pixel_voxels * sheet.depth * exp2(ray.noise - 0.5);
    let texel = sheet_texel(sheet.voxel, select(1, select(4, 16, voxels > 12.0), voxels > 3.0));
    let light = texel.rgb + march.sheet_ground * (1.0 - texel.a);
$$ if lit
    let group = group_of(sheet.voxel >> vec3u(4u));
    if (group != 0u && ends_on_sheet(ray, sheet, group)) {
        return mix(light, color_of_group(group).rgb, 0.85);
    }
$$ endif
    return light;
}

// Whether more of the sheet than of what is in front of it is seen.
fn hit_is_sheet(front: Result) -> bool {
    return front.depth <= 0.0 || front.color.a < 0.5;
}

// The sheet behind what a march found.
fn over_sheet(ray: Ray, front: Result, sheet: SheetHit) -> Result {
    let through = 1.0 - front.color.a;
    var result = front;
    if (through > 0.004) {
        result.color = vec4f(front.color.rgb + light_of_sheet(ray, sheet) * through, 1.0);
    }
    if (hit_is_sheet(front)) {
        result.depth = sheet.depth;
        result.voxel = sheet.voxel;
    }
    return result;
}
