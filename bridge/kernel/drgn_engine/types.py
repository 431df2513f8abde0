"""The kernel's own types for drgn: BTF records become drgn types when they are first asked for.

drgn (Meta, a programmable debugger) takes types from whoever offers them; here nobody has DWARF. A struct's members are
built when they are looked at, so that asking for one type does not build the thousands that it reaches.
"""

from __future__ import annotations

from collections.abc import Callable

import drgn

from bridge.kernel.btf import Btf, Kind
from bridge.kernel.errors import BadTypes

_MAX_DEPTH = 64
"""Of types named inside each other without a struct between: a damaged section may go in circles."""
_QUALIFIERS = {
    Kind.CONST: drgn.Qualifiers.CONST,
    Kind.VOLATILE: drgn.Qualifiers.VOLATILE,
    Kind.RESTRICT: drgn.Qualifiers.RESTRICT,
}
_KINDS = {
    drgn.TypeKind.INT: (Kind.INT,),
    drgn.TypeKind.BOOL: (Kind.INT,),
    drgn.TypeKind.FLOAT: (Kind.FLOAT,),
    drgn.TypeKind.STRUCT: (Kind.STRUCT,),
    drgn.TypeKind.UNION: (Kind.UNION,),
    drgn.TypeKind.ENUM: (Kind.ENUM, Kind.ENUM64),
    drgn.TypeKind.TYPEDEF: (Kind.TYPEDEF,),
}


class TypeFinder:
    """Builds the types of one kernel for one drgn program."""

    def __init__(self, program: drgn.Program, types: Btf) -> None:
        self._program = program
        self._types = types
        self._built: dict[int, drgn.Type] = {}

    def find(
        self, _program: drgn.Program, kinds: drgn.TypeKindSet, name: str, filename: str | None
    ) -> drgn.Type | None:
        """What drgn asks: a type by name, of one of `kinds`. BTF knows no file names."""
        if filename:
            return None
        for kind in kinds:
            type_id = self._types.find(name, *_KINDS.get(kind, ()))
            if type_id is not None:
                found = self.type(type_id)
                if found.kind == kind:
                    return found
        return None

    def type(self, type_id: int, depth: int = 0) -> drgn.Type:
        """The drgn type of a BTF record. Raises BadTypes for records that make no sense."""
        if type_id not in self._built:
            if depth > _MAX_DEPTH:
                raise BadTypes(f"Type {type_id:,} goes in circles.")
            self._built[type_id] = self._build(type_id, depth + 1)
        return self._built[type_id]

    def _build(self, type_id: int, depth: int) -> drgn.Type:
        types, program = self._types, self._program
        kind = types.kind(type_id)
        name = types.name(type_id)
        if kind in (Kind.STRUCT, Kind.UNION):
            types.layout(type_id)  # raises for anonymous members in circles, which drgn would follow without end
            make = program.struct_type if kind == Kind.STRUCT else program.union_type
            return make(name or None, types.size(type_id), self._members(type_id))
        if kind in _QUALIFIERS:
            inner = self.type(types.referred(type_id), depth)
            return inner.qualified(inner.qualifiers | _QUALIFIERS[kind])
        match kind:
            case Kind.INT:
                return self._integer(type_id, name)
            case Kind.POINTER:
                return program.pointer_type(self.type(types.referred(type_id), depth))
            case Kind.ARRAY:
                element, length = types.array(type_id)
                return program.array_type(self.type(element, depth), length)
            case Kind.TYPEDEF:
                return program.typedef_type(name, self.type(types.referred(type_id), depth))
            case Kind.TYPE_TAG:
                return self.type(types.referred(type_id), depth)
            case Kind.ENUM | Kind.ENUM64:
                values = types.enumerators(type_id)
                signed = any(value < 0 for value in values.values())
                size = types.size(type_id)
                integer = program.int_type(f"{'' if signed else 'unsigned '}enum of {size} bytes", size, signed)
                return program.enum_type(
                    name or None, integer, [drgn.TypeEnumerator(key, value) for key, value in values.items()]
                )
            case Kind.FLOAT:
                return program.float_type(name, types.size(type_id))
            case Kind.FORWARD:
                return program.struct_type(name)
            case Kind.FUNCTION_PROTOTYPE:
                # Nothing here calls functions; a pointer to one is all that members are.
                return program.function_type(program.void_type(), [], True)
            case _:
                return program.void_type()

    def _integer(self, type_id: int, name: str) -> drgn.Type:
        size = self._types.size(type_id)
        if not 1 <= size <= 16:
            raise BadTypes(f"The integer {name!r} has {size} bytes.")
        signed, boolean = self._types.integer_encoding(type_id)
        if boolean:
            return self._program.bool_type(name, size)
        return self._program.int_type(name, size, signed)

    def _members(self, type_id: int) -> list[drgn.TypeMember]:
        def later(member_type: int, bits: int) -> Callable[[], drgn.Type | drgn.Object]:
            def build() -> drgn.Type | drgn.Object:
                found = self.type(member_type)
                return drgn.Object(self._program, found, bit_field_size=bits) if bits else found

            return build

        return [
            drgn.TypeMember(later(member.type_id, member.bit_size), member.name or None, member.bit_offset)
            for member in self._types.members(type_id)
        ]
