"""Exports of `cnnc` held against the `onnx` checker and ONNX Runtime: `python tests/peers/onnx_export.py target/release/cnnc`.

Every net of `examples/` is exported with its seeded weights, checked with full type inference, run by ONNX Runtime on seeded
input, and compared with `cnnc run`. Needs numpy, onnx, onnxruntime.
"""

import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import onnx
import onnxruntime as ort

ROOT = pathlib.Path(__file__).resolve().parents[2]


def main(tool: str) -> int:
    wrong = 0
    for program in sorted((ROOT / "examples").glob("*.cnn")):
        with tempfile.TemporaryDirectory() as folder:
            at = pathlib.Path(folder)
            for opset in (13, 17, 21):
                done = subprocess.run([tool, "export", program, "-o", at / "net.onnx", "--opset", str(opset)], capture_output=True, text=True)
                if done.returncode:
                    print(f"{program.name}: {done.stderr.strip()}")
                    wrong += "for it" not in done.stderr
                    break
                model = onnx.load(at / "net.onnx")
                onnx.checker.check_model(model, full_check=True)
                session = ort.InferenceSession(str(at / "net.onnx"), providers=["CPUExecutionProvider"])
                random = np.random.default_rng(1)
                inputs = {i.name: random.random(i.shape, dtype=np.float32) for i in session.get_inputs()}
                call = [tool, "run", program]
                for name, x in inputs.items():
                    np.save(at / f"{name}.npy", x)
                    call += ["--input", f"{name}={at / name}.npy"]
                for out, y in zip(session.get_outputs(), session.run(None, inputs)):
                    np.save(at / f"{out.name}.expected.npy", y)
                    call += ["--expect", f"{out.name}={at / out.name}.expected.npy"]
                done = subprocess.run(call, capture_output=True, text=True)
                verdict = "equal" if done.returncode == 0 else done.stdout + done.stderr
                wrong += done.returncode != 0
                print(f"{program.name}, operator set {opset}: {verdict.strip()}")
    return wrong


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
