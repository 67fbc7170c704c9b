"""The formats of an export: the ending of each one's file, and how it is compared. No torch."""

SUFFIXES = {"python": ".py", "onnx": ".onnx", "torch-export": ".pt2", "safetensors": ".safetensors"}
CHECKS = {
    "python": "run in a process without enas",
    "onnx": "run by onnxruntime",
    "torch-export": "loaded again and run by torch",
    "safetensors": "loaded into the exported module",
}
