"""Writes tests/files/onnx: conformance cases of the ONNX standard as programs of this language.

    pip install onnx==1.23.2 numpy safetensors
    python tests/peers/onnx_cases.py tests/files/onnx

Arrays come from the generator in the `onnx` package (Apache-2.0); each row below says how the case's single node is
written in this language. The result is committed, so the tests need neither Python nor the package.
"""

import sys
import warnings

import numpy as np
from onnx.backend.test.case.node import collect_testcases
from safetensors.numpy import save_file

warnings.filterwarnings("ignore")

AXES = {0: [], 1: ["t"], 2: ["h", "w"], 3: ["d", "h", "w"]}

# name of the case: (what follows `x |>`, {weight: position of the node's input})
CONV = {
    "test_basic_conv_with_padding": ("conv(1, 3x3, pad: [1, 1], bias: false) as l", {"l.weight": 1}),
    "test_basic_conv_without_padding": ("conv(1, 3x3, bias: false) as l", {"l.weight": 1}),
    "test_conv_with_strides_padding": ("conv(1, 3x3, stride: 2, pad: 1, bias: false) as l", {"l.weight": 1}),
    "test_conv_with_strides_no_padding": ("conv(1, 3x3, stride: 2, bias: false) as l", {"l.weight": 1}),
    "test_conv_with_strides_and_asymmetric_padding": (
        "conv(1, 3x3, stride: 2, pad: [[1, 1], [0, 0]], bias: false) as l", {"l.weight": 1}),
    "test_conv_with_autopad_same": ("conv(1, 3x3, stride: 2, pad: same_lo, bias: false) as l", {"l.weight": 1}),
    "test_convtranspose": ("unconv(2, 3x3, bias: false) as l", {"l.weight": 1}),
    "test_convtranspose_1d": ("unconv(2, 3, bias: false) as l", {"l.weight": 1}),
    "test_convtranspose_3d": ("unconv(2, 3x3x3, bias: false) as l", {"l.weight": 1}),
    "test_convtranspose_pad": ("unconv(2, 3x3, stride: 3x2, out: 10x8, bias: false) as l", {"l.weight": 1}),
    "test_convtranspose_output_shape": ("unconv(2, 3x3, stride: 3x2, out: 10x8, bias: false) as l", {"l.weight": 1}),
    "test_convtranspose_pads": ("unconv(2, 3x3, stride: 3x2, pad: [1, 2], bias: false) as l", {"l.weight": 1}),
    "test_convtranspose_dilations": ("unconv(1, 2x2, dilate: 2, bias: false) as l", {"l.weight": 1}),
    "test_convtranspose_group_2": ("unconv(2, 3x3, groups: 2, bias: false) as l", {"l.weight": 1}),
    "test_convtranspose_group_2_image_3": ("unconv(2, 3x3, groups: 2, bias: false) as l", {"l.weight": 1}),
}
POOL = {
    "test_averagepool_2d_precomputed_pads": "avgpool(5x5, stride: 1, pad: 2)",
    "test_averagepool_2d_precomputed_pads_count_include_pad": "avgpool(5x5, stride: 1, pad: 2, count_pad: true)",
    "test_averagepool_2d_precomputed_strides": "avgpool(2x2)",
    "test_averagepool_2d_precomputed_same_upper": "avgpool(3x3, stride: 2, pad: same)",
    "test_averagepool_1d_default": "avgpool(2, stride: 1)",
    "test_averagepool_2d_default": "avgpool(2x2, stride: 1)",
    "test_averagepool_2d_same_upper": "avgpool(2x2, stride: 1, pad: same)",
    "test_averagepool_2d_same_lower": "avgpool(2x2, stride: 1, pad: same_lo)",
    "test_averagepool_2d_pads": "avgpool(3x3, stride: 1, pad: 2)",
    "test_averagepool_2d_pads_count_include_pad": "avgpool(3x3, stride: 1, pad: 2, count_pad: true)",
    "test_averagepool_2d_strides": "avgpool(5x5, stride: 3)",
    "test_averagepool_2d_ceil": "avgpool(3x3, stride: 2, partial: true)",
    "test_averagepool_2d_dilations": "avgpool(2x2, stride: 1, dilate: 2)",
    "test_averagepool_3d_dilations_small": "avgpool(2x2x2, stride: 1, dilate: 2)",
    "test_globalaveragepool": "avgpool(global)",
    "test_globalaveragepool_precomputed": "avgpool(global)",
    "test_globalmaxpool": "maxpool(global)",
    "test_globalmaxpool_precomputed": "maxpool(global)",
    "test_lppool_1d_default": "lppool(2, stride: 1, p: 3)",
    "test_lppool_2d_default": "lppool(2x2, stride: 1, p: 4)",
    "test_lppool_2d_same_upper": "lppool(2x2, stride: 1, pad: same, p: 2)",
    "test_lppool_2d_same_lower": "lppool(2x2, stride: 1, pad: same_lo, p: 4)",
    "test_lppool_2d_pads": "lppool(3x3, stride: 1, pad: 2, p: 3)",
    "test_lppool_2d_strides": "lppool(5x5, stride: 3, p: 2)",
    "test_lppool_2d_dilations": "lppool(2x2, stride: 1, dilate: 2, p: 2)",
    "test_maxpool_1d_default": "maxpool(2, stride: 1)",
    "test_maxpool_2d_default": "maxpool(2x2, stride: 1)",
    "test_maxpool_2d_precomputed_pads": "maxpool(5x5, stride: 1, pad: 2)",
    "test_maxpool_2d_precomputed_strides": "maxpool(2x2)",
    "test_maxpool_2d_precomputed_same_upper": "maxpool(3x3, stride: 2, pad: same)",
    "test_maxpool_2d_same_upper": "maxpool(2x2, stride: 1, pad: same)",
    "test_maxpool_2d_same_lower": "maxpool(2x2, stride: 1, pad: same_lo)",
    "test_maxpool_2d_pads": "maxpool(3x3, stride: 1, pad: 2)",
    "test_maxpool_2d_strides": "maxpool(5x5, stride: 3)",
    "test_maxpool_2d_ceil": "maxpool(3x3, stride: 2, partial: true)",
    "test_maxpool_2d_dilations": "maxpool(2x2, stride: 1, dilate: 2)",
    "test_maxpool_3d_dilations": "maxpool(2x2x2, stride: 1, dilate: 2)",
}
NORM = {
    "test_batchnorm_example": ("batchnorm as l", {"l.weight": 1, "l.bias": 2, "l.running_mean": 3, "l.running_var": 4}),
    "test_batchnorm_epsilon": (
        "batchnorm(eps: 0.01) as l", {"l.weight": 1, "l.bias": 2, "l.running_mean": 3, "l.running_var": 4}),
    "test_instancenorm_example": ("instancenorm as l", {"l.weight": 1, "l.bias": 2}),
    "test_instancenorm_epsilon": ("instancenorm(eps: 0.01) as l", {"l.weight": 1, "l.bias": 2}),
    "test_group_normalization_example": ("groupnorm(2) as l", {"l.weight": 1, "l.bias": 2}),
    "test_group_normalization_epsilon": ("groupnorm(2, eps: 0.01) as l", {"l.weight": 1, "l.bias": 2}),
    "test_lrn": ("lrn(3, alpha: 0.0002, beta: 0.5, k: 2.0)", {}),
    "test_lrn_default": ("lrn(3, alpha: 0.0001, beta: 0.75, k: 1.0)", {}),
    "test_softmax_large_number": ("softmax", {}),
    "test_softmax_axis_1": ("softmax", {}),
    "test_softmax_example": ("softmax", {}),
    "test_logsoftmax_example_1": ("log_softmax", {}),
    "test_logsoftmax_large_number": ("log_softmax", {}),
    "test_logsoftmax_axis_1": ("log_softmax", {}),
}
MOVE = {
    "test_depthtospace_example": "depth_to_space(2)",
    "test_depthtospace_crd_mode_example": "depth_to_space(2, mode: crd)",
    "test_spacetodepth": "space_to_depth(2)",
    "test_spacetodepth_example": "space_to_depth(2)",
    "test_spacetodepth_crd_mode_example": "space_to_depth(2, mode: crd)",
    "test_resize_upsample_scales_nearest": "upsample(2x3)",
    "test_resize_upsample_sizes_nearest": "resize(7x8, mode: nearest)",
    "test_resize_downsample_sizes_nearest": "resize(1x3, mode: nearest)",
    "test_resize_upsample_scales_linear": "resize(4x4, mode: linear)",
    "test_resize_upsample_scales_linear_align_corners": "resize(4x4, mode: linear, coords: align_corners)",
    "test_edge_pad": "pad([[1, 1], [1, 1]], mode: edge)",
    "test_reflect_pad": "pad([[1, 1], [1, 1]], mode: reflect)",
}
POINT = {
    "test_abs": "abs",
    "test_elu": "elu(alpha: 2.0)",
    "test_elu_default": "elu",
    "test_exp": "exp",
    "test_gelu_default_2": "gelu",
    "test_gelu_tanh_2": "gelu(approximate: tanh)",
    "test_hardswish": "hard_swish",
    "test_leakyrelu": "leaky_relu(0.1)",
    "test_leakyrelu_default": "leaky_relu(0.01)",
    "test_log": "log",
    "test_relu": "relu",
    "test_selu_default": "selu",
    "test_sigmoid": "sigmoid",
    "test_softplus": "softplus",
    "test_sqrt": "sqrt",
    "test_tanh": "tanh",
}


def shape(array):
    axes = AXES[array.ndim - 2]
    parts = [f"c: {array.shape[1]}"] + [f"{a}: {e}" for a, e in zip(axes, array.shape[2:])]
    return f"[{', '.join(parts)}]"


def main(folder):
    rows = {name: (text, {}) for table in (POOL, MOVE, POINT) for name, text in table.items()}
    rows |= CONV | NORM
    arrays, lines, found = {}, [], set()
    for case in collect_testcases(None):
        if case.name not in rows or case.name in found:
            continue
        found.add(case.name)
        text, weights = rows[case.name]
        inputs, outputs = case.data_sets[0]
        x, y = (np.asarray(a, dtype=np.float32) for a in (inputs[0], outputs[0]))
        if y.ndim == x.ndim and "global" in text:
            y = y.reshape(y.shape[:2])
        arrays[f"{case.name}/x"], arrays[f"{case.name}/y"] = x, y
        lines.append(f"{case.name}\t{x.shape[0]}\tnet N(x: {shape(x)}) -> {shape(y)} {{ x |> {text} }}")
        for path, position in weights.items():
            arrays[f"{case.name}/{path}"] = np.asarray(inputs[position], dtype=np.float32)
    missing = sorted(set(rows) - found)
    if missing:
        sys.exit(f"not in this version of the onnx package: {missing}")
    save_file(arrays, f"{folder}/cases.safetensors")
    header = "# Conformance cases of the ONNX standard, written by tests/peers/onnx_cases.py: name, batch, program\n"
    with open(f"{folder}/cases.txt", "w") as out:
        out.write(header + "\n".join(sorted(lines)) + "\n")
    print(f"{len(found)} cases")


main(sys.argv[1])
