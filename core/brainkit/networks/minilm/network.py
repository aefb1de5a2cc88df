"""Sentences to embeddings whose cosine says how alike they are.

Source: Reimers and Gurevych 2019, "Sentence-BERT", section 3, with mean pooling; the network is
sentence-transformers/all-MiniLM-L6-v2, transformers' BERT.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from tokenizers import Tokenizer
from transformers import BertConfig, BertModel

from brainkit.errors import CheckpointError
from brainkit.networks.assemble import assemble, frozen
from brainkit.networks.minilm import MINILM

if TYPE_CHECKING:
    from torch import Tensor

    from brainkit.checkpoints import CheckpointStore

LENGTH = 256
"""Tokens of a sentence that are read, begin and end included, as its authors set it."""


def load_sentence_embedding(store: CheckpointStore) -> Callable[[Sequence[str]], Tensor]:
    """Return a function from sentences to embeddings of length 1, float32 (batch, dim).

        e = normalised(sum over tokens of mask * hidden / sum of mask)

    Raises:
        CheckpointError: weights or tokenizer are missing, damaged, or do not fit together.
    """
    bert = BertConfig.from_dict(store.config(MINILM))
    network = _network(bert, store)
    tokenizer = _tokenizer(store, bert.vocab_size)
    tokenizer.enable_truncation(min(LENGTH, bert.max_position_embeddings))
    tokenizer.enable_padding(pad_id=0, pad_token="[PAD]")

    def embed(sentences: Sequence[str]) -> Tensor:
        if not sentences:
            return torch.zeros(0, bert.hidden_size, device=store.device)
        encoded = tokenizer.encode_batch(list(sentences))
        ids = torch.tensor([each.ids for each in encoded], device=store.device)
        mask = torch.tensor([each.attention_mask for each in encoded], device=store.device)
        hidden = network(input_ids=ids, attention_mask=mask).last_hidden_state.float()
        return torch.nn.functional.normalize(pooled(hidden, mask), dim=1)

    return embed


def pooled(hidden: Tensor, mask: Tensor) -> Tensor:
    """Return the mean over the tokens that are no padding, (batch, dim).

    Args:
        hidden: (batch, tokens, dim).
        mask: (batch, tokens), 1 or 0 for padding.
    """
    weights = mask[:, :, None].to(hidden.dtype)
    return (hidden * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1e-9)


def _network(bert: Any, store: CheckpointStore) -> Any:
    network = assemble(
        lambda: BertModel(bert, add_pooling_layer=False), store.load(MINILM), MINILM.name
    )
    # No file holds these, so that they are still without numbers: all tokens are of one sentence.
    kinds = network.embeddings.token_type_ids
    network.embeddings.token_type_ids = torch.zeros(kinds.shape, dtype=torch.int64)
    return frozen(network, store.device)


def _tokenizer(store: CheckpointStore, size: int) -> Tokenizer:
    path = store.folder(MINILM) / "tokenizer.json"
    again = f"run `brainkit fetch {MINILM.name}`"
    if not path.is_file():
        raise CheckpointError(f"checkpoint {MINILM.name!r} lacks {path}; {again}")
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises nothing narrower
        raise CheckpointError(f"{path} is not a tokenizer ({error}); {again}") from error
    if tokenizer.token_to_id("[PAD]") != 0 or tokenizer.get_vocab_size() > size:
        raise CheckpointError(
            f"{path} has {tokenizer.get_vocab_size()} tokens, [PAD] as number "
            f"{tokenizer.token_to_id('[PAD]')}; expected at most {size} and 0; {again}"
        )
    return tokenizer
