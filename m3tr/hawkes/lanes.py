"""Sixteen channels at once: a vector type for numba, float32 or float64.

Numba compiles scalar loops and leaves it to LLVM to find the vectors in them, which fails on an
exponential and on arrays that might overlap. Here the vectors are spelled out: `load` gives a value
that lives in registers, the operations are single instructions wherever the processor has them, and
no choice is left that could depend on sizes, alignment or threads.

Numba's cache on disk looks at the file of the compiled kernel alone: after a change here, touch
`scan_numba.py` as well.
"""

import math
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.datamodel import PrimitiveModel
from numba.extending import intrinsic, register_model
from numpy.polynomial import Chebyshev, Polynomial

LANES = 16


class Lanes(types.Type):
    """`LANES` numbers of one floating type."""

    def __init__(self, dtype: types.Float) -> None:
        self.dtype = dtype
        super().__init__(f"Lanes({dtype})")


@register_model(Lanes)
class _LanesModel(PrimitiveModel):
    def __init__(self, manager: Any, lanes: Lanes) -> None:
        super().__init__(manager, lanes, _vector(lanes))


def _scalar(dtype: types.Float) -> ir.Type:
    return ir.FloatType() if dtype.bitwidth == 32 else ir.DoubleType()


def _vector(lanes: Lanes) -> ir.VectorType:
    return ir.VectorType(_scalar(lanes.dtype), LANES)


def _constant(kind: ir.VectorType, value: float) -> ir.Constant:
    return ir.Constant(kind, [ir.Constant(kind.element, value)] * LANES)


def _address(context: Any, builder: Any, array: Any, value: Any, index: Any) -> Any:
    """Address of element `index` of the array read as one flat run of numbers."""
    data = context.make_array(array)(context, builder, value).data
    return builder.gep(data, [index])


def _call(builder: Any, name: str, *args: Any) -> Any:
    """Call the LLVM intrinsic `name` on vectors of one type."""
    kind = args[0].type
    suffix = "f32" if isinstance(kind.element, ir.FloatType) else "f64"
    signature = ir.FunctionType(kind, [kind] * len(args))
    function = cgutils.get_or_insert_function(
        builder.module, signature, f"llvm.{name}.v{LANES}{suffix}"
    )
    return builder.call(function, args)


def _splat(builder: Any, kind: ir.VectorType, value: Any) -> Any:
    first = ir.Constant(ir.IntType(32), 0)
    one = builder.insert_element(ir.Constant(kind, ir.Undefined), value, first)
    mask = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [first] * LANES)
    return builder.shuffle_vector(one, ir.Constant(kind, ir.Undefined), mask)


@intrinsic
def load(typing: Any, array: Any, index: Any) -> Any:
    """`LANES` numbers of a contiguous array from its flat `index` on; bounds are not checked."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind = _vector(signature.return_type)
        address = _address(context, builder, array, *args)
        address = builder.bitcast(address, kind.as_pointer())
        return builder.load(address, align=array.dtype.bitwidth // 8)

    return Lanes(array.dtype)(array, types.intp), code


@intrinsic
def store(typing: Any, array: Any, index: Any, lanes: Any) -> Any:
    """Write `lanes` into a contiguous array from its flat `index` on."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        address = _address(context, builder, array, *args[:2])
        address = builder.bitcast(address, args[2].type.as_pointer())
        builder.store(args[2], address, align=array.dtype.bitwidth // 8)
        return context.get_dummy_value()

    return types.void(array, types.intp, lanes), code


@intrinsic
def load_some(typing: Any, array: Any, index: Any, width: Any) -> Any:
    """At most `LANES` numbers, `width`, from the flat `index` of a contiguous array on; then 0."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind = _vector(signature.return_type)
        source = _address(context, builder, array, *args[:2])
        align = array.dtype.bitwidth // 8
        spare = cgutils.alloca_once(builder, kind)
        single = builder.bitcast(spare, kind.element.as_pointer())
        full = builder.icmp_signed(">=", args[2], ir.Constant(args[2].type, LANES))
        with builder.if_else(full) as (then, otherwise):
            with then:
                whole = builder.load(builder.bitcast(source, kind.as_pointer()), align=align)
                whole_from = builder.block
            with otherwise:
                builder.store(_constant(kind, 0.0), spare)
                with cgutils.for_range(builder, args[2]) as loop:
                    value = builder.load(builder.gep(source, [loop.index]))
                    builder.store(value, builder.gep(single, [loop.index]))
                part = builder.load(spare)
                part_from = builder.block
        out = builder.phi(kind)
        out.add_incoming(whole, whole_from)
        out.add_incoming(part, part_from)
        return out

    return Lanes(array.dtype)(array, types.intp, types.intp), code


@intrinsic
def store_some(typing: Any, array: Any, index: Any, width: Any, lanes: Any) -> Any:
    """Write the first `width` of the lanes into a contiguous array from its flat `index` on."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind = args[3].type
        target = _address(context, builder, array, *args[:2])
        align = array.dtype.bitwidth // 8
        spare = cgutils.alloca_once(builder, kind)
        single = builder.bitcast(spare, kind.element.as_pointer())
        full = builder.icmp_signed(">=", args[2], ir.Constant(args[2].type, LANES))
        with builder.if_else(full) as (then, otherwise):
            with then:
                builder.store(args[3], builder.bitcast(target, kind.as_pointer()), align=align)
            with otherwise:
                builder.store(args[3], spare)
                with cgutils.for_range(builder, args[2]) as loop:
                    value = builder.load(builder.gep(single, [loop.index]))
                    builder.store(value, builder.gep(target, [loop.index]))
        return context.get_dummy_value()

    return types.void(array, types.intp, types.intp, lanes), code


@intrinsic
def spread(typing: Any, array: Any, index: Any) -> Any:
    """The one number at the flat `index` of a contiguous array, in every lane."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        value = builder.load(_address(context, builder, array, *args))
        return _splat(builder, _vector(signature.return_type), value)

    return Lanes(array.dtype)(array, types.intp), code


@intrinsic
def zero(typing: Any, array: Any) -> Any:
    """Zeros of the array's type."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return _constant(_vector(signature.return_type), 0.0)

    return Lanes(array.dtype)(array), code


@intrinsic
def plus(typing: Any, a: Any, b: Any) -> Any:
    """`a + b`."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.fadd(*args)

    return a(a, b), code


@intrinsic
def times(typing: Any, a: Any, b: Any) -> Any:
    """`a b`."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.fmul(*args)

    return a(a, b), code


@intrinsic
def plus_times(typing: Any, c: Any, a: Any, b: Any) -> Any:
    """`c + a b`, rounded once where the processor can."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return _call(builder, "fmuladd", args[1], args[2], args[0])

    return c(c, a, b), code


@intrinsic
def total(typing: Any, lanes: Any) -> Any:
    """Sum of the lanes, by halves."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        value, width = args[0], LANES
        while width > 1:
            width //= 2
            index = [ir.Constant(ir.IntType(32), i) for i in range(2 * width)]
            low, high = (
                builder.shuffle_vector(
                    value, value, ir.Constant(ir.VectorType(ir.IntType(32), width), part)
                )
                for part in (index[:width], index[width:])
            )
            value = builder.fadd(low, high)
        return builder.extract_element(value, ir.Constant(ir.IntType(32), 0))

    return lanes.dtype(lanes), code


@intrinsic
def power_of_two(typing: Any, lanes: Any) -> Any:
    """`2^x` for `x <= 0`, to a relative error of 2e-7 (float32) or 4e-16 (float64).

    `x = k + r` with `k` whole and `|r| <= 1/2`; `2^r` is a polynomial. Adding a large constant
    rounds `x` to `k` and leaves `k` plus the exponent's bias in the lowest bits of the sum, so that
    a shift makes them the bits of `2^k`. `2^0` is 1 exactly, the result zero where `2^x` is below
    the normal numbers, and NaN where `x` is.
    """
    float32 = lanes.dtype.bitwidth == 32
    mantissa, bias = (23, 127) if float32 else (52, 1023)
    if float32:  # interpolation at Chebyshev's points is nearly the best polynomial; 2^0 stays 1
        slope = Chebyshev.interpolate(lambda r: (2**r - 1) / r, 5, [-0.5, 0.5])
        fitted = [1.0, *slope.convert(kind=Polynomial).coef]
    else:  # the rounding of such a fit would show: Taylor's coefficients
        fitted = [math.log(2) ** k / math.factorial(k) for k in range(14)]

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        x = args[0]
        kind = x.type
        bits = ir.VectorType(ir.IntType(lanes.dtype.bitwidth), LANES)
        large = _constant(kind, 1.5 * 2**mantissa + bias)
        rounded = builder.fadd(x, large)
        r = builder.fsub(x, builder.fsub(rounded, large))
        out = _constant(kind, _representable(fitted[-1], float32))
        for c in fitted[-2::-1]:
            out = _call(builder, "fmuladd", out, r, _constant(kind, _representable(c, float32)))
        shift = ir.Constant(bits, [ir.Constant(bits.element, mantissa)] * LANES)
        scale = builder.bitcast(builder.shl(builder.bitcast(rounded, bits), shift), kind)
        tiny = builder.fcmp_ordered("<", x, _constant(kind, 1.0 - bias))
        return builder.select(tiny, _constant(kind, 0.0), builder.fmul(out, scale))

    return lanes(lanes), code


def _representable(value: float, float32: bool) -> float:
    return float(np.float32(value)) if float32 else float(value)
