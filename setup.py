"""Installation of ldm_hf. Every heavy dependency is an extra; torch is installed first (see the Makefile)."""

import re
from pathlib import Path

from setuptools import find_packages, setup

root = Path(__file__).parent
version = re.search(r'^__version__ = "(.+)"$', (root / "ldm_hf/__init__.py").read_text(encoding="utf-8"), re.MULTILINE)

extras = {
    # Environment libraries that live together in one interpreter, all from wheels (no compiler needed).
    "envs": [
        "gymnasium[classic-control,box2d,toy-text]>=1.2",
        "minigrid>=3.0",
        "metaworld>=3.1",  # brings the MuJoCo that it pins, which Gymnasium's own MuJoCo tasks use, too
        "highway-env>=1.10",
        "nasim>=0.12",
        "gym-anytrading>=2.0",
        "minatar>=1.0.15",
        "ale-py>=0.11",
        "uv>=0.4",  # makes the virtual environments of isolated libraries; without it, venv and pip do
        "opencv-python-headless>=4.8",  # Gymnasium's Atari preprocessing resizes with it
        "popgym>=1.0.6",
        "stockpyl>=1.0",
        "pvlib>=0.11",
        "gymnasium-robotics>=1.4",
        "shimmy>=2.0",  # makes dm-control's tasks Gymnasium ids
        # the last that runs on that MuJoCo; needs labmaze, which has no wheel for Python 3.13
        'dm-control>=1.0.28,<1.0.29; python_version < "3.13"',
        "gym-electric-motor>=3.0",
        "bsuite>=0.3.5",
        'ogbench>=1.2; python_version < "3.13"',  # the same
        "crafter>=1.8",
        "rware>=2.0",
        "lbforaging>=2.0",
        "pyRDDLGym>=2.7",
        "rddlrepository>=2.2",
        "gym-invmgmt>=0.2",
        "or-gymnasium>=0.1",
        "JSSEnv>=1.1",
        "evcrl>=0.0.1",
        "stokasta>=0.0.1",
        "gym-classics2>=1.0.3",
    ],
    # Environment libraries that share the interpreter, too, but are large or overwrite other packages' files; not in
    # "all".
    "envs-extra": [
        "panda-gym>=3.0.7",  # brings PyBullet, 300 MB
        "mo-gymnasium>=1.3",  # brings pygame beside pygame-ce
        "flappy-bird-gymnasium>=0.4",  # the same
        "gym-pusht>=0.1.8",  # the same, and opencv-python beside opencv-python-headless
        "QuantLib>=1.40",  # 90 MB
        "pgtg>=0.6.1",  # brings pygame beside pygame-ce
        "safety-gridworlds-gymnasium>=2.0.4",  # the same
    ],
    # Task-specific reference policies by reinforcement learning.
    "reference": ["stable-baselines3>=2.7", "sb3-contrib>=2.7", "optuna>=4.2"],
    # The same by SBX, in JAX; brings that, 600 MB, so that it is no part of "all".
    "sbx": ["sbx-rl>=0.28", "optuna>=4.2"],
    # Plans for problems in RDDL; brings JAX, 600 MB, so that it is no part of "all".
    "rddl": ["pyRDDLGym-jax>=3.1"],
    # References, collection and evaluation on a cluster; no part of "all".
    "ray": ["ray>=2.40"],
    # Interquartile means with confidence intervals, plots, videos.
    "eval": ["scipy>=1.13", "matplotlib>=3.8", "imageio[ffmpeg]>=2.34"],
    # Trajectories in the formats of other tools: Minari, D4RL's HDF5 files, LeRobot's videos.
    "import": ["minari>=0.5.4", "h5py>=3.8", "av>=12", "pillow>=10"],
    # Models exported to ONNX, and agents that run them.
    "onnx": ["onnx>=1.19", "onnxruntime>=1.23", "onnxscript>=0.5"],
    # Models judged on logged decisions: baselines and estimates of the return.
    "logs": ["scikit-learn>=1.5", "matplotlib>=3.8"],
    # A model behind a port, and agents whose model is there.
    "serve": ["aiohttp>=3.10", "msgpack>=1.0.5", "websockets>=13", "prometheus-client>=0.20"],
    # A web page to watch a model on (`ldm demo`); no part of "all", since Gradio pins Pillow below the newest.
    "demo": ["gradio>=6", "pandas>=2", "pillow>=10", "prometheus-client>=0.20"],
    "tracking": ["tensorboard>=2.16"],
    # Trajectories whose images are stored as PNG or JPEG.
    "images": ["pillow>=10"],
    # Low-rank adapters of examples/finetune.py.
    "lora": ["peft>=0.17"],
    # Not Sphinx: stockpyl pins its release of 2022.
    "docs": ["properdocs>=1.6.5", "mkdocs-material>=9.6", "mkdocstrings-python>=2"],
    "dev": [
        "pytest>=8",
        "hypothesis>=6.100",
        "ruff>=0.6",
        "mypy>=1.11",
        "pytest-xdist>=3.6",
        "sybil>=10",
        "parameterized>=0.9",  # of transformers' own tests
        "nbclient>=0.10",  # runs the notebooks, in a kernel of
        "ipykernel>=6.29",
        "cma>=4",  # searches for waypoints
    ],
}
extras["all"] = sorted(
    {
        requirement
        for name, group in extras.items()
        if name not in ("docs", "dev", "envs-extra", "ray", "rddl", "sbx", "demo")
        for requirement in group
    }
)
extras["dev"] += extras["docs"] + extras["rddl"]  # the tests build the documentation, and plan

setup(
    name="ldm_hf",
    version=version[1],
    description="One pretrained transformer that acts in Gymnasium environments, step after step: an open LDM",
    long_description=(root / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    packages=find_packages(include=["ldm_hf", "ldm_hf.*"]),
    package_data={
        "ldm_hf": [
            "py.typed",
            "libraries/*/rows.yaml",
            "libraries/*/measured.json",
            "libraries/*/public.json",
            "libraries/*/requirements.txt",
            "suites/tables/*.yaml",
            "demo/blind.json",
        ]
    },
    python_requires=">=3.11",
    install_requires=[
        "torch>=2.6",
        "transformers>=5.24,<6",
        "accelerate>=1.10",
        "datasets>=4",
        "huggingface-hub>=1.0",
        "gymnasium>=1.2",
        "filelock>=3.13",
        "safetensors>=0.5",
        "numpy>=1.26",
        "psutil>=5.9",
        "pyarrow>=16",
        "pyyaml>=6",
        "tqdm>=4.66",
        "typer>=0.12",
        "rich>=13",
    ],
    extras_require=extras,
    entry_points={"console_scripts": ["ldm = ldm_hf.cli:main"]},
    classifiers=[
        "Development Status :: 3 - Alpha",
        "Intended Audience :: Science/Research",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
    ],
)
