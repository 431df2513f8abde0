// Slices: nothing of the volume itself; what there is to see are planes.

struct Result {
    color: vec4f,
    depth: f32,
    voxel: vec3i,
}

fn march_ray(ray: Ray, start: Walk, end: f32) -> Result {
    return Result(vec4f(0.0), 0.0, vec3i(0));
}
