"""Writes the stand-in's files."""

from __future__ import annotations

import shutil
from pathlib import Path

from .flags import parser_source

_DOUBLE = Path(__file__).resolve().parents[1] / "koboldcpp"

#: The real Makefile's default target: one library for each thing that was asked for, linked as there. Tabs matter.
_MAKEFILE = """\
default: koboldcpp_default koboldcpp_failsafe koboldcpp_noavx2 koboldcpp_backend
SHARED = $(CC) -shared -fPIC dummy.c -o
.PHONY: default
ifdef LLAMA_PORTABLE
FLAGS = -mavx2
koboldcpp_failsafe koboldcpp_noavx2:
\t$(SHARED) $@.so
else
FLAGS = -march=native
koboldcpp_failsafe koboldcpp_noavx2:
\t@true
endif
koboldcpp_default:
\t$(SHARED) $@.so $(FLAGS)
koboldcpp_backend:
ifdef LLAMA_OPENBLAS
\t$(SHARED) koboldcpp_openblas.so -Wl,--no-as-needed -lopenblas
endif
ifdef LLAMA_CLBLAST
\t$(SHARED) koboldcpp_clblast.so -Wl,--no-as-needed -lclblast -lOpenCL
endif
ifdef LLAMA_VULKAN
\t$(SHARED) koboldcpp_vulkan.so -Wl,--no-as-needed -lvulkan
endif
ifdef LLAMA_CUBLAS
\t$(SHARED) koboldcpp_cublas.so -Wl,--no-as-needed -L$(CUDA_PATH)/lib64 -L$(CUDA_PATH)/lib64/stubs -lcuda -lcudart
endif
"""

_MAIN = """
if __name__ == "__main__":
    import ctypes
    import glob
    import os
    import sys
    import time

    here = os.path.dirname(os.path.abspath(__file__))
    args = parser.parse_args()
    for library in glob.glob(here + "/koboldcpp_*.so"):
        ctypes.CDLL(library)
    sys.path.insert(0, here + "/kcpp_adapters")
    from kcppdouble import DIALECTS, KoboldcppDouble

    model = args.model[0] if isinstance(args.model, list) else args.model
    with KoboldcppDouble(
        KcppVersion if KcppVersion in DIALECTS else "1.115.1",
        host=args.host,
        port=args.port,
        context_size=args.contextsize,
        multiuser=args.multiuser,
        model=os.path.splitext(os.path.basename(model))[0],
    ):
        while True:
            time.sleep(1)
"""


def write(folder: Path, version: str) -> None:
    """Write the tree of a koboldcpp `version` into `folder`, which is made."""
    folder.mkdir(parents=True)
    (folder / "Makefile").write_text(_MAKEFILE)
    (folder / "dummy.c").write_text("int koboldcpp_stand_in(void) { return 1; }\n")
    (folder / "koboldcpp.py").write_text(parser_source(version) + _MAIN)
    shutil.copytree(_DOUBLE, folder / "kcpp_adapters" / "kcppdouble", ignore=shutil.ignore_patterns("__pycache__"))
    pages = folder / "embd_res" if version.startswith("1.11") else folder
    pages.mkdir(exist_ok=True)
    (pages / "klite.embd").write_text("<p>stand-in</p>")
    (folder / "not_needed_at_run_time.cpp").write_text("int x;\n")
