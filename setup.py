"""Builds what is written in C++; everything else about the package stands in pyproject.toml.

All of it is optional. Without a compiler, or on another system, the package installs all the same
and computes with PyTorch alone; without libjpeg-turbo's header, it decodes whole pictures.
"""

import os
import platform
import sys
from collections.abc import Sequence
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.errors import CompileError

sys.path.insert(0, str(Path(__file__).parent))
from mlpmixer.native_library import source_digest, source_files

ROOT = Path(__file__).parent

AVX512 = ["-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mfma"]
LEVEL_FLAGS = {
    "level_avx2": ["-mavx2", "-mfma"],
    "level_avx512": AVX512,
    "level_avx512_bf16": [*AVX512, "-mavx512bf16"],
    "level_avx512_vnni": [*AVX512, "-mavx512vnni"],
    "level_amx": [*AVX512, "-mavx512bf16", "-DASSEMBLES_TILES"],
}
"""What the compiler may use in the file of a level; all other files run on any processor."""
FLAGS = ["-std=c++17", "-O3", "-g0", "-fvisibility=hidden", "-fno-math-errno", "-pthread"]
FLAGS += ["-Wno-uninitialized", "-Wno-maybe-uninitialized"]  # GCC 12 finds them in its own headers
TILES = r"tdpbf16ps %tmm0, %tmm1, %tmm2\n\ttdpbsud %tmm0, %tmm1, %tmm2"
SANITIZERS = ["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined", "-g1"]
"""Added where MLPMIXER_SANITIZE is set, as `make sanitize` does."""


class BuildNative(build_ext):
    """Compiles each level with its own instructions."""

    def build_extension(self, ext: Extension) -> None:
        """Build one library."""
        sanitizers = SANITIZERS if os.environ.get("MLPMIXER_SANITIZE") else []
        level_flags = LEVEL_FLAGS if self.assembles(TILES) else {**LEVEL_FLAGS, "level_amx": []}
        objects = []
        for source in ext.sources:
            flags = level_flags.get(Path(source).stem, [])
            objects += self.compiler.compile(
                [source],
                output_dir=self.build_temp,
                macros=ext.define_macros,
                extra_postargs=[*FLAGS, *sanitizers, *flags],
                depends=ext.depends,
            )
        self.compiler.link_shared_object(
            objects,
            self.get_ext_fullpath(ext.name),
            libraries=ext.libraries,
            extra_postargs=["-pthread", *sanitizers],
            target_lang="c++",
        )

    def assembles(self, instructions: str) -> bool:
        """Tell whether compiler and assembler know instructions, which newer ones may alone."""
        probe = Path(self.build_temp) / "probe.cpp"
        probe.parent.mkdir(parents=True, exist_ok=True)
        probe.write_text(f'void probe() {{ asm volatile("{instructions}"); }}\n')
        try:
            self.compiler.compile([str(probe)], output_dir=self.build_temp)
        except CompileError:
            return False
        return True


def kernels() -> list[Extension]:
    """Return the native kernels where their levels can be compiled at all."""
    if platform.machine() not in ("x86_64", "AMD64") or platform.system() == "Windows":
        return []
    return [extension("mlpmixer.kernels._native", source_files(ROOT / "mlpmixer/kernels/native"))]


def images() -> list[Extension]:
    """Return what decodes and resizes images; the first needs libjpeg-turbo and its header."""
    if platform.system() == "Windows":
        return []
    native = ROOT / "mlpmixer/data/native"
    return [
        extension("mlpmixer.data._jpeg", [native / "jpeg.cpp"], libraries=["jpeg"]),
        extension("mlpmixer.data._resize", [native / "resize.cpp"]),
    ]


def extension(name: str, files: list[Path], libraries: Sequence[str] = ()) -> Extension:
    """Return a library made of C++ files."""
    paths = [str(file.relative_to(ROOT)) for file in files]
    return Extension(
        name,
        sources=[path for path in paths if path.endswith(".cpp")],
        depends=paths,
        define_macros=[("SOURCE_DIGEST", f'"{source_digest(files)}"')],
        libraries=list(libraries),
        language="c++",
        optional=True,
    )


setup(ext_modules=[*kernels(), *images()], cmdclass={"build_ext": BuildNative})
