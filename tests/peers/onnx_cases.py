"""Writes the node conformance cases of the installed `onnx` package as files, one folder a case, as Debian's
`libonnx-testdata` has them: `python tests/peers/onnx_cases.py DIR`. Then `CNNC_ONNX_CASES=DIR cargo test --test it onnx_nodes`.

With a second argument, only cases whose name matches that regular expression, and DIR may be an archive: what the repository
holds of the optimizers is `python tests/peers/onnx_cases.py tests/files/onnx/optimizers.zip
'test_(adagrad|adam|momentum|nesterov_momentum)(_multiple)?'`.
"""

import pathlib
import re
import sys
import tempfile
import zipfile

import numpy as np
import onnx
from onnx import numpy_helper
from onnx.backend.test.case.node import collect_testcases


def main(folder: str, wanted: str) -> None:
    count = 0
    for case in collect_testcases(None):
        if case.model is None or case.kind != "node" or not re.fullmatch(wanted, case.name):
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


def archive(file: str, wanted: str) -> None:
    """The same in an archive, whose bytes depend on the cases alone."""
    with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as out:
        main(folder, wanted)
        for path in sorted(pathlib.Path(folder).rglob("*.*")):
            name = path.relative_to(folder).as_posix()
            if path.is_file():
                out.writestr(zipfile.ZipInfo(name), path.read_bytes(), zipfile.ZIP_DEFLATED)


if __name__ == "__main__":
    wanted = sys.argv[2] if len(sys.argv) > 2 else ".*"
    (archive if sys.argv[1].endswith(".zip") else main)(sys.argv[1], wanted)
