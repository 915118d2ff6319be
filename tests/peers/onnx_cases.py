"""Writes the node conformance cases of the installed `onnx` package as files, one folder a case, as Debian's
`libonnx-testdata` has them: `python tests/peers/onnx_cases.py DIR`. Then `CNNC_ONNX_CASES=DIR cargo test --test it onnx_nodes`.
"""

import pathlib
import sys

import numpy as np
import onnx
from onnx import numpy_helper
from onnx.backend.test.case.node import collect_testcases


def main(folder: str) -> None:
    count = 0
    for case in collect_testcases(None):
        if case.model is None or case.kind != "node":
            continue
        at = pathlib.Path(folder) / case.name
        data = at / "test_data_set_0"
        try:
            inputs, outputs = case.data_sets[0]
            protos = []
            for side, infos, values in (("input", case.model.graph.input, inputs), ("output", case.model.graph.output, outputs)):
                for i, (info, value) in enumerate(zip(infos, values)):
                    if not info.type.HasField("tensor_type") or isinstance(value, (list, dict)) or value is None:
                        raise TypeError("no tensor")
                    array = np.asarray(value) if not isinstance(value, onnx.TensorProto) else value
                    proto = array if isinstance(array, onnx.TensorProto) else numpy_helper.from_array(array, info.name)
                    protos.append((f"{side}_{i}.pb", proto))
        except (TypeError, ValueError, NotImplementedError, KeyError):
            continue  # sequences, maps, text: nothing here reads them
        data.mkdir(parents=True, exist_ok=True)
        onnx.save(case.model, at / "model.onnx")
        for name, proto in protos:
            (data / name).write_bytes(proto.SerializeToString())
        count += 1
    print(f"{count} cases in {folder}")


if __name__ == "__main__":
    main(sys.argv[1])
