"""Loops whose code is known, as x86 and as C, and the registers that they begin with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

NAMES = ("rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", *(f"r{n}" for n in range(8, 16)))
_Start = Callable[[int, int, int], Mapping[str, int]]


@dataclass(frozen=True, slots=True)
class KnownLoop:
    """A loop of `n` rounds over what is at `a`, to `b`."""

    name: str
    kind: str
    """As `bridge.pixelcpu.loops` calls it."""
    code: bytes
    c: str
    """The body of `uint64_t f(uint64_t n, void *a, void *b)`."""
    element: int
    """Bytes that a round takes from `a`, and puts to `b`."""
    start: _Start
    """From n, a and b: what the registers hold that matter."""

    def registers(self, n: int, a: int, b: int) -> list[int]:
        """All sixteen, in the order of machine code; n >= 1."""
        given = self.start(n, a, b)
        return [given.get(name, 0) % (1 << 64) for name in NAMES]


def _loop(name: str, kind: str, code: str, element: int, start: _Start, c: str = "") -> KnownLoop:
    return KnownLoop(name, kind, bytes.fromhex(code), c, element, start)


LOOPS = (
    # mov rdx,rcx; imul rdx,rdx,0x1e3779b1; mov rbx,rdx; shr rbx,15; xor rdx,rbx; lea rdx,[rdx+rcx*4+5]; rol rdx,7;
    # add rax,rdx; dec rcx; jnz
    _loop(
        "mixed",
        "registers",
        "4889ca4869d2b179371e4889d348c1eb0f4831da488d548a0548c1c2074801d048ffc975db",
        0,
        lambda n, _a, _b: {"rcx": n, "rax": 3},
        "uint64_t s = 3; for (; n; n--) { uint64_t x = n * 0x1e3779b1u; x ^= x >> 15; x += 4 * n + 5;"
        " s += x << 7 | x >> 57; } return s;",
    ),
    # mov rdx,rcx; popcnt rbx,rcx; xor rdx,rbx; bswap rdx; cmp rax,rdx; cmovb rax,rdx; dec rcx; jnz
    _loop(
        "largest of swapped",
        "registers",
        "4889caf3480fb8d94831da480fca4839d0480f42c248ffc975e6",
        0,
        lambda n, _a, _b: {"rcx": n},
        "uint64_t s = 0; for (; n; n--) { uint64_t x = __builtin_bswap64(n ^ (uint64_t)__builtin_popcountll(n));"
        " if (s < x) s = x; } return s;",
    ),
    # add rax,[rdi]; add rdi,8; dec rcx; jnz
    _loop(
        "sum",
        "reduction",
        "4803074883c70848ffc975f4",
        8,
        lambda n, a, _b: {"rcx": n, "rdi": a},
        "uint64_t s = 0, *p = a; for (; n; n--) s += *p++; return s;",
    ),
    # add eax,[rdi]; add rdi,4; dec rcx; jnz
    _loop(
        "sum of 32 bits",
        "reduction",
        "03074883c70448ffc975f5",
        4,
        lambda n, a, _b: {"rcx": n, "rdi": a},
        "uint32_t s = 0, *p = a; for (; n; n--) s += *p++; return s;",
    ),
    # movzx edx,byte [rdi]; mov ebx,edx; shl ebx,3; xor ebx,edx; add eax,ebx; inc rdi; cmp rdi,rsi; jne
    _loop(
        "checksum of bytes",
        "reduction",
        "0fb61789d3c1e30331d301d848ffc74839f775ec",
        1,
        lambda n, a, _b: {"rdi": a, "rsi": a + n},
        "uint32_t s = 0; uint8_t *p = a, *e = p + n; do { uint32_t x = *p++; s += x << 3 ^ x; } while (p != e);"
        " return s;",
    ),
    # mov edx,[rdi]; cmp edx,eax; cmovg eax,edx; add rdi,4; dec ecx; jnz
    _loop(
        "largest",
        "reduction",
        "8b1739c20f4fc24883c704ffc975f1",
        4,
        lambda n, a, _b: {"rcx": n, "rdi": a, "rax": 5},
    ),
    # mov [rdi],rax; add rdi,8; cmp rdi,rdx; jb
    _loop(
        "fill",
        "fill",
        "4889074883c7084839d772f4",
        8,
        lambda n, _a, b: {"rdi": b, "rdx": b + 8 * n, "rax": 0x0123456789ABCDEF},
        "uint64_t *p = b, *e = p + n; do *p++ = 0x0123456789abcdef; while (p < e); return 0;",
    ),
    # mov [rdi],eax; add rdi,4; cmp rdi,rdx; jb
    _loop(
        "fill of 32 bits",
        "fill",
        "89074883c7044839d772f5",
        4,
        lambda n, _a, b: {"rdi": b, "rdx": b + 4 * n, "rax": 0x12345678},
        "uint32_t *p = b, *e = p + n; do *p++ = 0x12345678; while (p < e); return 0;",
    ),
    # mov [rdi+rcx*8],rax; sub rcx,1; jns
    _loop(
        "fill backwards",
        "fill",
        "488904cf4883e90179f6",
        8,
        lambda n, _a, b: {"rdi": b, "rcx": n - 1, "rax": 0x55AA},
    ),
    # mov rcx,[rsi]; mov [rdi],rcx; add rsi,8; add rdi,8; cmp rsi,rax; jne
    _loop(
        "copy",
        "copy",
        "488b0e48890f4883c6084883c7084839c675ed",
        8,
        lambda n, a, b: {"rsi": a, "rdi": b, "rax": a + 8 * n},
        "uint64_t *p = a, *q = b, *e = p + n; do *q++ = *p++; while (p != e); return 0;",
    ),
    # mov eax,[rsi+rcx*4]; imul eax,eax,5; xor eax,0x55; mov [rdi+rcx*4],eax; inc rcx; cmp rcx,rdx; jl
    _loop(
        "map",
        "map",
        "8b048e6bc00583f05589048f48ffc14839d17cec",
        4,
        lambda n, a, b: {"rsi": a, "rdi": b, "rcx": 0, "rdx": n},
        "uint32_t *p = a, *q = b; for (int64_t i = 0; i < (int64_t)n; i++) q[i] = p[i] * 5 ^ 0x55; return 0;",
    ),
    # movzx eax,byte [rsi]; lea eax,[rax+rax*2]; shr eax,2; add eax,16; mov [rdi],al; inc rsi; inc rdi; dec rcx; jnz
    _loop(
        "image filter",
        "map",
        "0fb6068d0440c1e80283c010880748ffc648ffc748ffc975e7",
        1,
        lambda n, a, b: {"rsi": a, "rdi": b, "rcx": n},
        "uint8_t *p = a, *q = b; for (; n; n--) *q++ = (uint8_t)((*p++ * 3u >> 2) + 16); return 0;",
    ),
    # movdqu xmm0,[rsi]; paddd xmm0,xmm1; movdqu [rdi],xmm0; add rsi,16; add rdi,16; sub ecx,1; jne
    _loop(
        "vectors",
        "map",
        "f30f6f06660ffec1f30f7f074883c6104883c7104883e90175e6",
        16,
        lambda n, a, b: {"rsi": a, "rdi": b, "rcx": n},
    ),
    # add dword [rdi],3; add rdi,4; sub ecx,1; jnz
    _loop(
        "in place",
        "map",
        "8307034883c70483e90175f4",
        4,
        lambda n, _a, b: {"rdi": b, "rcx": n},
    ),
    # mov rax,[rsi+rcx*8-8]; mov [rdi+rcx*8-8],rax; dec rcx; jnz
    _loop(
        "copy backwards",
        "copy",
        "488b44cef8488944cff848ffc975f1",
        8,
        lambda n, a, b: {"rsi": a, "rdi": b, "rcx": n},
    ),
    # imul eax,eax,31; movzx edx,byte [rdi]; add eax,edx; inc rdi; dec rcx; jnz
    _loop(
        "hash of bytes",
        "hash",
        "6bc01f0fb61701d048ffc748ffc975f0",
        1,
        lambda n, a, _b: {"rcx": n, "rdi": a, "rax": 7},
        "uint32_t h = 7; uint8_t *p = a; for (; n; n--) h = h * 31 + *p++; return h;",
    ),
    # movzx ebx,byte [rdi]; inc rdi; movzx edx,al; xor edx,ebx; shr eax,8; xor eax,[rsi+rdx*4]; dec rcx; jnz
    _loop(
        "CRC by a table",
        "hash",
        "0fb61f48ffc70fb6d031dac1e80833049648ffc975ea",
        1,
        lambda n, a, b: {"rdi": a, "rsi": b, "rcx": n, "rax": 0xFFFFFFFF},
        "uint32_t c = ~0u, *t = b; uint8_t *p = a; for (; n; n--) c = c >> 8 ^ t[(uint8_t)(c ^ *p++)]; return c;",
    ),
    # movzx eax,byte [rdi]; inc rdi; inc dword [rsi+rax*4]; dec rcx; jnz
    _loop(
        "count of bytes",
        "sequence",
        "0fb60748ffc7ff048648ffc975f2",
        1,
        lambda n, a, b: {"rdi": a, "rsi": b, "rcx": n},
    ),
    # movzx edx,byte [rdi]; inc rdi; add eax,edx; add ebx,eax; cmp rdi,rsi; jne
    _loop(
        "sum of sums",
        "hash",
        "0fb61748ffc701d001c34839f775f1",
        1,
        lambda n, a, _b: {"rdi": a, "rsi": a + n},
    ),
    # mov rdx,rax; shl rdx,13; xor rax,rdx; mov rdx,rax; shr rdx,7; xor rax,rdx; mov rdx,rax; shl rdx,17; xor rax,rdx;
    # dec rcx; jnz
    _loop(
        "random numbers",
        "recurrence",
        "4889c248c1e20d4831d04889c248c1ea074831d04889c248c1e2114831d048ffc975dd",
        0,
        lambda n, _a, _b: {"rcx": n, "rax": 88172645463325252},
        "uint64_t x = 88172645463325252; for (; n; n--) { x ^= x << 13; x ^= x >> 7; x ^= x << 17; } return x;",
    ),
    # mov edx,eax; shl edx,13; xor eax,edx; mov edx,eax; shr edx,17; xor eax,edx; mov edx,eax; shl edx,5; xor eax,edx;
    # dec ecx; jnz
    _loop(
        "random numbers of 32 bits",
        "recurrence",
        "89c2c1e20d31d089c2c1ea1131d089c2c1e20531d0ffc975e7",
        0,
        lambda n, _a, _b: {"rcx": n, "rax": 2463534242},
        "uint32_t x = 2463534242; for (; n; n--) { x ^= x << 13; x ^= x >> 17; x ^= x << 5; } return x;",
    ),
    # mov rdx,rax; mov rax,rbx; mov rsi,rdx; shl rsi,23; xor rdx,rsi; mov rsi,rdx; shr rsi,17; xor rdx,rsi; xor rdx,rbx;
    # mov rsi,rbx; shr rsi,26; xor rdx,rsi; mov rbx,rdx; dec rcx; jnz
    _loop(
        "random numbers of two words",
        "recurrence",
        "4889c24889d84889d648c1e6174831f24889d648c1ee114831f24831da4889de48c1ee1a4831f24889d348ffc975d1",
        0,
        lambda n, _a, _b: {"rcx": n, "rax": 1, "rbx": 2},
        "uint64_t s = 1, t = 2; for (; n; n--) { uint64_t x = s; s = t; x ^= x << 23; x ^= x >> 17; x ^= t ^ t >> 26;"
        " t = x; } return s;",
    ),
    # mov rdx,rax; shl rdx,13; xor rax,rdx; mov rdx,rax; shr rdx,17; xor rax,rdx; mov rdx,rax; shl rdx,43; xor rax,rdx;
    # imul rdi,rdi,69069; add rdi,1234567; lea rsi,[rax+rdi]; dec rcx; jnz
    _loop(
        "random numbers in two ways",
        "recurrence",
        "4889c248c1e20d4831d04889c248c1ea114831d04889c248c1e22b4831d04869ffcd0d01004881c787d61200488d343848ffc975cb",
        0,
        lambda n, _a, _b: {"rcx": n, "rax": 88172645463325252, "rdi": n},
        "uint64_t x = 88172645463325252, y = n; for (; n; n--) { x ^= x << 13; x ^= x >> 17; x ^= x << 43;"
        " y = y * 69069 + 1234567; } return x + y;",
    ),
    # shr eax,1; sbb edx,edx; and edx,0xedb88320; xor eax,edx; dec rcx; jnz
    _loop(
        "shift register",
        "recurrence",
        "d1e819d281e22083b8ed31d048ffc975ef",
        0,
        lambda n, _a, _b: {"rcx": n, "rax": 0x12345678},
        "uint32_t x = 0x12345678; for (; n; n--) x = x >> 1 ^ (-(x & 1) & 0xedb88320); return x;",
    ),
    # mov rdx,rax; rol rdx,24; xor rdx,rdi; mov rbx,rax; rol rbx,5; xor rdx,rbx; rol rax,37; xor rax,rdx; dec rcx; jnz
    _loop(
        "rotations",
        "recurrence",
        "4889c248c1c2184831fa4889c348c1c3054831da48c1c0254831d048ffc975e0",
        0,
        lambda n, _a, b: {"rcx": n, "rax": 7, "rdi": b},
        "uint64_t x = 7, k = (uintptr_t)b; for (; n; n--) x = (x << 24 | x >> 40) ^ k ^ (x << 5 | x >> 59)"
        " ^ (x << 37 | x >> 27); return x;",
    ),
    # imul rax,rax,1103515245; add rax,12345; dec rcx; jnz
    _loop(
        "linear generator",
        "recurrence",
        "4869c06d4ec64148053930000048ffc975ee",
        0,
        lambda n, _a, _b: {"rcx": n, "rax": 1},
        "uint64_t x = 1; for (; n; n--) x = x * 1103515245 + 12345; return x;",
    ),
    # add rax,[rsi]; mov [rdi],rax; add rsi,8; add rdi,8; dec rcx; jnz
    _loop(
        "running sums",
        "sequence",
        "4803064889074883c6084883c70848ffc975ed",
        8,
        lambda n, a, b: {"rsi": a, "rdi": b, "rcx": n},
        "uint64_t s = 0, *p = a, *q = b; for (; n; n--) *q++ = s += *p++; return s;",
    ),
    # mov rax,[rdi-8]; add [rdi],rax; add rdi,8; dec rcx; jnz
    _loop(
        "running sums in place",
        "sequence",
        "488b47f84801074883c70848ffc975f0",
        8,
        lambda n, a, _b: {"rdi": a + 8, "rcx": n},
    ),
    # inc rdi; cmp byte [rdi-1],0; jns
    _loop(
        "first beyond ASCII",
        "search",
        "48ffc7807fff0079f7",
        1,
        lambda _n, a, _b: {"rdi": a},
        "int8_t *p = a; (void)n; while (*p++ >= 0) ; return 0;",
    ),
    # inc rdi; cmp byte [rdi-1],0; jne
    _loop("end of a string", "search", "48ffc7807fff0075f7", 1, lambda _n, a, _b: {"rdi": a}),
    # mov al,[rsi]; mov [rdi],al; inc rsi; inc rdi; test al,al; jnz
    _loop(
        "copy of a string",
        "sequence",
        "8a06880748ffc648ffc784c075f2",
        1,
        lambda _n, a, b: {"rsi": max(a, b), "rdi": min(a, b)},  # the other way its end may be overwritten for ever
    ),
    # mov [rdi],al; inc rdi; test edi,0x7ff; jnz
    _loop(
        "until it is aligned",
        "sequence",
        "880748ffc7f7c7ff07000075f3",
        1,
        lambda n, _a, b: {"rdi": b, "rax": n},
    ),
    # cmp [rdi],sil; jne over; inc rax; over: inc rdi; dec rcx; jnz
    _loop(
        "count by a branch",
        "reduction",
        "403837750348ffc048ffc748ffc975f0",
        1,
        lambda n, a, _b: {"rdi": a, "rcx": n, "rsi": 10},
        "uint64_t s = 0; uint8_t *p = a, *e = p + n; do if (*p == 10) s++; while (++p != e); return s;",
    ),
    # movzx eax,byte [rdi]; cmp al,sil; jbe over; mov [rdi],sil; over: inc rdi; dec rcx; jnz
    _loop(
        "threshold",
        "map",
        "0fb6074038f0760340883748ffc748ffc975ed",
        1,
        lambda n, _a, b: {"rdi": b, "rcx": n, "rsi": 100},
        "uint8_t *p = b, *e = p + n; do if (*p > 100) *p = 100; while (++p != e); return 0;",
    ),
    # mov edx,[rdi]; cmp edx,eax; jle over; mov eax,edx; over: add rdi,4; dec ecx; jnz
    _loop(
        "largest by a branch",
        "reduction",
        "8b1739c27e0289d04883c704ffc975f0",
        4,
        lambda n, a, _b: {"rcx": n, "rdi": a, "rax": 5},
        "int32_t s = 5, *p = a, *e = p + n; do if (*p > s) s = *p; while (++p != e); return (uint32_t)s;",
    ),
    # inc rdi; cmp rdi,rsi; je out; movzx eax,byte [rdi]; lea ecx,[rax-97]; cmp cl,25; ja first; sub eax,32;
    # mov [rdi],al; jmp first
    _loop(
        "capitals",
        "map",
        "48ffc74839f774120fb6078d489f80f91977ed83e8208807ebe6",
        1,
        lambda n, _a, b: {"rdi": b - 1, "rsi": b + n},
    ),
    # mov r8d,[rdi+rax*4]; test r8d,r8d; jle over; movsxd r8,[rsi+rax*4]; add rcx,r8; over: add rax,1; cmp rdx,rax; jne
    _loop(
        "sum of what is chosen",
        "reduction",
        "448b04874585c07e074c6304864c01c14883c0014839c275e7",
        4,
        lambda n, a, b: {"rdi": a, "rsi": b, "rdx": n},
    ),
    # mov eax,[rsi]; test eax,eax; js else; mov [rdi],eax; jmp over; else: neg eax; mov [rdi],eax; over: add rsi,4;
    # add rdi,4; dec rcx; jnz
    _loop(
        "either way",
        "map",
        "8b0685c078048907eb04f7d889074883c6044883c70448ffc975e5",
        4,
        lambda n, a, b: {"rsi": a, "rdi": b, "rcx": n},
    ),
    # movups xmm0,[rsi] … xmm3,[rsi+48]; sub rsi,-64; movaps [rdi],xmm0 … [rdi+48],xmm3; sub rdi,-64; cmp rdx,rdi; ja
    _loop(
        "aligned copy",
        "copy",
        "0f10060f104e100f1056200f105e304883eec00f29070f294f100f2957200f295f304883efc04839fa77d5",
        64,
        lambda n, a, b: {"rsi": a, "rdi": b & -16, "rdx": (b & -16) + 64 * n},
    ),
    # pminub xmm0,[rdi]; add rdi,16; cmp rdi,rsi; jne
    _loop(
        "smallest of bytes",
        "hash",
        "660fda074883c7104839f775f3",
        16,
        lambda n, a, _b: {"rdi": a & -16, "rsi": (a & -16) + 16 * n},
    ),
)
"""Those that have no C are there to be right, not to be compared."""
