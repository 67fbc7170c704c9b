"""Package metadata. Tool settings are in pyproject.toml."""

from pathlib import Path

from setuptools import find_packages, setup

setup(
    name="enas",
    version="0.1.0",
    description="Efficient neural architecture search: one supernet, an LSTM controller, REINFORCE",
    long_description=Path(__file__).with_name("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11",
    packages=find_packages(include=["enas", "enas.*"]),
    package_data={
        "enas": ["py.typed", "data/*.safetensors", "data/DIGITS_LICENSE.txt", "kernels/cpp/*", "report/*.html"]
    },
    install_requires=[
        "torch>=2.6",
        "torchvision>=0.21",
        "numpy>=1.26",
        "einops>=0.7",
        "tensorboard>=2.16",
        "click>=8.1",
        "safetensors>=0.4.3",  # weights that strangers can open safely
        "pillow>=10",  # decoding images
        "tqdm>=4.66",  # progress with ETA
        "scipy>=1.11",  # rank correlations
        "matplotlib>=3.8",  # pictures of architectures and of what a search chose
        "jinja2>=3.1",  # the page of a run; torch needs it too
    ],
    extras_require={
        "optuna": ["optuna>=4.0"],  # searcher tpe
        "ray": ["ray>=2.40"],  # children of full training on a cluster
        "onnx": ["onnx>=1.17", "onnxruntime>=1.20", "onnxscript>=0.3"],  # enas export --to onnx
        "dev": [
            "pytest>=8",
            "pytest-xdist>=3.5",
            "hypothesis>=6.100",
            "ruff>=0.6",
            "mypy>=1.11",
            "types-tqdm",
            "scikit-learn>=1.4",
            "optuna>=4.0",
        ],
    },
    entry_points={"console_scripts": ["enas=enas.cli:main"]},
)
