"""Builds the native kernels; everything else about the package stands in pyproject.toml.

The extension is optional: without a compiler, or on another system, the package installs all the
same and computes with PyTorch alone.
"""

import os
import platform
import sys
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.errors import CompileError

sys.path.insert(0, str(Path(__file__).parent))
from mlpmixer.kernels.sources import source_digest, source_files

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
        """Build the one library of this package."""
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


def native() -> list[Extension]:
    """Return the extension where its levels can be compiled at all."""
    if platform.machine() not in ("x86_64", "AMD64") or platform.system() == "Windows":
        return []
    root = Path(__file__).parent
    files = [str(file.relative_to(root)) for file in source_files(root / "mlpmixer/kernels/native")]
    return [
        Extension(
            "mlpmixer.kernels._native",
            sources=[file for file in files if file.endswith(".cpp")],
            depends=files,
            define_macros=[
                ("SOURCE_DIGEST", f'"{source_digest(root / "mlpmixer/kernels/native")}"')
            ],
            language="c++",
            optional=True,
        )
    ]


setup(ext_modules=native(), cmdclass={"build_ext": BuildNative})
