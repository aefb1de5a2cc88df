"""Optimus against tensors of the published code, and its own writing."""

import torch
from golden_files import tensors, tiny_config, zipped

from brainkit_unibrain.optimus import Optimus, OptimusConfig, greedy, own_tensors, sampled

GOLDEN = tensors("optimus")


def tiny_optimus() -> Optimus:
    sizes = tiny_config()["optimus"]
    bert, gpt2, ids = sizes["bert"], sizes["gpt2"], sizes["special_ids_tiny"]
    config = OptimusConfig(
        latent=sizes["latent"],
        bert={
            "vocab_size": bert["vocab"],
            "hidden_size": bert["hidden"],
            "num_hidden_layers": bert["layers"],
            "num_attention_heads": bert["heads"],
            "intermediate_size": bert["intermediate"],
            "max_position_embeddings": bert["max_positions"],
        },
        gpt2={
            "vocab_size": gpt2["vocab"],
            "n_embd": gpt2["hidden"],
            "n_layer": gpt2["layers"],
            "n_head": gpt2["heads"],
            "n_positions": gpt2["positions"],
        },
        pad=ids["PAD"],
        bos=ids["BOS"],
        eos=ids["EOS"],
    )
    net = Optimus(config)
    net.load_state_dict(own_tensors(tensors("tiny_optimus")))
    return net.eval().requires_grad_(False)


NET = tiny_optimus()


def test_the_encoder_gives_the_published_posterior() -> None:
    mean, log_variance = NET.encoder.posterior(GOLDEN["enc_ids"])
    torch.testing.assert_close(mean, GOLDEN["enc_mu"], atol=1e-5, rtol=0)
    torch.testing.assert_close(log_variance, GOLDEN["enc_logvar"], atol=1e-5, rtol=0)


def test_the_decoder_scores_known_sentences_as_published() -> None:
    scores = NET.decoder.logits(GOLDEN["dec_latent"], GOLDEN["dec_teacher_ids"])
    torch.testing.assert_close(scores, GOLDEN["dec_teacher_logits"], atol=1e-5, rtol=0)


def test_the_decoder_writes_the_published_tokens() -> None:
    wrote = NET.decoder.write(GOLDEN["dec_latent"], greedy, NET.config)
    assert torch.equal(wrote[:, :9], GOLDEN["dec_greedy_tokens"])


def test_writing_with_a_cache_gives_the_scores_of_the_whole_sentence() -> None:
    latent, seen = GOLDEN["dec_latent"], []

    def watch(scores: torch.Tensor) -> torch.Tensor:
        seen.append(scores)
        return greedy(scores)

    wrote = NET.decoder.write(latent, watch, NET.config, 12)
    whole = NET.decoder.logits(latent, wrote[:, :-2])
    torch.testing.assert_close(torch.stack(seen, dim=1), whole, atol=1e-5, rtol=0)
    torch.testing.assert_close(whole[:, :8], GOLDEN["dec_greedy_logits"], atol=1e-5, rtol=0)


def test_a_sentence_that_does_not_end_is_cut_and_ended() -> None:
    wrote = NET.decoder.write(GOLDEN["dec_latent"], greedy, NET.config, 6)
    assert wrote.shape == (2, 6)
    assert wrote[:, -1].tolist() == [NET.config.eos] * 2


def test_a_sentence_that_ended_is_padded() -> None:
    script = iter([[5, 6], [NET.config.eos, 7], [8, 9], [8, NET.config.eos]])
    wrote = NET.decoder.write(
        GOLDEN["dec_latent"], lambda s: torch.tensor(next(script)), NET.config
    )
    bos, eos, pad = NET.config.bos, NET.config.eos, NET.config.pad
    assert wrote.tolist() == [[bos, 5, eos, pad, pad], [bos, 6, 7, 9, eos]]


def test_drawn_sentences_depend_on_their_own_seed() -> None:
    latent = GOLDEN["dec_latent"]
    both = NET.decoder.write(latent, sampled([3, 4]), NET.config, 10)
    second = NET.decoder.write(latent[1:], sampled([4]), NET.config, 10)
    assert torch.equal(both[1, : second.shape[1]], second[0])
    other = NET.decoder.write(latent, sampled([5, 6]), NET.config, 10)
    assert not torch.equal(both, other)


def test_draws_follow_the_softmax() -> None:
    logits = torch.tensor([[0.0, 1.0, 2.0]]).expand(6000, 3)
    counts = torch.bincount(sampled(range(6000))(logits), minlength=3) / 6000
    # Three standard errors of a share of 6000 draws.
    torch.testing.assert_close(counts, logits[0].softmax(dim=0), atol=0.02, rtol=0)


def test_at_full_size_it_has_the_published_tensors() -> None:
    with torch.device("meta"):
        net = Optimus(OptimusConfig())
    published = own_tensors(zipped("optimus_shapes"))
    assert {name: list(t.shape) for name, t in net.state_dict().items()} == published
